"""`python -m citrus_ray COMMAND …` is `citrus COMMAND …`."""

import sys

from citrus_ray.cli.citrus import main

if __name__ == "__main__":
    sys.exit(main())
