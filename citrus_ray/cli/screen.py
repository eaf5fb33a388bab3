"""Screens of a sweep: what is recorded, how far it is, its best trials, and the end of a run.

Everything that commands ask of `evidence` is asked here.
"""

import json
import os
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from citrus_ray import records
from citrus_ray.evidence.evidence import evidence_of
from citrus_ray.evidence.kept import FOLDER, KeptModels, kept_models, said_of
from citrus_ray.evidence.power import lines as power_lines
from citrus_ray.evidence.rounds import round_of
from citrus_ray.evidence.summary import summarise
from citrus_ray.evidence.tables import table, top
from citrus_ray.experiment.forecast import (
    LIVE,
    LIVE_EVERY_S,
    Forecast,
    Kind,
    Left,
    in_words,
    workers,
)
from citrus_ray.experiment.labels import count
from citrus_ray.experiment.prices import Prices
from citrus_ray.experiment.sweep import Sweep
from citrus_ray.records import Phase

# of a sweep's trials; beyond it the command says that the sweep failed
MAX_FAILED_SHARE = 0.5


def recorded(sweep: Sweep, out: Path, prices: Prices) -> list[str]:
    """What of the plan is there already, and how long the rest takes: one line, or none."""
    done = Done.of(sweep, out)
    if not done.n_searched:
        return []
    done.forecast.expect(prices)
    return [f"recorded already: {done}; {done.with_encoders().rest}"]


@dataclass(frozen=True)
class Done:
    """What of a sweep is recorded, what is left, and at which price."""

    sweep: Sweep
    n_searched: int
    n_refits: int
    left: Left
    forecast: Forecast
    encoders: dict[int, set[str]]  # that records name, by cell

    @classmethod
    def of(cls, sweep: Sweep, out: Path) -> "Done":
        forecast, jobs = Forecast(sweep), dict[Kind, int]()
        n_done: dict[Phase, int] = {"search": 0, "final": 0}
        encoders: dict[int, set[str]] = {}
        cells = evidence_of(sweep, out / "records").cells
        for cell, outcome in zip(sweep.cells, cells, strict=True):
            encoders[cell.index] = {row.encoder for row in outcome.rows if row.encoder}
            finals: dict[int, float] = defaultdict(float)
            for row in outcome.final:
                finals[round_of(row)] += row.seconds
            # trials of an earlier search are searched anew
            searched = [] if outcome.is_earlier else [r.seconds for r in outcome.searched]
            n_trials = len(searched) if outcome.is_stale else cell.n_trials
            took: tuple[tuple[Phase, Collection[float], int], ...] = (
                ("search", searched, n_trials),
                ("final", finals.values(), sweep.final.rounds),
            )
            for phase, seconds, n in took:
                n_done[phase] += len(seconds)
                jobs[cell.index, phase] = max(n - len(seconds), 0)
                for one in seconds:
                    forecast.recall((cell.index, phase), one)
        return cls(sweep, n_done["search"], n_done["final"], Left(jobs), forecast, encoders)

    def with_encoders(self) -> "Done":
        """The same with the pre-trainings that are left, once the forecast knows of them."""
        groups, jobs = self.forecast.groups, self.left.jobs
        there = [set().union(*(self.encoders[cell.index] for cell in g.cells)) for g in groups]
        n = [group.left(len(found), jobs) for group, found in zip(groups, there, strict=True)]
        return replace(self, left=replace(self.left, encoders=n))

    def __str__(self) -> str:
        n_trials = sum(cell.n_trials for cell in self.sweep.cells)
        n_refits = self.sweep.final.rounds * len(self.sweep.cells)
        searched = f"{self.n_searched} of {n_trials} search trials"
        return f"{searched} and {self.n_refits} of {n_refits} refits"

    @property
    def rest(self) -> str:
        """How long what is left takes on this machine alone."""
        if not any(self.left.jobs.values()):
            return "nothing is left"
        n = workers(self.sweep)
        seconds = self.forecast.seconds(self.left, n)
        if seconds is None:
            return "--dry-run says how long it takes"
        pretrains = any(cell.trial.pretraining for cell in self.sweep.cells)
        beside = ", pre-trainings beside" if pretrains and not self.left.encoders else ""
        return f"about {in_words(seconds)} left on {count(n, 'worker')}, by these trials{beside}"


def power(sweep: Sweep, out: Path) -> Iterator[str]:
    """How likely the sweep decides what it claims, from what is recorded of its places."""
    return power_lines(sweep, evidence_of(sweep, out / "records").claims)


