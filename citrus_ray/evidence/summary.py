"""What a sweep found, from its records alone: `summary.json` and the last screen."""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from citrus_ray import records
from citrus_ray.data.windowing import cache
from citrus_ray.evidence.cost import GpuMeter, cost, saved
from citrus_ray.evidence.trials import Stop, front, why_stop
from citrus_ray.evidence.trials import summarise as results_of
from citrus_ray.evidence.verdicts import judge
from citrus_ray.evidence.verdicts import lines as claim_lines
from citrus_ray.experiment.sweep import Cell, Sweep, short
from citrus_ray.metrics import mean_metrics
from citrus_ray.records import Record

Trials = list[list[Record]]
CONTROLS = ("halves", "distance", "difference", "same_run", "run_identity")  # baselines of pairs


def summarise(
    sweep: Sweep, folder: Path, seconds: float, store: Path | None = None
) -> dict[str, Any]:
    """The content of `summary.json`. `store` holds the encoders, beside the sweep's folder by default."""
    store = store or folder.parent.parent / "store"
    trials = list(records.read_all(folder))
    total = cost([row for rows in trials for row in rows], store)
    finals = {cell.digest: _final(cell, trials) for cell in sweep.cells}
    return {
        "name": sweep.name,
        "spec_digest": sweep.digest(),
        "cells": [
            _cell(cell, trials, finals) | _spent(cell, trials, store) for cell in sweep.cells
        ],
        "claims": judge(sweep, finals, _test_name(sweep)),
        "seconds": round(seconds, 2),
        "compute_seconds": round(
            sum(total[f"{part}_seconds"] for part in ("search", "final", "pretrain")), 2
        ),
        "cost": total,
    }


def _cell(cell: Cell, trials: Trials, finals: dict[str, list[Record]]) -> dict[str, Any]:
    metric, test = cell.sweep.objective.metric, _test_name(cell.sweep)
    mine, best, final = _searched(cell, trials), _best(cell, trials), finals[cell.digest]
    return {
        "axes": cell.axes,
        "metric": test,
        "n_trials": len(mine),
        "n_failed": sum(any(row.status == "failed" for row in rows) for rows in mine),
        "n_pruned": sum(any(row.status == "pruned" for row in rows) for rows in mine),
        "best": best[0].params if best else None,
        "val": mean_metrics([row.metrics for row in best])[metric] if best else None,
        "test": interval([row.metrics[test] for row in final if row.status == "ok"]),
        "gain": _gain(cell, finals),
        "baselines": _baselines(cell, finals),
        "missing": _missing(final, test),
        **_front(cell, mine),
        "failures": sorted({row.reason for rows in [*mine, final] for row in rows if row.reason}),
    }


def _front(cell: Cell, mine: Trials) -> dict[str, Any]:
    """Of several objectives: the trials that none beats, on validation data. The refit is of the best mean."""
    if cell.sweep.objective.each is None:
        return {}
    found = front(results_of(rows, cell.sweep.objective) for rows in mine)
    names = cell.sweep.objectives
    return {
        "front": [
            {"params": r.params, "val": dict(zip(names, r.scores, strict=True))} for r in found
        ]
    }


def _spent(cell: Cell, trials: Trials, store: Path) -> dict[str, Any]:
    """Cost of a cell, and what ended its search before it had all its trials."""
    rows = [row for rows in trials if rows[0].cell == cell.digest for row in rows]
    race = saved(_searched(cell, trials), len(cell.repeat)) if cell.sweep.race else {}
    stopped = _stopped(cell, trials, store)
    caveats = [*_caveats(cell), *_short_search(cell, stopped)]
    return {"stopped": stopped, "cost": cost(rows, store) | race, "caveats": caveats}


def _stopped(cell: Cell, trials: Trials, store: Path) -> Stop | None:
    results = [results_of(rows, cell.sweep.objective) for rows in _searched(cell, trials)]
    cells, meter = {c.digest for c in cell.sweep.cells}, GpuMeter(store)
    ours = [rows for rows in trials if rows[0].cell in cells]
    meter.add(row for rows in ours for row in rows)
    elapsed = max((rows[0].asked_s for rows in ours), default=0.0)
    return (
        None
        if len(results) == cell.n_trials
        else why_stop(cell.sweep.budget, results, elapsed, meter.seconds)
    )


def _test_name(sweep: Sweep) -> str:
    return "test/" + sweep.objective.metric.removeprefix("val/")


