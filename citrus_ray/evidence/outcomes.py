"""What the records say of each compared cell: its searched trials, the winner, the winner's
refit, its score."""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import fmean
from typing import Any

from citrus_ray.data.windowing.splits import Validation
from citrus_ray.evidence.design import Design, score_bounds
from citrus_ray.evidence.facts import target_of, test_part_of, validation_of
from citrus_ray.evidence.intervals import Effect, score_effect
from citrus_ray.evidence.labels import arm_of, stored_weights
from citrus_ray.evidence.reading import Collection
from citrus_ray.evidence.rounds import DRAWN, Measured, Value, measured, round_of
from citrus_ray.evidence.trials import (
    Patience,
    Result,
    Tried,
    counted,
    n_stale,
    refit,
    result_of,
    same_points,
    winner,
)
from citrus_ray.experiment.labels import SCRATCH, Axes, canonical, count, is_pretrain
from citrus_ray.experiment.stored_weights import UNSEEN, sentence
from citrus_ray.experiment.trial import WITHOUT_NETWORK
from citrus_ray.records import Phase, Record, Status

ONE_ENCODER = (
    "one pre-trained encoder serves all rounds: the interval does not hold what another would give"
)
OTHER_POINTS = (
    "arms were searched at different points of the axes that they share: "
    "part of their difference is that of the points"
)
IDENTITY = "identity/"
RECENTRED = (
    "subjects=recentre: the mean feature of each test subject is taken from unlabelled windows of "
    "that subject, test windows among them: not what one window of a stranger would give; no "
    "baseline but random_encoder has that"
)
EARLIER = (
    "its trials are of an earlier search, at points that this spec has not: "
    "the next run searches anew"
)


