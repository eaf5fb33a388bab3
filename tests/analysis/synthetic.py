"""Made-up sweeps with a known gain, written as the records that a real one leaves."""

import itertools
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from citrus_ray import records
from citrus_ray.records import Phase, Record, Status
from citrus_ray.spec import digest_of, flatten

MASKED = {"kind": "masked"}
METRIC = "balanced_accuracy"
QUESTION = "# Does it help? A made-up sweep.\n"


@dataclass
class MadeUp:
    """A sweep whose truth is known: pre-training adds `gain` to every test score."""

    gain: float = 0.1
    noise: float = 0.02
    tasks: tuple[Any, ...] = (None, MASKED)
    labels: tuple[Any, ...] = ({"per_class": 8},)
    targets: tuple[str, ...] = ("emgdb",)
    n_trials: int = 4
    n_search_seeds: int = 3
    n_final_seeds: int = 12
    seed: int = 0
    name: str = "made-up"
    versions: dict[str, str] = field(default_factory=lambda: {"python": "3.11.7", "torch": "2.13.0"})

    def cells(self) -> list[dict[str, Any]]:
        paths = {"pretrain.task": self.tasks, "finetune.labels": self.labels}
        return [dict(zip(paths, values, strict=True)) for values in itertools.product(*paths.values())]

    def write(self, folder: Path) -> Path:
        """Records, spec.yaml; no summary.json, as while a sweep runs."""
        for axes in self.cells():
            self.write_cell(folder, axes)
        spec = {
            "name": self.name,
            "objective": {"metric": f"val/{METRIC}", "mode": "max"},
            "compare": {"pretrain.task": list(self.tasks), "finetune.labels": list(self.labels)},
            "budget": {"trials": self.n_trials},
        }
        text = yaml.safe_dump(json.loads(json.dumps(spec)), sort_keys=False)
        (folder / "spec.yaml").write_text(QUESTION + text)
        return folder

    def write_cell(self, folder: Path, axes: dict[str, Any], has_final: bool = True) -> None:
        for i in range(self.n_trials):
            self.write_trial(folder, axes, "search", 10.0 ** -(2 + i / 4), range(self.n_search_seeds))
        if has_final:
            self.write_trial(folder, axes, "final", 1e-2, range(1000, 1000 + self.n_final_seeds))

    def write_trial(self, folder: Path, axes: dict[str, Any], phase: Phase, lr: float, seeds: Iterable[int]) -> None:
        rows = [self.row(axes, phase, lr, target, seed) for target in self.targets for seed in seeds]
        trial = digest_of([phase, *(row.digest for row in rows)])
        rows = [Record(**{**vars(row), "trial": trial}) for row in rows]
        (folder / "records").mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(vars(row), sort_keys=True) for row in rows]  # no fsync: thousands of these are written
        (folder / "records" / f"{trial}.jsonl").write_text("\n".join(lines) + "\n")

    def row(self, axes: dict[str, Any], phase: Phase, lr: float, target: str, seed: int, **other: Any) -> Record:
        task = axes["pretrain.task"]
        params = {"finetune.optim.lr": lr} | ({"pretrain.task.ratio": 0.5} if task else {})
        repeat = {"seed": seed} | ({"finetune.target": {"kind": target}} if len(self.targets) > 1 else {})
        trial = {"model": {"kind": "conv"}, "seed": seed, "pretrain": {"task": task, "seed": 0}}
        trial["finetune"] = {"target": {"kind": target}, "labels": axes["finetune.labels"], "split": {"seed": 0}}
        config = flatten(trial) | params
        digest = digest_of([config, phase, self.seed])
        row = Record(
            digest=digest,
            trial="",
            cell=digest_of([axes, self.targets]),
            phase=phase,
            status="ok",
            axes=axes,
            params=params,
            repeat=repeat,
            config=config,
            metrics=self._metrics(digest, task, phase),
            seed=seed,
            data_digest=digest_of(target),
            encoder=digest_of(task) if task else None,
            seconds=1.5,
            peak_mb=500.0,
            versions=self.versions,
            finished=f"2026-11-21T03:{seed % 60:02d}:00+00:00",
        )
        return Record(**{**vars(row), **other})

    def _metrics(self, digest: str, task: Any, phase: Phase) -> dict[str, float]:
        rng = np.random.default_rng([int(digest, 16), self.seed])
        score = 0.7 + (self.gain if task else 0.0) + self.noise * rng.standard_normal()
        names = ["val"] + (["test"] if phase == "final" else [])
        return {f"{split}/{METRIC}": float(score) for split in names}


def spoil(folder: Path, trial: int, status: Status, reason: str | None = None) -> None:
    """Rewrite one recorded trial, in the order of the file names, as failed or pruned."""
    path = sorted((folder / "records").glob("*.jsonl"))[trial]
    rows = records.read_trial(folder / "records", path.stem)
    metrics: dict[str, float] = {}
    changed = [
        {**vars(row), "status": status, "reason": reason} | ({"metrics": metrics} if status == "failed" else {})
        for row in rows
    ]
    path.write_text("\n".join(json.dumps(row) for row in changed) + "\n")
