"""Everything else that mne reads: FIF, EEGLAB, BrainVision, GDF, CNT, EGI, CTF and more.

Voltages come in µV, whatever the file states; all else in the unit of mne. The first sample after a
break (a pause, a piece cut out) is missing, so that no window goes across it.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from citrus_ray.data.faults import AGAIN, broken
from citrus_ray.data.formats.signals import (
    Channel,
    FileLayout,
    Format,
    Marks,
    Pieces,
    check_layout,
    steps,
    unique,
)
from citrus_ray.data.modality import guess_modality

VOLT = 107  # of FIFF
KINDS = {
    "mag": "meg", "grad": "meg", "ref_meg": "meg", "gsr": "eda", "bio": "unknown",
    "misc": "unknown", "hbo": "fnirs", "hbr": "fnirs", "fnirs_cw_amplitude": "fnirs",
    "fnirs_fd_ac_amplitude": "fnirs", "fnirs_fd_phase": "fnirs", "fnirs_od": "fnirs",
    "temperature": "temperature", "ias": "stim", "syst": "stim",
}  # fmt: skip
# endings of which mne calls every channel eeg, whatever it is
ALL_EEG = (".gdf", ".vhdr", ".ahdr", ".set", ".cnt", ".eeg", ".data", ".lay", ".dat", ".nedf")
BREAK = re.compile(r"(bad|edge)[ _]boundary|boundary|new segment/.*", re.IGNORECASE)
SKIP = re.compile(r"bad_acq_skip", re.IGNORECASE)


def _open(path: Path) -> Any:
    import mne

    if path.suffix.lower() == ".eeg" and path.with_suffix(".vhdr").exists():
        rule = f"is the data of {path.stem}.vhdr"
        raise broken(path, f"{rule}; narrow it to the headers, *.vhdr", "pattern")
    if path.suffix.lower() == ".gdf":
        _check_gdf(path)
    return mne.io.read_raw(path, preload=False, verbose="ERROR")


def _check_gdf(path: Path) -> None:
    """Refuse a header that is none: mne would read names of channels for minutes."""
    with path.open("rb") as handle:
        head = handle.read(256)
    n_chans = int.from_bytes(head[252:256], "little")
    n_chans = n_chans if head[4:6] == b"1." else n_chans & 0xFFFF
    if head[:3] != b"GDF" or len(head) < 256 or 256 * (n_chans + 1) > path.stat().st_size:
        raise broken(path, f"is not GDF, or is cut off in its header; {AGAIN}")


def mne_header(path: Path, layout: FileLayout) -> tuple[Channel, ...]:
    check_layout(path, layout, frozenset())
    raw, out = _open(path), list[Channel]()
    rows = zip(raw.ch_names, raw.get_channel_types(), unique(raw.ch_names), strict=True)
    for i, (own, said, name) in enumerate(rows):
        is_volt = _factor(raw, i) != 1
        unit = "uV" if is_volt else "" if said == "stim" else str(raw._orig_units.get(own, ""))
        kind = KINDS.get(said, said)
        guessed = guess_modality(name, "" if is_volt else unit)
        if guessed != "unknown" and (said == "misc" or _is_default(path, said)):
            kind = guessed
        out.append(Channel(name, float(raw.info["sfreq"]), raw.n_times, kind, unit, index=i))
    return tuple(out)


def _factor(raw: Any, i: int) -> float:
    """What brings a channel to µV, if it is a voltage."""
    is_volt = int(raw.info["chs"][i]["unit"]) == VOLT
    return 1e6 if is_volt and raw.get_channel_types([i])[0] != "stim" else 1.0


def _is_default(path: Path, said: str) -> bool:
    return said == "eeg" and path.name.lower().endswith(ALL_EEG)


def mne_pieces(path: Path, picks: Sequence[Channel], layout: FileLayout) -> Pieces:
    raw = _open(path)
    order = [c.index for c in picks]
    scale = np.array([[_factor(raw, i)] for i in order])
    gaps = list(_gaps(raw))
    for first, stop in steps(raw.n_times, len(picks)):
        x = raw.get_data(order, first, stop) * scale
        for begin, end in gaps:
            x[:, max(begin - first, 0) : max(end - first, 0)] = np.nan
        yield range(len(picks)), x


def _gaps(raw: Any) -> Iterator[tuple[int, int]]:
    """First sample and end of what is missing: skipped by the recorder, or next to a break."""
    for onset, duration, text in _marks(raw):
        first = round(onset * raw.info["sfreq"])
        if SKIP.match(text):
            yield first, round((onset + duration) * raw.info["sfreq"])
        elif BREAK.fullmatch(text) and first > 0:
            yield first, first + 1


def _marks(raw: Any) -> Marks:
    """Annotations in s from the first sample; mne counts from when the recorder was started."""
    marks, shift = raw.annotations, raw.first_time
    rows = zip(marks.onset.tolist(), marks.duration.tolist(), marks.description, strict=True)
    return sorted((round(on - shift, 9), round(of, 9), str(text)) for on, of, text in rows)


def mne_marks(path: Path) -> Marks:
    """Annotations without those that tell of breaks: they label nothing."""
    return [mark for mark in _marks(_open(path)) if not BREAK.fullmatch(mark[2])]


def mne_start(path: Path, layout: FileLayout) -> float | None:
    raw = _open(path)
    said = raw.info["meas_date"]
    return None if said is None else said.timestamp() + raw.first_time


def mne_parts(path: Path) -> list[Path]:
    """The files that a recording goes on in: what its header names, or what has its stem."""
    if path.is_dir():
        return sorted(part for part in path.rglob("*") if part.is_file())
    name, folder = path.name.lower(), path.parent
    if name.endswith((".vhdr", ".ahdr")):
        text = path.read_text("utf-8", errors="replace")
        named = re.findall(r"^(?:Data|Marker)File\s*=\s*(.+?)\s*$", text, re.MULTILINE)
        found = [folder / other.replace("$b", path.stem) for other in named]
    elif name.endswith((".fif", ".fif.gz")):
        stem, dot, ending = path.name.partition(".")
        found = [p for p in sorted(folder.glob(f"{stem}-*{dot}{ending}")) if _splits(stem, p)]
        found += sorted(folder.glob(f"{stem.partition('_split-')[0]}_split-*{dot}{ending}"))
    else:
        ends = COMPANIONS.get(path.suffix.lower(), ())
        found = [path.with_suffix(end) for end in ends]
    return [part for part in dict.fromkeys(found) if part.is_file() and part != path]


COMPANIONS = {
    ".set": (".fdt",),
    ".hdr": (".wl1", ".wl2", ".inf", ".set", ".tpl", ".evt", ".tri"),
    ".data": (".head",),
    ".lay": (".dat",),
    ".dat": (".dap", ".rs3", ".ceo"),
    ".cdt": (".cdt.dpa", ".cdt.dpo", ".cdt.cef"),
    ".eeg": (".pnt", ".21e", ".log"),
    ".bin": (".txt", "_tsv.txt"),
    ".sqd": (),
}


def _splits(stem: str, path: Path) -> bool:
    return re.fullmatch(re.escape(stem) + r"-\d+\..*", path.name) is not None


MNE = Format(mne_header, mne_pieces, mne_marks, start=mne_start, parts=mne_parts)
MNE_FOLDER = Format(
    mne_header, mne_pieces, mne_marks, start=mne_start, parts=mne_parts, folder=True
)