@dataclass(frozen=True)
class Outcome:
    """One row of the comparison."""

    digest: str
    axes: Axes
    design: Design
    folders: tuple[int, ...]
    searched: tuple[Result, ...]  # those that count, in the order of the design's points
    n_recorded: int  # searched trials, those that do not count included
    best: Result | None  # the trial that validation chose, among those that ran to their end
    final: tuple[Record, ...]  # the winner's rounds, failed members included
    n_finals: int  # winners that were refitted; more than one where a budget grew
    rows: tuple[Record, ...] = field(repr=False)
    baselines: dict[str, float] = field(default_factory=dict)  # its own, or its scratch partner's
    is_stale: bool = False  # its search ended because it made no progress
    is_earlier: bool = False  # what was searched are other points than those of its design
    is_apart: bool = False  # so are those of another cell, on axes that both have
    arm_label: str = ""  # the next three are made last, over all cells that are shown together
    regime_label: str = ""
    label: str = ""
    settings: str = ""  # all that is compared, in words and to every key

    @cached_property
    def arm(self) -> str:
        """How it is pre-trained: the canonical JSON of what that is, whatever it is called."""
        return arm_of(self.rows, self.axes)

    @property
    def is_scratch(self) -> bool:
        return self.arm == SCRATCH

    @cached_property
    def scored(self) -> list[Record]:
        return [
            row
            for row in self.final
            if row.status == "ok" and self.design.test_metric in row.metrics
        ]

    @cached_property
    def measured(self) -> Measured | None:
        """Test scores by round."""
        metric = self.design.test_metric
        return measured([self._value(row, row.metrics[metric]) for row in self.scored])

    @cached_property
    def test(self) -> Effect | None:
        """The mean test score of these targets."""
        if self.measured is None:
            return None
        found = self.measured.these.effect()
        return score_effect(found, score_bounds(self.design.test_metric))

    def _value(self, row: Record, value: float) -> Value:
        fixed = {path: v for path, v in row.repeat.items() if path not in DRAWN}
        return Value(target_of(row), canonical(fixed), round_of(row), value)

    @cached_property
    def n_test_parts(self) -> int:
        """Different (target, test people) that the test score comes from."""
        return len({(target_of(row), test_part_of(row)) for row in self.scored})

    @cached_property
    def n_targets(self) -> int:
        return len({target_of(row) for row in self.scored})

    @cached_property
    def own_baselines(self) -> dict[str, float]:
        """Mean test score of each baseline that was scored beside all refits, weighed as the
        score itself: on some targets alone its mean would be of other tasks."""
        metric = self.design.test_metric
        rows = [row for row in self.scored if row.baselines]
        names = dict.fromkeys(name for row in rows for name in row.baselines)
        whole = [n for n in names if all(metric in row.baselines.get(n, {}) for row in rows)]
        return {
            name: _mean([self._value(row, row.baselines[name][metric]) for row in rows])
            for name in whole
        }

    @cached_property
    def missing(self) -> dict[str, float]:
        """Mean test score by the modalities that were left out, weighed as the score itself."""
        return {choice: _mean(values) for choice, values in self._scored_as("missing:").items()}

    @cached_property
    def by_label(self) -> dict[str, float]:
        """Mean test score of each label, where windows have any of several at once; weighed as
        the score itself."""
        found: dict[str, list[Value]] = defaultdict(list)
        start = f"{self.design.test_metric}:"
        for row in self.scored:
            for name, value in row.metrics.items():
                if name.startswith(start):
                    found[name.removeprefix(start)].append(self._value(row, value))
        return {name: _mean(values) for name, values in found.items()}

    @cached_property
    def worth(self) -> dict[str, Effect]:
        """What each view of a window adds to the test score of all: the score less that of the
        others alone, by round."""
        found = {view: measured(values) for view, values in self.worth_by_round.items()}
        return {view: one.these.effect() for view, one in found.items() if one is not None}

    @cached_property
    def worth_by_round(self) -> dict[str, list[Value]]:
        """What is lost of each refit's test score without each view."""
        own = {id(row): row.metrics[self.design.test_metric] for row in self.scored}
        lost = self._scored_as("without:", less=own)
        sign = self.design.sign
        return {v: [replace(one, value=sign * one.value) for one in of] for v, of in lost.items()}

    def _scored_as(
        self, prefix: str, less: dict[int, float] | None = None
    ) -> dict[str, list[Value]]:
        """Test scores of refits by what stands between `prefix` and the metric, or what is lost
        to those of `less`."""
        end, found = self.design.test_metric.removeprefix("test"), defaultdict(list)
        for row in self.scored:
            for name, value in row.metrics.items():
                if name.startswith(prefix) and name.endswith(end):
                    lost = value if less is None else less[id(row)] - value
                    named = name.removeprefix(prefix).removesuffix(end)
                    found[named].append(self._value(row, lost))
        return found

    @cached_property
    def identity(self) -> dict[str, float]:
        """Mean share of an embedding's variance that is the training subject, by `start` (as the
        fine-tune begins) and `untrained`, where refits recorded it."""
        found: dict[str, list[Value]] = defaultdict(list)
        for row in self.scored:
            for name, value in row.metrics.items():
                if name.startswith(IDENTITY):
                    found[name.removeprefix(IDENTITY)].append(self._value(row, value))
        return {name: _mean(values) for name, values in found.items()}

    @cached_property
    def network(self) -> dict[str, Any]:
        """Numbers of its networks in all and trained ones, the most of any refit (or trial, before
        there is one), the fewest and most steps of one that says them, and how weights from files
        arrived; empty where there is no network."""
        rows = [row for row in (self.final or self.rows) if row.network.get("parameters")]
        if not rows:
            return {}
        most = {name: max(row.network[name] for row in rows) for name in ("parameters", "trained")}
        least = dict[tuple[str, str], dict[str, Any]]()  # of first weights of every seed
        for row in rows:
            for name, found in row.network.get("weights", {}).items():
                key = name, found["content"]
                if key not in least or found["moved"] < least[key]["moved"]:
                    least[key] = found
        said = [sentence(name, found) for (name, _), found in least.items()]
        reads = dict.fromkeys(str(row.network["reads"]) for row in rows if "reads" in row.network)
        steps = [row.network["steps"] for row in rows if "steps" in row.network]
        of_steps = {"steps": [min(steps), max(steps)]} if steps else {}
        return {**most, **of_steps, "reads": list(reads), "weights": said}

    @cached_property
    def validation(self) -> Validation | None:
        """What its searched trials were chosen by; refits may choose by less. None: no record."""
        said = [validation_of(row) for row in self.rows if row.phase == "search"]
        return said[0] if said else None

    def n_labelled(self, phase: Phase) -> dict[str, int]:
        """The most windows that showed one member their label: to learn from, to choose by."""
        rows = [row.labelled for row in self.rows if row.phase == phase]
        return {
            use: max(found)
            for use in ("learnt", "chosen_by")
            if (found := [n[use] for n in rows if use in n])
        }

    def n_searched(self, status: Status) -> int:
        return sum(trial.status == status for trial in self.searched)

    def caveats(self) -> list[str]:
        """What stands between this cell's test score and a general claim."""
        said = self.design.caveats.get(canonical(self.axes), ())
        return list(dict.fromkeys([*said, *_caveats(self)]))


