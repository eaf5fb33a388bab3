"""What a gain promises: equal in everything but pre-training, and no more certain than its
pairs."""

from dataclasses import replace
from pathlib import Path

import pytest

from citrus_ray import records
from citrus_ray.evidence.evidence import read_evidence
from citrus_ray.evidence.gains import Gain, best_baseline, gain_caveats, pair_key
from citrus_ray.evidence.outcomes import Outcome
from citrus_ray.evidence.tables import gain_lines
from citrus_ray.records import Record
from tests.evidence.synthetic import MASKED, MadeUp, change

SPECTRAL = {"kind": "spectral"}


def cells_in(*folders: Path) -> list[Outcome]:
    return list(read_evidence(folders).cells)


def gains_in(*folders: Path) -> list[Gain]:
    return read_evidence(folders).gains


def test_a_known_gain_is_found_and_supported(tmp_path: Path):
    (gain,) = gains_in(MadeUp(gain=0.1, noise=0.02).write(tmp_path))
    assert gain.effect.low <= 0.1 <= gain.effect.high
    assert gain.verdict == "supported"
    assert gain.signs == (12, 0, 0)


def test_a_loss_is_contradicted_and_noise_is_undecided(tmp_path: Path):
    (loss,) = gains_in(MadeUp(gain=-0.1).write(tmp_path / "loss"))
    (noise,) = gains_in(MadeUp(gain=0.0, noise=0.1).write(tmp_path / "noise"))
    assert loss.verdict == "contradicted"
    assert noise.verdict == "undecided"


@pytest.mark.slow
def test_verdicts_without_an_effect_are_mostly_undecided(tmp_path: Path):
    """A verdict may err 5 times in 100; 9 of 60 would be a chance of one in a thousand."""
    verdicts = [
        gains_in(MadeUp(gain=0.0, seed=s, n_trials=1).write(tmp_path / str(s)))[0].verdict
        for s in range(60)
    ]
    assert sum(verdict != "undecided" for verdict in verdicts) < 9


def test_pairs_share_target_and_seed(tmp_path: Path):
    (gain,) = gains_in(MadeUp(targets=("emgdb", "bonn"), n_final_seeds=5).write(tmp_path))
    assert len(gain.pairs) == 10
    assert {pair.group for pair in gain.pairs} == {"emgdb", "bonn"}
    assert len({pair.repeat for pair in gain.pairs}) == 10
    assert any("pooled over 2 settings" in caveat for caveat in gain_caveats(gain))


def test_the_baseline_to_beat_is_one_that_stands_beside_every_pair(tmp_path: Path):
    """The mean over one target is no score of both."""
    made = MadeUp(targets=("emgdb", "bonn"), n_final_seeds=3)
    (gain,) = gains_in(made.write(tmp_path))
    raw = {"raw_level": 0.9}
    pairs = [
        replace(pair, baselines={"majority": 0.5} | (raw if pair.group == "bonn" else {}))
        for pair in gain.pairs
    ]
    of_bonn = [pair for pair in pairs if pair.group == "bonn"]
    found = [best_baseline(several) for several in (pairs, of_bonn)]
    assert [name for name, _ in filter(None, found)] == ["majority", "raw_level"]
    assert best_baseline(gain.pairs) is None


def test_what_each_arm_searched_does_not_keep_pairs_apart():
    made = MadeUp()
    scratch, masked = made.cells()
    assert pair_key(made.row(scratch, "final", 1e-2, "emgdb", 1000)) == pair_key(
        made.row(masked, "final", 1e-4, "emgdb", 1000)
    )


@pytest.mark.parametrize(
    "path", ["model.kind", "finetune.labels.per_class", "finetune.split.seed", "seed"]
)
def test_arms_that_differ_elsewhere_are_not_paired(path: str):
    made = MadeUp()
    row = made.row(made.cells()[0], "final", 1e-2, "emgdb", 1000)
    assert pair_key(replace(row, config=row.config | {path: "other"})) != pair_key(row)


def test_the_same_target_at_another_place_on_disk_is_paired():
    made = MadeUp()
    row = made.row(made.cells()[0], "final", 1e-2, "emgdb", 1000)
    moved = replace(row, config=row.config | {"finetune.target.root": "elsewhere"})
    assert pair_key(moved) == pair_key(row)
    assert pair_key(replace(row, data_digest="other content")) != pair_key(row)


def test_every_regime_has_its_own_gain_against_its_own_scratch(tmp_path: Path):
    labels = ({"per_class": 3}, {"per_class": 20})
    found = gains_in(MadeUp(tasks=(None, MASKED, SPECTRAL), labels=labels).write(tmp_path))
    assert len(found) == 4
    assert all(
        gain.cell.axes["finetune.labels"] == gain.against.axes["finetune.labels"] for gain in found
    )


