#!/usr/bin/env python
"""One page with what a sweep found: `python analysis/report.py results/lowdata [more results…]`."""

import sys

from citrus_ray.cli.reports import report

if __name__ == "__main__":
    sys.exit(report())
