"""EDF and BDF: header, samples in the unit that the file states, annotations of EDF+ and BDF+."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from citrus_ray.data.faults import AGAIN, broken
from citrus_ray.data.formats.signals import (
    PLAIN,
    Channel,
    FileLayout,
    Format,
    Marks,
    Pieces,
    steps,
    unique,
)
from citrus_ray.data.modality import guess_modality

ANNOTATIONS = ("EDF Annotations", "BDF Annotations")


def edf_header(path: Path, layout: FileLayout = PLAIN) -> tuple[Channel, ...]:
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
    names = unique([text.strip() for text in _edf_column(table, n_chans, 0, 16)])
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


def edf_pieces(path: Path, picks: Sequence[Channel], layout: FileLayout) -> Pieces:
    import mne

    read_raw = mne.io.read_raw_bdf if path.suffix.lower() == ".bdf" else mne.io.read_raw_edf
    for rate in dict.fromkeys(c.sfreq for c in picks):  # mne would blow all up to the highest
        at = [i for i, c in enumerate(picks) if c.sfreq == rate]
        how = {"exclude_after_unique": True, "stim_channel": None, "verbose": "ERROR"}
        raw = read_raw(path, include=[picks[i].name for i in at], **how)
        order = [raw.ch_names.index(picks[i].name) for i in at]
        scale = np.array([[_mne_scale(picks[i].unit)] for i in at])
        for first, stop in steps(raw.n_times, len(at)):
            yield at, raw.get_data(order, first, stop) / scale


def edf_start(path: Path, layout: FileLayout) -> float | None:
    """The start in the header, and what the first annotation adds to its whole seconds."""
    with path.open("rb") as handle:
        head = handle.read(256)
    try:
        day, month, year = (int(part) for part in head[168:176].split(b"."))
        hour, minute, second = (int(part) for part in head[176:184].split(b"."))
        year += 1900 if year >= 85 else 2000  # by the specification
        said = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    if said.date() == datetime(1985, 1, 1, tzinfo=UTC).date():  # what anonymised files say
        return None
    return said.timestamp() + _stamps(path)[0]


def _mne_scale(unit: str) -> float:
    """What mne has multiplied a channel by to get volts."""
    return {"uV": 1e-6, "µV": 1e-6, "\u03bcV": 1e-6, "\x83\xcaV": 1e-6, "mV": 1e-3}.get(unit, 1.0)


def edf_annotations(path: Path) -> Marks:
    """Onset and duration in s from the first sample, and text, in order; plain EDF has none."""
    return _stamps(path)[1]


def _stamps(path: Path) -> tuple[float, Marks]:
    """Seconds from the start in the header to the first sample, and the annotations.

    These stand in signals of their own, as text in each data record, closed by zeros:
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
    begin, found = None, Marks()
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
    return begin or 0.0, sorted(dict.fromkeys(found))


def _text(data: bytes) -> str:
    """UTF-8 by the standard; some recorders write Latin-1."""
    try:
        return data.decode("utf-8").strip()
    except UnicodeDecodeError:
        return data.decode("latin-1").strip()


EDF = Format(edf_header, edf_pieces, edf_annotations, start=edf_start)
