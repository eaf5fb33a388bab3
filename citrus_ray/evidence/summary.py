"""`summary.json`: what a sweep found, from its records alone."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from citrus_ray.data.windowing import cache
from citrus_ray.data.windowing.splits import caveats_on
from citrus_ray.evidence import pooled, standings
from citrus_ray.evidence.cost import GpuMeter, cost, saved
from citrus_ray.evidence.evidence import Evidence, evidence_of
from citrus_ray.evidence.intervals import INTERVAL
from citrus_ray.evidence.outcomes import Outcome
from citrus_ray.evidence.pretrainings import caveat, losses, pretrainings
from citrus_ray.evidence.trials import Result, Stop, front, why_stop
from citrus_ray.evidence.worth import pooled_worth
from citrus_ray.experiment.hold_out import all_left_out
from citrus_ray.experiment.sweep import Cell, Sweep
from citrus_ray.store import Places, encoders_of


def summarise(
    sweep: Sweep, folder: Path, seconds: float, store: Places | None = None
) -> dict[str, Any]:
    """The content of `summary.json`. `store` holds the encoders, by default that beside the
    sweep's folder."""
    store = store or encoders_of(folder.parent)
    return summary_of(sweep, evidence_of(sweep, folder), seconds, store)


def summary_of(sweep: Sweep, evidence: Evidence, seconds: float, store: Places) -> dict[str, Any]:
    total = cost(evidence.found.rows, store)
    stops = [
        _stopped(cell, outcome, evidence, store)
        for cell, outcome in zip(sweep.cells, evidence.cells, strict=True)
    ]
    return {
        "name": sweep.name,
        "spec_digest": sweep.digest(),
        "cells": [
            _cell(cell, outcome, evidence, stop, store)
            for cell, outcome, stop in zip(sweep.cells, evidence.cells, stops, strict=True)
        ],
        "claims": [one.tree() for one in evidence.claims],
        "pooled": [pooled.tree(one) for one in pooled.over_everything(evidence.pools)],
        "standings": standings.tree(evidence.standings),
        "contest": evidence.contest and evidence.contest.tree(),
        "halves": evidence.halves and evidence.halves.tree(),
        "worth": [
            {
                "label": one.label,
                "axes": one.axes,
                "n_places": one.n_places,
                "of_view": {view: effect.tree() for view, effect in one.of_view.items()},
            }
            for one in pooled_worth(evidence.cells)
        ],
        "interval": INTERVAL,
        "decide": _decided(sweep, evidence),
        "warm_start": sweep.warm_start and sweep.warm_start.tree(),
        "not_counted": [str(one) for one in evidence.found.unreadable],
        "seconds": round(seconds, 2),
        "compute_seconds": round(
            sum(total[f"{part}_seconds"] for part in ("search", "final", "pretrain")), 2
        ),
        "cost": total,
    }


def _decided(sweep: Sweep, evidence: Evidence) -> dict[str, Any] | None:
    """How far a sweep that goes on until it knows has come."""
    if sweep.decide is None:
        return None
    n_open = sum(claim.verdict == "undecided" for claim in evidence.claims)
    rounds = [len(cell.measured.numbers) for cell in evidence.cells if cell.measured]
    return {
        "rounds": max(rounds, default=0),
        "at_most": sweep.decide.rounds,
        "n_open": n_open,
        "n_claims": len(sweep.claims),
    }


def _cell(
    cell: Cell, outcome: Outcome, evidence: Evidence, stop: Stop | None, store: Places
) -> dict[str, Any]:
    over = [trial for trial in outcome.searched if trial.over]
    best, reasons = outcome.best, [trial.reason for trial in outcome.searched if not trial.over]
    reasons += [row.reason for row in outcome.final]
    race = saved(outcome.searched, len(cell.repeat)) if cell.sweep.race else {}
    encoders = pretrainings(outcome.scored, store)
    caveats = [*_caveats(cell), *caveat(encoders), *outcome.caveats(), *_short_search(cell, stop)]
    caveats += _infeasible(cell, over)
    return {
        "axes": cell.axes,
        "label": outcome.label,
        "settings": outcome.settings,
        "metric": outcome.design.test_metric,
        "n_trials": len(outcome.searched),
        "earlier_search": outcome.is_earlier,
        "n_failed": outcome.n_searched("failed"),
        "n_pruned": outcome.n_searched("pruned") - len(over),
        "n_infeasible": len(over),
        "best": best.params if best else None,
        "val": best.value if best else None,
        "test": outcome.test.tree() | {"counts": "round"} if outcome.test else None,
        "gain": _gain(cell, evidence),
        "labels": {
            "validation": outcome.validation,
            "search": outcome.n_labelled("search"),
            "final": outcome.n_labelled("final"),
        },
        "baselines": outcome.baselines,
        "missing": outcome.missing,
        **({"by_label": outcome.by_label} if outcome.by_label else {}),
        "worth": {view: effect.tree() for view, effect in outcome.worth.items()},
        "identity": outcome.identity,
        "network": outcome.network,
        **_front(cell, outcome),
        "failures": sorted({reason for reason in reasons if reason}),
        "stopped": stop,
        "cost": cost(outcome.rows, store) | race,
        "pretraining": losses(encoders),
        "signals": cell.trial.signals(),
        "caveats": list(dict.fromkeys(caveats)),
    }


