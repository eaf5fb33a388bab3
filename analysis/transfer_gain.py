#!/usr/bin/env python
"""How much does pre-training help? `python analysis/transfer_gain.py results/lowdata [more
results…]`."""

import sys

from citrus_ray.cli.reports import transfer_gain

if __name__ == "__main__":
    sys.exit(transfer_gain())
