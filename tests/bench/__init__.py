"""Benchmarks: `python -m tests.bench NAME`. Ratios within one run; never asserted on in the test
suite."""
