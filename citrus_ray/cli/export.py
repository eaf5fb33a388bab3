"""`citrus export MODEL --to torchscript --out FILE`: a kept model for programs without this
package."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from citrus_ray.cli.boundary import bounded

ABOUT = """\
A kept network as one file: windows (B, C, T) as they are cut and z-scored for training, in the
model's order of channels, go in; probabilities (B, K) come out. It is written only if what it says
equals what the kept model says."""


NOTHING = "nothing was written"


def parser(prog: str) -> argparse.ArgumentParser:
    cli = argparse.ArgumentParser(
        prog=prog,
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    cli.add_argument("model", metavar="MODEL", type=Path, help="folder of a kept model")
    text = "TorchScript needs torch alone; ONNX needs pip install 'citrus_ray[onnx]'"
    cli.add_argument("--to", required=True, choices=("torchscript", "onnx"), help=text)
    cli.add_argument("--out", required=True, type=Path, metavar="FILE", help="file to write")
    return cli


@bounded("citrus export", nothing=NOTHING, safe=NOTHING)
def main(argv: Sequence[str] | None = None, prog: str = "citrus export") -> int:
    """The exit code of one call."""
    args = parser(prog).parse_args(argv)
    from citrus_ray.inference.export import export
    from citrus_ray.inference.model import load_model

    try:
        said = export(load_model(args.model), args.to, args.out)
    except OSError as err:
        print(f"{err.filename or args.out}: {err.strerror}; {NOTHING}", file=sys.stderr)
        return 2
    print(said)
    return 0
