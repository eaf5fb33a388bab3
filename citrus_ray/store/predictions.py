"""Outputs of refits on test windows: a Parquet file per trial, a row per window, beside records.

As records they are written whole and on disk before anyone hears of them; unlike records they are
no truth of their own: what they say is what was scored.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from citrus_ray.records import write_bytes

FOLDER = "predictions"


@dataclass(frozen=True)
class TestOutputs:
    """Outputs of one member on its test windows."""

    __test__ = False  # no test of pytest's

    member: str  # its digest
    classes: tuple[str, ...]  # names of the outputs
    window: npt.NDArray[np.int64]  # (n,), places in the target's set
    group: tuple[str, ...]  # (n,), whose they are
    start_s: npt.NDArray[np.float64] | None  # (n,), in their recording, where that is known
    seconds: float  # of a window
    y: npt.NDArray[Any]  # (n,), into `classes`, or values; (n, K) of labels
    outputs: npt.NDArray[np.float32]  # (n, K): logits, or values

    @property
    def are_classes(self) -> bool:
        """Whether outputs are logits of classes."""
        return bool(np.issubdtype(self.y.dtype, np.integer))


def probabilities_of(logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """(n, K): their softmax."""
    high = logits.astype(np.float64)
    high = np.exp(high - high.max(axis=1, keepdims=True))
    return np.asarray(high / high.sum(axis=1, keepdims=True))


def write(folder: Path, trial: str, parts: Sequence[TestOutputs]) -> None:
    """`<folder>/<trial>.parquet`: all members or none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def column(values: Iterable[Any], kind: Any) -> Any:
        return pa.chunked_array([pa.array(of, kind) for of in values], kind)

    are_classes = all(np.issubdtype(p.y.dtype, np.integer) for p in parts)
    kind_of_y = pa.int16() if are_classes else pa.float64()
    if any(p.y.ndim == 2 for p in parts):
        kind_of_y = pa.list_(pa.int8())
    text = pa.dictionary(pa.int32(), pa.string())
    table = pa.table(
        {
            "member": column(([p.member] * len(p.window) for p in parts), pa.string()),
            "window": column((p.window for p in parts), pa.int32()),
            "group": column((list(p.group) for p in parts), pa.string()),
            "start_s": column((_or_none(p) for p in parts), pa.float64()),
            "y": column((list(p.y) for p in parts), kind_of_y),
            "outputs": column((list(p.outputs) for p in parts), pa.list_(pa.float32())),
        }
    )
    for name in ("member", "group"):
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, table[name].cast(text))
    about = {p.member: {"classes": p.classes, "seconds": p.seconds} for p in parts}
    table = table.replace_schema_metadata({"members": json.dumps(about)})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_bytes(folder / f"{trial}.parquet", sink.getvalue().to_pybytes())


def _or_none(part: TestOutputs) -> Any:
    return [None] * len(part.window) if part.start_s is None else part.start_s


def _labels(y: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if y.dtype == object:
        return np.stack(list(y)).astype(np.int64)  # (n, K), of labels
    return y.astype(np.int64) if np.issubdtype(y.dtype, np.integer) else y


def read(folder: Path, trial: str) -> list[TestOutputs]:
    """The members of one trial; none where they are not there, or damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / f"{trial}.parquet"
    if not path.is_file():
        return []
    try:
        table = pq.read_table(path)
        about = json.loads(table.schema.metadata[b"members"])
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
        return []
    return list(_members(table, about))


def _members(table: Any, about: dict[str, Any]) -> Iterator[TestOutputs]:
    member = np.array(table["member"].to_pylist())
    for digest, facts in about.items():
        own = table.filter(member == digest)
        start, n_classes = own["start_s"], len(facts["classes"])
        values = own["outputs"].combine_chunks()
        yield TestOutputs(
            digest,
            tuple(facts["classes"]),
            own["window"].to_numpy().astype(np.int64),
            tuple(own["group"].to_pylist()),
            None if start.null_count else start.to_numpy(),
            facts["seconds"],
            _labels(own["y"].to_numpy()),
            values.flatten().to_numpy().reshape(len(own), n_classes),
        )
