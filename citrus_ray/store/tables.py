"""A store in words: rows of encoders, one encoder in full, sizes and ages that a person can
read."""

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import yaml

from citrus_ray.store.entries import STATE, Entry, Meta, is_hidden
from citrus_ray.store.files import File, Storage

HEADER = ("digest", "task", "model", "source", "val loss", "size", "age", "records")


def overview(entries: Sequence[Entry], uses: Counter[str] | None, now: float) -> str:
    rows = [_row(entry, "?" if uses is None else str(uses[entry.digest]), now) for entry in entries]
    return table([HEADER, *rows])


def _row(entry: Entry, n_records: str, now: float) -> tuple[str, ...]:
    facts = ("cannot be read", "", "", "") if entry.meta is None else _facts(entry.meta)
    return (entry.digest, *facts, size(entry.size), age(now - entry.made), n_records)


def _facts(meta: Meta) -> tuple[str, str, str, str]:
    pretrain = meta.get("pretrain") or {}
    losses = [row["val/loss"] for row in meta.get("history") or [] if "val/loss" in row]
    task, model = (
        (block or {}).get("kind", "?") for block in (pretrain.get("task"), meta.get("model"))
    )
    loss = f"{losses[-1]:.4g}" if losses else "-"
    return task, model, _source(pretrain.get("source") or {}), loss


def _source(tree: dict[str, Any]) -> str:
    """Its kind, and what tells it best from others of the kind."""
    which = f"seed={tree['seed']}" if "seed" in tree else ""
    if tree.get("root"):
        which = PurePosixPath(tree["root"]).name
    return f"{tree.get('kind', '?')} {which}".rstrip()


def unfinished(found: dict[str, list[File]], complete: set[str], now: float) -> list[str]:
    """Folders that are no entries yet, a line each."""
    lines = []
    for digest, inside in found.items():
        if digest in complete or is_hidden(digest):
            continue
        last = age(now - max(file.modified for file in inside))
        kept = ", its last state is kept" if any(file.name == STATE for file in inside) else ""
        how_much = size(sum(file.size for file in inside))
        lines.append(f"{digest}  unfinished{kept}, last written {last} ago, {how_much}")
    return lines


def in_full(storage: Storage, entry: Entry, meta: Meta, n_records: str, now: float) -> str:
    """Lineage, then every epoch."""
    known = ("digest", "sha256", "data_digest", "seconds", "workers", "commit", "finished")
    facts = {name: meta[name] for name in known if meta.get(name) is not None}
    facts |= {"store": storage.name, "size": size(entry.size)}
    facts |= {"age": age(now - entry.made), "records": n_records}
    lines = [f"{name:12} {value}" for name, value in facts.items()]
    names = ("references", "resumed", "versions", "model", "pretrain")
    blocks = {name: meta[name] for name in names if meta.get(name)}
    text = yaml.safe_dump(blocks, sort_keys=False).rstrip()
    return "\n".join([*lines, "", text, "", epochs(meta)])


def epochs(meta: Meta) -> str:
    history = meta.get("history") or []
    names = list(dict.fromkeys(name for row in history for name in row))
    rows = ([f"{row[n]:.6g}" if n in row else "" for n in names] for row in history)
    return table([names, *rows])


def table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def size(n_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.3g} TB"


def age(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
