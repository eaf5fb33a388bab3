"""`python -m tests.fuzz KIND [--n N] [--seed S]`, KIND specs, recordings, records, store, fetch,
copies or faults; `python -m tests.fuzz soak --minutes N`: attacks, and what came of them."""

import argparse
import importlib
import io
import sys
from contextlib import redirect_stderr, redirect_stdout

from tests.fuzz.attack import table

KINDS = ("specs", "recordings", "records", "store", "fetch", "copies", "faults", "soak")


def main() -> int:
    cli = argparse.ArgumentParser("python -m tests.fuzz", description=__doc__)
    cli.add_argument("kind", choices=KINDS)
    cli.add_argument("--n", type=int, default=200, help="how many attacks")
    cli.add_argument("--minutes", type=float, default=10.0, help="how long the soak is")
    cli.add_argument("--seed", type=int, default=0, help="other ones")
    cli.add_argument("--verbose", action="store_true", help="what was said of each")
    args = cli.parse_args()
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        if args.kind == "soak":
            found = list(importlib.import_module("tests.fuzz.faults").soak(args.minutes, args.seed))
        else:
            room = importlib.import_module(f"tests.fuzz.{args.kind}")
            found = list(room.attacks(args.n, args.seed))
    for attack in found:
        if attack.is_bad or args.verbose:
            print(f"{attack.verdict}: {attack.name}: {attack.said}")
    print(table(found))
    return int(any(attack.is_bad for attack in found))


if __name__ == "__main__":
    sys.exit(main())