def _searched(cell: Cell, trials: Trials) -> Trials:
    """As many recorded trials as the budget has, so that every cell chooses among equally many."""
    return [rows for rows in trials if rows[0].cell == cell.digest and rows[0].phase == "search"][
        : cell.n_trials
    ]


def _best(cell: Cell, trials: Trials) -> list[Record] | None:
    """The rows of the winner. Ties go by digest, as in `Study.best`, so that the refit is the winner's own."""
    full = [rows for rows in _searched(cell, trials) if all(row.status == "ok" for row in rows)]
    sign, metric = 1 if cell.sweep.objective.mode == "max" else -1, cell.sweep.objective.metric
    return max(
        full,
        key=lambda r: (sign * mean_metrics([m.metrics for m in r])[metric], r[0].trial),
        default=None,
    )


def _final(cell: Cell, trials: Trials) -> list[Record]:
    """The rows of the winner's refit; a winner that a larger budget dethroned has one too, which is not reported."""
    best = _best(cell, trials)
    found = [rows for rows in trials if rows[0].cell == cell.digest and rows[0].phase == "final"]
    own = [rows for rows in found if best and rows[0].params == best[0].params]
    return max(own, key=lambda rows: rows[0].finished, default=[])


def _baselines(cell: Cell, finals: dict[str, list[Record]]) -> dict[str, float]:
    """Mean test score of each dumb baseline on the final members; they are the from-scratch twin's."""
    rows = [row for row in finals[(cell.scratch_twin() or cell).digest] if row.baselines]
    metric = _test_name(cell.sweep)
    scores = [
        {name: found[metric] for name, found in row.baselines.items() if metric in found}
        for row in rows
    ]
    return mean_metrics(scores)


def _gain(cell: Cell, finals: dict[str, list[Record]]) -> dict[str, Any] | None:
    """Pre-trained minus scratch, paired by everything that both arms repeat over: target and fresh seed."""
    twin, test = cell.scratch_twin(), _test_name(cell.sweep)
    if twin is None:
        return None
    with_, without = (_by_repeat(finals[c.digest], test) for c in (cell, twin))
    pairs = sorted(with_.keys() & without.keys())
    found = interval([with_[pair] - without[pair] for pair in pairs])
    return found and found | {"against": twin.axes, "fresh_pretraining": cell.sweep.final.pretrain}


def _missing(final: Sequence[Record], test: str) -> dict[str, float]:
    """Mean test score by the modalities that were missing; empty where there is one modality only."""
    prefix, suffix = "missing:", test.removeprefix("test")
    rows = [row.metrics for row in final if row.status == "ok"]
    found = [
        {k: v for k, v in row.items() if k.startswith(prefix) and k.endswith(suffix)}
        for row in rows
    ]
    return {k.removeprefix(prefix).removesuffix(suffix): v for k, v in mean_metrics(found).items()}


def _by_repeat(rows: Sequence[Record], metric: str) -> dict[str, float]:
    return {_pair_key(row.repeat): row.metrics[metric] for row in rows if row.status == "ok"}


def _pair_key(repeat: dict[str, Any]) -> str:
    return json.dumps(
        {path: value for path, value in repeat.items() if not path.startswith("pretrain.")},
        sort_keys=True,
    )


def _caveats(cell: Cell) -> list[str]:
    """What the sources say of themselves, and how the number was made."""
    members = [trial for _, trial in cell.members({}, "final")]
    sources = {source.digest(): source for trial in members for source in trial.sources().values()}
    said = [caveat for source in sources.values() for caveat in cache.load(source).caveats]
    if cell.trial.pretraining is not None and cell.trial.pretraining.hold_out is not None:
        said.append("pre-trained on recordings of the target itself, its test groups left out")
    if cell.trial.pretraining is not None and not cell.sweep.final.pretrain:
        said.append(
            "fresh seeds reach the fine-tune only: one pre-trained encoder serves all of them"
        )
    return list(dict.fromkeys(said))


def _short_search(cell: Cell, why: Stop | None) -> list[str]:
    """A cell that tried fewer settings has a worse winner by chance alone."""
    rule = f"budget.{why} ended searches before all {cell.sweep.budget.trials} trials"
    return [f"{rule}: cells chose among unequally many"] if why else []


