"""`citrus schema`: the JSON schema of sweep files, for editors and programs, or the reference of
their keys."""

import argparse
from collections.abc import Sequence


def main(argv: Sequence[str], prog: str = "citrus schema") -> int:
    args = parser(prog).parse_args(argv)
    from citrus_ray.experiment import schema  # after parsing: all specs are loaded for it

    print(schema.markdown() if args.markdown else schema.text(), end="")
    return 0


def parser(prog: str) -> argparse.ArgumentParser:
    cli = argparse.ArgumentParser(prog=prog, description=__doc__)
    text = "every key with its type, default and meaning, in place of the schema"
    cli.add_argument("--markdown", action="store_true", help=text)
    return cli
