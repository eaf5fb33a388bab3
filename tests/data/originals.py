"""Small files in the formats of public originals, as their homes lay them out. Signals say where
they are from."""

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from citrus_ray.data.sources.bonn import N_SAMPLES, Bonn
from citrus_ray.data.sources.emgdb import EmgDb
from citrus_ray.data.sources.mitbih import MitBih
from citrus_ray.data.sources.ptb import Ptb
from citrus_ray.data.sources.sleep_edf import SleepEdf

LEADS = (
    "i",
    "ii",
    "iii",
    "avr",
    "avl",
    "avf",
    "v1",
    "v2",
    "v3",
    "v4",
    "v5",
    "v6",
    "vx",
    "vy",
    "vz",
)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def stairs(n_windows: int, n_times: int, seed: int = 0) -> np.ndarray:
    """Window k has mean k: so one sees which is which. (T,)"""
    x = noise(n_windows, n_times, seed=seed)
    x -= x.mean(axis=1, keepdims=True)
    return (0.1 * x + np.arange(n_windows)[:, None]).reshape(-1)


# ---- emgdb ----

PERSONS = {
    "healthy": "<age>: 44 <sex>: M <diagnoses> no history of neuromuscular disease",
    "myopathy": "<diagnoses>: myopathy due to long history of polymostis",
    "neuropathy": "<diagnoses>: chronic low back pain and neuropathy due to a",
}


def emgdb(
    root: Path, windows: Sequence[int] = (9, 12, 15), n_times: int = 150, **edits: Any
) -> EmgDb:
    import wfdb

    for seed, ((name, note), n) in enumerate(zip(PERSONS.items(), windows, strict=True)):
        x = stairs(n, n_times, seed)[:, None]
        about: dict[str, Any] = {
            "units": ["mV"],
            "sig_name": ["EMG"],
            "fmt": ["16"],
            "comments": [note],
        }
        wfdb.wrsamp(f"emg_{name}", fs=4000, p_signal=x, write_dir=str(root), **about)
    fields: dict[str, Any] = {"root": str(root), "seconds": n_times / 4000, "n_blocks": 3}
    return EmgDb(**(fields | edits))


# ---- mitbih ----


def mitbih_record(
    root: Path,
    name: str,
    marks: Sequence[tuple[int, str]],
    n: int = 3600,
    leads: Sequence[str] = ("MLII", "V5"),
) -> None:
    """An impulse at every mark in the first lead, noise in the second."""
    import wfdb

    x = 0.01 * noise(n, 2, seed=int(name))
    x[[sample for sample, _ in marks if sample < n], 0] += 1
    fields: dict[str, Any] = {"units": ["mV", "mV"], "fmt": ["212", "212"]}
    wfdb.wrsamp(name, fs=360, p_signal=x, sig_name=list(leads), write_dir=str(root), **fields)
    samples, codes = np.array([sample for sample, _ in marks]), [code for _, code in marks]
    wfdb.wrann(name, "atr", samples, codes, fs=360, write_dir=str(root))


def mitbih(root: Path, **edits: Any) -> MitBih:
    for name in ("100", "201", "202"):
        mitbih_record(
            root, name, [(18, "+"), (500, "N"), (900, "V"), (1300, "L"), (1700, "V"), (2100, "A")]
        )
    fields: dict[str, Any] = {"root": str(root)}
    return MitBih(**(fields | edits))


# ---- ptb ----


def ptb_record(
    root: Path, patient: str, name: str, reason: str, n: int = 2000, seed: int = 0
) -> Path:
    """12 leads in a .dat and 3 in a .xyz, 16 bits each, at 1000 per mV: lead k has mean k mV."""
    folder = root / patient
    folder.mkdir(parents=True, exist_ok=True)
    x = np.round(1000 * (0.1 * noise(n, 15, seed=seed) + np.arange(15))).astype("<i2")
    x[:, :12].tofile(folder / f"{name}.dat")
    x[:, 12:].tofile(folder / f"{name}.xyz")
    lines = [f"{name} 15 1000 {n}"]
    for k, lead in enumerate(LEADS):
        lines.append(f"{name}.{'dat' if k < 12 else 'xyz'} 16 1000 16 0 {x[0, k]} 0 0 {lead}")
    lines += [
        "",
        "# age: 81",
        "# sex: female",
        "# Diagnose:",
        f"# Reason for admission: {reason}",
        "# Smoker: no",
    ]
    path = folder / f"{name}.hea"
    path.write_text("\n".join(lines) + "\n")
    return path


