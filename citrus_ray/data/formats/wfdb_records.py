"""WFDB records: a header and the data files that it names."""

from collections.abc import Sequence
from datetime import UTC
from pathlib import Path
from typing import Any

import numpy as np

from citrus_ray.data.faults import AGAIN, broken
from citrus_ray.data.formats.signals import Channel, FileLayout, Format, Pieces, steps, unique
from citrus_ray.data.modality import guess_modality

# bytes per sample of the formats whose file size says how many samples there are
WFDB_BYTES = {"8": 1, "16": 2, "24": 3, "32": 4, "61": 2, "80": 1, "160": 2, "212": 1.5}


def wfdb_header(path: Path, layout: FileLayout) -> tuple[Channel, ...]:
    import wfdb

    check_record(path)
    record = wfdb.rdheader(str(path.with_suffix("")))
    if isinstance(record, wfdb.MultiRecord):
        rule = f"holds {record.n_seg} segments; let `pattern` match the segments' own headers"
        raise broken(path, rule, "pattern")
    if not record.n_sig:
        return ()
    _check_whole(path, record.n_sig)
    frames = {name: _wfdb_frames(path, record, name) for name in set(record.file_name)}
    n_frames = record.sig_len or min(frames.values())
    names = unique([name or f"signal{i}" for i, name in enumerate(record.sig_name)])
    faults = [_wfdb_fault(name, frames[name], n_frames) for name in record.file_name]
    rows = zip(names, record.units, record.samps_per_frame, faults, strict=True)
    out = list[Channel]()
    for i, (name, unit, n, fault) in enumerate(rows):
        kind, rate = guess_modality(name, unit or ""), float(record.fs * n)
        out.append(Channel(name, rate, n_frames * n, kind, unit or "", index=i, fault=fault))
    return tuple(out)


def check_record(path: Path) -> None:
    """Refuse a WFDB header under a name that is not its record's: it would mislabel samples."""
    record = next((words[0] for words in wfdb_lines(path)), "")
    if record.partition("/")[0] != path.stem:
        raise broken(path, f"is the header of record {record}, not of {path.stem}; {AGAIN}")


def _check_whole(path: Path, n_sig: int) -> None:
    """Refuse a header that is cut off in its last signal: what is lost may be its gain."""
    signals = wfdb_lines(path)[1 : n_sig + 1]
    cut = len(signals) == n_sig and len(signals[-1]) < len(signals[0])
    if cut and not path.read_bytes().endswith(b"\n"):
        raise broken(path, f"is cut off in its last line; {AGAIN}")


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


def wfdb_pieces(path: Path, picks: Sequence[Channel], layout: FileLayout) -> Pieces:
    """Frames are not smoothed: averaging is a poor filter, and every channel keeps its own rate."""
    import wfdb

    record = wfdb.rdheader(str(path.with_suffix("")))
    per_frame = [record.samps_per_frame[c.index] for c in picks]
    n_frames = min(c.n_times // n for c, n in zip(picks, per_frame, strict=True))
    # wfdb reads the other channels of a file, too; differences (8) add up from the first sample on
    spans = list(steps(n_frames, sum(record.samps_per_frame)))
    which: dict[str, Any] = {"channels": [c.index for c in picks], "smooth_frames": False}
    sums = [0] * len(picks)
    for first, stop in spans if len(spans) > 1 and "8" not in record.fmt else [(0, None)]:
        if stop is not None:
            which |= {"sampfrom": first, "sampto": stop}
        found = wfdb.rdrecord(str(path.with_suffix("")), physical=False, **which)
        sums = [
            n + int(row.sum(dtype=np.int64)) for n, row in zip(sums, found.e_d_signal, strict=True)
        ]
        found.dac(expanded=True, inplace=True)
        for i, row in enumerate(found.e_p_signal):
            yield [i], row[None]
    if n_frames == (record.sig_len or n_frames):
        _check_sums(path, record, picks, sums)


def _check_sums(path: Path, record: Any, picks: Sequence[Channel], sums: Sequence[int]) -> None:
    """Refuse channels whose samples do not add up to what the header says of them. 0 says nothing:
    so it is written by who did not count. Of a channel that is shifted in time, some samples of the
    sum are not read."""
    bad = [
        channel.name
        for channel, found in zip(picks, sums, strict=True)
        if (said := record.checksum[channel.index])
        and not (record.skew or {channel.index: 0})[channel.index]
        and (found - said) % 65536
    ]
    if bad:
        rule = f"{', '.join(bad)}: samples do not add up to the checksum in the header"
        raise broken(path, f"{rule}; {AGAIN}")


def wfdb_start(path: Path, layout: FileLayout) -> float | None:
    import wfdb

    said = wfdb.rdheader(str(path.with_suffix(""))).base_datetime
    return said.replace(tzinfo=UTC).timestamp() if said else None


def wfdb_parts(path: Path) -> list[Path]:
    """The data files that a header names, those that are there."""
    names = dict.fromkeys(words[0] for words in wfdb_lines(path)[1:])
    return [path.parent / name for name in names if (path.parent / name).is_file()]


def wfdb_lines(path: Path) -> list[list[str]]:
    """Words of each line of a header, without comments."""
    lines = path.read_text("latin-1").splitlines()
    return [line.split() for line in lines if line.strip() and not line.startswith("#")]


WFDB = Format(wfdb_header, wfdb_pieces, start=wfdb_start, parts=wfdb_parts)
