"""Pooled gains: the same pairs in other cuts, each as certain as what it counts."""

from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest

from citrus_ray.evidence.evidence import read_evidence
from citrus_ray.evidence.facts import LabelAmount, labels_of, modality_of, target_of
from citrus_ray.evidence.pooled import ALL, PooledGain, by_target_and_regime, pools
from tests.evidence.synthetic import MASKED, MadeUp

LABELS = ({"per_class": 3}, {"per_class": 20})
TARGETS = ("emgdb", "bonn", "sleep_edf")


def pools_in(folder: Path) -> dict[tuple[str, str, str], PooledGain]:
    return {(pool.by, pool.value, pool.arm): pool for pool in pools(read_evidence([folder]).gains)}


def test_gains_are_pooled_overall_by_regime_by_signal_and_by_target(tmp_path: Path):
    found = pools_in(MadeUp(labels=LABELS, targets=TARGETS, n_final_seeds=4).write(tmp_path))
    assert {(by, value): len(pool.pairs) for (by, value, _), pool in found.items()} == {
        (ALL, ALL): 24,
        ("labels", "3 per class"): 12,
        ("labels", "20 per class"): 12,
        ("signal", "emg"): 8,
        ("signal", "eeg"): 16,
        **{("target", target): 8 for target in TARGETS},
    }
    assert found[ALL, ALL, "masked"].found.counts == "4 rounds"
    of_next = found[ALL, ALL, "masked"].next
    assert of_next is not None
    assert of_next.counts == "3 targets"
    assert found["target", "bonn", "masked"].next is None


def test_a_pool_is_the_mean_over_its_targets(tmp_path: Path):
    found = pools_in(MadeUp(targets=TARGETS, n_final_seeds=4, target_spread=0.05).write(tmp_path))
    means = [found["target", target, "masked"].effect.mean for target in TARGETS]
    assert found[ALL, ALL, "masked"].effect.mean == pytest.approx(fmean(means))


def test_p_is_corrected_within_each_way_of_pooling(tmp_path: Path):
    """Holm by hand: the k-th smallest of n counts n - k + 1 times, none less than one before it."""
    tasks = (None, MASKED, {"kind": "spectral"})
    found = pools_in(MadeUp(gain=0.02, labels=LABELS, tasks=tasks).write(tmp_path))
    cuts = {by: [p for (of, _, _), p in found.items() if of == by] for by, _, _ in found}
    assert {by: len(cut) for by, cut in cuts.items()} == {ALL: 2, "labels": 4}
    for cut in cuts.values():
        worst, n = 0.0, len(cut)
        for rank, told in enumerate(sorted((p.found for p in cut), key=lambda told: told.p)):
            worst = max(worst, min(1.0, (n - rank) * told.p))
            assert told.p_holm == pytest.approx(worst)
            assert told.n_family == n
    assert any(pool.found.p_holm > pool.found.p for pool in found.values())


def test_what_does_not_vary_is_no_cut(tmp_path: Path):
    assert {by for by, _, _ in pools_in(MadeUp().write(tmp_path))} == {ALL}


def test_targets_that_are_compared_pool_like_targets_that_are_repeated(tmp_path: Path):
    """One target per folder, as a sweep with the target under `compare` has one per cell."""
    folders = [
        MadeUp(targets=(target,), n_final_seeds=4, name=target).write(tmp_path / target)
        for target in TARGETS
    ]
    (overall,) = [pool for pool in pools(read_evidence(folders).gains) if pool.by == ALL]
    assert overall.found.counts == "4 rounds"
    assert overall.next is not None
    assert overall.next.counts == "3 targets"


def test_fixed_targets_and_new_targets_share_their_mean(tmp_path: Path):
    found = pools_in(MadeUp(targets=TARGETS, n_final_seeds=6, target_spread=0.05).write(tmp_path))
    overall = found[ALL, ALL, "masked"]
    assert overall.next is not None
    assert overall.next.effect.mean == pytest.approx(overall.effect.mean)
    assert overall.next.effect.low < overall.effect.low


def test_the_map_has_a_field_per_target_and_regime(tmp_path: Path):
    found = by_target_and_regime(
        read_evidence([MadeUp(labels=LABELS, targets=TARGETS).write(tmp_path)]).gains
    )
    assert set(found["masked"]) == {
        (t, regime) for t in TARGETS for regime in ("3 per class", "20 per class")
    }
    assert all(pool.found.counts == "12 rounds" for pool in found["masked"].values())


# ---- what rows say ----


@pytest.mark.parametrize(
    ("config", "name", "modality"),
    [
        ({"finetune.target.kind": "mitbih"}, "mitbih", "ecg"),
        (
            {"finetune.target.kind": "files", "finetune.target.root": "$CITRUS_DATA/bonn"},
            "bonn",
            "eeg",
        ),
        ({"finetune.target.kind": "files", "finetune.target.root": "~/study"}, "study", "unknown"),
        (
            {
                "finetune.target.kind": "files",
                "finetune.target.root": "~/x/",
                "finetune.target.modality": "eeg",
            },
            *("x", "eeg"),
        ),
        (
            {"finetune.target.kind": "files", "finetune.target.modality": ["ppg", "eda", "ppg"]},
            "files",
            "eda and ppg",
        ),
    ],
)
def test_target_and_signal_are_read_off_the_settings(
    config: dict[str, object], name: str, modality: str
):
    made = MadeUp()
    row = replace(made.row(made.cells()[0], "final", 1e-2, "emgdb", 0), config=config)
    assert (target_of(row), modality_of(row)) == (name, modality)
    assert modality_of(replace(row, modalities=["eog", "ppg"])) == "eog and ppg", (
        "what the windows said comes first"
    )


def test_a_target_is_called_as_the_sweep_calls_it():
    made = MadeUp()
    row = made.row(made.cells()[0], "final", 1e-2, "emgdb", 0)
    assert target_of(replace(row, axes={"finetune.target": "bonn_seizure"})) == "bonn_seizure"
    assert (
        target_of(replace(row, repeat={"finetune.target": {"set": "bonn5", "seconds": 2.0}}))
        == "bonn5"
    )


@pytest.mark.parametrize("labels", [{"per_class": 8}, {"count": 40}, {"fraction": 0.5}])
def test_amounts_of_labels_keep_their_unit(labels: dict[str, float]):
    made = MadeUp(labels=(labels,))
    ((kind, n),) = labels.items()
    assert labels_of(made.row(made.cells()[0], "final", 1e-2, "emgdb", 0)) == LabelAmount(kind, n)  # type: ignore[arg-type]
