"""The MIT-BIH Arrhythmia Database: half-hour ECGs whose every beat was labelled. A window is a
beat."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import model_validator

from citrus_ray.data.faults import AGAIN, broken, each, unreadable
from citrus_ray.data.formats.channels import pick
from citrus_ray.data.formats.digests import file_parts
from citrus_ray.data.formats.labels import Stretch
from citrus_ray.data.formats.recordings import Header, read_header
from citrus_ray.data.formats.wfdb_records import check_record
from citrus_ray.data.originals import PHYSIONET, Original
from citrus_ray.data.source import Handling, Names, Positive
from citrus_ray.data.sources.files import Item
from citrus_ray.data.sources.recorded import Recorded, found_in, wanted_of
from citrus_ray.spec import refuse

# The classes of ANSI/AAMI EC57 and the beat codes of WFDB in each; other codes mark rhythm and
# noise, not beats.
AAMI = {"N": "NLRBejn", "S": "AaJS", "V": "VrE", "F": "F", "Q": "/fQ?"}
CLASS_OF = {code: name for name, codes in AAMI.items() for code in codes}
PACED = ("102", "104", "107", "217")  # the records with paced beats, which EC57 leaves out
SAME_SUBJECT = {"201": "201+202", "202": "201+202"}  # 48 records are of 47 subjects

ORIGINAL = Original(
    name="mitbih",
    base_url="https://physionet.org/files/mitdb/1.0.0/",
    page="https://physionet.org/content/mitdb/1.0.0/",
    sums="SHA256SUMS.txt",
    wanted=r"\d{3}\.(hea|dat|atr)",
    holds="ecg; 47 subjects; 2 or 5 classes; 360 Hz; 24 h",
    licence="ODC-BY 1.0",
    citation=f"Moody GB, Mark RG. IEEE Eng Med Biol 20(3):45-50 (2001). {PHYSIONET}",
)


class MitBih(Recorded):
    """`seconds` around each R peak: ventricular ectopic or not, or the five classes of AAMI."""

    kind: Literal["mitbih"] = "mitbih"
    """MIT-BIH Arrhythmia: a window is one beat."""
    task: Literal["pvc", "aami"] = "pvc"
    """Classes: ventricular ectopic or not, or the five of AAMI."""
    seconds: Positive = 0.5
    """Length of a window in s, its R peak in the middle."""
    sfreq: Positive = 360.0
    """Rate in Hz that records are resampled to."""
    channels: Names = ("MLII",)
    """Leads; records without them are left out, and a caveat says which."""
    records: Names | None = None
    """Records to use, by name; all without."""
    paced: bool = True
    """Keep the four records with paced beats; EC57 leaves them out."""

    @model_validator(mode="after")
    def _leaves_records(self) -> Self:
        if not self.paced and self.records and set(self.records) <= set(PACED):
            rule = f"records={', '.join(self.records)} are all paced"
            raise ValueError(f"{rule}; set `paced: true`, or name others")
        return self

    def files(self) -> list[Path]:
        headers = self._headers()
        return [p for path in headers for p in (*file_parts(path), path.with_suffix(".atr"))]

    def _headers(self) -> list[Path]:
        paths = {path.stem: path for path in found_in(self.folder, "*.hea", "WFDB headers")}
        names = wanted_of("records", self.records, paths)
        headers = [paths[name] for name in names if self.paced or name not in PACED]
        bare = [path.stem for path in headers if not path.with_suffix(".atr").is_file()]
        if bare:
            way = "put their .atr files beside the headers, or name others in `records:`"
            raise refuse(f"{self.folder}: {', '.join(bare)} have no annotations; {way}", "root")
        return headers

    def handling(self) -> Handling:
        return replace(super().handling(), around="the R peak of a beat")

    def survey(self) -> list[Item]:
        headers, wanted = each(self._headers(), _read_header), set(self.channels)
        names = [{c.name for c in header.channels} for header in headers]
        able = [header for header, of in zip(headers, names, strict=True) if wanted <= of]
        if not able:
            rule = f"channels={', '.join(self.channels)}: no record has them"
            there = ", ".join(sorted(set().union(*names)))
            raise refuse(f"{rule}; there are {there}", "channels")
        return each(able, self._item)

    def _item(self, header: Header) -> Item:
        picks = pick(header, None, self.channels, "ecg")
        return Item(header, picks, tuple(self._beats(header)))

    def _beats(self, header: Header) -> Iterator[Stretch]:
        """A stretch around every R peak that is not too near an end."""
        path, lead = header.path, header.channels[0]
        half, end = self.seconds / 2, lead.n_times / lead.sfreq
        group = SAME_SUBJECT.get(path.stem, path.stem)
        for sample, code in read_beats(path.with_suffix(".atr"), lead.n_times, lead.sfreq):
            start = sample / lead.sfreq - half
            if start >= 0 and start + self.seconds <= end:
                yield Stretch(path.name, start, start + self.seconds, self._label(code), group)

    def _label(self, code: str) -> str:
        return CLASS_OF[code] if self.task == "aami" else "pvc" if code == "V" else "other"

    def order(self, found: set[str]) -> Sequence[str]:
        return tuple(AAMI) if self.task == "aami" else ("other", "pvc")

    def notes(self, items: Sequence[Item]) -> Iterator[str]:
        used = {item.header.path for item in items}
        without = [path.stem for path in self._headers() if path not in used]
        if without:
            rule = f"left out, for they have no {', '.join(self.channels)}"
            yield f"{rule}: records {', '.join(without)}"


def _read_header(path: Path) -> Header:
    check_record(path)
    return read_header(path)


def read_beats(path: Path, n_times: int, sfreq: float) -> list[tuple[int, str]]:
    """The sample and the code of every beat in an annotation file, which must fit the recording."""
    marks = _read_marks(path)
    if marks.fs and abs(marks.fs - sfreq) > 0.5:
        rule = f"counts {marks.fs:g} samples per second, its recording {sfreq:g}"
        raise broken(path, f"{rule}; {AGAIN}")
    late = [int(sample) for sample in marks.sample if not 0 <= sample <= n_times]
    if late:
        rule = f"labels sample {late[0]}, but the recording has {n_times}"
        raise broken(path, f"{rule}: it belongs to another, or is damaged; {AGAIN}")
    found = zip(marks.sample, marks.symbol, strict=True)
    beats = [(int(sample), code) for sample, code in found if code in CLASS_OF]
    if not beats:
        way = f"leave record {path.stem} out with `records:`, or {AGAIN}"
        raise broken(path, f"labels no beat; {way}")
    return beats


def _read_marks(path: Path) -> Any:
    import wfdb

    data = path.read_bytes()
    if len(data) % 2 or data[-2:] != b"\0\0":  # the format's own end; wfdb reads on without a word
        rule = f"is truncated: annotations end in two zero bytes, this in {data[-2:]!r}"
        raise broken(path, f"{rule}; {AGAIN}")
    try:
        return wfdb.rdann(re.sub(r"\.atr$", "", str(path)), "atr")
    except Exception as err:  # a broken file can raise anything in the library that reads it
        raise unreadable(path, " as annotations", err) from None
