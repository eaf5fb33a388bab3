"""Synthetic windows written as real recordings, so that everything that reads files can be tried
without any.

Every file is written beside its place, flushed and renamed: a reader sees all of it or nothing.
"""

import csv
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from citrus_ray.data.sources.synthetic import Synthetic
from citrus_ray.data.windows import Signal, Windows
from citrus_ray.spec import refuse

Format = Literal["edf", "wfdb", "npz"]
SUFFIX = {"edf": ".edf", "wfdb": ".hea", "npz": ".npz"}
MAX_RECORD_BYTES = 61_440  # of an EDF data record, by its specification


def write_recordings(source: Synthetic, root: Path, fmt: Format) -> list[Path]:
    """Recordings, one per subject with its windows in a row, and `labels.csv`, as `files` reads."""
    windows = source.prepare()
    names = [re.sub(r"\W", "_", name) for name in windows.groups]
    paths = [root / "recordings" / (name + SUFFIX[fmt]) for name in names]
    for i, path in enumerate(paths):
        x = np.concatenate([*windows.x[windows.group == i]], axis=1)  # (n, C, T) -> (C, n * T)
        write(path, x, windows.sfreq, windows.ch_names, windows.modalities)
    _write_labels(root / "labels.csv", windows, names)
    return paths


def write(
    path: Path, x: Signal, sfreq: float, ch_names: Sequence[str], modalities: Sequence[str]
) -> None:
    """Write a recording (C, T) in the format that `path` ends in."""
    if path.suffix == ".npz":
        write_npz(path, x, sfreq, ch_names, modalities)
    elif path.suffix == ".edf":
        write_edf(path, x, sfreq, ch_names)
    else:
        write_wfdb(path.with_suffix(""), x, sfreq, ch_names)


def _write_labels(path: Path, windows: Windows, names: Sequence[str]) -> None:
    seconds, seen = windows.x.shape[2] / windows.sfreq, dict.fromkeys(names, 0)
    with (
        beside(path) as partial,
        (partial / path.name).open("w", encoding="utf-8", newline="") as handle,
    ):
        rows = csv.writer(handle, lineterminator="\n")
        rows.writerow(["file", "start_s", "stop_s", "label", "group"])
        for group, y in zip(windows.group, windows.labels, strict=True):
            start = seen[names[group]] * seconds
            seen[names[group]] += 1
            times = f"{start:.9g}", f"{start + seconds:.9g}"
            label = _label(windows, y)
            rows.writerow([names[group], *times, label, windows.groups[group]])


def _label(windows: Windows, y: Any) -> str:
    """As `kind: files` reads it."""
    if windows.target == "value":
        return repr(float(y))
    if windows.target == "labels":
        return "|".join(windows.classes[k] for k in np.flatnonzero(y)) or "none"
    return windows.classes[int(y)]


def write_npz(
    path: Path, x: Signal, sfreq: float, ch_names: Sequence[str], modalities: Sequence[str]
) -> None:
    """The layout that `kind: files` reads, without loss."""
    with beside(path) as partial:
        facts: dict[str, Any] = {"x": x, "scale": np.float32(1), "sfreq": np.float64(sfreq)}
        facts |= {"ch_names": np.array(ch_names), "modality": np.array(modalities)}
        np.savez(partial / path.name, allow_pickle=False, **facts)


def write_edf(
    path: Path, x: Signal, sfreq: float, ch_names: Sequence[str], unit: str = "uV"
) -> None:
    """Write (C, T) in 16 bits a sample (.bdf: 24), each channel over its own range."""
    import edfio

    _check_signal(x, path)
    seconds, n = _record(x.shape, sfreq)
    bdf = path.suffix.lower() == ".bdf"
    signal = edfio.BdfSignal if bdf else edfio.EdfSignal
    signals = [
        signal(row.astype(np.float64), n / seconds, label=name, physical_dimension=unit)
        for row, name in zip(x, ch_names, strict=True)
    ]
    form = edfio.Bdf if bdf else edfio.Edf
    with beside(path) as partial:
        form(signals, data_record_duration=seconds).write(partial / path.name)


def _record(shape: tuple[int, ...], sfreq: float) -> tuple[float, int]:
    """Seconds (in 8 characters) and samples of a data record, which divides the recording."""
    n_chans, n_times = shape
    most = max(1, MAX_RECORD_BYTES // (3 * n_chans))
    sizes = [n for n in range(min(most, n_times), 0, -1) if n_times % n == 0]
    lengths = [(float(f"{n / sfreq:.8f}"[:8]), n) for n in sizes]
    exact = [(seconds, n) for seconds, n in lengths if seconds > 0 and n / seconds == sfreq]
    # otherwise the longest record: its 8 characters come closest to the rate
    return (exact or [length for length in lengths if length[0] > 0])[0]


def write_wfdb(
    path: Path, x: Signal, sfreq: float, ch_names: Sequence[str], unit: str = "mV"
) -> None:
    """Write (C, T) as `path`.hea and .dat, 16 bits a sample, each channel over its own range."""
    import wfdb

    _check_signal(x, path)
    if not re.fullmatch(r"[\w-]+", path.name):
        rule = f"{path.name} is no name of a WFDB record: letters, digits, - and _ only"
        raise refuse(f"{rule}; rename it")
    with beside(path) as partial:
        n_chans = len(x)
        wfdb.wrsamp(
            path.name,
            fs=sfreq,
            units=[unit] * n_chans,
            sig_name=list(ch_names),
            p_signal=x.T.astype(np.float64),  # (C, T) -> (T, C)
            fmt=["16"] * n_chans,
            write_dir=str(partial),
        )


def _check_signal(x: Signal, path: Path) -> None:
    if x.ndim != 2 or not x.size or not np.isfinite(x).all():
        rule = f"{path.name}: signals must be (channels, samples) and finite"
        raise refuse(f"{rule}, but got {x.shape}; fill the gaps")


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A folder to write in; afterwards its files move to where `path` is, headers last."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".", dir=path.parent))
    try:
        yield partial
        for written in sorted(partial.iterdir()):  # .dat before .hea
            with written.open("rb") as handle:
                os.fsync(handle.fileno())
            os.replace(written, path.parent / written.name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
