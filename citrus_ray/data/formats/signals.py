"""EDF, BDF, WFDB and npz: what each channel of a file is, and its samples as (T,) in the unit that
the file states.

Rates are left as they are; recordings.py brings them together.
"""

import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from citrus_ray.data.faults import AGAIN, broken
from citrus_ray.data.modality import guess_modality

ANNOTATIONS = ("EDF Annotations", "BDF Annotations")
Samples = npt.NDArray[Any]


@dataclass(frozen=True)
class Channel:
    """One channel as the header describes it. `fault` says why it cannot be read."""

    name: str
    sfreq: float
    n_times: int
    modality: str
    unit: str = ""
    stream: str = ""  # of a multi-rate npz
    index: int = 0  # in the file, or in its stream
    fault: str = ""


# ---- EDF and BDF ----


def _edf_header(path: Path) -> tuple[Channel, ...]:
    with path.open("rb") as handle:
        head = handle.read(256)
        if head[:8].rstrip() not in (b"0", b"\xffBIOSEMI"):
            rule = f"is not EDF or BDF: it starts with {head[:8]!r}"
            raise broken(path, f"{rule}; convert it, or narrow `pattern`")
        n_chans = int(head[252:256])
        table = handle.read(256 * n_chans)
    if b"DF+D" in head[192:236] and not _is_continuous(path):
        rule = "is EDF+D, a recording with interruptions"
        raise broken(path, f"{rule}; export its stretches as files of their own")
    names = _unique([text.strip() for text in _edf_column(table, n_chans, 0, 16)])
    units = [text.strip() for text in _edf_column(table, n_chans, 96, 8)]
    samples = [int(text) for text in _edf_column(table, n_chans, 216, 8)]
    n_records, seconds = _edf_records(path, head, sum(samples)), float(head[244:252]) or 1.0
    return tuple(
        Channel(name, n / seconds, n * n_records, guess_modality(name, unit), unit, index=i)
        for i, (name, unit, n) in enumerate(zip(names, units, samples, strict=True))
        if not name.startswith(ANNOTATIONS)
    )


def _edf_column(table: bytes, n_chans: int, offset: int, width: int) -> list[str]:
    """One field of all signal headers; `offset` counts bytes of the fields before, per signal."""
    starts = range(offset * n_chans, (offset + width) * n_chans, width)
    return [table[start : start + width].decode("latin-1") for start in starts]


def _edf_records(path: Path, head: bytes, samples_per_record: int) -> int:
    """The number of data records; mne only warns of a file with fewer than its header says."""
    n_header, promised = int(head[184:192]), int(head[236:244])
    record = samples_per_record * (3 if path.suffix.lower() == ".bdf" else 2)
    there = (path.stat().st_size - n_header) // max(record, 1)
    if there < max(promised, 1):
        rule = f"is truncated: its header promises {promised} data records of {record} bytes"
        raise broken(path, f"{rule}, but it holds {max(there, 0)}; {AGAIN}")
    return promised if promised > 0 else there  # -1: the recorder never closed the file


def _is_continuous(path: Path) -> bool:
    import edfio

    edf = edfio.read_bdf(path) if path.suffix.lower() == ".bdf" else edfio.read_edf(path)
    return bool(edf.is_continuous)


def _unique(names: list[str]) -> list[str]:
    """Equal names get running numbers, as mne does it."""
    total, seen, out = Counter(names), Counter[str](), []
    for name in names:
        out.append(f"{name}-{seen[name]}" if total[name] > 1 else name)
        seen[name] += 1
    return out


def _edf_load(path: Path, picks: Sequence[Channel]) -> list[Samples]:
    import mne

    read_raw = mne.io.read_raw_bdf if path.suffix.lower() == ".bdf" else mne.io.read_raw_edf
    found: dict[str, Samples] = {}
    # rate by rate: mne would blow all up to the highest by FFT
    for rate in {c.sfreq for c in picks}:  # mne would blow all up to the highest by FFT
        names = [c.name for c in picks if c.sfreq == rate]
        how = {"exclude_after_unique": True, "stim_channel": None, "verbose": "ERROR"}
        raw = read_raw(path, include=names, **how)
        found.update(zip(raw.ch_names, raw.get_data(), strict=True))
    return [found[c.name] / _mne_scale(c.unit) for c in picks]


