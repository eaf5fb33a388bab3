"""Results of a sweep as one file to give away, and the folder made of it again."""

import gzip
import io
import os
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from citrus_ray import records
from citrus_ray.store import ENCODERS, encoders_of, open_storage
from citrus_ray.store.entries import META, read_meta_or_none
from citrus_ray.store.predictions import FOLDER as PREDICTIONS

SUFFIX = ".tar.gz"
# what records are read with; a summary has caveats that only the recordings can tell
BESIDE = ("spec.yaml", "plan.json", "claims.json", "summary.json")


def pack(results: Path, out: Path | None, with_predictions: bool) -> int:
    """Write what the page is made of. The same results always give the same bytes."""
    out = out or Path(f"{results.resolve()}{SUFFIX}")
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w") as tarred,
    ):
        for name, content in _contents(results, with_predictions):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tarred.addfile(member, io.BytesIO(content))
    records.write_bytes(out, packed.getvalue())
    print(f"{out}: {packed.tell():,} bytes; `citrus records unpack` makes results of it again")
    return 0


def _contents(results: Path, with_predictions: bool) -> Iterator[tuple[str, bytes]]:
    """Files in an order of their own: records, what they are read with, what is known of their
    encoders (not the weights)."""
    paths = [results / name for name in BESIDE]
    paths += sorted(records.files(results / "records"))
    if with_predictions:
        paths += sorted((results / PREDICTIONS).rglob("*"))
    for path in filter(Path.is_file, paths):
        yield path.relative_to(results).as_posix(), path.read_bytes()
    storages = [open_storage(place) for place in encoders_of(results)]
    named = {row.encoder for rows in records.read_all(results / "records") for row in rows}
    for digest in sorted(filter(None, named)):
        there = (s for s in storages if read_meta_or_none(s, digest) is not None)
        if storage := next(there, None):
            meta = f"{digest}/{META}"
            yield f"{ENCODERS}/{meta}", storage.read(meta)


def unpack(file: Path, out: Path | None) -> Path | None:
    """The results folder; None, and a sentence, where there is none to be made."""
    from citrus_ray.data.tools.unpack import FetchError, is_archive
    from citrus_ray.data.tools.unpack import unpack as unpack_archive

    root = Path(os.environ.get("CITRUS_RESULTS") or "results").expanduser()
    out = out or root / file.name.removesuffix(SUFFIX)
    if not file.is_file() or not is_archive(file, "tar"):
        fault = f"{file}: is no file that `citrus records pack` wrote; give one, as lowdata{SUFFIX}"
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        fault = f"{out}: is there already; give another folder with --out"
    else:
        fault = ""
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".unpacked-", dir=out.parent) as beside:
            whole = Path(beside) / out.name
            whole.mkdir()
            try:
                unpack_archive(file, whole)
            except FetchError as err:
                fault = str(err)
            if not fault and not (whole / "records").is_dir():
                fault = f"{file}: holds no records/, so it is no sweep's results"
            if not fault:
                os.replace(whole, out)  # all of it, or nothing
    if fault:
        print(fault, file=sys.stderr)
    return None if fault else out
