"""What refits predicted of test windows: who is taken for whom, how sure they were and how often
they were right, subject by subject. Read from the parts that lie beside records."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from citrus_ray.evidence.facts import target_of
from citrus_ray.evidence.intervals import Effect, OverRounds
from citrus_ray.evidence.outcomes import Outcome
from citrus_ray.evidence.rounds import round_of
from citrus_ray.metrics import confusion
from citrus_ray.records import Record
from citrus_ray.store import predictions
from citrus_ray.store.predictions import TestOutputs, probabilities_of

Floats = npt.NDArray[np.float64]
N_BINS = 10  # of confidence, of equal width


@dataclass(frozen=True)
class Reliability:
    """How sure predictions were, in bins, and how often they were right."""

    counts: Floats  # (N_BINS,)
    confidence: Floats  # (N_BINS,), means; NaN where a bin is empty
    accuracy: Floats  # (N_BINS,)

    @classmethod
    def of(cls, p: Floats, y: npt.NDArray[np.int64]) -> "Reliability":
        sure, right = p.max(axis=1), p.argmax(axis=1) == y
        place = np.minimum((sure * N_BINS).astype(np.int64), N_BINS - 1)
        counts, means = np.bincount(place, minlength=N_BINS).astype(np.float64), list[Floats]()
        for values in (sure, right):
            total = np.bincount(place, values, minlength=N_BINS)
            means.append(np.divide(total, counts, np.full(N_BINS, np.nan), where=counts > 0))
        return cls(counts, *means)

    @property
    def error(self) -> float:
        """The expected calibration error: mean distance of the two, by windows."""
        apart = np.nan_to_num(np.abs(self.confidence - self.accuracy))
        return float((apart * self.counts).sum() / self.counts.sum())


@dataclass(frozen=True)
class PredictedCell:
    """The test predictions of one cell's refits on one target."""

    cell: Outcome
    target: str
    rows: tuple[Record, ...]
    parts: tuple[TestOutputs, ...]  # one for each row

    @property
    def are_classes(self) -> bool:
        """Whether there are classes to be taken for each other, or values."""
        return all(part.are_classes for part in self.parts)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.parts[0].classes

    @cached_property
    def _known(self) -> list[tuple[Floats, npt.NDArray[np.int64]]]:
        return [(probabilities_of(part.outputs), part.y) for part in self.parts]

    @cached_property
    def confusion(self) -> npt.NDArray[np.int64]:
        """(K, K) windows of all refits, true class in the row."""
        n = len(self.classes)
        each = [confusion(y, p.argmax(axis=1).astype(np.int64), n) for p, y in self._known]
        return np.asarray(np.sum(each, axis=0))

    @cached_property
    def reliability(self) -> Reliability:
        """Of all refits together."""
        p, y = (np.concatenate(of) for of in zip(*self._known, strict=True))
        return Reliability.of(p, y)

    @cached_property
    def calibration_error(self) -> Effect:
        """Mean over rounds of each refit's own."""
        by_round = defaultdict[int, list[float]](list)
        for row, (p, y) in zip(self.rows, self._known, strict=True):
            by_round[round_of(row)].append(Reliability.of(p, y).error)
        return OverRounds([float(np.mean(of)) for of in by_round.values()]).effect()

    def of_classes(self) -> Iterator[tuple[str, int, float, float]]:
        """Class, its windows, recall and precision; NaN where there is nothing to divide by."""
        true, said = self.confusion.sum(axis=1), self.confusion.sum(axis=0)
        for k, name in enumerate(self.classes):
            hit = int(self.confusion[k, k])
            yield name, int(true[k]), _share(hit, int(true[k])), _share(hit, int(said[k]))

    def of_subjects(self) -> list[tuple[str, int, int, float]]:
        """Subject, refits that tested it, windows of these, and the share that was right; those of
        the lowest first."""
        found: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for part, (p, y) in zip(self.parts, self._known, strict=True):
            right, group = p.argmax(axis=1) == y, np.array(part.group)
            for name in np.unique(group):
                own = group == name
                found[str(name)].append((int(own.sum()), int(right[own].sum())))
        rows = list[tuple[str, int, int, float]]()
        for name, of in found.items():
            n, n_right = (sum(counts) for counts in zip(*of, strict=True))
            rows.append((name, len(of), n, _share(n_right, n)))
        return sorted(rows, key=lambda row: (row[3], row[0]))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def predicted(cells: Iterable[Outcome], folders: Sequence[Path]) -> list[PredictedCell]:
    """Cells and targets of which predictions were kept, in the order of the cells."""
    found = list[PredictedCell]()
    for cell in cells:
        by_target: dict[tuple[str, tuple[str, ...]], list[tuple[Record, TestOutputs]]]
        by_target = defaultdict(list)
        for row, part in _parts(cell, [folders[number] for number in cell.folders]):
            by_target[target_of(row), part.classes].append((row, part))
        for (target, _), of in by_target.items():
            rows, parts = zip(*of, strict=True)
            found.append(PredictedCell(cell, target, rows, parts))
    return found


def _parts(cell: Outcome, folders: Sequence[Path]) -> Iterator[tuple[Record, TestOutputs]]:
    """Scored refits and what they predicted, where it was kept."""
    known: dict[str, dict[str, TestOutputs]] = {}
    for row in cell.scored:
        if row.trial not in known:
            read = (predictions.read(f / predictions.FOLDER, row.trial) for f in folders)
            known[row.trial] = {part.member: part for parts in read for part in parts}
        part = known[row.trial].get(row.digest)
        # of several labels at once no class is taken for another
        if part is not None and len(part.window) and part.y.ndim == 1:
            yield row, part