def _mne_scale(unit: str) -> float:
    """What mne has multiplied a channel by to get volts."""
    return {"uV": 1e-6, "µV": 1e-6, "\u03bcV": 1e-6, "\x83\xcaV": 1e-6, "mV": 1e-3}.get(unit, 1.0)


def edf_annotations(path: Path) -> list[tuple[float, float, str]]:
    """Onset and duration in s from the first sample, and text, in order; plain EDF has none.

    They stand in signals of their own, as text in each data record, closed by zeros:
    `+onset\\x15duration\\x14text\\x14`. The first says when its record begins: not always with
    the start in the header, which has whole seconds.
    """
    with path.open("rb") as handle:
        head = handle.read(256)
        n_chans = int(head[252:256])
        table = handle.read(256 * n_chans)
    names = [text.strip() for text in _edf_column(table, n_chans, 0, 16)]
    samples = [int(text) for text in _edf_column(table, n_chans, 216, 8)]
    width = 3 if path.suffix.lower() == ".bdf" else 2
    ends = np.cumsum([width * n for n in samples]).tolist()
    shape = (_edf_records(path, head, sum(samples)), ends[-1])
    records = np.memmap(path, np.uint8, "r", int(head[184:192]), shape)
    places = [i for i, name in enumerate(names) if name.startswith(ANNOTATIONS)]
    begin, found = None, list[tuple[float, float, str]]()
    for record in records if places else ():
        for place in places:
            first = ends[place] - width * samples[place]
            for mark in record[first : ends[place]].tobytes().split(b"\0"):
                stamp, *texts = mark.split(b"\x14")
                if not stamp:
                    continue
                onset, _, length = stamp.partition(b"\x15")
                begin = float(onset) if begin is None else begin
                said = [_text(text) for text in texts]
                start_s = round(float(onset) - begin, 9)
                found += [(start_s, float(length or 0), text) for text in said if text]
    return sorted(dict.fromkeys(found))


def _text(data: bytes) -> str:
    """UTF-8 by the standard; some recorders write Latin-1."""
    try:
        return data.decode("utf-8").strip()
    except UnicodeDecodeError:
        return data.decode("latin-1").strip()


# ---- WFDB ----

# bytes per sample of the formats whose file size says how many samples there are
WFDB_BYTES = {"8": 1, "16": 2, "24": 3, "32": 4, "61": 2, "80": 1, "160": 2, "212": 1.5}


def _wfdb_header(path: Path) -> tuple[Channel, ...]:
    import wfdb

    record = wfdb.rdheader(str(path.with_suffix("")))
    if isinstance(record, wfdb.MultiRecord):
        rule = f"holds {record.n_seg} segments; let `pattern` match the segments' own headers"
        raise broken(path, rule, "pattern")
    if not record.n_sig:
        return ()
    frames = {name: _wfdb_frames(path, record, name) for name in set(record.file_name)}
    n_frames = record.sig_len or min(frames.values())
    names = _unique([name or f"signal{i}" for i, name in enumerate(record.sig_name)])
    faults = [_wfdb_fault(name, frames[name], n_frames) for name in record.file_name]
    rows = zip(names, record.units, record.samps_per_frame, faults, strict=True)
    out = list[Channel]()
    for i, (name, unit, n, fault) in enumerate(rows):
        kind, rate = guess_modality(name, unit or ""), float(record.fs * n)
        out.append(Channel(name, rate, n_frames * n, kind, unit or "", index=i, fault=fault))
    return tuple(out)


def _wfdb_frames(path: Path, record: Any, name: str) -> int:
    """Frames in a data file: 0 where it is missing, the header's word where size does not tell."""
    data = path.parent / name
    index = [i for i, other in enumerate(record.file_name) if other == name]
    width = WFDB_BYTES.get(record.fmt[index[0]])
    if not data.exists() or width is None:
        return int(record.sig_len or 0) if data.exists() else 0
    frame = width * sum(record.samps_per_frame[i] for i in index)
    return int((data.stat().st_size - (record.byte_offset[index[0]] or 0)) / frame)


def _wfdb_fault(name: str, there: int, promised: int) -> str:
    if there >= promised > 0:
        return ""
    if not there:
        return f"its data file {name} is missing or empty; put it beside the header"
    return f"its data file {name} is truncated: {promised} samples promised, {there} there; {AGAIN}"


