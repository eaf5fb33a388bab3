#!/usr/bin/env python
"""`python analysis/report.py --help` says what it prints or writes; the code stands in citrus_ray."""

import sys

from citrus_ray.report.report import main

if __name__ == "__main__":
    sys.exit(main())
