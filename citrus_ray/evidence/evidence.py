"""All that is known of one or several results folders, judged once: designs, rows, cells, gains."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from citrus_ray.evidence.contest import Contest, contest
from citrus_ray.evidence.design import Design, design_of, planned_points, read_design
from citrus_ray.evidence.gains import Gain, gains
from citrus_ray.evidence.halves import Halves, halves
from citrus_ray.evidence.labels import labelled
from citrus_ray.evidence.outcomes import Outcome, nothing_of, outcomes
from citrus_ray.evidence.pooled import PooledGain, pools
from citrus_ray.evidence.reading import Collection, collect
from citrus_ray.evidence.standings import Standings, standings
from citrus_ray.evidence.verdicts import Judged, judge

if TYPE_CHECKING:
    from citrus_ray.experiment.sweep import Sweep


@dataclass(frozen=True)
class Evidence:
    """What every surface prints from."""

    designs: tuple[Design, ...]
    found: Collection
    cells: tuple[Outcome, ...]

    @cached_property
    def gains(self) -> list[Gain]:
        return gains(self.cells)

    @cached_property
    def claims(self) -> list[Judged]:
        """The claims of all folders, each once, judged over all cells as the first folder judges.

        One that came late to any of them is late.
        """
        first, stamps = self.designs[0], dict[str, bool]()
        for design in self.designs:
            for claim, late in (design.stamps or {}).items():
                stamps[claim] = late or stamps.get(claim, False)
        claims = [claim for design in self.designs for claim in design.claims]
        asked = {claim.identity_of_claim(first.verdicts): claim for claim in claims}
        return judge(tuple(asked.values()), self.cells, replace(first, stamps=stamps))

    @cached_property
    def pools(self) -> list[PooledGain]:
        """Gains over everything, and in parts."""
        return pools(self.gains)

    @cached_property
    def standings(self) -> Standings | None:
        """All methods side by side."""
        return standings(self.cells)

    @cached_property
    def contest(self) -> Contest | None:
        """The best pre-trained network against the best closed-form method, target by target."""
        return contest(self.standings, self.cells)

    @cached_property
    def halves(self) -> Halves | None:
        """Claims by half of the rounds."""
        return halves(self.claims, self.cells, self.designs[0])

    @cached_property
    def gain_of(self) -> dict[str, Gain]:
        """By digest of the pre-trained cell."""
        return {gain.cell.digest: gain for gain in self.gains}


def read_evidence(folders: Sequence[Path], commit: str = "") -> Evidence:
    """What some results folders hold; only what `commit` computed, where one is given."""
    designs = tuple(read_design(folder) for folder in folders)
    found = collect([f / "records" for f in folders], lambda i, cell: designs[i].has(cell))
    if commit:
        rows = tuple(row for row in found.rows if (row.commit or "").startswith(commit))
        found = replace(found, rows=rows)
    return Evidence(designs, found, tuple(labelled(outcomes(found, designs))))


def evidence_of(sweep: "Sweep", records: Path) -> Evidence:
    """What a folder of records says of the cells of a sweep, those without a record included, in
    its order."""
    design = design_of(sweep, records.parent)
    found = collect([records], lambda _, cell: design.has(cell))
    if found.rows:  # making the points loads scipy, and nothing is to be judged by them yet
        points = planned_points(records.parent) if sweep.together else sweep.points
        design = replace(design, points=points)
    by_digest = {cell.digest: cell for cell in outcomes(found, [design])}
    cells = [
        by_digest.get(cell.digest) or nothing_of(cell.digest, cell.axes, design)
        for cell in sweep.cells
    ]
    return Evidence((design,), found, tuple(labelled(cells)))
