"""Small recordings in formats that the project reads and does not write."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

Mark = tuple[int, int, str]  # first sample, length in samples, text


def brainvision(path: Path, x: np.ndarray, sfreq: float, marks: Sequence[Mark] = ()) -> None:
    """`path`.vhdr, .vmrk and .eeg: float32 in µV, sample after sample."""
    names = [f"c{i}" for i in range(len(x))]
    x.T.astype("<f4").tofile(path.with_suffix(".eeg"))
    head = ["Brain Vision Data Exchange Header File Version 1.0", "", "[Common Infos]"]
    head += ["Codepage=UTF-8", f"DataFile={path.stem}.eeg", f"MarkerFile={path.stem}.vmrk"]
    head += ["DataFormat=BINARY", "DataOrientation=MULTIPLEXED", f"NumberOfChannels={len(x)}"]
    head += [f"SamplingInterval={1e6 / sfreq:g}", "", "[Binary Infos]"]
    head += ["BinaryFormat=IEEE_FLOAT_32", "", "[Channel Infos]"]
    head += [f"Ch{i + 1}={name},,1,µV" for i, name in enumerate(names)]
    path.with_suffix(".vhdr").write_text("\n".join(head) + "\n", "utf-8")
    said = ["Brain Vision Data Exchange Marker File Version 1.0", "", "[Common Infos]"]
    said += ["Codepage=UTF-8", f"DataFile={path.stem}.eeg", "", "[Marker Infos]"]
    rows = [("New Segment", "", 0, 1), *(_kind(text, at, n) for at, n, text in marks)]
    said += [f"Mk{i + 1}={a},{b},{at + 1},{n},0" for i, (a, b, at, n) in enumerate(rows)]
    path.with_suffix(".vmrk").write_text("\n".join(said) + "\n", "utf-8")


def _kind(text: str, at: int, n: int) -> tuple[str, str, int, int]:
    kind, _, what = text.rpartition("/")
    return kind or "Comment", what, at, n


def eeglab(path: Path, x: np.ndarray, sfreq: float, marks: Sequence[Mark] = ()) -> None:
    """`path`.set with its samples inside, in µV."""
    from scipy.io import savemat

    dtype = [("type", object), ("latency", object), ("duration", object)]
    events = np.array([(text, at + 1.0, float(n)) for at, n, text in marks], dtype=dtype)
    chans = np.array([(f"c{i}",) for i in range(len(x))], dtype=[("labels", object)])
    eeg: dict[str, Any] = {"setname": "s", "nbchan": len(x), "pnts": x.shape[1], "trials": 1}
    eeg |= {"srate": sfreq, "xmin": 0.0, "xmax": (x.shape[1] - 1) / sfreq, "data": x}
    eeg |= {"chanlocs": chans, "event": events, "epoch": [], "icaact": [], "icawinv": []}
    savemat(path, {"EEG": eeg}, appendmat=False)


def gdf(
    path: Path, x: np.ndarray, sfreq: int, marks: Sequence[tuple[int, int]] = ((0, 1),)
) -> None:
    """GDF 1.25: int16 in µV, records of a second; marks are samples and codes."""
    n_chans, n_times = x.shape
    head = b"GDF 1.25" + b" " * 80 + b" " * 80 + b"2020010112000000"
    head += np.int64(256 * (n_chans + 1)).tobytes() + b" " * 44
    head += np.int64(n_times // sfreq).tobytes() + np.array([1, 1], "<u4").tobytes()
    head += np.array([n_chans], "<u4").tobytes()
    labels = [f"c{i}".encode().ljust(16) for i in range(n_chans)]
    head += b"".join(labels) + b" " * 80 * n_chans + b"uV".ljust(8) * n_chans
    head += np.full(n_chans, -1000.0).tobytes() + np.full(n_chans, 1000.0).tobytes()
    head += np.full(n_chans, -1000, "<i8").tobytes() + np.full(n_chans, 1000, "<i8").tobytes()
    head += b" " * 80 * n_chans + np.full(n_chans, sfreq, "<u4").tobytes()
    head += np.full(n_chans, 3, "<u4").tobytes() + b" " * 32 * n_chans
    body = x.reshape(n_chans, -1, sfreq).swapaxes(0, 1).astype("<i2")  # a record, channel, sample
    events = b"\1" + b"\0" * 3 + np.uint32(len(marks)).tobytes()
    events += np.array([at + 1 for at, _ in marks], "<u4").tobytes()
    events += np.array([code for _, code in marks], "<u2").tobytes()
    path.write_bytes(head + body.tobytes() + events)


def matlab73(path: Path, **variables: Any) -> None:
    """HDF5 as MATLAB 7.3 writes it: dimensions in reverse, texts as numbers, structs as groups."""
    import h5py

    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in variables.items():
            _put(file, file, name, value)
    with path.open("r+b") as handle:
        handle.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(116) + b"\0" * 8 + b"\0\2IM")


def _put(file: Any, group: Any, name: str, value: Any) -> None:
    import h5py

    if isinstance(value, dict):
        inner = group.create_group(name)
        for key, one in value.items():
            _put(file, inner, key, one)
    elif isinstance(value, str):
        text = group.create_dataset(name, data=np.array([[ord(c)] for c in value], np.uint16))
        text.attrs["MATLAB_class"] = np.bytes_("char")
    elif isinstance(value, list):
        for i, one in enumerate(value):
            _put(file, file.require_group("#refs#"), f"{name}{i}", one)
        refs = [[file[f"#refs#/{name}{i}"].ref] for i in range(len(value))]
        group.create_dataset(name, data=np.array(refs, h5py.ref_dtype))
    else:
        group.create_dataset(name, data=np.atleast_2d(value).T)