def test_p_is_corrected_over_all_comparisons_of_the_page(tmp_path: Path):
    """Holm by hand: the smaller p counts twice, the larger at least as much."""
    found = gains_in(MadeUp(gain=0.02, tasks=(None, MASKED, SPECTRAL)).write(tmp_path))
    small, large = sorted((gain.found for gain in found), key=lambda one: one.p)
    assert small.p < large.p < 0.5
    assert [gain.found.n_family for gain in found] == [2, 2]
    assert small.p_holm == pytest.approx(2 * small.p)
    assert large.p_holm == pytest.approx(max(2 * small.p, large.p))


def test_refits_that_differ_in_pretraining_alone_are_one_pair(tmp_path: Path):
    made = MadeUp(n_final_seeds=4)
    folder = made.write(tmp_path)
    other = replace_rows(folder, made)
    (gain,) = gains_in(folder)
    assert len(gain.pairs) == 4
    assert other == 4


def replace_rows(folder: Path, made: MadeUp) -> int:
    """Double the pre-trained final: each seed with a second pre-training seed. How many rows
    were added."""
    for path in (folder / "records").glob("*.jsonl"):
        rows = records.read_trial(folder / "records", path.stem)
        if rows[0].phase == "final" and rows[0].encoder:
            more = [
                replace(
                    r,
                    digest=f"x{r.digest[1:]}",
                    config=r.config | {"pretrain.seed": 1},
                    encoder="another",
                )
                for r in rows
            ]
            records.write(folder / "records", path.stem, [*rows, *more])
            return len(more)
    return 0


def test_a_failed_refit_drops_its_pair_and_says_so(tmp_path: Path):
    folder = MadeUp().write(tmp_path)

    def fail(row: Record) -> Record:
        lost = row.phase == "final" and row.encoder is None and row.seed == 1003
        return replace(row, status="failed", metrics={}, reason="out of memory") if lost else row

    change(folder, fail)
    (gain,) = gains_in(folder)
    assert len(gain.pairs) == 11
    assert any("1 scored refit without a partner" in caveat for caveat in gain_caveats(gain))
    assert "1 of 12 refits failed and are not in the mean" in gain.against.caveats()


def test_arms_on_two_machines_meet(tmp_path: Path):
    made = MadeUp()
    for name, axes in zip(("here", "there"), made.cells(), strict=True):
        made.write_cell(tmp_path / name, axes)
    (gain,) = gains_in(tmp_path / "here", tmp_path / "there")
    assert len(gain.pairs) == 12


def test_an_unequal_search_is_a_caveat(tmp_path: Path):
    made = MadeUp()
    for axes, n_trials in zip(made.cells(), (4, 2), strict=True):
        replace(made, n_trials=n_trials).write_cell(tmp_path, axes)
    (gain,) = gains_in(tmp_path)
    assert "unequal search: 2 trials pre-trained against 4 from scratch" in list(gain_caveats(gain))


def test_equal_differences_give_no_interval_and_no_verdict(tmp_path: Path):
    (gain,) = gains_in(MadeUp(gain=0.1, noise=0.0).write(tmp_path))
    assert gain.verdict == "undecided"


def test_the_winners_own_refit_counts_however_new_another_is(tmp_path: Path):
    made = MadeUp()
    folder = made.write(tmp_path)
    scratch = made.cells()[0]
    made.write_trial(folder, scratch, "final", 1e-3, range(1000, 1013))  # of no winner; ends later
    cell = next(cell for cell in cells_in(folder) if cell.is_scratch)
    assert cell.best is not None
    assert {row.params == cell.best.params for row in cell.final} == {True}
    assert any("scored for 2 winners" in caveat for caveat in cell.caveats())


def test_without_scratch_there_is_no_gain(tmp_path: Path):
    assert gains_in(MadeUp(tasks=(MASKED,)).write(tmp_path)) == []
    assert gain_lines([]) == ["no pre-trained cell has a scored from-scratch partner yet"]


def test_the_table_says_whom_a_gain_speaks_of_and_what_its_verdict_cost(tmp_path: Path):
    folder = MadeUp().write(tmp_path)
    (gain,) = gains_in(folder)
    shown = "\n".join(gain_lines([gain]))
    assert "for these targets" in shown
    assert "12 rounds" in shown
    assert "12/0/0" in shown
    assert f"{gain.found.p_holm:.2g}" in shown


def test_an_interval_without_0_that_correction_does_not_uphold_says_so(tmp_path: Path):
    tasks = (None, *({"kind": "masked", "span": n} for n in range(1, 9)))
    found = gains_in(MadeUp(gain=0.03, noise=0.02, tasks=tasks, seed=3).write(tmp_path))
    lost = [g for g in found if g.verdict == "undecided" and g.effect.low > 0]
    assert lost, "no gain here is lost to correction: take another seed"
    assert any("does not hold after correction for 8" in said for said in gain_caveats(lost[0]))
