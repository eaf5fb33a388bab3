#!/usr/bin/env python
"""`python analysis/transfer_gain.py --help` says what it prints or writes; the code stands in citrus_ray."""

import sys

from citrus_ray.evidence.gains import main

if __name__ == "__main__":
    sys.exit(main())
