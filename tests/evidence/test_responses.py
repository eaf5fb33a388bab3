"""What was searched, as curves with what is not known of them: a known optimum is found and held by
the interval, noise alone tells nothing, and trials that share a draw are not counted twice."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from citrus_ray.evidence.evidence import read_evidence
from citrus_ray.evidence.responses import GRID, Response, responses
from citrus_ray.evidence.smooth import Smooth
from tests.evidence.synthetic import METRIC, MadeUp, spoil

RATIO, CENTER, WIDTH = (f"pretrain.task.{name}" for name in ("ratio", "hide.center", "hide.width"))
Effect = Callable[[float, float, float], float]


@dataclass
class KnownSearch(MadeUp):
    """Validation scores are `effect` of ratio, center and width, and noise."""

    effect: Effect = lambda *_: 0.7
    n_trials: int = 24
    labels: tuple[Any, ...] = ({"per_class": 4}, {"per_class": 8})

    def write(self, folder: Path) -> Path:
        super().write(folder)
        search = {path: {"uniform": [0.0, 1.0]} for path in (RATIO, CENTER, WIDTH)}
        search |= {"finetune.optim.lr": {"loguniform": [1e-4, 1e-2]}}
        with (folder / "spec.yaml").open("a") as spec:
            yaml.safe_dump({"search": search}, spec)
        return folder

    def _searched(self, number: int) -> dict[str, Any]:
        ratio, center, width = np.random.default_rng(number).uniform(size=3).tolist()
        return {RATIO: 0.1 + 0.7 * ratio, CENTER: center, WIDTH: width}

    def _metrics(
        self, digest: str, axes: Any, phase: Any, params: Any, place: Any
    ) -> dict[str, float]:
        if phase == "final":
            return {f"test/{METRIC}": 0.123}
        score = self.noise * np.random.default_rng(int(digest, 16)).standard_normal()
        if axes["pretrain.task"]:
            score += self.effect(params[RATIO], params[CENTER], params[WIDTH])
        # what a cell's mean takes
        return {f"val/{METRIC}": float(score + 0.1 * (axes["finetune.labels"] == self.labels[0]))}


def searched(folder: Path, effect: Effect, noise: float = 0.01, **made: Any) -> Path:
    return KnownSearch(effect=effect, noise=noise, **made).write(folder)


def found_in(folder: Path) -> Response:
    cells = [cell for cell in read_evidence([folder]).cells if not cell.is_scratch]
    (found,) = responses(cells)
    return found


def peak(ratio: Any, center: float = 0, width: float = 0) -> Any:
    return 0.7 - 0.4 * (ratio - 0.4) ** 2


def test_the_interval_holds_a_known_optimum_and_only_its_axis_is_told(tmp_path: Path) -> None:
    found = found_in(searched(tmp_path, peak))
    ratio, *others = found.curves
    assert ratio.axis.path == RATIO
    assert any(low <= 0.4 <= high for low, high in ratio.good)
    assert ratio.worse[0]
    assert ratio.worse[-1]
    assert ratio.says.startswith("ratio is best near 0.")
    truth = peak(ratio.at) - peak(ratio.tried).mean()
    assert (np.abs(truth - ratio.curve.mean) < 1.96 * ratio.curve.sd).mean() > 0.9
    assert not any(one.worse.any() for one in others)
    assert {one.axis.name for one in found.curves if one.axis.is_log} == {"lr"}  # as it was asked


def test_of_noise_nothing_is_told_apart(tmp_path: Path) -> None:
    found = found_in(searched(tmp_path, lambda *_: 0.7, noise=0.03))
    assert all(one.says.startswith(f"over {one.axis.name} nothing is told") for one in found.curves)
    assert found.surface is not None
    assert found.surface.says == "Over center and width together nothing is told apart."


def test_a_surface_shows_where_two_numbers_meet(tmp_path: Path) -> None:
    def ridge(ratio: float, center: float, width: float) -> float:
        return 0.7 - 0.3 * (center - 0.3) ** 2 - 0.3 * (width - 0.8) ** 2

    found = found_in(searched(tmp_path, ridge, noise=0.005)).surface
    assert found is not None
    assert found.best == pytest.approx((0.3, 0.8), abs=0.2)
    assert found.worse.any()
    assert not found.worse.all()


def test_what_one_cell_did_not_run_counts_in_none(tmp_path: Path) -> None:
    folder = searched(tmp_path, peak)
    whole = found_in(folder)
    texts = [path.read_text() for path in sorted((folder / "records").glob("*.jsonl"))]
    lost = next(i for i, text in enumerate(texts) if CENTER in text and '"search"' in text)
    spoil(folder, lost, "failed")
    found = found_in(folder)
    assert (len(found.rows), found.n_left_out) == (len(whole.rows) - 1, 1)


def test_draws_are_blocks_and_so_are_three_targets(tmp_path: Path) -> None:
    found = found_in(searched(tmp_path / "one", peak))
    assert (found.blocks, found.n_blocks, found.n_cells) == ("draws", 3, 2)
    found = found_in(searched(tmp_path / "three", peak, targets=("bonn", "emgdb", "ptb")))
    assert (found.blocks, found.n_blocks) == ("targets", 3)


def test_noise_that_a_point_has_in_every_draw_is_not_averaged_away() -> None:
    """Values of four draws that are the same but for a little say no more than one."""
    rng = np.random.default_rng(3)
    settings, of_point = rng.uniform(size=(30, 1)), rng.standard_normal((30, 1))
    at = np.linspace(0, 1, GRID)[:, None]
    each = rng.standard_normal((30, 4))
    alike, apart = (
        Smooth(settings, (True,), values).over([0], at).sd.mean()
        for values in (of_point + 0.1 * each, each)
    )
    assert alike > 1.4 * apart


def test_draws_that_turn_different_ways_are_not_four_times_as_sure() -> None:
    rng = np.random.default_rng(5)
    x = rng.uniform(size=(30, 1))
    at = np.linspace(0, 1, GRID)[:, None]
    noise = 0.1 * rng.standard_normal((30, 4))
    turned = noise + (x - 0.5) * np.asarray([3.0, -3.0, 2.0, -2.0])
    same, other = (Smooth(x, (True,), y).over([0], at).sd.max() for y in (noise, turned))
    assert other > 12 * same  # 8 where their turns are taken for noise
