"""What one page is about: the evidence, its exhibits, and numbered caveats."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from citrus_ray.evidence.cost import known_cost
from citrus_ray.evidence.curves import curves
from citrus_ray.evidence.evidence import Evidence
from citrus_ray.evidence.explored import explored
from citrus_ray.evidence.fronts import fronts
from citrus_ray.evidence.learning import PretrainedArm, pretrained_arms, tunings
from citrus_ray.evidence.predicted import predicted
from citrus_ray.evidence.pretrainings import pretrainings
from citrus_ray.evidence.ranks import ranking
from citrus_ray.evidence.responses import responses
from citrus_ray.report.exhibits.costs import costs
from citrus_ray.report.exhibits.exhibit import Exhibit
from citrus_ray.report.exhibits.gains import (
    learning,
    map_of_targets,
    over_scratch,
    points,
    pooled,
)
from citrus_ray.report.exhibits.learning import finetuning, pretraining
from citrus_ray.report.exhibits.methods import side_by_side
from citrus_ray.report.exhibits.predictions import predictions
from citrus_ray.report.exhibits.scores import ranks, test_scores
from citrus_ray.report.exhibits.searches import hangs_on, histories, of_fronts
from citrus_ray.report.tables import Footnotes
from citrus_ray.store import Places, encoders_of


class Findings:
    """What the evidence says, drawn at most once, and caveats beside it."""

    def __init__(self, folders: Sequence[Path], evidence: Evidence) -> None:
        self.folders, self.evidence = folders, evidence
        self.designs, self.found = evidence.designs, evidence.found
        self.cells, self.gains = list(evidence.cells), evidence.gains
        self.design = self.designs[0]  # after which the page is named
        self.notes = Footnotes.about(self.cells, self.gains)

    @cached_property
    def store(self) -> Places:
        """Where it stands what the encoders are, if it is here."""
        return encoders_of(self.folders[0])

    @cached_property
    def cost(self) -> dict[str, Any]:
        return known_cost(self.found.rows, self.store, self.design.cost)

    @cached_property
    def arms(self) -> list[PretrainedArm]:
        """Pre-trainings whose losses are stored here."""
        stored = {one.encoder: one for one in pretrainings(self.found.rows, self.store)}
        return pretrained_arms(self.cells, stored)

    @cached_property
    def results(self) -> list[Exhibit]:
        """Gains and test scores."""
        scale = points(self.design.test_metric)
        return [
            *over_scratch(self.gains, self.notes),
            *side_by_side(self.evidence.standings, scale),
            *test_scores(self.cells, self.notes),
        ]

    @cached_property
    def exhibits(self) -> list[Exhibit]:
        """What lies behind them, as far as these results can fill it."""
        metric = self.design.test_metric
        return [
            *pooled(self.evidence.pools, metric),
            *learning(curves(self.cells)),
            *map_of_targets(self.gains),
            *ranks(ranking(self.cells)),
            *pretraining(self.arms),
            *finetuning(tunings(self.cells), self.design.metric),
            *predictions(predicted(self.cells, self.folders)),
            *hangs_on(explored(self.cells, self.gains), responses(self.cells), metric),
            *of_fronts(fronts(self.cells)),
            *costs(self.cells, self.arms, self.cost),
        ]

    @cached_property
    def search(self) -> list[Exhibit]:
        return list(histories(self.cells))

    @property
    def all(self) -> list[Exhibit]:
        return [*self.results, *self.exhibits, *self.search]
