"""A BIDS folder of EEG, iEEG, MEG or EMG: people, labels, events and types of channels stand where
the standard has them. `kind: fmri` reads images.

All that is not said of names and tables is as in `kind: files`.
"""

import math
from collections import Counter
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from citrus_ray.data.faults import broken, each, noted, nothing_found
from citrus_ray.data.formats.bids import PEOPLE, beside, entities, is_recording, people, typed
from citrus_ray.data.formats.digests import content_of
from citrus_ray.data.formats.events import TRIAL_TYPE, read_events
from citrus_ray.data.formats.labels import Stretch
from citrus_ray.data.formats.recordings import Header
from citrus_ray.data.source import Name
from citrus_ray.data.sources.files import EVENTS, Files, LabelsFrom
from citrus_ray.spec import Problem, refuse


class Bids(Files):
    """Windows cut from the recordings of a BIDS folder. A group is a person, `sub-…`."""

    kind: Literal["bids"] = "bids"  # type: ignore[assignment]
    """A BIDS folder of EEG, iEEG, MEG or EMG."""
    pattern: Name = "sub-*/**/sub-*"
    """Which files, relative to root, of those that are recordings."""
    suffix: Name = "eeg"
    """What the names of recordings end in: eeg, ieeg, meg or emg."""
    entities: dict[str, str] = {}
    """Entities that the names of recordings must have: {task: rest, ses: "01"}."""
    labels: LabelsFrom | None = None
    """events.tsv: what was shown; participants.tsv: a trait of people, in `column`; else as in
    `kind: files`. An event without a duration labels the `seconds` that begin with it."""
    column: Name | None = None
    """Column of labels: trial_type of events.tsv without; of participants.tsv one must be named."""
    group_pattern: Annotated[str | None, Field()] = "(sub-[0-9A-Za-z]+)"
    """Regex whose one (…) finds the group in a file's stem, or in its path."""

    @model_validator(mode="after")
    def _labels_are_in_a_column(self) -> Self:
        if self.labels == PEOPLE and self.column is None:
            rule = "labels=participants.tsv needs `column`, which of its columns holds them"
            raise ValueError(f"{rule}; give `column: group`, or sex, or …")
        if self.column is not None and self.labels not in (PEOPLE, EVENTS):
            rule = f"column={self.column} is of events.tsv or participants.tsv"
            raise ValueError(f"{rule}; give `labels:` one of these, or drop it")
        return self

    # ---- where things are ----

    def _files(self) -> dict[str, Path]:
        wanted = self.entities.items()
        found = {
            name: path
            for name, path in super()._files().items()
            if is_recording(path, self.suffix) and wanted <= entities(path.name).items()
        }
        if not found:
            named = "".join(f", {key}-{value}" for key, value in wanted)
            rule = f"no recording under {self._root()} ends in _{self.suffix}{named}"
            raise nothing_found(
                f"{rule}; correct `suffix` or `entities`; it holds ", self._root(), "suffix"
            )
        return found

    def _tables(self) -> list[Path]:
        if self.labels == EVENTS:
            return each(self._files().values(), self._events)
        return [self._root() / PEOPLE] if self.labels == PEOPLE else super()._tables()

    def _events(self, path: Path) -> Path:
        found = beside(path, self._root(), "events.tsv")
        if found is None:
            rule = "has no events.tsv beside or above it; add one, or narrow `entities`"
            raise broken(path, rule, "labels")
        return found

    def content(self) -> str:
        """With the tables of channels, which say what these measure."""
        known = (beside(path, self._root(), "channels.tsv") for path in self._files().values())
        tables = [path for path in dict.fromkeys(known) if path]
        return content_of(tables, self._root()) + super().content()

    # ---- labels and channels ----

    @property
    def _said_by_recordings(self) -> bool:
        return self.labels == PEOPLE or super()._said_by_recordings

    def _labelled(
        self, files: dict[str, Path], problems: list[Problem]
    ) -> tuple[dict[str, list[Stretch]], list[str]]:
        named, caveats = super()._labelled(files, problems)
        if self.labels == PEOPLE and self.column:
            left = {self._person(name) for name in files} - {self._person(name) for name in named}
            if left and named:
                who = ", ".join(sorted(left)[:5]) + (", …" if len(left) > 5 else "")
                caveats = [
                    *caveats,
                    f"{len(left)} people are left out without {self.column}: {who}",
                ]
        return named, caveats

    def _own(
        self, files: dict[str, Path], problems: list[Problem]
    ) -> tuple[list[Stretch], dict[str, list[Stretch]]]:
        if self.labels != PEOPLE:
            return super()._own(files, problems)
        assert self.column is not None
        table = self._root() / PEOPLE
        known = people(table, self.column)
        found = dict[str, list[Stretch]]()
        for name in files:
            label, line = known.get(self._person(name), ("", 0))
            if label:
                found[name] = [Stretch(name, 0.0, math.inf, label, "", line, str(table))]
        if not found:
            with noted(problems):
                rule = f"{table.name} has no {self.column} for anyone who was recorded"
                raise refuse(f"{rule}; correct `column`, or the rows", "column")
        return [row for of in found.values() for row in of], found

    def _person(self, name: str) -> str:
        return f"sub-{entities(Path(name).name).get('sub', '')}"

    def _of_events(self, name: str, path: Path) -> tuple[list[Stretch], list[Problem]]:
        column = self.column or TRIAL_TYPE
        return read_events(self._events(path), name, "", instants=True, column=column)

    def _header(self, path: Path) -> Header:
        return typed(super()._header(path), beside(path, self._root(), "channels.tsv"))[0]

    def _caveats_on_channels(self) -> list[str]:
        counts = Counter[str]()
        for path in self._files().values():
            counts.update(
                typed(super()._header(path), beside(path, self._root(), "channels.tsv"))[1]
            )
        if not counts:
            return []
        worst = ", ".join(f"{name} in {n}" for name, n in counts.most_common(5))
        return [f"channels that channels.tsv calls bad are read like others: {worst} recordings"]
