#!/usr/bin/env python
"""`python analysis/compare.py --help` says what it prints or writes; the code stands in citrus_ray."""

import sys

from citrus_ray.evidence.comparison import main

if __name__ == "__main__":
    sys.exit(main())
