"""Arrays in a file: npz, in the layout that `citrus convert` writes, and .mat of MATLAB.

FileLayout: docs/formats.md. `x` is (C, T), `sfreq` its rate, and names, kinds and units may stand
beside. A .mat says so under the same names, or under those that a spec gives in `layout`.
"""

import math
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol, Self

import numpy as np

from citrus_ray.data.faults import AGAIN, broken
from citrus_ray.data.formats.signals import (
    PIECE,
    Channel,
    FileLayout,
    Format,
    Marks,
    Pieces,
    Samples,
    Values,
    as_texts,
    check_layout,
    steps,
)
from citrus_ray.data.modality import guess_modality
from citrus_ray.data.root import cache_root, written_to

MARKS = ("mark_onset_s", "mark_duration_s", "mark_text")  # annotations: (n,) each
RATES = ("sfreq", "fs", "Fs", "srate", "fsample", "sampling_rate")  # what a .mat calls it


class ArraySamples(Protocol):
    """Samples (C, T) of one rate, in memory or not."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    def part(self, index: Sequence[int], first: int, stop: int) -> Samples: ...


# ---- npz ----


class NpzArrays(Mapping[str, Any]):
    """Arrays of an npz by name, each read to its end, where its checksum is: numpy reads as much
    as a header promises, and stops before where that was damaged."""

    def __init__(self, path: Path) -> None:
        self.path, self.archive = path, zipfile.ZipFile(path)
        names = self.archive.namelist()
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise broken(path, f"holds {', '.join(sorted(twice))} twice; write it again")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.archive.close()

    def __iter__(self) -> Iterator[str]:
        return (name.removesuffix(".npy") for name in self.archive.namelist())

    def __len__(self) -> int:
        return len(self.archive.namelist())

    def __contains__(self, key: object) -> bool:
        """Without reading it, as a mapping would."""
        return f"{key}.npy" in self.archive.namelist()

    def open(self, key: str) -> Any:
        return self.archive.open(f"{key}.npy")

    def __getitem__(self, key: str) -> Any:
        if key not in self:
            raise KeyError(key)
        with self.open(key) as packed:
            found = np.lib.format.read_array(packed, allow_pickle=False)
            if packed.read(1):
                raise broken(self.path, f"`{key}` holds more than its header says; {AGAIN}")
        return found


def npz_header(path: Path, layout: FileLayout) -> tuple[Channel, ...]:
    check_layout(path, layout, frozenset())
    with NpzArrays(path) as data:

        def shape_of(key: str) -> tuple[tuple[int, ...], str]:
            with data.open(key) as handle:
                shape, _, dtype = _npy_header(handle)
            return shape, str(dtype)

        if "streams" not in data:
            return _channels(path, data, shape_of, "", _list(data, "modality"))
        streams, out = [str(stream) for stream in data["streams"]], list[Channel]()
        kinds = data["modality"].tolist() if "modality" in data else [None] * len(streams)
        for stream, kind in zip(streams, kinds, strict=True):
            own = _list(data, f"modality_{stream}")
            out += _channels(path, data, shape_of, stream, own or kind)
        return tuple(out)


def _list(data: Mapping[str, Any], key: str) -> list[str] | None:
    return [str(value) for value in np.atleast_1d(data[key])] if key in data else None


def _channels(
    path: Path,
    data: Mapping[str, Any],
    shape_of: Callable[[str], tuple[tuple[int, ...], str]],
    stream: str,
    kinds: list[str] | str | None,
) -> tuple[Channel, ...]:
    """Channels of `x`, or of the `x_…` of a stream, by what stands beside it."""
    end = f"_{stream}" if stream else ""
    missing = [f"`{key}{end}`" for key in ("x", "sfreq") if f"{key}{end}" not in data]
    if missing:
        rule = f"holds no {' and no '.join(missing)}, only {', '.join(data)}"
        raise broken(path, f"{rule}; write it with them")
    shape, dtype = shape_of(f"x{end}")
    if len(shape) != 2 or np.dtype(dtype).kind not in "iuf":
        rule = f"`x{end}` must be numbers (channels, samples), but is {dtype} {shape}"
        raise broken(path, f"{rule}; reshape it")
    sfreq, n = float(data[f"sfreq{end}"]), shape[0]
    if not 0 < sfreq < math.inf:
        raise broken(path, f"`sfreq{end}`={sfreq:g} must be above 0; write the rate in Hz")
    single = [stream or "ch0"] if n == 1 else None
    names = _list(data, f"ch_names{end}") or single or [f"{stream or 'ch'}{i}" for i in range(n)]
    units = _list(data, f"unit{end}") or _list(data, "unit") or [""]
    units = units * n if len(units) == 1 else units
    if isinstance(kinds, str):
        kinds = [kinds] * n
    kinds = kinds or [guess_modality(*of) for of in zip(names, units, strict=False)]
    if not len(names) == len(kinds) == len(units) == n:
        rule = f"`x{end}` has {n} channels but {len(names)} names"
        rule += f", {len(kinds)} modalities and {len(units)} units"
        raise broken(path, f"{rule}; write one of each per channel")
    rows = zip(names, kinds, units, strict=True)
    return tuple(
        Channel(name, sfreq, shape[1], kind, unit, stream, i)
        for i, (name, kind, unit) in enumerate(rows)
    )


def _npy_header(handle: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(handle)
    reader: Callable[[BinaryIO], Any] = np.lib.format.read_array_header_1_0
    found = (reader if version == (1, 0) else np.lib.format.read_array_header_2_0)(handle)
    return found[0], found[1], found[2]


def npz_pieces(path: Path, picks: Sequence[Channel], layout: FileLayout) -> Pieces:
    with NpzArrays(path) as data:
        for stream in dict.fromkeys(c.stream for c in picks):
            end = f"_{stream}" if stream else ""
            at = [i for i, c in enumerate(picks) if c.stream == stream]
            block = InMemory(_npz_array(path, data, f"x{end}", picks[at[0]].n_times))
            yield from _scaled(block, data.get(f"scale{end}", 1.0), picks, at)


def _npz_array(path: Path, data: Any, key: str, n_times: int) -> Samples:
    """An array of the archive; unpacked to disk, not to memory, where it is large."""
    with data.open(key) as packed:
        shape, fortran, dtype = _npy_header(packed)
        if math.prod(shape) <= PIECE:
            return np.asarray(data[key])
        with written_to(cache_root()):
            cache_root().mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=cache_root()) as handle:
                shutil.copyfileobj(packed, handle, 1 << 20)
                handle.flush()
                if handle.tell() != math.prod(shape) * dtype.itemsize:
                    raise broken(path, f"`{key}` is of another size than its header says; {AGAIN}")
                return np.memmap(handle, dtype, "r", 0, shape, "F" if fortran else "C")


def _scaled(block: ArraySamples, scale: Any, picks: Sequence[Channel], at: Sequence[int]) -> Pieces:
    """Samples times their factor: one, or one per channel."""
    index = [picks[i].index for i in at]
    factor = np.asarray(scale, np.float64).reshape(-1, 1)
    if not np.isfinite(factor).all() or not factor.all():
        raise ValueError("`scale` is 0 or no number, and samples are times it")
    factor = factor[index] if len(factor) > 1 else factor
    for first, stop in steps(picks[at[0]].n_times, len(at)):
        yield at, np.asarray(block.part(index, first, stop) * factor, np.float32)


class InMemory:
    """An array (C, T), or (T, C) where it is `transposed`."""

    def __init__(self, x: Samples, transposed: bool = False) -> None:
        self.x = x.T if transposed else x

    @property
    def shape(self) -> tuple[int, ...]:
        return self.x.shape

    def part(self, index: Sequence[int], first: int, stop: int) -> Samples:
        return np.asarray(self.x[:, first:stop])[index]


def npz_marks(path: Path) -> Marks:
    with NpzArrays(path) as data:
        if MARKS[0] not in data:
            return []
        onset, duration, text = (data[key].tolist() for key in MARKS)
    rows = zip(onset, duration, text, strict=True)
    return sorted((float(start), float(length), str(what)) for start, length, what in rows)


def npz_column(path: Path, name: str, layout: FileLayout) -> Values | None:
    """An array (T,) beside `x`."""
    with NpzArrays(path) as data:
        if name not in data or "streams" in data:
            return None
        values, n_times = data[name], npz_header(path, layout)[0].n_times
        if values.shape != (n_times,):
            rule = f"`{name}` is {values.shape}, but `x` has {n_times} samples"
            raise broken(path, f"{rule}; write a value for each", "labels")
        return Values(as_texts(values), float(data["sfreq"]))


def npz_start(path: Path, layout: FileLayout) -> float | None:
    with NpzArrays(path) as data:
        return float(data["start"]) if "start" in data else None


def npz_texts(path: Path, layout: FileLayout) -> list[str]:
    with NpzArrays(path) as data:
        known = {"ch_names", "modality", "unit", "streams", *MARKS}
        return [key for key in data if key not in known and data[key].dtype.kind == "U"]


NPZ = Format(npz_header, npz_pieces, npz_marks, npz_column, start=npz_start, texts=npz_texts)

# ---- MATLAB ----


class MatFile:
    """A .mat of either kind as names and values: structs by dotted names, cells as lists."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as handle:
            self.is_hdf5 = handle.read(10) == b"MATLAB 7.3" or _is_hdf5(path)
        if self.is_hdf5:
            h5py = _h5py(path)
            self.file = h5py.File(path, "r")
        else:
            from scipy.io import loadmat

            self.tree = loadmat(path, simplify_cells=True)

    def names(self) -> list[str]:
        """Top-level variables with their shapes, as MATLAB has them."""
        if self.is_hdf5:
            rows = [(k, getattr(v, "shape", ())[::-1]) for k, v in self.file.items()]
        else:
            rows = [(k, getattr(v, "shape", ())) for k, v in self.tree.items()]
        return [f"{k} {shape}" if shape else k for k, shape in rows if k[0] not in "_#"]

    def block(self, name: str, transposed: bool) -> ArraySamples | None:
        """A variable as samples, not read yet where it can wait; None: there is none."""
        if self.is_hdf5:
            node = self.file.get(name.replace(".", "/"))
            return None if node is None or not hasattr(node, "dtype") else OnHdf5(node, transposed)
        found = _dotted(self.tree, name)
        if not isinstance(found, np.ndarray):
            return None
        # squeezed: a row and a column are one channel each
        return InMemory(found[None]) if found.ndim == 1 else InMemory(found, transposed)

    def value(self, name: str) -> Any:
        if not self.is_hdf5:
            return _dotted(self.tree, name)
        node = self.file.get(name.replace(".", "/"))
        return None if node is None or not hasattr(node, "dtype") else self._hdf5(node)

    def _hdf5(self, node: Any) -> Any:
        if node.dtype == object:
            return [self._hdf5(self.file[ref]) for ref in node[()].ravel()]
        values = node[()].T
        if node.attrs.get("MATLAB_class") == b"char":
            rows = np.atleast_2d(values).astype(np.uint16)
            texts = ["".join(map(chr, row)) for row in rows]
            return texts[0] if len(texts) == 1 else texts
        return values.squeeze()


