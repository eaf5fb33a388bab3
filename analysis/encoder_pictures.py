#!/usr/bin/env python
"""What the best encoder has learned: `python analysis/encoder_pictures.py results/lowdata`."""

import sys

from citrus_ray.report.encoder_pictures import main

if __name__ == "__main__":
    sys.exit(main())
