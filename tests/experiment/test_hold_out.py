"""Nobody who is tested is seen in pre-training: recordings are known by their samples."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from citrus_ray.data.source import Source
from citrus_ray.data.sources.files import Files
from citrus_ray.data.tools.describe import main_describe
from citrus_ray.data.windowing import cache
from citrus_ray.data.windowing.splits import Split, split
from citrus_ray.evidence.summary import summarise
from citrus_ray.experiment.dry_run import DryRun, check_data
from citrus_ray.experiment.sweep import Sweep
from citrus_ray.experiment.trial import HoldOut, Trial
from citrus_ray.spec import SpecError
from citrus_ray.training.pretraining import ensure_encoder, held_out
from tests.data.people import CHANS, files, recordings, signals
from tests.small import SWEEP, sweep_of


def sweep_on(source: Source, target: Source, hold_out: Any = None, **edits: Any) -> Sweep:
    """The small sweep on these recordings."""
    tree = json.loads(json.dumps(sweep_of(SWEEP).trial.tree()))
    tree["pretrain"] |= {"source": source.tree(), "hold_out": hold_out}
    tree["finetune"] |= {"target": target.tree(), "labels": {"per_class": 2}}
    return sweep_of(SWEEP, trial=tree, **edits)


def pretrained(sweep: Sweep) -> Trial:
    return next(cell.trial for cell in sweep.cells if cell.trial.pretraining)


def who_tests(target: Source, seed: int = 0) -> set[int]:
    """Numbers of the people in the target's test part: p3 -> 3."""
    windows = cache.load(target)
    groups = np.unique(windows.group[split(windows, Split(seed=seed), seed=0).test])
    return {int(windows.groups[g].strip("pq")) for g in groups}


def learnt(sweep: Sweep) -> set[str]:
    """Groups of the source that its pre-training reads, to train on or to watch."""
    spec = pretrained(sweep).pretraining
    assert spec is not None
    windows = cache.load(spec.source)
    parts = held_out(windows, spec)
    return {windows.groups[g] for part in parts for g in np.unique(windows.group[part])}


def runs(sweep: Sweep) -> bool:
    """Whether the dry run lets it pass and an encoder comes out."""
    check_data(sweep)
    return ensure_encoder(pretrained(sweep)) is not None


# ---- the same folder, or one inside the other ----


def test_a_source_in_the_parent_folder_of_the_target_leaves_its_test_people_out(tmp_path):
    """Once it left nothing out: only equal folders counted."""
    target = files(recordings(tmp_path / "day1"))
    recordings(tmp_path / "day2", range(8, 12))
    source = files(tmp_path, pattern="**/*.npz", labels=None)
    sweep = sweep_on(source, target)
    assert learnt(sweep) == {f"p{i}" for i in range(12) if i not in who_tests(target)}
    assert runs(sweep)


def test_a_target_in_the_parent_folder_of_the_source_does_so_too(tmp_path):
    recordings(tmp_path / "day1")
    recordings(tmp_path / "day2", range(8, 12))
    rows = [(tmp_path / day / "labels.csv").read_text().splitlines() for day in ("day1", "day2")]
    (tmp_path / "labels.csv").write_text("\n".join([*rows[0], *rows[1][1:]]) + "\n")
    target = files(tmp_path, pattern="**/*.npz")
    source = files(tmp_path / "day1", labels=None, seconds=3.0)
    assert who_tests(target) & set(range(8))
    assert learnt(sweep_on(source, target)) == {
        f"p{i}" for i in range(8) if i not in who_tests(target)
    }


def test_groups_whose_names_match_in_part_are_all_left_out(tmp_path):
    """Once the others were learnt from."""
    root = recordings(tmp_path)
    target = files(root)
    table = (root / "labels.csv").read_text()
    for i in range(0, 8, 2):
        table = table.replace(f",p{i}\n", f",visitor{i}\n")
    (root / "other.csv").write_text(table)
    found = learnt(sweep_on(files(root, labels="other.csv"), target))
    names = {i: f"visitor{i}" if i % 2 == 0 else f"p{i}" for i in range(8)}
    assert {i % 2 for i in who_tests(target)} == {0, 1}
    assert found == {name for i, name in names.items() if i not in who_tests(target)}


def test_groups_none_of_whose_names_match_are_left_out_and_no_arm_dies(tmp_path):
    """Once a dry run passed, and then every pre-trained arm failed."""
    root = recordings(tmp_path)
    target = files(root)
    source = files(root, labels=None, group_pattern="p([0-9])", seconds=1.0)
    sweep = sweep_on(source, target)
    assert learnt(sweep) == {str(i) for i in range(8) if i not in who_tests(target)}
    assert runs(sweep)


