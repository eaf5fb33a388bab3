"""Screens of a sweep: what is recorded, how far it is, its best trials, and the end of a run.

Everything that commands ask of `evidence` is asked here.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from citrus_ray.evidence.evidence import evidence_of
from citrus_ray.evidence.kept import FOLDER, KeptModels, kept_models, said_of
from citrus_ray.evidence.power import lines as power_lines
from citrus_ray.evidence.summary import summarise
from citrus_ray.evidence.tables import table, top
from citrus_ray.experiment.sweep import Sweep

# of a sweep's trials; beyond it the command says that the sweep failed
MAX_FAILED_SHARE = 0.5


def recorded(sweep: Sweep, out: Path) -> list[str]:
    """What of the plan is there already: one line, or none."""
    cells = summarise(sweep, out / "records", 0.0)["cells"]
    n_done = _n_searched(cells)
    n_finals = sum(cell["test"] is not None for cell in cells)
    if not n_done:
        return []
    n_all = sum(cell.n_trials for cell in sweep.cells)
    left = 1 - (n_done + n_finals) / (n_all + len(cells))
    return [
        f"recorded already: {n_done} of {n_all} search trials, {n_finals} of {len(cells)} winners "
        f"refitted; about {left:.0%} of the trials are left"
    ]


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
    """How far the sweep is, and its table so far."""
    found = summarise(sweep, out / "records", 0.0)
    n_done = _n_searched(found["cells"])
    n_all = sum(cell.n_trials for cell in sweep.cells)
    said = f"{sweep.name}: {n_done} of {n_all} search trials recorded in {out / 'records'}"
    return f"{said}\n\n{table(found)}"


def _n_searched(cells: list[dict[str, Any]]) -> int:
    """Trials that this spec asks for; those of an earlier search are searched anew."""
    return sum(cell["n_trials"] for cell in cells if not cell["earlier_search"])


def best(sweep: Sweep, out: Path, n: int) -> str:
    """The `n` best trials of each cell."""
    return "\n".join(top(sweep, evidence_of(sweep, out / "records"), n))


def last(
    sweep: Sweep, out: Path, found: dict[str, Any], report: Path, models: KeptModels | None = None
) -> str:
    """Scores, caveats and failures, and where all of it lies."""
    cells = found["cells"]
    metric = f"{cells[0]['metric']} of each cell's winner; interval: {found['interval']}"
    lines = [f"\n{sweep.name}: {metric}\n", table(found)]
    done = (f"{path} {said}" for cell in cells for path, said in cell["signals"].items())
    lines += [f"signals: {said}" for said in dict.fromkeys(done)]
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
