"""Splits and label subsets: what holds for any set of windows."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from citrus_ray.data.sources.synthetic import Synthetic
from citrus_ray.data.windowing.splits import (
    FEWEST_TO_DRAW,
    KEPT,
    Labels,
    Parts,
    Split,
    Validation,
    folds_inside,
    label_subset,
    spend,
    split,
)
from citrus_ray.data.windows import Index, Windows
from citrus_ray.spec import SpecError
from tests.small import windows_of

seeds = st.integers(0, 10_000)


@st.composite
def balanced(draw: st.DrawFn) -> Windows:
    """Every group holds every class, in unequal numbers: always splittable."""
    rng = np.random.default_rng(draw(seeds))
    n_groups, n_classes = draw(st.integers(4, 9)), draw(st.integers(2, 4))
    parts = [
        (np.concatenate([np.arange(n_classes), rng.integers(0, n_classes, rng.integers(3, 9))]), g)
        for g in rng.permutation(n_groups)
    ]
    y = np.concatenate([labels for labels, _ in parts])
    group = np.concatenate([np.full(len(labels), g) for labels, g in parts])
    order = rng.permutation(len(y))
    return windows_of(y[order], group[order], n_classes)


@st.composite
def ragged(draw: st.DrawFn) -> Windows:
    """Groups that hold some of the classes only: not always splittable."""
    rng = np.random.default_rng(draw(seeds))
    n_classes, n = draw(st.integers(2, 4)), draw(st.integers(12, 60))
    group = rng.integers(0, draw(st.integers(3, 10)), n)
    favourite = rng.integers(0, n_classes, group.max() + 1)
    y = np.where(rng.random(n) < 0.6, favourite[group], rng.integers(0, n_classes, n))
    return windows_of(y, np.unique(group, return_inverse=True)[1], n_classes)


def try_split(windows: Windows, spec: Split, seed: int) -> Parts:
    try:
        return split(windows, spec, seed)
    except SpecError:
        assume(False)
        raise


def pieces(parts: Parts) -> list[np.ndarray]:
    return [parts.train, parts.val, parts.test]


# ---- splits ----


@given(windows=ragged(), seed=seeds)
def test_no_group_crosses_a_split_and_no_window_is_lost(windows, seed):
    parts = try_split(windows, Split(), seed)
    groups = [set(windows.group[part].tolist()) for part in pieces(parts)]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]
    assert sorted(np.concatenate(pieces(parts)).tolist()) == list(range(len(windows)))
    assert all((np.diff(part) > 0).all() for part in pieces(parts))


@given(windows=ragged(), seed=seeds)
def test_every_part_holds_every_class(windows, seed):
    parts = try_split(windows, Split(), seed)
    wanted = np.unique(windows.labels).tolist()
    assert all(np.unique(windows.labels[part]).tolist() == wanted for part in pieces(parts))


@given(windows=balanced(), seed=seeds, val=st.floats(0.05, 0.45), test=st.floats(0.05, 0.45))
def test_groups_that_hold_every_class_can_always_be_split(windows, seed, val, test):
    n_groups = len(windows.groups)
    n_test, n_val = max(1, round(test * n_groups)), max(1, round(val * n_groups))
    assume(n_groups - n_test - n_val >= 1)
    parts = split(windows, Split(val=val, test=test), seed)
    counts = [len(np.unique(windows.group[part])) for part in pieces(parts)]
    assert counts == [n_groups - n_test - n_val, n_val, n_test]


@given(windows=balanced(), one=seeds, other=seeds)
def test_test_groups_do_not_depend_on_the_seed_of_a_trial(windows, one, other):
    assert np.array_equal(split(windows, Split(), one).test, split(windows, Split(), other).test)


def test_seeds_move_validation_groups_and_the_split_seed_moves_test_groups():
    windows = windows_of(np.tile([0, 1], 40), np.repeat(np.arange(20), 4), 2)
    assert len({tuple(split(windows, Split(), seed).val) for seed in range(8)}) > 4
    assert len({tuple(split(windows, Split(seed=seed), 0).test) for seed in range(8)}) > 4


@given(windows=balanced(), seed=seeds)
def test_a_split_is_a_function_of_its_seeds(windows, seed):
    one, again = split(windows, Split(), seed), split(windows, Split(), seed)
    assert all(np.array_equal(a, b) for a, b in zip(pieces(one), pieces(again), strict=True))


@given(windows=ragged(), seed=seeds)
def test_the_order_of_labels_within_test_groups_changes_no_other_part(windows, seed):
    """Which classes a group holds decides where it may go; which of its windows holds them must
    not."""
    before = try_split(windows, Split(), seed)
    y = windows.labels.copy()
    rng = np.random.default_rng(seed)
    for g in np.unique(windows.group[before.test]):
        members = np.flatnonzero(windows.group == g)
        y[members] = rng.permutation(y[members])
    changed = windows_of(y, windows.group, len(windows.classes))
    after = split(changed, Split(), seed)
    assert all(np.array_equal(a, b) for a, b in zip(pieces(before), pieces(after), strict=True))
    labels = Labels(fraction=0.5)
    assume(len(before.train) >= 2 * len(windows.classes))
    assert np.array_equal(
        label_subset(windows, before.train, labels, seed),
        label_subset(changed, after.train, labels, seed),
    )


@given(windows=balanced(), seed=seeds)
def test_any_labels_of_test_windows_that_keep_every_class_change_no_other_part(windows, seed):
    before = split(windows, Split(), seed)
    y = windows.labels.copy()
    rng = np.random.default_rng(seed)
    for g in np.unique(windows.group[before.test]):
        members = np.flatnonzero(windows.group == g)
        y[members] = rng.permutation(np.arange(len(members)) % len(windows.classes))
    after = split(windows_of(y, windows.group, len(windows.classes)), Split(), seed)
    assert all(np.array_equal(a, b) for a, b in zip(pieces(before), pieces(after), strict=True))


# ---- rounds ----


@st.composite
def many_people(draw: st.DrawFn) -> Windows:
    """Enough people to draw test people from; not all of them hold every class."""
    rng = np.random.default_rng(draw(seeds))
    n, n_classes = draw(st.integers(4, 60)), draw(st.integers(2, 3))
    group = np.repeat(np.arange(n), 6)
    y = np.where(
        rng.random(len(group)) < 0.4, group % n_classes, rng.integers(0, n_classes, len(group))
    )
    return windows_of(y, group, n_classes)


def people(windows: Windows, index: np.ndarray) -> set[int]:
    return set(windows.group[index].tolist())


@given(windows=many_people(), seed=seeds, round_=st.integers(0, 50))
def test_a_round_tests_half_of_the_test_people_and_nobody_who_was_ever_chosen_by(
    windows, seed, round_
):
    everyone = people(windows, try_split(windows, Split(), seed).test)
    parts = split(windows, Split(round=round_), seed)
    tested = people(windows, parts.test)
    assert tested <= everyone
    assert len(tested) in {len(everyone), -(-len(everyone) // 2)}
    assert len(np.unique(windows.labels[parts.test])) == len(np.unique(windows.labels))
    if len(everyone) < FEWEST_TO_DRAW:
        assert tested == everyone
    for other in range(3):
        search = split(windows, Split(), other)
        assert not tested & (people(windows, search.train) | people(windows, search.val))


def test_rounds_test_other_people_of_the_same_pool():
    windows = windows_of(np.tile([0, 1], 120), np.repeat(np.arange(40), 6), 2)
    drawn = [people(windows, split(windows, Split(round=r), 0).test) for r in range(12)]
    assert {len(found) for found in drawn} == {5}
    assert len({frozenset(found) for found in drawn}) > 9
    assert set.union(*drawn) == people(windows, split(windows, Split(), 0).test)
    again = people(windows, split(windows, Split(round=3), 99).test)
    assert again == drawn[3], "whatever the seed of the trial: both arms test the same people"


def test_two_groups_are_too_few_and_the_error_says_so():
    windows = windows_of(np.tile([0, 1], 4), np.repeat([0, 1], 4), 2)
    with pytest.raises(
        SpecError, match=r"2 groups cannot be split into train, val .* without cutting one"
    ):
        split(windows, Split(), 0)


def test_a_class_in_one_group_only_cannot_be_in_every_part_and_the_error_names_it():
    y, group = np.tile([0, 1], 12), np.repeat(np.arange(6), 4)
    windows = windows_of(np.where(group == 2, 2, y), group, 3)
    with pytest.raises(SpecError, match=r"groups per class: .*'class2': 1"):
        split(windows, Split(), 0)


def test_shares_that_leave_nothing_to_train_on_are_refused():
    with pytest.raises(ValueError, match="must leave groups to train on"):
        Split(val=0.5, test=0.5)


# ---- label subsets ----


def subset(windows: Windows, pool: np.ndarray, seed: int, **labels: float) -> np.ndarray:
    try:
        return label_subset(windows, pool, Labels.model_validate(labels), seed)
    except SpecError:
        return np.array([], dtype=np.int64)


SIZES: dict[str, list[float]] = {
    "per_class": [1, 2, 3, 5],
    "count": [2, 3, 4, 6, 9, 14],
    "fraction": [0.1, 0.25, 0.5, 0.9, 1.0],
}


@pytest.mark.parametrize("how", list(SIZES))
@given(windows=ragged(), seed=seeds)
def test_fewer_labels_of_a_seed_are_part_of_more(how, windows, seed):
    pool = np.flatnonzero(windows.group != 0)
    found = [subset(windows, pool, seed, **{how: size}) for size in SIZES[how]]
    given_ = [set(index.tolist()) for index in found if len(index)]
    assert all(few <= many for few, many in pairwise(given_))


@pytest.mark.parametrize("how", list(SIZES))
@given(windows=ragged(), seed=seeds)
def test_a_subset_is_sorted_inside_its_pool_and_holds_every_class_of_it(how, windows, seed):
    pool = np.flatnonzero(windows.group != 0)
    classes = np.unique(windows.labels[pool]).tolist()
    for size in SIZES[how]:
        found = subset(windows, pool, seed, **{how: size})
        if len(found):
            assert (np.diff(found) > 0).all()
            assert set(found.tolist()) <= set(pool.tolist())
            assert np.unique(windows.labels[found]).tolist() == classes


@given(windows=balanced(), seed=seeds, n=st.integers(1, 3))
def test_sizes_are_exact(windows, seed, n):
    pool = np.arange(len(windows))
    assert (
        len(subset(windows, pool, seed, count=len(windows.classes) + n)) == len(windows.classes) + n
    )
    assert len(subset(windows, pool, seed, fraction=0.5)) == -(-len(pool) // 2)
    assert len(subset(windows, pool, seed, fraction=1.0)) == len(pool)
    counts = np.bincount(windows.labels[subset(windows, pool, seed, per_class=n)])
    assert set(counts.tolist()) == {n}


@given(windows=balanced(), seed=seeds, size=st.floats(0.3, 1.0))
def test_a_subset_keeps_the_shares_of_the_classes(windows, seed, size):
    pool = np.arange(len(windows))
    found = label_subset(windows, pool, Labels(fraction=size), seed)
    share = np.bincount(windows.labels) / len(pool)
    got = np.bincount(windows.labels[found], minlength=len(share))
    assert (np.abs(got - share * len(found)) <= len(share)).all()


def test_few_labels_come_from_many_groups():
    windows = windows_of(np.tile([0, 1], 40), np.repeat(np.arange(10), 8), 2)
    for seed in range(5):
        found = label_subset(windows, np.arange(80), Labels(per_class=10), seed)
        for k in (0, 1):
            assert len(np.unique(windows.group[found][windows.labels[found] == k])) == 10


def test_seeds_give_other_labels_and_one_seed_the_same():
    windows = windows_of(np.tile([0, 1], 40), np.repeat(np.arange(10), 8), 2)
    found = [
        label_subset(windows, np.arange(80), Labels(per_class=4), seed) for seed in (0, 0, 1, 2, 3)
    ]
    assert np.array_equal(found[0], found[1])
    assert len({tuple(index) for index in found}) == 4


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (Labels(per_class=9), "labels.per_class=9: class 'class0' has only 8 training windows"),
        (
            Labels(count=1),
            "labels: 1 of the 16 training windows cannot hold one of each of the 2 classes; "
            "ask for 2 to 16",
        ),
        (Labels(count=17), "ask for 2 to 16"),
        (Labels(fraction=0.01), "cannot hold one of each"),
    ],
)
def test_labels_that_are_not_there_are_refused_with_what_is(labels, says):
    windows = windows_of(np.tile([0, 1], 8), np.repeat(np.arange(4), 4), 2)
    with pytest.raises(SpecError) as caught:
        label_subset(windows, np.arange(16), labels, 0)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "given_", [{}, {"per_class": 2, "count": 4}, {"count": 2, "fraction": 0.5}]
)
def test_labels_are_counted_in_exactly_one_way(given_):
    with pytest.raises(ValueError, match="exactly one of per_class, count, fraction"):
        Labels(**given_)


def test_folds_are_disjoint_cover_all_groups_and_hold_every_class() -> None:
    windows = Synthetic(n_subjects=10, windows_per_subject=8).prepare()
    tests = [split(windows, Split(folds=5, fold=i), seed=0).test for i in range(5)]
    assert np.array_equal(np.sort(np.concatenate(tests)), np.arange(len(windows)))
    for test in tests:
        assert len(np.unique(windows.labels[test])) == 4
    groups = [set(windows.group[test].tolist()) for test in tests]
    assert all(groups[i].isdisjoint(groups[j]) for i in range(5) for j in range(i))


@pytest.mark.parametrize("given", [{"fold": 1}, {"folds": 3, "fold": 3}])
def test_half_a_fold_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a fold is one of folds"):
        Split(**given)


def test_one_class_cannot_be_told_apart_and_is_refused() -> None:
    with pytest.raises(SpecError, match="must be at least 2 to tell apart"):
        split(windows_of(np.zeros(12, dtype=np.int64), np.arange(12) % 6, 1), Split(), seed=0)


# ---- labels are counted where they are spent ----

PEOPLE = windows_of(np.tile([0, 1, 2], 80), np.repeat(np.arange(20), 12), 3)
PAIR = windows_of(np.tile([0, 1], 40), np.repeat(np.arange(4), 20), 2)  # two people to learn from


def spent(windows: Windows, labels: Labels, how: Validation, seed: int = 0) -> tuple[Parts, Index]:
    return spend(windows, split(windows, Split(), seed), labels, how, seed)


@given(windows=balanced(), seed=seeds, n=st.integers(2, 6), share=st.floats(0.3, 1.0))
def test_the_labelled_windows_are_all_there_is_to_learn_from_and_to_choose_by(
    windows, seed, n, share
):
    parts = split(windows, Split(), seed)
    pool = np.union1d(parts.train, parts.val)
    for labels in (Labels(per_class=n), Labels(fraction=share)):
        try:
            known = label_subset(windows, pool, labels, seed)
            found, learnt = spend(windows, parts, labels, "labels", seed)
        except SpecError:  # so few are there
            continue
        assert np.array_equal(np.union1d(learnt, found.val), known)
        assert not set(learnt.tolist()) & set(found.val.tolist())
        assert np.array_equal(np.union1d(found.train, found.val), pool)
        assert np.array_equal(found.test, parts.test)
        for part in (learnt, found.val):
            assert set(windows.labels[part].tolist()) == set(windows.labels[known].tolist())


@given(windows=balanced(), seed=seeds, n=st.integers(1, 4))
def test_a_refit_learns_from_all_that_the_search_learnt_from_and_chose_by(windows, seed, n):
    labels = Labels(per_class=n)
    parts = split(windows, Split(), seed)
    try:
        none, all_ = spend(windows, parts, labels, "none", seed)
    except SpecError:
        assume(False)
    assert len(none.val) == 0
    assert set(np.bincount(windows.labels[all_]).tolist()) == {n}
    if n > 1:
        kept, learnt = spend(windows, parts, labels, "labels", seed)
        assert np.array_equal(np.union1d(kept.val, learnt), all_)


def test_beside_a_fully_labelled_part_labels_are_those_of_the_training_part():
    parts = split(PEOPLE, Split(), 0)
    found, learnt = spend(PEOPLE, parts, Labels(per_class=5), "full", 0)
    assert found == parts
    assert np.array_equal(learnt, label_subset(PEOPLE, parts.train, Labels(per_class=5), 0))


@pytest.mark.parametrize("n", [2, 3, 4, 5, 9, 20])
@pytest.mark.parametrize("windows", [PEOPLE, PAIR], ids=["20 people", "2 people"])
def test_a_third_of_every_class_is_kept_or_what_whole_people_allow(windows, n):
    for seed in range(5):
        found, _ = spent(windows, Labels(per_class=n), "labels", seed)
        counts = np.bincount(windows.labels[found.val])
        assert counts.min() >= max(1, n * KEPT / 2)
        assert counts.max() <= n / 2


def test_people_that_score_are_not_learnt_from():
    for windows in (PEOPLE, PAIR):
        for labels in (Labels(per_class=5), Labels(fraction=1.0), Labels(fraction=0.3)):
            found, learnt = spent(windows, labels, "labels")
            assert not set(windows.group[found.val].tolist()) & set(windows.group[learnt].tolist())


def test_where_a_class_is_one_person_windows_are_kept_and_classes_stay_whole():
    y, group = np.repeat([0, 1], 30), np.repeat(np.arange(6), 10)
    windows, all_ = windows_of(y, group, 2), np.arange(60)
    parts = Parts(train=all_[(group == 0) | (group == 3)], val=all_[:0], test=all_[group == 5])
    found, learnt = spend(windows, parts, Labels(per_class=6), "labels", 0)
    assert np.bincount(y[found.val]).tolist() == [2, 2]
    assert np.bincount(y[learnt]).tolist() == [4, 4]


def test_members_of_several_seeds_check_on_different_windows():
    found = [spent(PEOPLE, Labels(per_class=4), "labels", seed)[0].val for seed in range(6)]
    assert len({tuple(val.tolist()) for val in found}) == 6


def test_the_same_labels_are_kept_by_other_seeds_in_other_ways():
    parts, labels = split(PEOPLE, Split(), 0), Labels(fraction=1.0)
    found = [spend(PEOPLE, parts, labels, "labels", seed)[0].val for seed in range(6)]
    assert len({tuple(val.tolist()) for val in found}) == 6


@pytest.mark.parametrize("labels", [Labels(count=4), Labels(per_class=1)])
def test_a_single_label_cannot_teach_and_check(labels):
    with pytest.raises(SpecError, match=r"has one labelled window.* give `validation: full`"):
        spent(PEOPLE, labels, "labels")


@given(windows=balanced(), seed=seeds)
def test_folds_inside_the_labelled_windows_cut_no_person_and_leave_every_class(windows, seed):
    known = label_subset(windows, np.arange(len(windows)), Labels(fraction=1.0), seed)
    y, group = windows.labels[known], windows.group[known]
    fold = folds_inside(y, group)
    assert len(np.unique(fold)) == min(5, len(np.unique(group)))
    for number in np.unique(fold):
        inside = fold == number
        assert not set(group[inside].tolist()) & set(group[~inside].tolist())
        assert set(y[~inside].tolist()) == set(y.tolist())


def test_folds_are_stratified_where_a_class_is_one_person_and_one_where_it_is_one_window():
    fold = folds_inside(np.repeat([0, 1], 10), np.repeat([0, 1], 10))
    assert [np.bincount(fold[:10]).tolist(), np.bincount(fold[10:]).tolist()] == [[2] * 5] * 2
    assert set(folds_inside(np.array([0, 1, 1, 1]), np.arange(4)).tolist()) == {0}


# ---- values ----


def values_of(y: list[float], group: list[int]) -> Windows:
    found = windows_of(np.zeros(len(y)), np.array(group), 1)
    return replace(found, y=np.array(y), classes=(), target="value")


def test_values_are_split_by_groups_and_labels_are_a_number_of_windows():
    group = np.repeat(np.arange(8), 5)
    windows = values_of(np.random.default_rng(0).normal(size=40).tolist(), group.tolist())
    parts = split(windows, Split(), seed=3)
    train, val, test = (set(group[part]) for part in (parts.train, parts.val, parts.test))
    assert not (train & val)
    assert not (train & test)
    assert not (val & test)
    spent, learnt = spend(windows, parts, Labels(count=12), "labels", seed=0)
    assert len(learnt) + len(spent.val) == 12
    few = label_subset(windows, parts.train, Labels(count=3), 0)
    assert set(few) <= set(label_subset(windows, parts.train, Labels(count=9), 0))
    assert len(set(group[few])) == 3, "groups take turns"


def test_values_that_cannot_be_learnt_are_refused():
    group = np.repeat(np.arange(8), 2).tolist()
    with pytest.raises(SpecError, match="every window has the value 3: nothing can be told"):
        split(values_of([3.0] * 16, group), Split(), 0)
    windows = values_of(np.arange(16.0).tolist(), group)
    parts = split(windows, Split(), 0)
    with pytest.raises(SpecError, match="labels: one window is labelled, which cannot be learnt"):
        spend(windows, parts, Labels(count=1), "labels", 0)
    with pytest.raises(SpecError, match="labels: 500 of the 12 training windows; ask for 1 to 12"):
        spend(windows, parts, Labels(count=500), "labels", 0)