def test_in_one_folder_a_name_is_a_person_though_another_device_was_recorded(tmp_path):
    """A phone and a watch share no sample."""
    recordings(tmp_path, range(8, 16), name="watch{}.npz")
    root = recordings(tmp_path)
    rows = [f"watch{i},0,24,worn,p{i - 8}" for i in range(8, 16)]
    (root / "watch.csv").write_text("\n".join(["file,start_s,stop_s,label,group", *rows]) + "\n")
    target = files(root, pattern="p*.npz")
    source = files(root, pattern="watch*.npz", labels="watch.csv")
    assert learnt(sweep_on(source, target)) == {
        f"p{i}" for i in range(8) if i not in who_tests(target)
    }


def test_where_the_source_holds_none_of_them_nothing_is_left_out(tmp_path):
    target = files(recordings(tmp_path / "mine"))
    recordings(tmp_path / "others", range(8, 16), group="p{}")
    source = files(tmp_path, pattern="others/*.npz", labels=None)
    sweep = sweep_on(source, target)
    assert learnt(sweep) == {f"p{i}" for i in range(8, 16)}
    assert runs(sweep)
    said = "\n".join(DryRun(sweep).lines())
    assert (
        "pre-training leaves nothing out: none of the source's 8 groups holds a recording" in said
    )


def test_a_source_of_which_all_would_be_left_out_is_refused_before_the_start(tmp_path):
    target = files(recordings(tmp_path / "all"))
    copied = sorted(who_tests(target))
    source = files(recordings(tmp_path / "all" / "few", copied), labels=None)
    with pytest.raises(SpecError, match="all of the source is left out") as caught:
        check_data(sweep_on(source, target))
    (problem,) = caught.value.problems
    assert problem.path == "trial.pretrain.source"
    assert "2 of 2 groups" in problem.message
    assert "nothing can be learnt from it; give it more recordings" in problem.message


# ---- copies elsewhere ----


@pytest.fixture
def copies(tmp_path: Path) -> tuple[Files, Files]:
    """A source of which half are copies of the target's people: EDF, two channels, other names."""
    target = files(recordings(tmp_path / "target"))
    root = recordings(tmp_path / "corpus", range(4, 12), name="rec{}.edf", picks=slice(0, 2))
    source = files(root, pattern="*.edf", labels=None, seconds=1.5, sfreq=80.0)
    assert who_tests(target) & {4, 5, 6, 7}
    return source, target


def test_copies_under_other_folders_and_names_are_refused_with_what_to_do(copies):
    source, target = copies
    sweep = sweep_on(source, target)
    with pytest.raises(SpecError) as caught:
        check_data(sweep)
    (problem,) = caught.value.problems
    assert problem.path == "trial.pretrain.source"
    there = sorted(who_tests(target) & {4, 5, 6, 7})
    recs, people = (", ".join(f"{name}{i}" for i in there) for name in ("rec", "p"))
    assert f"{len(there)} of 8 groups ({recs}) hold recordings of" in problem.message
    assert f"{len(there)} of {len(who_tests(target))} test groups ({people})" in problem.message
    assert "known by their samples" in problem.message
    assert "give `pretrain.hold_out: target`, which leaves them out, or take" in problem.message


def test_told_to_pretraining_leaves_out_the_copies_of_who_is_tested(copies):
    source, target = copies
    sweep = sweep_on(source, target, hold_out="target")
    assert learnt(sweep) == {f"rec{i}" for i in range(4, 12) if i not in who_tests(target)}
    assert runs(sweep)


def test_told_to_it_names_the_target_and_split_in_the_encoders_name(copies):
    source, target = copies
    one = pretrained(sweep_on(source, target, hold_out="target"))
    assert one.pretraining is not None
    assert one.pretraining.hold_out == HoldOut(target=target, split=Split())
    plain = pretrained(sweep_on(source, target))
    assert plain.pretraining is not None
    assert plain.pretraining.hold_out is None
    assert plain.encoder_digest() != one.encoder_digest()
    assert one.encoder_digest() != one.at({"finetune.split.seed": 1}).encoder_digest()
    assert plain.encoder_digest() == plain.at({"finetune.split.seed": 1}).encoder_digest()
    near = pretrained(sweep_on(target, target))
    told = pretrained(sweep_on(target, target, hold_out="target"))
    assert near.encoder_digest() == told.encoder_digest()


def test_in_no_round_anyone_is_seen_who_is_tested_in_another(copies):
    source, target = copies
    told = pretrained(sweep_on(source, target, hold_out="target"))
    for trial in (told, pretrained(sweep_on(target, target))):
        drawn = [trial.at({"finetune.split.round": number}) for number in (None, 0, 1)]
        assert len({one.encoder_digest() for one in drawn}) == 1
        assert {one.tested for one in drawn} == {HoldOut.of(target, Split())}


