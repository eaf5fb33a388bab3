"""A metric of which less is better: everything is judged as its mirror image would be."""

import dataclasses
from pathlib import Path

import pytest

from citrus_ray.evidence.evidence import read_evidence
from citrus_ray.evidence.gains import best_baseline
from citrus_ray.evidence.intervals import Effect, score_effect
from citrus_ray.evidence.ranks import ranking
from citrus_ray.evidence.tables import best_baseline as best_of_cell
from citrus_ray.evidence.trials import Result, _is_progress, front
from citrus_ray.experiment.hypotheses import WITHIN, Hypothesis, Verdicts
from citrus_ray.records import Record
from citrus_ray.report import captions
from tests.evidence.synthetic import MASKED, METRIC, MadeUp, change

CLAIM = Hypothesis(
    says="it helps", better={"pretrain.task": MASKED}, worse={"pretrain.task": None}, within=0.02
)


def mirrored(folder: Path, made: MadeUp) -> Path:
    """The same records, scored by an error: what lacks to a score of 1."""
    made.write(folder)

    def error(metrics: dict[str, float]) -> dict[str, float]:
        return {name.replace(METRIC, "mae"): 1 - value for name, value in metrics.items()}

    def edit(row: Record) -> Record:
        found = {name: error(metrics) for name, metrics in row.baselines.items()}
        return dataclasses.replace(row, metrics=error(row.metrics), baselines=found)

    change(folder, edit)
    spec = (folder / "spec.yaml").read_text()
    spec = spec.replace(f"val/{METRIC}", "val/mae").replace("mode: max", "mode: min")
    (folder / "spec.yaml").write_text(spec + "verdicts: {within: 0.02}\n")
    return folder


MADE = MadeUp(
    level=0.5,
    gain=0.04,
    noise=0.05,
    targets=("emgdb", "bonn", "uwave", "ptb", "bidmc"),
    labels=({"per_class": 2}, {"per_class": 8}),
    label_slope=0.05,
    n_final_seeds=6,
    baselines=("majority",),
)


def test_gains_verdicts_winners_and_ranks_are_the_mirror_image(tmp_path: Path) -> None:
    one = read_evidence([MADE.write(tmp_path / "score")])
    two = read_evidence([mirrored(tmp_path / "error", MADE)])
    assert two.cells[0].design.mode == "min"
    for mine, other in zip(one.gains, two.gains, strict=True):
        assert other.effect.mean == pytest.approx(mine.effect.mean)
        assert (other.effect.low, other.effect.high) == pytest.approx(
            (mine.effect.low, mine.effect.high)
        )
        assert (other.signs, other.verdict) == (mine.signs, mine.verdict)
        best = best_baseline(other.pairs)
        assert best is not None
        assert best[1] == pytest.approx(0.4)
    for a, b in zip(one.cells, two.cells, strict=True):
        assert a.best is not None
        assert b.best is not None
        assert a.best.digest == b.best.digest
    ranks = [ranking(found.cells) for found in (one, two)]
    assert ranks[0] is not None
    assert ranks[1] is not None
    assert ranks[0].methods == ranks[1].methods
    assert ranks[0].ranks == ranks[1].ranks


def test_labels_saved_and_explored_settings_are_too(tmp_path: Path) -> None:
    from citrus_ray.evidence.curves import curves, labels_saved
    from citrus_ray.evidence.explored import explored

    made = dataclasses.replace(MADE, n_trials=14, n_final_seeds=3, n_search_seeds=1, bands=(1, 2))
    one = read_evidence([made.write(tmp_path / "score")])
    two = read_evidence([mirrored(tmp_path / "error", made)])
    saved = [[s.needed for c in curves(e.cells) for s in labels_saved(c)] for e in (one, two)]
    assert len(saved[0]) == 2
    assert saved[1] == pytest.approx(saved[0])
    gains = [
        [x for item in explored(found.cells, found.gains) for x in item.gains.tolist()]
        for found in (one, two)
    ]
    assert gains[0]
    assert gains[1] == pytest.approx(gains[0])


def test_a_claim_is_supported_where_the_error_falls(tmp_path: Path) -> None:
    from citrus_ray.evidence.verdicts import judge

    found = read_evidence([mirrored(tmp_path, dataclasses.replace(MADE, gain=0.2))])
    (judged,) = judge([CLAIM], found.cells, found.cells[0].design)
    assert judged.verdict == "supported"
    assert judged.tree()["effect"] == pytest.approx(0.2, abs=0.05)


def test_sentences_say_that_less_is_better(tmp_path: Path) -> None:
    found = read_evidence([mirrored(tmp_path, dataclasses.replace(MADE, level=0.35, gain=0.3))])
    gain = found.gains[0]
    said = captions.verdict_sentence(gain)
    assert "lowers test mean absolute error" in said
    assert captions.gain_name("test/mae") == "gain: test mean absolute error is lower by"
    assert "points" not in said
    cells = [cell for cell in found.cells if cell.test is not None]
    best = min(cells, key=lambda cell: cell.test.mean if cell.test else 1)
    assert f"Best is {best.label}" in captions.scores_shown(cells)


def test_the_best_baseline_of_a_cell_is_the_smallest_error() -> None:
    cell = {"metric": "test/mae", "baselines": {"median": 9.0, "bag": 4.0}}
    assert best_of_cell(cell) == "bag 4.000"
    assert best_of_cell(cell | {"metric": "test/auroc"}) == "median 9.000"


def test_progress_and_fronts_go_down() -> None:
    def result(digest: str, *scores: float) -> Result:
        return Result(digest, {}, "ok", scores[0], 1.0, scores=scores, sign=-1)

    seen: list[Result] = []
    assert [_is_progress(result(str(v), v), seen) for v in (3.0, 4.0, 2.0)] == [True, False, True]
    results = [result("a", 1.0, 3.0), result("b", 2.0, 2.0), result("c", 2.0, 4.0)]
    assert [one.digest for one in front(results)] == ["a", "b"]


def test_no_margin_is_guessed_for_a_unit() -> None:
    assert Verdicts().of("val/mae").within is None
    assert Verdicts().of("val/r2").within == WITHIN
    assert Verdicts(within=0.5).of("val/mae").within == 0.5


def test_an_interval_stays_where_scores_can_lie() -> None:
    inf = float("inf")
    assert score_effect(Effect(0.5, -0.2, 1.2, 6), (0.0, inf)) == Effect(0.5, 0.0, 1.2, 6)
    assert score_effect(Effect(0.9, 0.7, 1.1, 6), (-inf, 1.0)) == Effect(0.9, 0.7, 1.0, 6)