def _wfdb_load(path: Path, picks: Sequence[Channel]) -> list[Samples]:
    import wfdb

    which = {"channels": [c.index for c in picks], "smooth_frames": False}
    # frames are not smoothed: averaging is a poor filter, and every channel keeps its own rate
    return list(wfdb.rdrecord(str(path.with_suffix("")), **which).e_p_signal)


# ---- npz ----


def _npz_header(path: Path) -> tuple[Channel, ...]:
    with np.load(path, allow_pickle=False) as data, zipfile.ZipFile(path) as archive:
        if "streams" not in data:
            names = [str(name) for name in data["ch_names"]] if "ch_names" in data else None
            modality = [str(m) for m in data["modality"]] if "modality" in data else None
            return _npz_channels(path, archive, data, "", names, modality)
        streams = [str(stream) for stream in data["streams"]]
        kinds = data["modality"].tolist() if "modality" in data else [None] * len(streams)
        out: list[Channel] = []
        for stream, kind in zip(streams, kinds, strict=True):
            names = data[f"ch_names_{stream}"].tolist() if f"ch_names_{stream}" in data else None
            out += _npz_channels(path, archive, data, stream, names, kind)
        return tuple(out)


def _npz_channels(
    path: Path,
    archive: zipfile.ZipFile,
    data: Any,
    stream: str,
    names: list[str] | None,
    kinds: list[str] | str | None,
) -> tuple[Channel, ...]:
    end = f"_{stream}" if stream else ""
    missing = [f"`{key}{end}`" for key in ("x", "sfreq") if f"{key}{end}" not in data]
    if missing:
        rule = f"holds no {' and no '.join(missing)}, only {', '.join(data.files)}"
        raise broken(path, f"{rule}; write it with them")
    with archive.open(f"x{end}.npy") as handle:
        shape, dtype = _npy_shape(handle)
    if len(shape) != 2 or dtype.kind not in "iuf":
        rule = f"`x{end}` must be numbers (channels, samples), but is {dtype} {shape}"
        raise broken(path, f"{rule}; reshape it")
    sfreq, unit = float(data[f"sfreq{end}"]), str(data["unit"]) if "unit" in data else ""
    if not sfreq > 0:
        raise broken(path, f"`sfreq{end}`={sfreq:g} must be above 0; write the rate in Hz")
    n = shape[0]
    single = [stream or "ch0"] if n == 1 else None
    names = names or single or [f"{stream or 'ch'}{i}" for i in range(n)]
    if isinstance(kinds, str):
        kinds = [kinds] * n
    kinds = kinds or [guess_modality(name, unit) for name in names]
    if not len(names) == len(kinds) == n:
        rule = f"`x{end}` has {n} channels but {len(names)} names and {len(kinds)} modalities"
        raise broken(path, f"{rule}; write one of each per channel")
    pairs = zip(names, kinds, strict=True)
    return tuple(
        Channel(n, sfreq, shape[1], kind, unit, stream, i) for i, (n, kind) in enumerate(pairs)
    )


def _npy_shape(handle: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(handle)
    reader: Callable[[BinaryIO], Any] = np.lib.format.read_array_header_1_0
    shape, _, dtype = (reader if version == (1, 0) else np.lib.format.read_array_header_2_0)(handle)
    return shape, dtype


def _npz_load(path: Path, picks: Sequence[Channel]) -> list[Samples]:
    with np.load(path, allow_pickle=False) as data:
        streams = {c.stream for c in picks}
        blocks = {stream: _npz_block(data, f"_{stream}" if stream else "") for stream in streams}
    return [blocks[c.stream][c.index] for c in picks]


def _npz_block(data: Any, end: str) -> Samples:
    scale = np.asarray(data.get(f"scale{end}", 1.0), dtype=np.float64)
    # one factor, or one per channel
    return np.asarray(data[f"x{end}"] * scale.reshape(-1, 1), dtype=np.float32)


ReadHeader = Callable[[Path], tuple[Channel, ...]]
Load = Callable[[Path, Sequence[Channel]], list[Samples]]
ANNOTATED = (".edf", ".bdf")
FORMATS: dict[str, tuple[ReadHeader, Load]] = {
    ".edf": (_edf_header, _edf_load),
    ".bdf": (_edf_header, _edf_load),
    ".hea": (_wfdb_header, _wfdb_load),
    ".npz": (_npz_header, _npz_load),
}