def test_people_of_another_target_left_out_do_not_stand_for_those_of_this_one(copies):
    source, target = copies
    others = HoldOut(target=target, split=Split(seed=3))
    assert (who_tests(target) - who_tests(target, seed=3)) & {4, 5, 6, 7}
    sweep = sweep_on(source, target, hold_out=others.tree())
    with pytest.raises(SpecError, match="hold recordings of"):
        check_data(sweep)


def test_copies_of_people_who_are_not_tested_are_no_problem(tmp_path):
    target = files(recordings(tmp_path / "target"))
    others = [i for i in range(8) if i not in who_tests(target)]
    source = files(recordings(tmp_path / "corpus", others), labels=None)
    sweep = sweep_on(source, target)
    check_data(sweep)
    assert learnt(sweep) == {f"p{i}" for i in others}


@pytest.mark.parametrize("among_tested", [False, True])
def test_a_recording_under_two_names_is_refused_where_one_of_them_is_tested(tmp_path, among_tested):
    root = recordings(tmp_path / "target")
    tested = sorted(who_tests(files(root)))
    person, other = (tested[0], tested[1] if among_tested else 99)
    if not among_tested:
        other = next(i for i in range(8) if i not in tested)
    # the other's file becomes a copy of a person's; who tests hangs on names alone
    (root / f"p{other}.npz").write_bytes((root / f"p{person}.npz").read_bytes())
    target = files(root)
    assert sorted(who_tests(target)) == tested
    source = files(recordings(tmp_path / "others", range(20, 24)), labels=None)
    sweep = sweep_on(source, target)
    if among_tested:
        check_data(sweep)  # both are tested: no choice saw either
        return
    with pytest.raises(SpecError) as caught:
        check_data(sweep)
    (problem,) = caught.value.problems
    assert problem.path == "trial.finetune.target"
    assert f"p{person} and p{other}" in problem.message
    assert "give both the same group, or drop one" in problem.message


def test_a_copy_in_disguise_is_refused_where_one_of_the_two_is_tested(tmp_path, capsys):
    root = recordings(tmp_path / "target")
    tested = sorted(who_tests(files(root)))
    other = next(i for i in range(8) if i not in tested)
    x = np.roll(-0.7 * signals(tested[0])[::-1], 150, axis=1)
    np.savez(root / f"p{other}.npz", x=x, sfreq=100.0, ch_names=CHANS, modality=["eeg"] * 3)
    others = files(recordings(tmp_path / "others", range(20, 24)), labels=None)
    names = sorted([f"p{tested[0]}", f"p{other}"], key=lambda name: name != f"p{tested[0]}")
    said = f"{names[0]} and {names[1]} (they correlate by 1.000, turned over, 1.5 s apart)"
    with pytest.raises(SpecError) as caught:
        check_data(sweep_on(others, files(root)))
    assert said in str(caught.value)
    # `describe` names pairs in the order of their names, by the same check
    block = f"{{kind: files, root: {root}, pattern: '*.npz', labels: labels.csv, seconds: 2, "
    assert main_describe([block + "sfreq: 100}"]) == 0
    low, high = sorted(names)
    said = f"{low} and {high} (they correlate by 1.000, turned over, 1.5 s apart)"
    assert said in capsys.readouterr().out
    # and pre-training on the one leaves out the other, whom the target tests
    pool = files(root, labels=None, seconds=3.0)
    clean = files(recordings(tmp_path / "clean"))
    assert f"p{other}" not in learnt(sweep_on(pool, clean, hold_out="target"))


def test_whatever_else_a_hold_out_may_be_called_is_refused():
    people = sweep_of().trial.finetune.target
    with pytest.raises(SpecError, match="hold_out=\"targets\": must be 'target'"):
        sweep_on(people, people, hold_out="targets")


# ---- what is said ----


def test_plan_and_results_say_what_was_left_out(copies, tmp_path):
    source, target = copies
    sweep = sweep_on(source, target, hold_out="target")
    check_data(sweep)
    there = sorted(who_tests(target) & {4, 5, 6, 7})
    windows = len(cache.load(source)) // 8
    said = (
        f"pre-training leaves out {len(there) * windows} of {8 * windows} windows of its source: "
    )
    said += f"{len(there)} of 8 groups ({', '.join(f'rec{i}' for i in there)}) hold recordings of "
    said += f"{len(there)} of {len(who_tests(target))} test groups "
    said += f"({', '.join(f'p{i}' for i in there)}) of the target"
    assert f"  {said}" in list(DryRun(sweep).lines())
    scratch, masked = summarise(sweep, tmp_path / "records", 1.0)["cells"]
    assert said in masked["caveats"]
    assert not any("leaves out" in caveat for caveat in scratch["caveats"])
