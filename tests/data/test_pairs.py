"""`kind: pairs`: which windows go together, and that no split can part them."""

from typing import Any

import numpy as np
import pytest

from citrus_ray.data.sources.pairs import Pairs
from citrus_ray.data.sources.synthetic import Synthetic
from citrus_ray.data.sources.synthetic_fmri import SyntheticFmri
from citrus_ray.data.windowing import cache
from citrus_ray.data.windowing.splits import Split, split
from citrus_ray.data.windows import Origins, Windows
from citrus_ray.spec import SpecError, validate

T = 4
SERIES = SyntheticFmri(
    n_subjects=6, n_runs=3, n_blocks=6, block=8, n_voxels=3, timbres=3, volumes=T, labelled=False
)
OVERLAPPING = SERIES.at({"stride": 2})
SHOWN = SERIES.at({"labelled": True})


def next_of(of: SyntheticFmri = OVERLAPPING, **fields: Any) -> Windows:
    return Pairs(of=of, **fields).prepare()


def same_class(of: SyntheticFmri = SHOWN, **fields: Any) -> Windows:
    return Pairs(of=of, ask="same_class", **fields).prepare()


def origins(windows: Windows) -> Origins:
    assert windows.origins is not None
    return windows.origins


def gaps(windows: Windows, label: int) -> np.ndarray:
    """Samples from the beginning of A to that of B, of pairs in one run."""
    found = origins(windows)
    mine = (windows.labels == label) & (found.run[:, 0] == found.run[:, 1])
    return np.asarray(found.first[mine, 1] - found.first[mine, 0])


# ---- next ----


