"""Sweep files as text: those that come with the package, by name, and the question that a file
opens with."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
SCHEMA_LINE = "# yaml-language-server:"  # for editors, before the question
WRITTEN = "# written by"  # no question: a program wrote the file


def shipped(folder: str) -> Path | None:
    """`sweeps` or `cluster`: inside the package where it is installed, beside it in a checkout."""
    inside, beside = PACKAGE / folder, PACKAGE.parent / folder
    if inside.is_dir():
        return inside
    is_checkout = (PACKAGE.parent / "pyproject.toml").is_file()
    return beside if is_checkout and beside.is_dir() else None


def by_name(sweeps: Path | None) -> dict[str, Path]:
    """The sweeps of a folder: `citrus/frequency` is `citrus/frequency.yaml`."""
    files = sorted(sweeps.rglob("*.yaml")) if sweeps else []
    return {file.relative_to(sweeps or "").with_suffix("").as_posix(): file for file in files}


def find(spec: str | Path, sweeps: Path | None) -> Path | None:
    """The file at a path or, where there is none, of a sweep that is called so."""
    named = [sweeps / spec, sweeps / f"{spec}.yaml"] if sweeps else []
    return next((path for path in (Path(spec), *named) if path.is_file()), None)


def question_of(text: str) -> str | None:
    """The first comment line, unless it is a program's."""
    first = next((line for line in text.splitlines() if not line.startswith(SCHEMA_LINE)), "")
    said = first.removeprefix("#").strip()
    return said if first.startswith("#") and said and not first.startswith(WRITTEN) else None
