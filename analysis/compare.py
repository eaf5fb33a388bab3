#!/usr/bin/env python
"""Two sweeps side by side, and what changed beyond noise: `python analysis/compare.py A B`."""

import sys

from citrus_ray.cli.reports import comparison

if __name__ == "__main__":
    sys.exit(comparison())
