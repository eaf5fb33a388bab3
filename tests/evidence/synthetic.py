"""Made-up sweeps with a known gain, written as the records that a real one leaves."""

import itertools
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from citrus_ray import records
from citrus_ray.evidence.trials import result_of, winner
from citrus_ray.records import Phase, Record, Status
from citrus_ray.spec import digest_of, flatten

MASKED = {"kind": "masked"}
METRIC = "balanced_accuracy"
OF_TRIAL = ("pretrain.task", "finetune.labels")
QUESTION = "# Does it help? A made-up sweep.\n"


@dataclass
class MadeUp:
    """A sweep whose truth is known: pre-training adds `gain` to every test score, plus what a
    target or its test part adds by its own chance."""

    level: float = 0.7  # of scores from scratch
    gain: float = 0.1
    noise: float = 0.02
    target_spread: float = 0.0  # of the gain between targets
    part_spread: float = 0.0  # of the gain between test parts of a target
    label_slope: float = 0.0  # of the score over the logarithm of labels per class
    bands: tuple[Any, ...] = ()  # searched beside the mask ratio; the first of them is the good one
    n_parts: int = 1  # test parts of each target
    baselines: tuple[str, ...] = ()
    n_settings: int = 0  # more of them, as a real record holds about 60
    tasks: tuple[Any, ...] = (None, MASKED)
    labels: tuple[Any, ...] = ({"per_class": 8},)
    targets: tuple[str, ...] = ("emgdb",)
    n_trials: int = 4
    n_search_seeds: int = 3
    n_final_seeds: int = 12
    seed: int = 0
    name: str = "made-up"
    versions: dict[str, str] = field(
        default_factory=lambda: {"python": "3.11.7", "torch": "2.13.0"}
    )

    def cells(self) -> list[dict[str, Any]]:
        paths = {"pretrain.task": self.tasks, "finetune.labels": self.labels}
        return [
            dict(zip(paths, values, strict=True)) for values in itertools.product(*paths.values())
        ]

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
        """Searched trials, and the refit of the one that validation chose."""
        tried = {}
        for i in range(self.n_trials):
            lr = 10.0 ** -(2 + i * 0.37 % 2)
            rows = self.write_trial(folder, axes, "search", lr, range(self.n_search_seeds), i)
            tried[rows[0].trial] = (result_of(rows, f"val/{METRIC}"), lr, i)
        if has_final:
            best = winner(result for result, _, _ in tried.values())
            _, lr, number = tried[best.digest] if best else (None, 1e-2, 0)
            seeds = range(1000, 1000 + self.n_final_seeds)
            self.write_trial(folder, axes, "final", lr, seeds, number)

    def write_trial(
        self,
        folder: Path,
        axes: dict[str, Any],
        phase: Phase,
        lr: float,
        seeds: Iterable[int],
        number: int = 0,
    ) -> list[Record]:
        places = itertools.product(self.targets, range(self.n_parts), seeds)
        rows = [
            self.row(axes, phase, lr, target, seed, part, number) for target, part, seed in places
        ]
        trial = digest_of([phase, *(row.digest for row in rows)])
        rows = [Record(**{**vars(row), "trial": trial}) for row in rows]
        (folder / "records").mkdir(parents=True, exist_ok=True)
        # no fsync: thousands of these are written
        (folder / "records" / f"{trial}.jsonl").write_text(records.text_of(rows))
        return rows

    def row(
        self,
        axes: dict[str, Any],
        phase: Phase,
        lr: float,
        target: str,
        seed: int,
        part: int = 0,
        number: int = 0,
    ) -> Record:
        task = axes["pretrain.task"]
        params = {"finetune.optim.lr": lr} | (self._searched(number) if task else {})
        repeat = {"seed": seed} | (
            {"finetune.target": {"kind": target}} if len(self.targets) > 1 else {}
        )
        repeat |= {"finetune.split.seed": part} if self.n_parts > 1 else {}
        trial = {"model": {"kind": "conv"}, "seed": seed, "pretrain": {"task": task, "seed": 0}}
        trial["finetune"] = {
            "target": {"kind": target},
            "labels": axes["finetune.labels"],
            "split": {"seed": part},
        }
        others = {path: v for path, v in axes.items() if path not in OF_TRIAL}
        config = (
            flatten(trial)
            | others
            | params
            | {f"model.setting_{i}": i / 7 for i in range(self.n_settings)}
        )
        digest = digest_of([config, phase, self.seed])
        metrics = self._metrics(digest, axes, phase, params, (target, part))
        return Record(
            digest=digest,
            trial="",
            cell=digest_of([axes, self.targets]),
            phase=phase,
            status="ok",
            axes=axes,
            params=params,
            repeat=repeat,
            config=config,
            metrics=metrics,
            baselines={
                name: {f"test/{METRIC}": 0.6}
                for name in self.baselines
                if phase == "final" and not task
            },
            seed=seed,
            data_digest=digest_of(target),
            encoder=digest_of(task) if task else None,
            seconds=1.5,
            peak_mb=500.0,
            versions=self.versions,
            finished=f"2026-11-21T03:{seed % 60:02d}:00+00:00",
        )

    def _searched(self, number: int) -> dict[str, Any]:
        if not self.bands:
            return {"pretrain.task.ratio": 0.5}
        ratio = round(0.2 + 0.1 * (number * 5 % 7), 1)
        return {
            "pretrain.task.ratio": ratio,
            "pretrain.task.band": self.bands[number % len(self.bands)],
        }

    def _metrics(
        self,
        digest: str,
        axes: dict[str, Any],
        phase: Phase,
        params: dict[str, Any],
        place: tuple[str, int],
    ) -> dict[str, float]:
        rng = np.random.default_rng([int(digest, 16), self.seed])
        score = self.level + self.noise * rng.standard_normal()
        score += self.label_slope * np.log(axes["finetune.labels"].get("per_class", 1))
        if axes["pretrain.task"]:
            score += (
                self.gain
                + self.target_spread * self._chance(place[:1])
                + self.part_spread * self._chance(place)
            )
            if phase == "search" and self.bands:
                good = params["pretrain.task.band"] == self.bands[0]
                score += 0.1 * good - (params["pretrain.task.ratio"] - 0.5) ** 2
        names = ["val"] + (["test"] if phase == "final" else [])
        return {f"{split}/{METRIC}": float(score) for split in names}

    def _chance(self, place: tuple[Any, ...]) -> float:
        """A normal value that hangs on the place alone."""
        return float(
            np.random.default_rng([int(digest_of([*place]), 16), self.seed]).standard_normal()
        )


def spoil(folder: Path, trial: int, status: Status, reason: str | None = None) -> None:
    """Rewrite one recorded trial, in the order of the file names, as failed or pruned."""
    path = sorted((folder / "records").glob("*.jsonl"))[trial]
    rows = records.read_trial(folder / "records", path.stem)
    metrics: dict[str, float] = {}
    changed = [
        {**vars(row), "status": status, "reason": reason}
        | ({"metrics": metrics} if status == "failed" else {})
        for row in rows
    ]
    path.write_text("\n".join(json.dumps(row) for row in changed) + "\n")


def change(folder: Path, edit: Callable[[Record], Record]) -> None:
    """Rewrite every record of a folder."""
    for path in (folder / "records").glob("*.jsonl"):
        rows = [edit(row) for row in records.read_trial(folder / "records", path.stem)]
        records.write(folder / "records", path.stem, rows)
