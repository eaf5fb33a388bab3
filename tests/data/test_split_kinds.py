"""Every kind of split: who tests is nowhere else. Each test fails if a test subject, session or
recording is trained on, chosen by or pre-trained on."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from citrus_ray.data.windowing import cache
from citrus_ray.data.windowing.splits import (
    Labels,
    Parts,
    Split,
    caveats_on,
    in_units,
    spend,
    split,
)
from citrus_ray.data.windows import Origins, Windows
from citrus_ray.experiment.hold_out import copies_tested, seen
from citrus_ray.experiment.trial import HoldOut
from citrus_ray.spec import SpecError, validate
from tests.small import PRETRAINED, SCRATCH, SWEEP, sweep_of, windows_of

N_SUBJECTS, N_SESSIONS, N_EACH = 8, 3, 4


def recorded(**tags: Any) -> Windows:
    """Eight subjects, three sessions each, a recording a session, four windows a recording."""
    n = N_SUBJECTS * N_SESSIONS * N_EACH
    group = np.repeat(np.arange(N_SUBJECTS), N_SESSIONS * N_EACH)
    run = np.repeat(np.arange(N_SUBJECTS * N_SESSIONS), N_EACH)
    first = np.tile(np.arange(N_EACH) * 2, N_SUBJECTS * N_SESSIONS)
    session = np.tile(np.repeat([f"s{i}" for i in range(N_SESSIONS)], N_EACH), N_SUBJECTS)
    site = np.where(group < 6, "A", "B")
    found = windows_of(np.arange(n) % 2, group, 2)
    origins = Origins(group, run, first)
    known = {"session": session.astype(np.str_), "site": site.astype(np.str_)}
    return replace(found, origins=origins, tags=known | tags)


def names_in(windows: Windows, spec: Split, parts: Parts) -> list[set[str]]:
    there = in_units(windows, spec)
    return [{there.groups[g] for g in there.group[part]} for part in vars(parts).values()]


def test_one_subject_is_left_out_in_each_round_and_all_are_at_last() -> None:
    windows, tested = recorded(), list[str]()
    for number in range(N_SUBJECTS):
        spec = Split(folds="each", round=number)
        train, val, test = names_in(windows, spec, split(windows, spec, seed=number))
        assert len(test) == 1
        assert not test & (train | val)
        assert train | val | test == set(windows.groups)
        tested += test
    assert sorted(tested) == sorted(windows.groups)
    again = split(windows, Split(folds="each", round=N_SUBJECTS), seed=0)
    assert names_in(windows, Split(), again)[2] == {tested[0]}


def test_folds_go_round_too() -> None:
    windows = recorded()
    tested = [
        names_in(windows, spec, split(windows, spec, seed=0))[2]
        for spec in (Split(folds=4, round=number) for number in range(4))
    ]
    assert sorted(name for names in tested for name in names) == sorted(windows.groups)


def test_an_official_split_is_what_its_column_says() -> None:
    group = np.repeat(np.arange(N_SUBJECTS), N_SESSIONS * N_EACH)
    part = np.array(["train"] * 4 + ["val"] * 2 + ["test"] * 2)[group]
    windows, spec = recorded(part=part), Split(official="part", round=3)
    parts = split(windows, spec, seed=5)
    assert [set(part[index]) for index in vars(parts).values()] == [{"train"}, {"val"}, {"test"}]
    assert sum(map(len, vars(parts).values())) == len(windows)
    spent, learnt = spend(windows, parts, Labels(count=20), "labels", seed=0)
    assert not set(part[learnt]) & {"test"}
    assert not set(part[spent.val]) & {"test"}
    crossed = part.copy()
    crossed[0] = "test"
    with pytest.raises(SpecError, match="g0 is of test and of train, so a group would cross"):
        split(recorded(part=crossed), spec, 0)
    odd = np.where(part == "val", "validation", part)
    with pytest.raises(SpecError, match="must hold train, test and perhaps val, but holds"):
        split(recorded(part=odd), spec, 0)


def test_names_say_who_tests_and_a_name_that_nobody_has_is_refused() -> None:
    windows, spec = recorded(), Split(test_groups=("g0", "g[67]"), val_groups=("g1",))
    train, val, test = names_in(windows, spec, split(windows, spec, seed=0))
    assert (test, val) == ({"g0", "g6", "g7"}, {"g1"})
    assert not train & (test | val)
    with pytest.raises(SpecError, match="test_groups: no group is called g9"):
        split(windows, Split(test_groups=("g9",)), 0)
    with pytest.raises(SpecError, match="g0 is among test_groups and val_groups"):
        split(windows, Split(test_groups=("g0",), val_groups=("g*",)), 0)


def test_across_sessions_a_session_is_never_on_both_sides_and_subjects_are() -> None:
    windows, spec = recorded(), Split(unit="session", test_groups=("* / s2",))
    parts = split(windows, spec, seed=0)
    session = windows.tags["session"]
    assert set(session[parts.test]) == {"s2"}
    assert not set(session[parts.train]) & {"s2"}
    assert not set(session[parts.val]) & {"s2"}
    assert set(windows.group[parts.test]) == set(windows.group) > set(windows.group[parts.val])
    assert any("split by session, not by subject" in said for said in caveats_on(windows, spec))


def test_within_subjects_a_recording_is_never_cut() -> None:
    windows = recorded()
    assert windows.origins is not None
    names = np.array([f"rec{r}" for r in windows.origins.run])
    windows, spec = recorded(recording=names), Split(unit="recording")
    for seed in range(3):
        parts = split(windows, spec, seed)
        runs = [set(names[index]) for index in vars(parts).values()]
        assert not (runs[0] | runs[1]) & runs[2]
        assert not runs[0] & runs[1]


def test_units_that_share_samples_are_refused() -> None:
    windows = recorded()
    assert windows.origins is not None
    half = np.where(windows.origins.first < 4, "early", "late")
    apart = replace(windows, tags={"half": half})
    assert split(apart, Split(unit="half"), 0)
    close = replace(apart, origins=replace(windows.origins, first=windows.origins.first // 2))
    with pytest.raises(SpecError, match="windows overlap one of another unit"):
        split(close, Split(unit="half"), 0)


def test_every_site_has_its_share_of_the_test_part() -> None:
    windows = recorded()
    for seed in range(5):
        parts = split(windows, Split(stratify="site", seed=seed), seed)
        site = windows.tags["site"]
        tested = [len(set(windows.group[parts.test][site[parts.test] == s])) for s in "AB"]
        assert tested == [2, 0] if sum(tested) == 2 and tested[1] == 0 else tested == [1, 1]
    halves = [
        split(windows, Split(stratify="site", test=0.5, val=0.25, seed=seed), 0).test
        for seed in range(8)
    ]
    assert all(len(set(windows.group[t][site[t] == "B"])) == 1 for t in halves)


def test_a_class_that_not_every_subject_has_is_scored_where_it_is() -> None:
    windows = recorded()
    y = np.where(windows.group == 3, 0, windows.labels)
    lacking = replace(windows, y=y)
    with pytest.raises(SpecError, match="puts every class into each; use fewer folds"):
        split(lacking, Split(folds="each", round=0), 0)
    said = set[str]()
    for number in range(N_SUBJECTS):
        spec = Split(folds="each", round=number, lacking="allow")
        test = split(lacking, spec, 0).test
        assert len(set(lacking.group[test])) == 1
        of_this = [one for one in caveats_on(lacking, spec) if "not among test windows" in one]
        assert bool(of_this) == (set(lacking.group[test]) == {3})
        said |= set(of_this)
    assert said == {"class1: not among test windows; scored over the classes that are"}


def test_a_column_that_is_not_there_is_named() -> None:
    windows = recorded()
    for spec in (Split(unit="day"), Split(official="day"), Split(stratify="day")):
        with pytest.raises(SpecError, match="=day: the source keeps no such column, there are"):
            split(windows, spec, 0)


@pytest.mark.parametrize(
    "given",
    [
        {"folds": "each", "official": "part"},
        {"test_groups": ("g0",), "official": "part"},
        {"official": "part", "val_groups": ("g0",)},
        {"stratify": "site", "folds": 3},
        {"stratify": "site", "unit": "session"},
        {"fold": 0},
    ],
)
def test_ways_that_contradict_each_other_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"give one|drop|a fold is one of folds"):
        Split(**given)


# ---- pre-training ----


def test_each_round_holds_out_of_its_pretraining_whom_it_tests() -> None:
    target = SCRATCH.finetune.target
    windows, tested = cache.load(target), list[str]()
    for number in range(len(windows.groups)):
        spec = Split(folds="each", round=number, lacking="allow")
        trial = PRETRAINED.at({"finetune.split": spec.tree(), "pretrain.source": target.tree()})
        assert trial.pretraining is not None
        held = trial.pretraining.hold_out
        assert isinstance(held, HoldOut)
        found = seen(windows, target, held)
        test = split(windows, spec, seed=9).test
        assert list(found.names) == [windows.groups[g] for g in np.unique(windows.group[test])]
        tested += found.names
    assert sorted(tested) == sorted(windows.groups)


def test_named_and_official_test_groups_are_held_out_whatever_the_round() -> None:
    target = SCRATCH.finetune.target
    windows = cache.load(target)
    spec = Split(test_groups=(windows.groups[2], windows.groups[5]), round=4)
    found = seen(windows, target, HoldOut.of(target, spec))
    assert found.names == (windows.groups[2], windows.groups[5])


def test_copies_are_looked_for_among_all_where_all_are_tested(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target = SCRATCH.finetune.target
    whole = cache.load(target)
    x = np.array(whole.x)
    rotating = Split(folds="each", lacking="allow")
    (first,) = np.unique(whole.group[split(whole, rotating, 0).test])
    a, b = [g for g in range(len(whole.groups)) if g != first][:2]
    x[whole.group == b] = x[whole.group == a]
    copied = replace(whole, x=x, fingerprints=None)
    monkeypatch.setattr(cache, "load", lambda *given: copied)
    assert copies_tested(target, rotating) is not None
    neither = Split(test_groups=(whole.groups[first],))
    assert copies_tested(target, neither) is None
    one = Split(test_groups=(whole.groups[a],))
    assert "one of them tested" in str(copies_tested(target, one))


# ---- in a sweep ----


def test_rounds_of_a_sweep_test_every_fold_in_turn() -> None:
    text = SWEEP.replace(
        "    steps: 8\n", "    steps: 8\n    split: {folds: each, lacking: allow}\n"
    )
    still = text.replace("budget: {trials: 4}", "budget: {trials: 1}")
    cell = sweep_of(still.replace("rounds: 5", "rounds: 8")).cells[0]
    rounds = [cell.members({}, number)[0][1].finetune.split.round for number in range(8)]
    assert rounds == list(range(8))
    with pytest.raises(SpecError, match="folds without fold: every group is tested in some round"):
        _ = sweep_of(text).cells
    nothing = re.sub(r"search:\n(  .*\n)+", "", still)
    assert not sweep_of(nothing).cells[0].search


def test_every_block_of_the_docs_is_a_split() -> None:
    text = (Path(__file__).parents[2] / "docs" / "splits.md").read_text()
    blocks = re.findall(r"\| `(\{.*?\})`", text)
    assert len(blocks) == 10
    for block in blocks:
        assert validate(Split, yaml.safe_load(block))
