"""PhysioNet's Examples of Electromyograms: needle EMG of three subjects, one record and one
diagnosis each.

In windows of 1500 samples these are the 204 windows of the "EMG" set of TF-C and its successors. As
class and subject are the same, no split can part them: groups are stretches of time, with a window
left out between one and the next.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from citrus_ray.data.faults import AGAIN, broken, each
from citrus_ray.data.formats.channels import pick
from citrus_ray.data.formats.digests import file_parts
from citrus_ray.data.formats.labels import Stretch
from citrus_ray.data.formats.recordings import Header, read_header
from citrus_ray.data.formats.wfdb_records import check_record
from citrus_ray.data.originals import PHYSIONET, Original, RemoteFile
from citrus_ray.data.source import Count, Positive
from citrus_ray.data.sources.files import Item
from citrus_ray.data.sources.recorded import Recorded
from citrus_ray.spec import refuse

# what the header of each record says of its subject
DIAGNOSES = {
    "healthy": "no history of neuromuscular disease",
    "myopathy": "myopathy",
    "neuropathy": "neuropathy",
}

FILES = (
    ("healthy.dat", "4990f34f0ffb314f6ce70c1d2089b7ce41fa96d19fcd9fb334815ca5033966fd", 101720),
    ("healthy.hea", "61221ce33e167d246ec2ea8984ce2f25882b32b4d90bd7ef785c7b56ef95bac5", 300),
    ("myopathy.dat", "2c310a0f61843a5a5e906d413b6ff7f51370a91e516344af511c7fe6da9eaf7f", 220674),
    ("myopathy.hea", "752093a1e3af87cd87e39f553b8725133f57a75413661208e5d93c8d2c60e73b", 362),
    ("neuropathy.dat", "108c6c71d3792f3dba645539bd9241119fb4c6a3a0f3e515399694b072375dd5", 295716),
    ("neuropathy.hea", "a424c80b6a5cc5733456f0848c2650321cac3658d9b02b845e08b619b2807ce0", 346),
)

ORIGINAL = Original(
    name="emgdb",
    base_url="https://physionet.org/files/emgdb/1.0.0/",
    page="https://physionet.org/content/emgdb/1.0.0/",
    files=tuple(RemoteFile(f"emg_{name}", sha, size) for name, sha, size in FILES),
    holds="emg; 3 subjects; 3 classes; 4000 Hz; 0.02 h",
    licence="ODC-BY 1.0",
    citation=PHYSIONET,
)


class EmgDb(Recorded):
    """Which of three subjects a stretch of needle EMG is from."""

    kind: Literal["emgdb"] = "emgdb"
    """Needle EMG of three subjects, one diagnosis each."""
    seconds: Positive = 0.375
    """Length of a window in s."""
    sfreq: Positive = 4000.0
    """Rate in Hz that records are resampled to."""
    n_blocks: Count = 8
    """Groups that each record is cut into, by time; 1 keeps every window."""

    def files(self) -> list[Path]:
        return [part for path in self._headers() for part in file_parts(path)]

    def _headers(self) -> list[Path]:
        paths = [self.folder / f"emg_{name}.hea" for name in DIAGNOSES]
        gone = [path.name for path in paths if not path.is_file()]
        if gone:
            way = "correct `root`, or `citrus data fetch emgdb`"
            raise refuse(f"{self.folder} has no {', '.join(gone)}; {way}", "root")
        return paths

    def survey(self) -> list[Item]:
        return each(self._headers(), self._item)

    def _item(self, path: Path) -> Item:
        header, label = read_header(path), path.stem.removeprefix("emg_")
        check_record(path)
        _check_label(path, label)
        picks = pick(header, None, None, "emg")
        return Item(header, picks, tuple(self._blocks(header, label)))

    def _blocks(self, header: Header, label: str) -> Iterator[Stretch]:
        """Consecutive stretches of whole windows, one window apart."""
        seconds = self.n_times / self.sfreq
        # a hair more: a length that is a whole number of windows must not round below it
        length = header.channels[0].n_times / header.channels[0].sfreq
        n_windows = math.floor(length / seconds + 1e-6)
        n_used = n_windows - (self.n_blocks - 1)
        if n_used < self.n_blocks:
            rule = f"n_blocks={self.n_blocks} with a window between them need"
            rule += f" {2 * self.n_blocks - 1} windows of {seconds:g} s, but it holds {n_windows}"
            most = (n_windows + 1) // 2
            way = f"lower it to {most} or less, or " if most else ""
            raise broken(header.path, f"{rule}; {way}shorten `seconds`", "n_blocks")
        first = 0
        for block, part in enumerate(np.array_split(np.arange(n_used), self.n_blocks), start=1):
            stop = first + len(part)
            group = f"emg_{label}" + (f" {block}/{self.n_blocks}" if self.n_blocks > 1 else "")
            yield Stretch(header.path.name, first * seconds, stop * seconds, label, group)
            first = stop + 1

    def order(self, found: set[str]) -> Sequence[str]:
        return tuple(DIAGNOSES)

    def notes(self, items: Sequence[Item]) -> Iterator[str]:
        rule = "class equals person: one record of one person per diagnosis"
        yield f"{rule}, so a score tells people apart, not diseases"
        if self.n_blocks > 1:
            blocks = f"{self.n_blocks} stretches of each record"
            gap = f"{self.n_times / self.sfreq:g} s apart"
            yield f"split by time, not by person: {blocks}, {gap}, are groups"


def _check_label(path: Path, label: str) -> None:
    """The file's name says the class: the header must agree."""
    text = path.read_text("latin-1")
    said = text.partition("<diagnoses>")[2].lstrip(": ")
    if said and DIAGNOSES[label] not in said.lower():
        first = said.partition("\n")[0]
        rule = f"says of its person `{first}`, but its name says {label}"
        raise broken(path, f"{rule}; {AGAIN}")