def interval(values: Sequence[float], level: float = 0.95) -> dict[str, Any] | None:
    """Mean and Student-t interval: with a handful of seeds a bootstrap percentile interval would be too narrow."""
    n = len(values)
    if n == 0:
        return None
    mean = float(np.mean(values))
    if n == 1:
        return {
            "mean": mean,
            "low": None,
            "high": None,
            "n": 1,
        }  # no spread in one value; JSON has no infinity
    from scipy.special import stdtrit  # 0.2 s of processor time, which a plan need not wait for

    half = float(stdtrit(n - 1, (1 + level) / 2)) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return {"mean": mean, "low": mean - half, "high": mean + half, "n": n}


def table(summary: dict[str, Any]) -> str:
    """The last screen's table: best trial, test score and transfer gain of every cell."""
    rows = [("cell", "trials", "best trial", "val", "test", "gain over scratch", "best baseline")]
    for cell in summary["cells"]:
        name = _name(cell)
        failed = f" ({cell['n_failed']} failed)" if cell["n_failed"] else ""
        best = ", ".join(
            f"{path.rsplit('.', 1)[-1]}={short(value)}"
            for path, value in (cell["best"] or {}).items()
        )
        val = f"{cell['val']:.3f}" if cell["val"] is not None else "-"
        rows.append(
            (
                name,
                f"{cell['n_trials']}{failed}" + (f", {cell['stopped']}" if cell["stopped"] else ""),
                best or "-",
                val,
                spread(cell["test"]),
                spread(cell["gain"], "+"),
                best_baseline(cell),
            )
        )
    parts = [
        aligned(rows),
        *_fronts(summary["cells"]),
        *_controls(summary["cells"]),
        *_robustness(summary),
        *claim_lines(summary["claims"]),
    ]
    return "\n".join(parts)


def _name(cell: dict[str, Any]) -> str:
    return (
        ", ".join(
            f"{path.rsplit('.', 1)[-1]}={short(value)}" for path, value in cell["axes"].items()
        )
        or "all"
    )


def _fronts(cells: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Of several objectives, per cell: what can be had at the price of what."""
    for cell in (cell for cell in cells if cell.get("front")):
        first = cell["front"][0]
        head = (
            f"no trial beats these: {_name(cell)}",
            *first["val"],
            *(path.rsplit(".", 1)[-1] for path in first["params"]),
        )
        lines = [
            (
                "",
                *(f"{v:.3f}" for v in point["val"].values()),
                *(short(v) for v in point["params"].values()),
            )
            for point in cell["front"]
        ]
        yield aligned([head, *lines])


def _controls(cells: Sequence[dict[str, Any]]) -> list[str]:
    """Of pairs: what the runs, and the distance of A and B, give without a network. Once for arms that share them."""
    asked = [
        cell for cell in cells if set(CONTROLS) <= cell["baselines"].keys() and not cell["gain"]
    ]
    rows = [
        (_name(c), spread(c["test"]), *(f"{c['baselines'][name]:.3f}" for name in CONTROLS))
        for c in asked
    ]
    return [aligned([("controls of pairs", "test", *CONTROLS), *rows])] if rows else []


def _robustness(summary: dict[str, Any]) -> list[str]:
    """Test scores by what was missing, where the sweep asks what that does."""
    cells = [cell for cell in summary["cells"] if cell["missing"] and cell["test"]]
    if not cells or all(claim["measure"] != "missing" for claim in summary["claims"]):
        return []
    names = list(dict.fromkeys(name for cell in cells for name in cell["missing"]))
    scores = [
        (f"{cell['test']['mean']:.3f}", *(_score(cell["missing"].get(name)) for name in names))
        for cell in cells
    ]
    rows = [(_name(cell), *row) for cell, row in zip(cells, scores, strict=True)]
    return [aligned([("test score, missing", "nothing", *names), *rows])]


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def aligned(rows: Sequence[tuple[str, ...]]) -> str:
    """Columns as wide as what stands in them, a rule under the first row."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    rule = "  ".join("-" * width for width in widths)
    return "\n".join([lines[0], rule, *lines[1:]])


def best_baseline(cell: dict[str, Any]) -> str:
    """The dumb baseline to beat."""
    found = cell["baselines"]
    # same_run is no baseline to beat: it is told what no network is
    best = max(found.keys() - {"same_run"}, key=lambda name: (found[name], name), default=None)
    return "-" if best is None else f"{best} {found[best]:.3f}"


def spread(found: dict[str, Any] | None, sign: str = "") -> str:
    if found is None:
        return "-"
    if found["low"] is None:
        return f"{found['mean']:{sign}.3f} n={found['n']}"
    return f"{found['mean']:{sign}.3f} [{found['low']:{sign}.3f}, {found['high']:{sign}.3f}] n={found['n']}"
