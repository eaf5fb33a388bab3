"""Sleep-EDF Expanded, the cassette study: whole nights at home, every 30 s scored as a stage of
sleep.

SC4ssNE0-PSG.edf is night N of subject ss; both nights of a subject are one group. Stages 3 and 4
are N3; movement and what was not scored is dropped.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from citrus_ray.data.faults import AGAIN, broken, each, unreadable
from citrus_ray.data.formats.channels import pick
from citrus_ray.data.formats.edf import edf_header
from citrus_ray.data.formats.labels import Stretch
from citrus_ray.data.formats.recordings import read_header
from citrus_ray.data.originals import PHYSIONET, Original
from citrus_ray.data.source import Names, Positive
from citrus_ray.data.sources.files import Item
from citrus_ray.data.sources.recorded import Recorded, found_in, wanted_of
from citrus_ray.spec import SpecError, refuse

EPOCH_S = 30.0
STAGES = {
    "Sleep stage W": "W",
    "Sleep stage 1": "N1",
    "Sleep stage 2": "N2",
    "Sleep stage 3": "N3",
    "Sleep stage 4": "N3",
    "Sleep stage R": "REM",
}
UNSCORED = ("Sleep stage ?", "Movement time")
EMG = "EMG submental"

ORIGINAL = Original(
    name="sleep_edf",
    base_url="https://physionet.org/files/sleep-edfx/1.0.0/",
    page="https://physionet.org/content/sleep-edfx/1.0.0/",
    sums="SHA256SUMS.txt",
    wanted=r"sleep-cassette/SC4\w+-(PSG|Hypnogram)\.edf",
    holds="eeg, eog, emg, resp; 78 subjects; 5 classes; 100 Hz",
    licence="ODC-BY 1.0",
    citation=f"Kemp B et al. IEEE Trans Biomed Eng 47(9):1185-1194 (2000). {PHYSIONET}",
)


class SleepEdf(Recorded):
    """Stages of sleep from EEG, EOG, chin EMG and breathing."""

    kind: Literal["sleep_edf"] = "sleep_edf"
    """Sleep-EDF Expanded, cassette study: stages of sleep."""
    seconds: Annotated[float, Field(gt=0, le=EPOCH_S)] = EPOCH_S
    """Length of a window in s; below 30 it is cut within scored epochs."""
    sfreq: Positive = 100.0
    """Rate in Hz that channels are resampled to."""
    channels: Names = ("EEG Fpz-Cz", "EEG Pz-Oz", "EOG horizontal", EMG, "Resp oro-nasal")
    """Channels, in this order."""
    subjects: Names | None = None
    """Subjects to use: SC400, SC401, …; all without."""
    wake_minutes: Annotated[float, Field(ge=0)] | None = 30.0
    """Minutes of wake kept before and after sleep; null keeps the whole day."""

    def files(self) -> list[Path]:
        return [path for pair in self._nights() for path in pair]

    def _nights(self) -> list[tuple[Path, Path]]:
        """Recordings and their hypnograms, which share the first six characters of their names."""
        recordings = found_in(self.folder, "**/SC4*-PSG.edf", "cassette recordings")
        scored = defaultdict[str, list[Path]](list)
        for path in self.folder.glob("**/SC4*-Hypnogram.edf"):
            scored[path.name[:6]].append(path)
        known = dict.fromkeys(_subject(path) for path in recordings)
        subjects = wanted_of("subjects", self.subjects, known)
        nights = [path for path in recordings if _subject(path) in subjects]
        wrong = [path.name for path in nights if len(scored[path.name[:6]]) != 1]
        if wrong:
            rule = f"{', '.join(wrong[:8])}: each needs exactly one hypnogram"
            way = "fetch the set, or name others in `subjects:`"
            raise refuse(f"{self.folder}: {rule}, {wrong[0][:6]}…-Hypnogram.edf; {way}", "root")
        return [(path, scored[path.name[:6]][0]) for path in nights]

    def survey(self) -> list[Item]:
        return each(self._nights(), self._item)

    def _item(self, night: tuple[Path, Path]) -> Item:
        recording, hypnogram = night
        header = read_header(recording)
        picks = pick(header, None, self.channels, None)
        _check_start(recording, hypnogram)
        item = Item(header, picks, ())
        return Item(header, picks, tuple(self._epochs(recording, hypnogram, item.seconds)))

    def _epochs(self, recording: Path, hypnogram: Path, end: float) -> Iterator[Stretch]:
        """Scored epochs from `wake_minutes` before sleep to as much after it."""
        scored = read_stages(hypnogram)
        sleep = [(start, stop) for start, stop, stage in scored if stage != "W"]
        if not sleep:
            way = "leave the subject out with `subjects:`"
            raise broken(hypnogram, f"holds no stage of sleep; {way}")
        if sleep[-1][1] > end + EPOCH_S:
            rule = f"scores sleep until {sleep[-1][1]:g} s, but {recording.name} ends at {end:g} s"
            why = "it belongs to another night, or one is cut short"
            raise broken(hypnogram, f"{rule}: {why}; {AGAIN}")
        margin = math.inf if self.wake_minutes is None else 60 * self.wake_minutes
        first, last = sleep[0][0] - margin, min(sleep[-1][1] + margin, end)
        name, subject = recording.name, _subject(recording)
        for start, stop, stage in scored:
            for epoch in range(round((stop - start) / EPOCH_S)):
                begin = start + epoch * EPOCH_S
                if begin >= first and begin + EPOCH_S <= last:
                    yield Stretch(name, begin, begin + EPOCH_S, stage, subject)

    def order(self, found: set[str]) -> Sequence[str]:
        return tuple(dict.fromkeys(STAGES.values()))

    def notes(self, items: Sequence[Item]) -> Iterator[str]:
        if any(c.name == EMG and c.sfreq < self.sfreq for c in items[0].picks):
            yield f"{EMG} is the envelope of the muscle's activity, not the EMG itself"
        if self.wake_minutes is not None:
            yield f"wake is kept for {self.wake_minutes:g} minutes before and after sleep only"


def _subject(path: Path) -> str:
    return path.name[:5]


def read_stages(path: Path) -> list[tuple[float, float, str]]:
    """Start, stop and stage of what was scored, in order."""
    import mne

    try:
        edf_header(path)  # says whether it is EDF and whole; mne would read what there is
        marks = mne.read_annotations(path)
    except SpecError:
        raise
    except Exception as err:  # a broken file can raise anything in the library that reads it
        raise unreadable(path, " as a hypnogram", err) from None
    names = [str(name) for name in marks.description]
    strange = sorted(set(names) - set(STAGES) - set(UNSCORED))
    if strange or not names:
        rule = f"scores `{strange[0]}`" if strange else "scores nothing"
        known = ", ".join([*STAGES, *UNSCORED])
        raise broken(path, f"{rule}; a hypnogram of Sleep-EDF scores {known}; {AGAIN}")
    rows = sorted(zip(marks.onset.tolist(), marks.duration.tolist(), names, strict=True))
    odd = next(
        (row for row in rows if abs(row[1] - EPOCH_S * round(row[1] / EPOCH_S)) > 0.03), None
    )
    if odd and odd[2] in STAGES:
        rule = f"scores {odd[1]:g} s as {odd[2]} at {odd[0]:g} s; epochs are {EPOCH_S:g} s"
        raise broken(path, f"{rule}; {AGAIN}")
    return [(start, start + length, STAGES[name]) for start, length, name in rows if name in STAGES]


def _check_start(recording: Path, hypnogram: Path) -> None:
    """Times in a hypnogram count from its own start, so both must start at once."""
    one, two = _start(recording), _start(hypnogram)
    if one != two:
        rule = f"starts at {two}, but {recording.name} at {one}: it belongs to another night"
        raise broken(hypnogram, f"{rule}; {AGAIN}")


def _start(path: Path) -> str:
    """Date and time in the header of an EDF file, dd.mm.yy hh.mm.ss."""
    with path.open("rb") as handle:
        text = handle.read(184)[168:].decode("latin-1")
    return re.sub(r"^(.{8})", r"\1 ", text)
