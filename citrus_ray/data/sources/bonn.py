"""The Bonn EEG of Andrzejak et al. 2001: five sets of 100 single-channel segments of 23.6 s, as
text.

In windows of 178 samples these are the 11,500 of the UCI "Epileptic Seizure Recognition" set, and
of the "Epilepsy" benchmark, which puts windows of one segment on both sides of its split: here a
segment is a group.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from citrus_ray.data.faults import AGAIN, broken, each
from citrus_ray.data.fingerprints import fingerprints_of
from citrus_ray.data.formats.digests import refuse_copies
from citrus_ray.data.formats.labels import Stretch
from citrus_ray.data.formats.recordings import Header, Recording, resample
from citrus_ray.data.formats.signals import Channel
from citrus_ray.data.originals import Original, RemoteFile
from citrus_ray.data.source import Positive
from citrus_ray.data.sources.files import Item
from citrus_ray.data.sources.recorded import Recorded, found_in
from citrus_ray.data.windows import Signal
from citrus_ray.spec import refuse

SFREQ = 173.61
N_SAMPLES = 4097
N_SEGMENTS = 100  # of each set
SETS = {
    "Z": "A_Z eyes open",
    "O": "B_O eyes closed",
    "N": "C_N interictal hippocampal",
    "F": "D_F interictal epileptogenic",
    "S": "E_S seizure",
}
UPF = "https://www.upf.edu/documents/229517819/234490509/"
UKB = "https://www.ukbonn.de/site/assets/files/"


def _zipped(letter: str, at_upf: str, at_ukb: str) -> RemoteFile:
    return RemoteFile(f"{letter}.zip", urls=(f"{UPF}{letter}.zip/{at_upf}", UKB + at_ukb))


ORIGINAL = Original(
    name="bonn",
    base_url=UPF,
    page="https://www.upf.edu/web/ntsa/downloads",
    files=(
        _zipped("Z", "9c4a0084-c0d6-3cf6-fe48-8a8767713e67", "21874/z.zip"),
        _zipped("O", "f324f98f-1ade-e912-b89d-e313ac362b6a", "21872/o.zip"),
        _zipped("N", "d4f08e2d-3b27-1a6a-20fe-96dcf644902b", "21871/n.zip"),
        _zipped("F", "8219dcdd-d184-0474-e0e9-1ccbba43aaee", "21870/f.zip"),
        _zipped("S", "7647d3f7-c6bb-6d72-57f7-8f12972896a6", "21875/s.zip"),
    ),
    holds="eeg; 500 segments; 5 classes; 173.61 Hz; 3.3 h",
    licence="for research, with citation; no formal licence",
    citation="Andrzejak RG et al. Phys Rev E 64:061907 (2001).",
    archive="zip",
)


class Bonn(Recorded):
    """Which of five sets an EEG is from, or whether it is of a seizure."""

    kind: Literal["bonn"] = "bonn"
    """The Bonn EEG as published: five sets of 100 segments."""
    task: Literal["set", "seizure"] = "set"
    """Classes: which of the five sets, or whether it is of a seizure."""
    seconds: Positive = 1.0253
    """Length of a window in s; 1.0253 are 178 samples, of which a segment has 23."""
    sfreq: Positive = SFREQ
    """Rate in Hz that segments are resampled to."""

    def files(self) -> list[Path]:
        return [path for of in self._segments().values() for path in of]

    def _segments(self) -> dict[str, list[Path]]:
        """Segments of each set, however unpacked: Z/Z001.txt, N/N001.TXT, Z001.txt."""
        found = defaultdict[str, list[Path]](list)
        for path in found_in(self.folder, "**/*.[tT][xX][tT]", "segments"):
            if re.fullmatch(r"[ZONFS]\d{3}", path.stem):
                found[path.stem[0]].append(path)
        gone = [name for name in SETS if not found[name]]
        if gone:
            name = gone[0]
            rule = f"{self.folder} has no segments of set {', '.join(gone)} ({name}001.txt, …)"
            way = f"unpack {name}.zip there, or `citrus data fetch bonn`"
            raise refuse(f"{rule}; {way}", "root")
        return {name: sorted(found[name], key=lambda path: path.stem) for name in SETS}

    def survey(self) -> list[Item]:
        paths = self.files()
        refuse_copies(paths)
        return [self._item(path) for path in paths]

    def check(self) -> None:
        each((item.header.path for item in self.survey()), read_segment)

    def _item(self, path: Path) -> Item:
        name = path.stem[0]
        label = SETS[name] if self.task == "set" else "seizure" if name == "S" else "other"
        channel = Channel("EEG", SFREQ, N_SAMPLES, "eeg", "uV")
        segment = Stretch(path.name, 0.0, float("inf"), label, path.stem)
        return Item(Header(path, (channel,)), (channel,), (segment,))

    def recording(self, item: Item) -> Recording:
        x = read_segment(item.header.path)
        return Recording(resample(x, SFREQ, self.sfreq), fingerprints_of(x, [SFREQ]))

    def order(self, found: set[str]) -> Sequence[str]:
        return tuple(SETS.values()) if self.task == "set" else ("other", "seizure")

    def notes(self, items: Sequence[Item]) -> Iterator[str]:
        rule = "no subjects are published: groups are segments"
        yield f"{rule}, so one person may be on both sides of a split"
        few = {name: len(of) for name, of in self._segments().items() if len(of) < N_SEGMENTS}
        if few:
            held = ", ".join(f"{n} of {name}" for name, n in few.items())
            yield f"fewer than the {N_SEGMENTS} published segments: {held}"


def read_segment(path: Path) -> Signal:
    """Samples (1, T) of one text file, a number per line."""
    words = path.read_bytes().split()
    try:
        x = np.array(words, dtype=np.float32)
    except ValueError:
        numbers = re.compile(rb"-?\d+(\.\d*)?")
        line, word = next((i, w) for i, w in enumerate(words, 1) if not numbers.fullmatch(w))
        rule = f"holds {word[:20]!r} on line {line}, which is no number"
        raise broken(path, f"{rule}; {AGAIN}") from None
    if len(x) != N_SAMPLES:
        raise broken(path, f"holds {len(x)} samples, but a segment has {N_SAMPLES}; {AGAIN}")
    return x[None]