def _gain(cell: Cell, evidence: Evidence) -> dict[str, Any] | None:
    gain = evidence.gain_of.get(cell.digest)
    if gain is None:
        return None
    return gain.found.tree() | {
        "n_pairs": len(gain.pairs),
        "against": gain.against.axes,
        "next": gain.next.tree() if gain.next else None,
    }


def _front(cell: Cell, outcome: Outcome) -> dict[str, Any]:
    """Of several objectives: the trials that none beats, on validation data. The refit is of the
    best mean."""
    if cell.sweep.objective.each is None:
        return {}
    names = cell.sweep.objectives
    return {
        "front": [
            {"params": r.params, "val": dict(zip(names, r.scores, strict=True))}
            for r in front(outcome.searched)
        ]
    }


def _stopped(cell: Cell, outcome: Outcome, evidence: Evidence, store: Places) -> Stop | None:
    """What ended a cell's search before it had all its trials."""
    if len(outcome.searched) == cell.n_trials:
        return None
    meter = GpuMeter(store)
    meter.add(evidence.found.rows)
    elapsed = max((row.asked_s for row in evidence.found.rows), default=0.0)
    return why_stop(cell.sweep.budget, outcome.is_stale, elapsed, meter.seconds)


def _caveats(cell: Cell) -> list[str]:
    """What the sources say of themselves, and how the number was made."""
    members = [trial for _, trial in cell.members({}, 0)]
    sources = {source.digest(): source for trial in members for source in trial.sources().values()}
    said = [caveat for source in sources.values() for caveat in cache.load(source).caveats]
    for member in members:
        said += caveats_on(cache.load(member.finetune.target), member.finetune.split)
    said += map(str, all_left_out(members))
    if cell.sweep.warm_start:
        targets = dict.fromkeys(member.finetune.target.digest() for member in members)
        said += [text for of in targets for text in cell.sweep.warm_start.caveats(of)]
    return list(dict.fromkeys([*said, *_order_of_ends(cell)]))


def _order_of_ends(cell: Cell) -> Iterable[str]:
    """What of a search hangs on which trials ended first, and so on machines and chance."""
    sweep = cell.sweep
    if cell.n_trials == 1:
        return
    if sweep.asha:
        yield (
            "asha stops a trial by those that came as far before it: which were stopped depends "
            "on the order in which they got there"
        )
    if sweep.race:
        yield (
            "race stops a trial by the best that had ended before it: which were stopped depends "
            "on the order in which they ended"
        )
    if sweep.budget.per == "second":
        yield "budget.per weighs measured seconds: where it searched depends on the machines"
    if sweep.learns_apart:
        yield (
            f"{sweep.sampler} follows the results that it has: where it searched depends on the "
            "order in which they came"
        )


def _infeasible(cell: Cell, over: Sequence[Result]) -> Iterable[str]:
    """What constraints kept out of the search, and what that hangs on."""
    if not over:
        return
    rule = f"{len(over)} trials were {over[0].reason}" + ", and the like" * (len(over) > 1)
    timed = cell.sweep.constraints and cell.sweep.constraints.seconds is not None
    on = "; seconds are those of the machine that led the sweep" if timed else ""
    yield f"{rule}: they did not run, and winners are of the others{on}"


def _short_search(cell: Cell, why: Stop | None) -> Sequence[str]:
    """A cell that tried fewer settings has a worse winner by chance alone. Patience with a design
    ends at the same point in all cells."""
    if why is None or (why == "patience" and not cell.sweep.learns_apart):
        return []
    rule = f"budget.{why} ended searches before all {cell.sweep.budget.trials} trials"
    return [f"{rule}: cells chose among unequally many"]
