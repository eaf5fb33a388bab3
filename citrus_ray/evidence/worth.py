"""What each view of a window adds to all of them, pooled over the places where it was measured."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from citrus_ray.evidence.facts import TARGET
from citrus_ray.evidence.intervals import Effect
from citrus_ray.evidence.outcomes import Outcome
from citrus_ray.evidence.rounds import Value, measured
from citrus_ray.experiment.labels import Axes, canonical, settings_label

# what tells places apart, and not the views that were measured there
PLACES = (TARGET, "finetune.labels")


@dataclass(frozen=True)
class PooledWorth:
    """The mean over places, and its interval over rounds, of cells that differ in place alone."""

    axes: Axes
    n_places: int
    of_view: dict[str, Effect]

    @property
    def label(self) -> str:
        said = settings_label(self.axes)
        return f"mean of {self.n_places} places{f', {said}' if said else ''}"


def pooled_worth(cells: Iterable[Outcome]) -> list[PooledWorth]:
    """One for each group of several cells that have the same views."""
    groups: dict[str, list[Outcome]] = defaultdict(list)
    for cell in (cell for cell in cells if cell.worth_by_round):
        shared = {path: value for path, value in cell.axes.items() if path not in PLACES}
        groups[canonical([cell.arm, shared])].append(cell)
    return [found for of in groups.values() if len(of) > 1 and (found := _pooled(of)).of_view]


def _pooled(cells: Sequence[Outcome]) -> PooledWorth:
    by_view: dict[str, list[Value]] = defaultdict(list)
    for cell in cells:
        for view, values in cell.worth_by_round.items():
            by_view[view] += [replace(v, place=f"{cell.digest} {v.place}") for v in values]
    found = {view: one for view, values in by_view.items() if (one := measured(values))}
    axes = {path: value for path, value in cells[0].axes.items() if path not in PLACES}
    effects = {view: one.these.effect() for view, one in found.items()}
    return PooledWorth(axes, len(cells), effects)