class OnHdf5:
    """A dataset of HDF5, in which MATLAB's dimensions stand in reverse."""

    def __init__(self, data: Any, transposed: bool) -> None:
        self.data, shape = data, data.shape[::-1]
        self.turned = transposed or (len(shape) == 2 and shape[1] == 1 < shape[0])
        self.shape: tuple[int, ...] = shape[::-1] if self.turned else shape

    def part(self, index: Sequence[int], first: int, stop: int) -> Samples:
        found = self.data[:, first:stop] if self.turned else self.data[first:stop].T
        return np.asarray(found)[index]


def _is_hdf5(path: Path) -> bool:
    with path.open("rb") as handle:
        return b"\x89HDF\r\n\x1a\n" in handle.read(1024)


def _h5py(path: Path) -> Any:
    try:
        import h5py
    except ImportError:
        rule = "is HDF5 (MATLAB 7.3), which h5py reads"
        raise broken(path, f"{rule}; install it, or save as -v7") from None
    return h5py


def _dotted(tree: Any, name: str) -> Any:
    for word in name.split("."):
        tree = tree.get(word) if isinstance(tree, dict) else None
    return tree


def mat_header(path: Path, layout: FileLayout) -> tuple[Channel, ...]:
    check_layout(path, layout, MAT.keys)
    mat, name = MatFile(path), layout.x or "x"
    block, there = mat.block(name, layout.transposed), ", ".join(mat.names())
    if block is None:
        way = "say which holds the samples in `layout: {x: NAME, rate: HZ}`"
        raise broken(path, f"holds no `{name}` of numbers, but {there}; {way}", "layout.x")
    if block.shape[0] > block.shape[-1] and len(block.shape) == 2:
        rule = f"`{name}` has {block.shape[0]} channels of {block.shape[1]} samples"
        way = "drop `transposed`" if layout.transposed else "say `layout: {transposed: true}`"
        raise broken(path, f"{rule}, more than samples; {way}", "layout.transposed")
    facts: dict[str, Any] = {"x": block, "sfreq": layout.rate or _beside(mat, name, RATES)}
    facts |= {key: _beside(mat, name, [key]) for key in ("ch_names", "modality", "unit")}
    facts["ch_names"] = list(layout.names or ()) or facts["ch_names"]
    if facts["sfreq"] is None:
        rule = f"holds no rate beside `{name}`: no {' or '.join(RATES)}, but {there}"
        raise broken(path, f"{rule}; say it in `layout: {{rate: HZ}}`", "layout.rate")
    if np.size(facts["sfreq"]) != 1:
        raise broken(path, "states several rates; say one in `layout: {rate: HZ}`", "layout.rate")
    facts = {key: value for key, value in facts.items() if value is not None}
    kind = getattr(getattr(block, "x", getattr(block, "data", None)), "dtype", np.dtype(object))
    return _channels(path, facts, lambda _: (block.shape, str(kind)), "", _list(facts, "modality"))


