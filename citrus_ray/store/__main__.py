"""`python -m citrus_ray.store`: list, show, check, prune and export pre-trained encoders."""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from citrus_ray.spec import SpecError, refuse
from citrus_ray.store import entries, tables, usage
from citrus_ray.store.entries import CheckpointError, Entry
from citrus_ray.store.files import Files, default_store, open_files

EXIT_CODES = (
    "exit codes: 0 done, 1 an encoder is not what it was, 2 what was asked for makes no sense"
)
DIGEST = "a digest, or its beginning where that is unique"


def main(args: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(args)
    try:
        return int(options.run(_store(options.store), options))
    except SpecError as err:
        print(f"error: {err}", file=sys.stderr)
        return 2
    except (CheckpointError, OSError) as err:
        print(f"error: {err}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m citrus_ray.store", description=__doc__, epilog=EXIT_CODES
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--store",
        metavar="PLACE",
        help="a folder or a URI (default: $CITRUS_STORE, else results/store)",
    )
    users = argparse.ArgumentParser(add_help=False)
    users.add_argument(
        "--results",
        action="append",
        type=Path,
        metavar="DIR",
        help="where records that refer to encoders lie, at any depth; may be repeated (default: results)",
    )

    def add(
        name: str, run: object, about: str, *parents: argparse.ArgumentParser
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name, help=about, description=about, parents=[common, *parents]
        )
        command.set_defaults(run=run)
        return command

    add("list", _list, "a line per encoder", users)
    add("show", _show, "where an encoder came from, and its epochs", users).add_argument(
        "digest", help=DIGEST
    )
    add("verify", _verify, "compare checksums; exit 1 names the bad").add_argument(
        "digest", nargs="*", help=DIGEST
    )
    prune = add(
        "prune",
        _prune,
        "delete encoders that no record refers to; run it while no sweep does",
        users,
    )
    sure = prune.add_mutually_exclusive_group()
    sure.add_argument(
        "--dry-run", action="store_true", help="only show what would go; so without --yes"
    )
    sure.add_argument("--yes", action="store_true", help="delete it")
    prune.add_argument(
        "--min-age",
        type=float,
        default=1.0,
        metavar="HOURS",
        help="younger encoders stay: a trial that uses one may not be recorded yet (default: 1)",
    )
    export = add("export", _export, "copy an encoder and what is known of it into a new folder")
    export.add_argument("digest", help=DIGEST)
    export.add_argument("folder", type=Path, metavar="DIR")
    return parser


def _store(where: str | None) -> Files:
    files = open_files(where or default_store())
    if not files.remote and not Path(files.root).is_dir():
        raise refuse(
            f"there is no store {files.name}; say with --store or $CITRUS_STORE where it is"
        )
    return files


def _list(files: Files, options: argparse.Namespace) -> int:
    now, found = time.time(), entries.folders(files)
    complete = list(entries.entries(files, found))
    print(tables.overview(complete, _uses(options), now))
    rest = tables.unfinished(found, {entry.digest for entry in complete}, now)
    if rest:
        print("\n".join(["", *rest]))
    return 0


def _show(files: Files, options: argparse.Namespace) -> int:
    digest, uses = entries.resolve(files, options.digest), _uses(options)
    entry = Entry(digest, tuple(files.list(digest)), entries.read_meta_or_none(files, digest))
    if entry.meta is None:
        raise CheckpointError(
            f"{files.name}/{digest}: its {entries.META} cannot be read; `verify` looks at all of them"
        )
    print(
        tables.in_full(
            files, entry, entry.meta, "?" if uses is None else str(uses[digest]), time.time()
        )
    )
    return 0


def _uses(options: argparse.Namespace) -> Counter[str] | None:
    """None, with a word about it, where records cannot be read."""
    try:
        return usage.count_uses(options.results or [Path("results")])
    except SpecError as err:
        print(f"warning: uses are not counted: {err}", file=sys.stderr)
        return None


def _verify(files: Files, options: argparse.Namespace) -> int:
    wanted = [entries.resolve(files, prefix) for prefix in options.digest]
    wanted = wanted or [entry.digest for entry in entries.entries(files, entries.folders(files))]
    n_bad = 0
    for digest in wanted:
        try:
            entries.verify(files, digest)
        except CheckpointError as err:
            n_bad += 1
            print(f"bad: {err}", file=sys.stderr)
    print(f"{files.name}: {len(wanted) - n_bad} of {len(wanted)} encoders are what they were")
    return int(n_bad > 0)


def _prune(files: Files, options: argparse.Namespace) -> int:
    items = usage.prunable(
        files, _all_uses(options.results or [Path("results")]), options.min_age * 3600, time.time()
    )
    n_gone = 0
    for item in items:
        gone = options.yes and usage.delete(files, item)
        n_gone += gone
        what = "deleted" if gone else "kept, it changed" if options.yes else "would go"
        names = "" if item.whole else " " + ", ".join(file.name for file in item.files)
        print(f"{what}: {item.folder or files.name}{names} ({tables.size(item.size)}): {item.why}")
    hint = "" if options.yes or not items else "; nothing was deleted, --yes does it"
    print(
        f"{files.name}: {n_gone if options.yes else len(items)} {'deleted' if options.yes else 'would go'}{hint}"
    )
    return 0


def _all_uses(results: list[Path]) -> Counter[str]:
    """Refuses where it would only seem that nothing is used."""
    for folder in results:
        if not any(folder.rglob("records/*.jsonl")):
            rule = "must hold the records that say which encoders are used, and holds none"
            raise refuse(f"{folder} {rule}; give the results folders with --results DIR")
    return usage.count_uses(results)


def _export(files: Files, options: argparse.Namespace) -> int:
    digest, folder = entries.resolve(files, options.digest), options.folder.absolute()
    if folder.exists():
        raise refuse(f"{folder} is there already; give a folder that is not")
    entries.verify(files, digest)
    meta = entries.read_meta(files, digest)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        (partial / "encoder.safetensors").write_bytes(entries.read_weights(files, digest, meta))
        (partial / entries.META).write_text(
            json.dumps(meta | {"weights": "encoder.safetensors"}, indent=1) + "\n"
        )
        partial.chmod(0o755)  # mkdtemp makes it private
        os.rename(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(f"{digest} in {folder}: encoder.safetensors, {entries.META}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
