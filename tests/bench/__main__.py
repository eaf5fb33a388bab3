"""Run one benchmark and print its figures as JSON."""

import argparse
import json

from tests.bench import memory

BENCHES = {"memory": memory.run}


def main() -> None:
    cli = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    cli.add_argument("name", choices=sorted(BENCHES), help="which benchmark")
    print(json.dumps(BENCHES[cli.parse_args().name](), indent=1))


if __name__ == "__main__":
    main()