def test_half_of_the_pairs_follow_and_b_is_what_was_recorded_then():
    windows, inner = next_of(), cache.load(OVERLAPPING)
    assert windows.classes == ("other", "next")
    assert np.bincount(windows.labels).tolist() == [len(windows) // 2] * 2
    assert set(gaps(windows, 1).tolist()) == {T}
    where = {
        key: i
        for i, key in enumerate(
            zip(origins(inner).run.tolist(), origins(inner).first.tolist(), strict=True)
        )
    }
    for i in range(0, len(windows), 17):
        a, b = (
            inner.x[where[tuple(at)]]
            for at in zip(origins(windows).run[i], origins(windows).first[i], strict=True)
        )
        assert np.array_equal(windows.x[i], np.concatenate([a, b], axis=1))
    assert windows.are_pairs
    assert windows.context.n_parts == 2


def test_a_gap_lies_between_a_and_what_follows():
    assert set(gaps(next_of(gap=2), 1).tolist()) == {T + 2}


@pytest.mark.parametrize(("buffer", "gap"), [(0, 0), (3, 0), (2, 4)])
def test_what_does_not_follow_keeps_clear_of_both_windows(buffer, gap):
    away = gaps(next_of(negatives="same_run", buffer=buffer, gap=gap), 0)
    assert len(away)
    assert ((away <= -T - buffer) | (away >= 2 * T + gap + buffer)).all()


def test_negatives_are_from_where_the_spec_says():
    any_run, same_run = next_of(), next_of(negatives="same_run")
    others = next_of(negatives="other_subject", groups_of=2)
    for windows, same_subject, share in (
        (any_run, True, 0.3),
        (same_run, True, 1.0),
        (others, False, 0.0),
    ):
        mine, found = windows.labels == 0, origins(windows)
        assert ((found.subject[mine, 0] == found.subject[mine, 1]) == same_subject).all()
        assert (found.run[mine, 0] == found.run[mine, 1]).mean() == pytest.approx(share, abs=0.15)


def test_runs_that_give_the_answer_away_are_a_caveat():
    assert any("of one run gives the label" in caveat for caveat in next_of().caveats)
    assert not any(
        "of one run gives the label" in caveat for caveat in next_of(negatives="same_run").caveats
    )


# ---- of one class ----


def test_pairs_of_one_class_are_of_one_person_and_share_no_volume():
    inner, windows = cache.load(SHOWN), same_class()
    found = origins(windows)
    assert (found.subject[:, 0] == found.subject[:, 1]).all()
    assert not (gaps(windows, 1) == 0).any()
    kind = dict(
        zip(
            zip(origins(inner).run.tolist(), origins(inner).first.tolist(), strict=True),
            inner.labels,
            strict=True,
        )
    )
    alike = [
        len({kind[at] for at in zip(run, first, strict=True)}) == 1
        for run, first in zip(found.run, found.first, strict=True)
    ]
    assert np.array_equal(alike, windows.labels == 1)


def test_windows_that_overlap_are_no_pair_of_one_class():
    windows = same_class(SHOWN.at({"stride": 1}))
    assert (np.diff(np.sort(np.unique(origins(windows).first))) < T).any(), (
        "windows of the source do overlap"
    )
    assert (np.abs(gaps(windows, 1)) >= T).all()


def test_partners_can_be_kept_to_other_runs():
    found = origins(same_class(partners="across_runs"))
    assert (found.run[:, 0] != found.run[:, 1]).all()


def test_partners_of_another_condition_are_of_one_class_all_the_same():
    of = SHOWN.at({"imagined": True})
    inner, across, within = (
        cache.load(of),
        same_class(of, partners="across_conditions"),
        same_class(of),
    )
    kind = dict(
        zip(
            zip(origins(inner).run.tolist(), origins(inner).first.tolist(), strict=True),
            inner.labels,
            strict=True,
        )
    )
    for windows, same_condition in ((across, False), (within, True)):
        found = origins(windows)
        for run, first, y in zip(found.run, found.first, windows.labels, strict=True):
            a, b = (inner.classes[kind[at]].split("/") for at in zip(run, first, strict=True))
            assert (a[1] == b[1]) == same_condition
            assert (a[0] == b[0]) == (y == 1)


def test_one_class_per_run_makes_class_and_run_the_same_question():
    of = SHOWN.at({"design": "one_per_run"})
    found = same_class(of)
    assert np.array_equal(origins(found).run[:, 0] == origins(found).run[:, 1], found.labels == 1)
    assert any("of 100% of pairs" in caveat for caveat in found.caveats)


# ---- splits ----


@pytest.mark.parametrize(
    "spec",
    [
        Pairs(of=SERIES),
        Pairs(of=SERIES.at({"group_by": "run"}), groups_of=3),
        Pairs(of=SERIES, negatives="other_subject", groups_of=2),
        Pairs(of=SHOWN, ask="same_class", partners="across_runs"),
        Pairs(
            of=SHOWN.at({"group_by": "run"}), ask="same_class", partners="across_runs", groups_of=3
        ),
    ],
)
def test_no_window_stands_on_both_sides_of_a_split(spec):
    windows = spec.prepare()
    for seed in range(5):
        parts = split(windows, Split(val=0.2, test=0.34), seed)
        seen = [
            set(
                zip(
                    origins(windows).run[part].ravel(),
                    origins(windows).first[part].ravel(),
                    strict=True,
                )
            )
            for part in (parts.train, parts.val, parts.test)
        ]
        assert len(seen[0] | seen[1] | seen[2]) == sum(map(len, seen))


def test_groups_that_are_merged_keep_their_names():
    windows = next_of(SERIES.at({"group_by": "run"}), groups_of=3)
    assert windows.groups[0] == "sub-00_run-0+sub-00_run-1+sub-00_run-2"
    assert len(windows.groups) == 6


# ---- the rest ----


def test_shuffled_labels_say_nothing_of_the_pairs():
    plain, null = next_of(), next_of(shuffle_labels=True)
    assert np.array_equal(plain.x, null.x)
    assert np.bincount(null.labels).tolist() == np.bincount(plain.labels).tolist()
    assert np.mean(null.labels == plain.labels) == pytest.approx(0.5, abs=0.08)
    assert "the labels are shuffled: a null" in null.caveats


def test_a_seed_draws_other_pairs():
    assert np.array_equal(next_of().x, next_of().x)
    assert not np.array_equal(next_of().x, next_of(seed=1).x)


def test_pairs_read_the_recordings_of_their_source():
    spec = Pairs(of=SERIES)
    assert (
        spec.recordings()
        == Pairs(of=SHOWN.at({"normalize_by": "scan"}), ask="same_class").recordings()
    )
    assert spec.digest() != Pairs(of=SERIES.at({"normalize_by": "scan"})).digest()


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({"of": {"kind": "pairs", "of": SERIES.tree()}}, "not of pairs"),
        ({"of": SERIES.tree(), "partners": "across_runs"}, "partners: of no effect with ask=next"),
        (
            {"of": SHOWN.tree(), "ask": "same_class", "buffer": 2},
            "buffer: of no effect with ask=same_class",
        ),
        ({"of": {"kind": "synthetic_fmri", "stryde": 2}}, "`stryde` is not a key here"),
    ],
)
def test_what_means_nothing_is_refused(tree, said):
    with pytest.raises(SpecError, match=said):
        validate(Pairs, {"kind": "pairs"} | tree)


def test_a_source_that_gives_no_pair_is_refused_with_the_way_out():
    with pytest.raises(SpecError, match="run and time are known"):
        Pairs(of=Synthetic(n_subjects=2, windows_per_subject=2)).prepare()
    with pytest.raises(SpecError, match="raise groups_of"):
        next_of(negatives="other_subject")
    with pytest.raises(SpecError, match="a stride that gap \\+ window is a multiple of"):
        next_of(SERIES.at({"stride": 3}))