def _caveats(cell: Outcome) -> Iterable[str]:
    """Read off the rows themselves, so that they appear where no summary was written."""
    if cell.is_earlier:
        yield EARLIER
    if cell.is_apart:
        yield OTHER_POINTS
    yield from _chosen_with(cell)
    if not cell.scored:
        return
    if not cell.is_scratch and len({row.encoder for row in cell.scored}) == 1:
        yield ONE_ENCODER
    if any(stored_weights(row) for row in cell.scored):
        yield f"weights from a file: {UNSEEN}"
    n_rounds = len({round_of(row) for row in cell.scored})
    if n_rounds > 1 and cell.n_test_parts <= cell.n_targets:
        n = {row.n_tested for row in cell.scored if row.n_tested}
        who = f"{count(min(n), 'test subject')}" if len(n) == 1 else "test subjects"
        yield f"the same {who} in every round: the interval does not hold what others would give"
    yield from _of_search(cell)
    if any(_recentred(row) for row in cell.scored):
        yield RECENTRED
    if any(row.config.get("finetune.target.kind") == "synthetic" for row in cell.scored):
        yield (
            "the target is synthetic: "
            "it shows that the method works, and says nothing of real recordings"
        )
    bare = {name for row in cell.scored for name, found in row.baselines.items() if not found}
    if bare:
        rule = "without normalisation the set gives other windows, or none"
        yield f"not scored: {', '.join(sorted(bare))} ({rule})"
    if len(cell.scored) < len(cell.final):
        lost = len(cell.final) - len(cell.scored)
        yield f"{lost} of {len(cell.final)} refits failed and are not in the mean"
    if cell.n_finals > 1:
        yield (
            f"test data was scored for {cell.n_finals} winners in turn; the last winner's is shown"
        )


def _recentred(row: Record) -> bool:
    """Methods without a network have no features of which a subject could be taken away."""
    solved = row.config.get("model.kind") in WITHOUT_NETWORK
    return row.config.get("finetune.subjects") == "recentre" and not solved


def _of_search(cell: Outcome) -> Iterable[str]:
    """The winner is a draw, too, and no interval holds it."""
    full = [trial for trial in cell.searched if trial.is_full]
    if len(full) > 1:
        members = count(max(len(trial.values) for trial in full), "member")
        yield (
            f"the winner was chosen once, among {len(full)} trials by {members} each: "
            "the interval does not hold how another search would have chosen"
        )


def _chosen_with(cell: Outcome) -> Iterable[str]:
    """Labels that were spent on choosing beside those that a regime of few labels counts."""
    rows = [row for row in cell.rows if validation_of(row) == "full"]
    counts = sorted({n for row in rows if (n := row.labelled.get("chosen_by"))})
    ends = " to ".join(f"{n:,}" for n in dict.fromkeys([*counts[:1], *counts[-1:]]))
    if rows:
        yield f"chosen with a fully labelled validation part{f' of {ends} windows' if ends else ''}"


def _mean(values: Sequence[Value]) -> float:
    """Over complete rounds, else over what there is."""
    found = measured(values)
    return found.mean if found else fmean(value.value for value in values)