def to_keep(sweep: Sweep, out: Path) -> list[str]:
    """What is recorded and computed again for its models: one line, or none."""
    models = kept_models(sweep, evidence_of(sweep, out / "records"), out)
    said = said_of(models) if models else ""
    return [f"keep: {said}"] if said else []


def _models(sweep: Sweep, out: Path, models: KeptModels | None) -> list[str]:
    """Where models are, and which are not there."""
    if models is None:
        return []
    lines = [f"models       {out / FOLDER}/  ({len(models.there)}; `citrus predict` asks one)"]
    lines += [f"not kept: {reason}" for reason in models.refused]
    if models.missing:
        lines.append(f"not kept: {said_of(models)}; make room, and run the same command again")
    return lines


def status(sweep: Sweep, out: Path) -> str:
    """How far the sweep is, whether it runs, and its table so far."""
    found = summarise(sweep, out / "records", 0.0)
    done = Done.of(sweep, out)
    said = f"{sweep.name}: {done} recorded in {out / 'records'}"
    running = live_line(out) or f"not running; {done.rest}"
    return "\n".join([said, running, "", table(found), *_not_counted(found["not_counted"])])


def _not_counted(said: Sequence[str]) -> list[str]:
    """What is damaged under records/, each file by name, and what becomes of it."""
    then = ["the next run moves them into records/aside/ and computes their trials again"]
    return [f"not counted: {one}" for one in said] + then * bool(said)


def live_line(out: Path) -> str | None:
    """What the process that runs a sweep last said of it; None where there is none, or it is
    gone."""
    try:
        told = json.loads((out / LIVE).read_text())
        age = time.time() - told["at"]
        if age > 6 * LIVE_EVERY_S or not _is_alive(told):
            return None
        parts = [count(told["running"], "trial")]
        if told["pretraining"]:
            wait = f"{count(told['waiting'], 'trial')} wait"
            parts.append(f"{count(told['pretraining'], 'pre-training')} ({wait})")
        if told["elsewhere"]:
            parts.append(f"{count(told['elsewhere'], 'pre-training')} in another sweep")
        left = "" if told["left_s"] is None else f"; about {in_words(told['left_s'])} left"
        return f"running: {', '.join(parts)}{left} (as of {age:.0f} s ago)"
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_alive(told: dict[str, Any]) -> bool:
    """Whether the process is there, where it is on this machine."""
    if told["host"] != records.host():
        return True
    try:
        os.kill(told["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    return True


def best(sweep: Sweep, out: Path, n: int) -> str:
    """The `n` best trials of each cell."""
    evidence = evidence_of(sweep, out / "records")
    damaged = _not_counted([str(one) for one in evidence.found.unreadable])
    return "\n".join([*top(sweep, evidence, n), *damaged])


def last(
    sweep: Sweep, out: Path, found: dict[str, Any], report: Path, models: KeptModels | None = None
) -> str:
    """Scores, caveats and failures, and where all of it lies."""
    cells = found["cells"]
    metric = f"{cells[0]['metric']} of each cell's winner; interval: {found['interval']}"
    lines = [f"\n{sweep.name}: {metric}\n", table(found)]
    done = (f"{path} {said}" for cell in cells for path, said in cell["signals"].items())
    lines += [f"signals: {said}" for said in dict.fromkeys(done)]
    lines += _not_counted(found["not_counted"])
    for key, word in (("caveats", "caveat"), ("failures", "failed")):
        texts = dict.fromkeys(text for cell in cells for text in cell[key])
        lines += [f"{word}: {text}" for text in texts]
    lines += sweep.warm_start.lines(sweep.first) if sweep.warm_start else []
    if sweep.race:
        n = sum(cell["cost"]["members_saved"] for cell in cells)
        seconds = sum(cell["cost"]["seconds_saved"] for cell in cells)
        what = f"{n} members of clearly worse trials, about {seconds:.0f} s of compute"
        lines.append(f"racing left out {what}")
    return "\n".join(
        [
            *lines,
            f"\nresults      {out}/  (records/, summary.json, spec.yaml, optuna.log)",
            f"report       {report}",
            f"tensorboard  tensorboard --logdir {out / 'tensorboard'}",
            *_models(sweep, out, models),
        ]
    )


def too_much_failed(found: dict[str, Any]) -> bool:
    """Whether a cell has no score, or more trials failed than a sweep may lose."""
    cells = found["cells"]
    n_trials, n_failed = (sum(cell[key] for cell in cells) for key in ("n_trials", "n_failed"))
    return n_failed > MAX_FAILED_SHARE * n_trials or any(cell["test"] is None for cell in cells)
