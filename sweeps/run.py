#!/usr/bin/env python
"""`python sweeps/run.py --help` says how a sweep is run; the code stands in citrus_ray/cli."""

import sys
from pathlib import Path

from citrus_ray.cli.main import main

if __name__ == "__main__":
    sys.exit(main(sweeps=Path(__file__).resolve().parent))
