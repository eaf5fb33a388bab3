"""The PTB Diagnostic ECG Database: 15 leads at 1 kHz, labelled by reason for admission."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from citrus_ray.data.faults import AGAIN, broken, each, refuse_unknown
from citrus_ray.data.formats.channels import pick
from citrus_ray.data.formats.digests import file_parts
from citrus_ray.data.formats.labels import Stretch
from citrus_ray.data.formats.recordings import read_header
from citrus_ray.data.formats.wfdb_records import check_record
from citrus_ray.data.originals import PHYSIONET, Original
from citrus_ray.data.source import Names, Positive
from citrus_ray.data.sources.files import Item
from citrus_ray.data.sources.recorded import Recorded, found_in

FIELD = "reason for admission:"
UNKNOWN = ("", "n/a")

ORIGINAL = Original(
    name="ptb",
    base_url="https://physionet.org/files/ptbdb/1.0.0/",
    page="https://physionet.org/content/ptbdb/1.0.0/",
    sums="SHA256SUMS.txt",
    wanted=r"patient\d{3}/\w+\.(hea|dat|xyz)",
    holds="ecg; 290 subjects; 2 classes; 1000 Hz",
    licence="ODC-BY 1.0",
    citation=f"Bousseljot R, Kreiseler D, Schnabel A. Biomed Tech 40(S1):317 (1995). {PHYSIONET}",
)


class Ptb(Recorded):
    """Why a patient was admitted; several diagnoses are those of few. A group is a patient."""

    kind: Literal["ptb"] = "ptb"
    """PTB Diagnostic ECG, labelled by the reason for admission."""
    seconds: Positive = 4.0
    """Length of a window in s."""
    sfreq: Positive = 250.0
    """Rate in Hz that records are resampled to."""
    channels: Names | None = None
    """Leads, in this order: i, ii, …, vz; all 15 without."""
    classes: Names | None = ("Healthy control", "Myocardial infarction")
    """Reasons for admission to keep, in this order; null: every one that is given."""

    def files(self) -> list[Path]:
        return [part for path in self._headers() for part in file_parts(path)]

    def _headers(self) -> list[Path]:
        return found_in(self.folder, "patient*/*.hea", "patients' records")

    def survey(self) -> list[Item]:
        paths = self._headers()
        reasons = dict(zip(paths, each(paths, read_reason), strict=True))
        known = set(reasons.values()) - set(UNKNOWN)
        refuse_unknown("classes", self.classes or (), known)
        kept = [path for path in paths if reasons[path] in (self.classes or known)]
        return each(kept, lambda path: self._item(path, reasons[path]))

    def _item(self, path: Path, reason: str) -> Item:
        header = read_header(path)
        whole = Stretch(path.name, 0.0, float("inf"), reason, path.parent.name)
        return Item(header, pick(header, None, self.channels, "ecg"), (whole,))

    def order(self, found: set[str]) -> Sequence[str]:
        return self.classes or sorted(found)

    def notes(self, items: Sequence[Item]) -> Iterator[str]:
        paths = self._headers()
        if len(items) < len(paths):
            why = "their reason for admission is another, or not given"
            yield f"left out: {len(paths) - len(items)} of {len(paths)} records, for {why}"


def read_reason(path: Path) -> str:
    """The reason for admission that a header states; empty where it is not known."""
    check_record(path)
    lines = path.read_text("latin-1").splitlines()
    notes = [line.lstrip("# ").strip() for line in lines if line.startswith("#")]
    stated = [note[len(FIELD) :].strip() for note in notes if note.lower().startswith(FIELD)]
    if len(stated) != 1:
        rule = f"states {len(stated)} lines `# Reason for admission: …`"
        raise broken(path, f"{rule}, which is what it is labelled by; {AGAIN}")
    return "" if stated[0].lower() in UNKNOWN else stated[0]