def _beside(mat: MatFile, name: str, keys: Iterable[str]) -> Any:
    """The first of these that stands in the struct of a variable, or at the top."""
    struct = name.rpartition(".")[0]
    for where in dict.fromkeys((f"{struct}." if struct else "", "")):
        for key in keys:
            found = mat.value(where + key)
            if found is not None:
                return _stripped(found)
    return None


def _stripped(found: Any) -> Any:
    """Texts without the spaces that fill MATLAB's rows of letters up."""
    if isinstance(found, str):
        return found.strip()
    texts = isinstance(found, list) or getattr(found, "dtype", np.dtype(float)).kind in "OU"
    return [str(text).strip() for text in found] if texts else found


def mat_pieces(path: Path, picks: Sequence[Channel], layout: FileLayout) -> Pieces:
    mat, name = MatFile(path), layout.x or "x"
    block = mat.block(name, layout.transposed)
    assert block is not None
    scale = _beside(mat, name, ["scale"])
    yield from _scaled(block, 1.0 if scale is None else scale, picks, range(len(picks)))


def mat_column(path: Path, name: str, layout: FileLayout) -> Values | None:
    """A variable with a value for each sample."""
    mat, first = MatFile(path), mat_header(path, layout)[0]
    values = mat.value(name)
    if values is None:
        return None
    values = np.asarray(_stripped(values))
    if values.shape != (first.n_times,):
        rule = f"`{name}` is {values.shape}, but there are {first.n_times} samples"
        raise broken(path, f"{rule}; write a value for each", "labels")
    return Values(as_texts(values), first.sfreq)


MAT = Format(
    mat_header,
    mat_pieces,
    column=mat_column,
    keys=frozenset({"x", "rate", "names", "transposed"}),
)
