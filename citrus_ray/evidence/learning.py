"""How learning went: losses of pre-trainings by epoch, and validation of fine-tunes by round."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from citrus_ray.evidence.outcomes import Outcome
from citrus_ray.evidence.pretrainings import SAID, Pretraining


@dataclass(frozen=True)
class PretrainedArm:
    """The encoders that one compared pre-training rests on."""

    label: str
    encoders: tuple[Pretraining, ...]

    def losses(self, split: str) -> list[list[float]]:
        """Of each encoder, by epoch."""
        found = [[row.get(f"{split}/loss") for row in one.history] for one in self.encoders]
        return [[v for v in of if v is not None] for of in found]

    @property
    def references(self) -> dict[str, float]:
        """Mean loss of each predictor without a network, in words, where all encoders have it."""
        every = [one.references for one in self.encoders]
        names = [name for name in SAID if all(name in one for one in every)]
        return {SAID[name]: fmean(one[name] for one in every) for name in names}

    @property
    def n_unbeaten(self) -> int:
        """Encoders whose last loss some predictor without a network reaches."""
        return sum(bool(one.unbeaten) for one in self.encoders)


def pretrained_arms(
    cells: Iterable[Outcome], stored: Mapping[str, Pretraining]
) -> list[PretrainedArm]:
    """Those of which the store has an encoder that refits rest on."""
    found: dict[str, dict[str, Pretraining]] = defaultdict(dict)
    for cell in cells:
        for row in cell.scored:
            if row.encoder and row.encoder in stored:
                found[cell.arm_label][row.encoder] = stored[row.encoder]
    return [PretrainedArm(label, tuple(of.values())) for label, of in found.items()]


@dataclass(frozen=True)
class Tuning:
    """Validation scores of one cell's refits, by round of training."""

    cell: Outcome
    scores: tuple[tuple[float, ...], ...]  # of each refit; one that stopped early has fewer

    @property
    def means(self) -> list[float]:
        """Over the refits that came as far."""
        longest = max(map(len, self.scores))
        return [fmean(of[i] for of in self.scores if i < len(of)) for i in range(longest)]

    def best(self, sign: int) -> int:
        """The first round with the best mean."""
        return max(range(len(self.means)), key=lambda i: sign * self.means[i])

    def is_rising(self, sign: int) -> bool:
        """Whether the last is the best."""
        return self.best(sign) == len(self.means) - 1


def tunings(cells: Sequence[Outcome]) -> list[Tuning]:
    """Of cells whose refits took steps."""
    found = [(cell, [row.curve for row in cell.scored if len(row.curve) > 1]) for cell in cells]
    return [
        Tuning(cell, tuple(tuple(value for value, _ in curve) for curve in curves))
        for cell, curves in found
        if curves
    ]
