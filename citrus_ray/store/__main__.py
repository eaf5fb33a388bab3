"""`citrus store`: list, show, check, prune and export pre-trained encoders."""

import argparse
import json
import os
import shutil
import sys
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from citrus_ray.spec import SpecError, locate, refuse
from citrus_ray.store import entries, tables, usage
from citrus_ray.store.entries import CheckpointError, Entry
from citrus_ray.store.files import Storage, default_store, open_storage

EXIT_CODES = (
    "exit codes: 0 done, 1 an encoder is not what it was, 2 what was asked for makes no sense"
)
DIGEST = "a digest, or its beginning where that is unique"


PROG = "python -m citrus_ray.store"


def main(args: Sequence[str] | None = None, prog: str = PROG) -> int:
    options = command_parser(prog).parse_args(args)
    try:
        return int(options.run(_store(options.store), options))
    except SpecError as err:
        print(f"error: {err}", file=sys.stderr)
        return 2
    except (CheckpointError, OSError) as err:
        print(f"error: {err}", file=sys.stderr)
        return 1


def command_parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog, description=__doc__, epilog=EXIT_CODES)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    text = "a folder or a URI (default: $CITRUS_STORE, else results/store)"
    common.add_argument("--store", metavar="PLACE", help=text)
    users = argparse.ArgumentParser(add_help=False)
    text = (
        "where records that refer to encoders lie, at any depth; may be repeated (default: results)"
    )
    users.add_argument("--results", action="append", type=Path, metavar="DIR", help=text)

    def add(
        name: str, run: object, about: str, *parents: argparse.ArgumentParser
    ) -> argparse.ArgumentParser:
        parents = (common, *parents)
        command = commands.add_parser(name, help=about, description=about, parents=parents)
        command.set_defaults(run=run)
        return command

    add("list", _list, "a line per encoder", users)
    show = add("show", _show, "where an encoder came from, and its epochs", users)
    show.add_argument("digest", help=DIGEST)
    verify = add("verify", _verify, "compare checksums; exit 1 names the bad")
    verify.add_argument("digest", nargs="*", help=DIGEST)
    text = "delete encoders that no record refers to; run it while no sweep does"
    prune = add("prune", _prune, text, users)
    sure = prune.add_mutually_exclusive_group()
    text = "only show what would go; so without --yes"
    sure.add_argument("--dry-run", action="store_true", help=text)
    sure.add_argument("--yes", action="store_true", help="delete it")
    text = "younger encoders stay: a trial that uses one may not be recorded yet (default: 1)"
    prune.add_argument("--min-age", type=float, default=1.0, metavar="HOURS", help=text)
    export = add("export", _export, "copy an encoder and what is known of it into a new folder")
    export.add_argument("digest", help=DIGEST)
    export.add_argument("folder", type=Path, metavar="DIR")
    return parser


def _store(where: str | None) -> Storage:
    storage = open_storage(where or default_store())
    if not storage.remote and not Path(storage.root).is_dir():
        raise refuse(
            f"there is no store {storage.name}; say with --store or $CITRUS_STORE where it is"
        )
    return storage


def _list(storage: Storage, options: argparse.Namespace) -> int:
    now, found = time.time(), entries.folders(storage)
    complete = list(entries.entries(storage, found))
    print(tables.overview(complete, _uses(options), now))
    rest = tables.unfinished(found, {entry.digest for entry in complete}, now)
    if rest:
        print("\n".join(["", *rest]))
    return 0


def _show(storage: Storage, options: argparse.Namespace) -> int:
    digest, uses = entries.resolve(storage, options.digest), _uses(options)
    entry = Entry(digest, tuple(storage.list(digest)), entries.read_meta_or_none(storage, digest))
    if entry.meta is None:
        what = f"its {entries.META} cannot be read; `verify` looks at all of them"
        raise CheckpointError(f"{storage.name}/{digest}: {what}")
    n_records = "?" if uses is None else str(uses[digest])
    print(tables.in_full(storage, entry, entry.meta, n_records, time.time()))
    return 0


def _uses(options: argparse.Namespace) -> Counter[str] | None:
    """None, with a word about it, where records cannot be read."""
    try:
        return usage.count_uses(options.results or [Path("results")])
    except SpecError as err:
        print(f"warning: uses are not counted: {err}", file=sys.stderr)
        return None


def _verify(storage: Storage, options: argparse.Namespace) -> int:
    wanted = [entries.resolve(storage, prefix) for prefix in options.digest]
    wanted = wanted or [
        entry.digest for entry in entries.entries(storage, entries.folders(storage))
    ]
    n_bad = 0
    for digest in wanted:
        try:
            entries.verify(storage, digest)
        except CheckpointError as err:
            n_bad += 1
            print(f"bad: {err}", file=sys.stderr)
    print(f"{storage.name}: {len(wanted) - n_bad} of {len(wanted)} encoders are what they were")
    return int(n_bad > 0)


def _prune(storage: Storage, options: argparse.Namespace) -> int:
    uses = _all_uses(options.results or [Path("results")])
    items = usage.prunable(storage, uses, options.min_age * 3600, time.time())
    n_gone = 0
    for item in items:
        gone = options.yes and usage.delete(storage, item)
        n_gone += gone
        what = "deleted" if gone else "kept, it changed" if options.yes else "would go"
        names = "" if item.whole else " " + ", ".join(file.name for file in item.files)
        print(
            f"{what}: {item.folder or storage.name}{names} ({tables.size(item.size)}): {item.why}"
        )
    hint = "" if options.yes or not items else "; nothing was deleted, --yes does it"
    said = f"{n_gone} deleted" if options.yes else f"{len(items)} would go"
    print(f"{storage.name}: {said}{hint}")
    return 0


def _all_uses(results: list[Path]) -> Counter[str]:
    """Refuses where it would only seem that nothing is used."""
    for folder in results:
        if not any(folder.rglob("records/**/*.jsonl")):
            rule = "must hold the records that say which encoders are used, and holds none"
            raise refuse(f"{folder} {rule}; give the results folders with --results DIR")
    return usage.count_uses(results)


def _export(storage: Storage, options: argparse.Namespace) -> int:
    digest, folder = entries.resolve(storage, options.digest), options.folder.absolute()
    if folder.exists():
        raise refuse(f"{folder} is there already; give a folder that is not")
    entries.verify(storage, digest)
    meta = entries.read_meta(storage, digest)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    partial.mkdir()
    try:
        (partial / "encoder.safetensors").write_bytes(entries.read_weights(storage, digest, meta))
        text = json.dumps(meta | {"weights": "encoder.safetensors"}, indent=1)
        (partial / entries.META).write_text(text + "\n")
        os.rename(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(f"{digest} in {folder}: encoder.safetensors, {entries.META}")
    return 0


if __name__ == "__main__":
    # the commands' one boundary stands above this room, and is looked up late
    raise SystemExit(locate("citrus_ray.cli.citrus:main")(["store", *sys.argv[1:]]))