def outcomes(found: Collection, designs: Sequence[Design]) -> list[Outcome]:
    """Cells in the order of their designs; those that no design names come last."""
    rows: dict[str, list[Record]] = defaultdict(list)
    for row in found.rows:
        rows[row.cell].append(row)
    of_design: dict[int, list[str]] = defaultdict(list)
    for cell in rows:
        of_design[found.folders[cell][0]].append(cell)
    cells = [
        cell
        for number, digests in of_design.items()
        for cell in _of_design(
            designs[number], [(found.folders[digest], rows[digest]) for digest in digests]
        )
    ]
    known = {_regime(cell): cell.own_baselines for cell in cells if cell.own_baselines}
    cells = [replace(c, baselines=c.own_baselines or known.get(_regime(c), {})) for c in cells]
    return sorted(cells, key=_place)


def _of_design(
    design: Design, cells: Sequence[tuple[tuple[int, ...], list[Record]]]
) -> list[Outcome]:
    """The cells of one design, which choose among the same points."""
    searches = [_search_of(rows, design) for _, rows in cells]
    have_begun = design.known is not None and len(cells) == len(design.known)
    limit = design.patience if have_begun else None
    patience = Patience(design.points or (), limit, map(Tried, searches))
    made = [
        _outcome(rows, results, design, folders, patience)
        for (folders, rows), results in zip(cells, searches, strict=True)
    ]
    apart = _apart(made)
    return [replace(cell, is_apart=cell.digest in apart) for cell in made]


def _search_of(rows: Iterable[Record], design: Design) -> list[Result]:
    trials: dict[str, list[Record]] = defaultdict(list)
    for row in rows:
        if row.phase == "search":
            trials[row.trial].append(row)
    return [result_of(members, design.metric, design.each) for members in trials.values()]


def _outcome(
    rows: Sequence[Record],
    results: Sequence[Result],
    design: Design,
    folders: tuple[int, ...],
    patience: Patience,
) -> Outcome:
    """One cell, from all rows of it and what they say of its search."""
    finals: dict[str, list[Record]] = defaultdict(list)
    for row in rows:
        if row.phase == "final":
            finals[row.trial].append(row)
    axes = rows[0].axes
    of_points = [] if design.points is None else Tried(results).along(patience.counted)
    # records of an earlier design count as long as there are no others
    in_turn = sorted(counted(results, design.trials_of(axes)), key=lambda trial: trial.turn)
    searched = of_points or in_turn
    is_stale = patience.over
    if design.points is None and design.patience is not None:
        is_stale = n_stale(searched) >= design.patience
    best = winner(searched, design.mode)
    return Outcome(
        digest=rows[0].cell,
        axes=axes,
        design=design,
        folders=folders,
        searched=tuple(searched),
        n_recorded=len(results),
        best=best,
        final=tuple(refit(finals.values(), best)),
        n_finals=len({canonical(members[0].params) for members in finals.values()}),
        rows=tuple(rows),
        is_stale=is_stale,
        is_earlier=design.points is not None and bool(searched) and not of_points,
    )


def _apart(cells: Sequence[Outcome]) -> set[str]:
    """Cells that were searched at other points than another one, on axes that both have."""
    alike: dict[str, list[Outcome]] = defaultdict(list)
    for cell in cells:
        if cell.searched:
            alike[canonical(sorted(canonical(r.params) for r in cell.searched))].append(cell)
    return {
        cell.digest
        for some, others in itertools.combinations(alike.values(), 2)
        if not same_points(some[0].searched, others[0].searched)
        for cell in (*some, *others)
    }


def nothing_of(digest: str, axes: Axes, design: Design) -> Outcome:
    """A cell that has no record yet."""
    return Outcome(digest, axes, design, (0,), (), 0, None, (), 0, ())


def _regime(cell: Outcome) -> tuple[str, str]:
    """Equal for cells that differ in pre-training alone."""
    shared = {path: value for path, value in cell.axes.items() if not is_pretrain(path, value)}
    return cell.design.name, canonical(shared)


def _place(cell: Outcome) -> tuple[int, int, str]:
    order = cell.design.order
    return cell.folders[0], order.get(canonical(cell.axes), len(order)), cell.digest