def ptb(root: Path, **edits: Any) -> Ptb:
    ptb_record(root, "patient001", "s0010_re", "Myocardial infarction", seed=1)
    ptb_record(root, "patient001", "s0014lre", "Myocardial infarction", seed=2)
    ptb_record(root, "patient104", "s0306lre", "Healthy control", seed=3)
    ptb_record(root, "patient105", "s0303lre", "n/a", seed=4)
    fields: dict[str, Any] = {"root": str(root), "seconds": 0.5}
    return Ptb(**(fields | edits))


# ---- sleep_edf ----

RATES = {
    "EEG Fpz-Cz": 100,
    "EEG Pz-Oz": 100,
    "EOG horizontal": 100,
    "Resp oro-nasal": 1,
    "EMG submental": 1,
    "Temp rectal": 1,
    "Event marker": 1,
}
NIGHT = (
    ("W", 6),
    ("1", 2),
    ("2", 3),
    ("3", 2),
    ("4", 1),
    ("Movement time", 1),
    ("R", 3),
    ("W", 6),
    ("?", 8),
)
TIMES = {"starttime": datetime.time(16, 13), "date": datetime.date(1989, 4, 24)}


def hypnogram(
    path: Path, night: Sequence[tuple[str, int]] = NIGHT, epoch_s: float = 30.0, **times: Any
) -> None:
    import edfio

    marks, start = [], 0.0
    for stage, n in night:
        text = stage if len(stage) > 1 else f"Sleep stage {stage}"
        marks.append(edfio.EdfAnnotation(start, n * epoch_s, text))
        start += n * epoch_s
    when = TIMES | times
    about = edfio.Recording(startdate=when["date"])
    edfio.Edf([], annotations=marks, starttime=when["starttime"], recording=about).write(path)


def psg(path: Path, n_epochs: int = 24, rates: dict[str, int] = RATES, seed: int = 0) -> None:
    """Epoch k of every channel has mean k."""
    import edfio

    signals = [
        edfio.EdfSignal(
            stairs(n_epochs, 30 * rate, seed + i), rate, label=name, physical_dimension="uV"
        )
        for i, (name, rate) in enumerate(rates.items())
    ]
    about = edfio.Recording(startdate=TIMES["date"])
    edfio.Edf(
        signals, data_record_duration=30, starttime=TIMES["starttime"], recording=about
    ).write(path)


def sleep_edf(root: Path, **edits: Any) -> SleepEdf:
    folder = root / "sleep-cassette"
    folder.mkdir()
    for seed, (night, scorer) in enumerate(
        {"SC4001E": "C", "SC4002E": "C", "SC4012F": "H"}.items()
    ):
        psg(folder / f"{night}0-PSG.edf", seed=10 * seed)
        hypnogram(folder / f"{night}{scorer}-Hypnogram.edf")
    fields: dict[str, Any] = {"root": str(root), "wake_minutes": 1.0}
    return SleepEdf(**(fields | edits))


# ---- bonn ----


def bonn_segment(path: Path, seed: int, n: int = N_SAMPLES) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.round(100 * noise(n, seed=seed)).astype(int)
    path.write_text("".join(f"{value}\r\n" for value in values), newline="")


def bonn(root: Path, n: int = 2, **edits: Any) -> Bonn:
    """Files of set N end in .TXT in the original."""
    for k, name in enumerate("ZONFS"):
        for i in range(1, n + 1):
            bonn_segment(
                root / name / f"{name}{i:03d}.{'TXT' if name == 'N' else 'txt'}", seed=100 * k + i
            )
    fields: dict[str, Any] = {"root": str(root)}
    return Bonn(**(fields | edits))
