"""Whether verdicts hold when either half of the rounds is judged alone. A claim that a half leaves
undecided holds; one that it turns around does not."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from citrus_ray.evidence.design import Design
from citrus_ray.evidence.outcomes import Outcome
from citrus_ray.evidence.rounds import Verdict, round_of
from citrus_ray.evidence.verdicts import Judged, judge
from citrus_ray.experiment.labels import count

OPPOSITE: dict[Verdict, Verdict] = {"supported": "contradicted", "contradicted": "supported"}


@dataclass(frozen=True)
class Halves:
    """Each claim's verdict by all rounds, by the first half of them and by the second."""

    rounds: tuple[tuple[int, ...], tuple[int, ...]]
    says: tuple[str, ...]
    whole: tuple[Verdict, ...]
    of_half: tuple[tuple[Verdict, ...], tuple[Verdict, ...]]

    @property
    def reversed(self) -> list[str]:
        """Claims that a half contradicts where all support it, or the other way round."""
        told = zip(self.says, self.whole, *self.of_half, strict=True)
        return [says for says, all_of, *half in told if OPPOSITE.get(all_of) in half]

    @property
    def told(self) -> str:
        n = [len(rounds) for rounds in self.rounds]
        same = [
            sum(a == b != "undecided" for a, b in zip(self.whole, half, strict=True))
            for half in self.of_half
        ]
        decided = sum(verdict != "undecided" for verdict in self.whole)
        start = f"Of {count(decided, 'decided claim')}"
        return (
            f"{start}, the first {count(n[0], 'round')} alone decide {same[0]} alike, the other "
            f"{n[1]} {same[1]}; "
            + (f"reversed: {'; '.join(self.reversed)}." if self.reversed else "none is reversed.")
        )

    def tree(self) -> dict[str, Any]:
        """For `summary.json`."""
        return {
            "says": self.told,
            "rounds": [list(rounds) for rounds in self.rounds],
            "verdicts": [list(half) for half in self.of_half],
            "reversed": self.reversed,
        }


def halves(claims: Sequence[Judged], cells: Sequence[Outcome], design: Design) -> Halves | None:
    """None where nothing is decided, or there is no round in each half."""
    whole = tuple(claim.verdict for claim in claims)
    numbers = sorted({round_of(row) for claim in claims for c in claim.cells for row in c.final})
    if len(numbers) < 2 or set(whole) <= {"undecided"}:
        return None
    middle = (len(numbers) + 1) // 2
    rounds = tuple(numbers[:middle]), tuple(numbers[middle:])
    first, second = (
        tuple(one.verdict for one in judge([c.claim for c in claims], _only(cells, of), design))
        for of in rounds
    )
    says = tuple(claim.claim.says for claim in claims)
    return Halves(rounds, says, whole, (first, second))


def _only(cells: Sequence[Outcome], rounds: Sequence[int]) -> list[Outcome]:
    return [
        replace(cell, final=tuple(row for row in cell.final if round_of(row) in rounds))
        for cell in cells
    ]
