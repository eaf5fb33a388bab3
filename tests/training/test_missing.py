"""Modalities that are missing: in some recordings, in training on purpose, and at test in every
combination."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from citrus_ray import records
from citrus_ray.context import SignalContext
from citrus_ray.data.sources.files import Files
from citrus_ray.data.windowing import cache
from citrus_ray.data.windowing.normalize import Scale
from citrus_ray.data.windowing.view import View, fewer
from citrus_ray.evidence.summary import summarise
from citrus_ray.evidence.tables import table
from citrus_ray.experiment.trial import Trial
from citrus_ray.spec import SpecError, validate
from citrus_ray.training.baselines import baselines
from citrus_ray.training.finetuning import Member
from citrus_ray.training.methods import Sensed, Solved
from citrus_ray.training.pretraining import ensure_encoder
from citrus_ray.training.scalars import scalars
from citrus_ray.training.vmapped import vmap_groups
from tests.small import record_of, sweep_of

RATES = {"BVP": 32.0, "EDA": 8.0, "ACC": 16.0}
KINDS = {"BVP": "ppg", "EDA": "eda", "ACC": "motion"}
LACKS = {1: "EDA", 4: "ACC"}  # person -> what was not recorded
MODEL = {"kind": "crossmodal", "encoder": {"kind": "conv", "dim": 8, "strides": [2, 2]}}
METRIC = "balanced_accuracy"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: Any) -> Path:
    """Eight people, half a minute each, at three rates; in the second half everything is faster."""
    root: Path = tmp_path_factory.mktemp("people")
    rows = ["file,start_s,stop_s,label,group"]
    for person in range(8):
        rng, held = np.random.default_rng(person), dict[str, Any]()
        names = [name for name in RATES if LACKS.get(person) != name]
        for name in names:
            t = np.arange(round(32 * RATES[name])) / RATES[name]
            x = np.sin(2 * np.pi * np.where(t < 16, 0.7, 2.2) * t) + 0.3 * rng.normal(
                size=(1, len(t))
            )
            held |= {
                f"x_{name}": x.astype(np.float32),
                f"sfreq_{name}": RATES[name],
                f"scale_{name}": 1.0,
            }
        np.savez(
            root / f"p{person}.npz", streams=names, modality=[KINDS[name] for name in names], **held
        )
        rows += [f"p{person},0,16,slow,p{person}", f"p{person},16,32,fast,p{person}"]
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    return root


def people(folder: Path, **edits: Any) -> dict[str, Any]:
    tree = {
        "kind": "files",
        "root": str(folder),
        "pattern": "*.npz",
        "labels": "labels.csv",
        "seconds": 4.0,
    }
    return tree | {"sfreq": "native", "streams": ["BVP", "EDA", "ACC"], "absent": "keep"} | edits


def trial(
    folder: Path, task: Any = None, source: dict[str, Any] | None = None, **finetune: Any
) -> Trial:
    own = {
        "labels": {"per_class": 4},
        "optim": {"batch_size": 8},
        "steps": 6,
        "rounds": 2,
    } | finetune
    pretrain = {
        "source": source or people(folder),
        "task": task,
        "epochs": 1,
        "optim": {"batch_size": 8},
    }
    tree = {"model": MODEL, "pretrain": pretrain, "finetune": {"target": people(folder)} | own}
    return validate(Trial, tree)


# ---- in recordings ----


def test_what_a_recording_lacks_is_absent_from_its_windows_and_nothing_else_is(folder):
    windows = validate(Files, people(folder)).prepare()
    assert [s.x.shape for s in windows.streams] == [(64, 1, 128), (64, 1, 32), (64, 1, 64)]
    for name, stream in zip(RATES, windows.streams, strict=True):
        lacking = [f"p{person}" for person, of in LACKS.items() if of == name]
        gone = np.isnan(stream.x)
        assert {windows.groups[g] for g in windows.group[gone.any(axis=(1, 2))]} == set(lacking)
        assert (gone.any(axis=(1, 2)) == gone.all(axis=(1, 2))).all()
    assert "EDA is absent from 1 of 8 recordings" in windows.caveats
    assert np.array_equal(
        cache.load(validate(Files, people(folder))).streams[1].x,
        windows.streams[1].x,
        equal_nan=True,
    )


def test_at_one_rate_too(folder):
    windows = validate(Files, people(folder, sfreq=16.0)).prepare()
    assert windows.x.shape == (64, 3, 64)
    gone = {
        windows.groups[g]: np.isnan(windows.x[windows.group == g]).all(axis=(0, 2)).tolist()
        for g in range(8)
    }
    assert gone["p1"] == [False, True, False]
    assert gone["p4"] == [False, False, True]
    assert gone["p0"] == [False] * 3


def test_without_leave_a_recording_that_lacks_a_channel_is_refused(folder):
    with pytest.raises(SpecError, match="EDA"):
        validate(Files, people(folder, absent="refuse")).check()


def test_a_set_that_has_all_keeps_its_name(folder):
    spec = validate(Files, people(folder, absent="refuse"))
    assert "absent" not in spec.identity()
    assert validate(Files, people(folder)).identity()["absent"] == "keep"


@pytest.mark.parametrize(
    ("task", "pool"),
    [
        ({"kind": "crossmodal"}, "mean"),
        ({"kind": "crossmodal", "mask": "temporal"}, "channels"),
        ({"kind": "masked"}, "late"),
    ],
)
def test_recordings_that_lack_a_modality_go_through_pretraining_finetuning_and_test(
    folder, task, pool
):
    spec = trial(folder, task, pool=pool)
    assert not spec.problems(
        {path: cache.load(source).context for path, source in spec.sources().items()}
    )
    member = Member(spec, ensure_encoder(spec))
    member.finish()
    found = member.score_test()
    assert {member.windows.groups[g] for g in np.unique(member.windows.group)} >= {"p1", "p4"}
    assert all(np.isfinite(value) for value in found.values())
    names = {name for name in found if name.startswith("missing:")}
    choices = {"eda", "motion", "ppg", "eda+motion", "eda+ppg", "motion+ppg"}
    assert names == {f"missing:{choice}/{METRIC}" for choice in choices}
    assert found[f"missing/{METRIC}"] == pytest.approx(np.mean([found[name] for name in names]))


def test_scalars_of_sensors_take_one_that_is_missing_to_be_typical(folder):
    spec = trial(folder).at({"model": "scalars"})
    solved = Solved(spec)
    solved.finish()
    found = solved.score_test()
    assert len([name for name in found if name.startswith("missing:")]) == 6
    said = solved.fitted()
    assert isinstance(said, Sensed)
    bvp, eda_alone = (scalars(np.zeros((1, 1, n), np.float32)).shape[1] for n in (128, 32))
    eda = slice(bvp, bvp + eda_alone)
    typical = said.of(solved.labelled)[:, eda]
    lacking = solved.windows.group[solved.labelled] == 1
    mean = typical[~lacking].mean(axis=0)
    assert said.of.typical[eda] == pytest.approx(mean)
    everyone = np.arange(64)
    without, whole = said.of(everyone, ["eda"]), said.of(everyone)
    assert without[:, eda] == pytest.approx(np.tile(mean, (64, 1)))
    others = np.delete(np.arange(whole.shape[1]), eda)
    assert np.array_equal(without[:, others], whole[:, others])
    assert whole[solved.windows.group == 1][:, eda] == pytest.approx(np.tile(mean, (8, 1)))


@pytest.mark.usefixtures("small_portfolio")
def test_an_encoder_that_knows_of_no_absence_sees_zeros(folder):
    target = people(folder, sfreq=16.0)
    spec = trial(folder, target=target)
    member = Member(spec.at({"model": {"kind": "conv", "dim": 8, "strides": [2, 2]}}), None)
    everyone = np.arange(64)
    assert np.isfinite(member.signal(everyone)).all()
    assert not member.signal(np.flatnonzero(member.windows.group == 1))[:, 1].any()
    assert set(baselines(spec.at({"model": {"kind": "conv", "dim": 8, "strides": [2, 2]}}))) >= {
        "band_power"
    }


@pytest.mark.usefixtures("small_portfolio")
def test_baselines_are_given_what_is_there(folder):
    scores = baselines(trial(folder))
    assert all(np.isfinite(value) for found in scores.values() for value in found.values())


# ---- views ----


def test_a_scale_is_taken_from_where_the_channel_is():
    x = np.random.default_rng(0).normal(5, 2, (40, 2, 30)).astype(np.float32)
    x[::2, 1] = np.nan
    scale, whole = Scale.of(x, np.arange(40)), Scale.of(x[1::2], np.arange(20))
    assert np.isclose(scale.mean[1], whole.mean[1])
    assert np.isclose(scale.spread[1], whole.spread[1])
    nowhere = Scale.of(np.full((4, 1, 3), np.nan, np.float32), np.arange(4))
    assert (float(nowhere.mean[0, 0]), float(nowhere.spread[0, 0])) == (0, 1)


def view(*modalities: str) -> View:
    return View((), (), modalities, True)


def test_dropped_modalities_go_with_all_their_channels_and_one_stays():
    gone = view("ecg", "eeg", "ecg").drawn(4000, 0.5, np.random.default_rng(0))
    assert (gone[:, 0] == gone[:, 2]).all()
    kinds = {tuple(row) for row in gone[:, :2].tolist()}
    assert kinds == {(False, False), (True, False), (False, True)}
    assert gone[:, 1].mean() == pytest.approx(
        0.375, abs=0.03
    )  # 1/2, less half of the 1/4 in which both would go


def test_every_choice_of_what_is_missing_or_the_ends_of_many():
    assert fewer(["a", "b", "c"]) == [("a",), ("b",), ("c",), ("a", "b"), ("a", "c"), ("b", "c")]
    assert fewer(["a"]) == []
    assert {len(missing) for missing in fewer(list("abcdef"))} == {1, 5}


# ---- in training on purpose ----


def test_windows_are_trained_on_without_modalities_where_that_is_asked_for(folder):
    member, seen = Member(trial(folder, drop_modality=0.5), None), list[torch.Tensor]()
    member.classifier.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    member.finish()
    absent = seen[0][..., 0].isnan().all(dim=1)
    assert seen[0][..., 0].isnan().any(dim=0).all()
    assert not absent.any()
    assert not vmap_groups([member, member])


def test_a_mixed_in_window_does_not_put_back_what_was_dropped(tmp_path):
    rows = ["file,start_s,stop_s,label,group"]
    for i in range(8):
        x = np.random.default_rng(i).normal(size=(2, 512)).astype(np.float32)
        held: dict[str, Any] = {
            "x": x,
            "scale": 1.0,
            "sfreq": 64.0,
            "ch_names": ["Cz", "I"],
            "modality": ["eeg", "ecg"],
        }
        np.savez(tmp_path / f"p{i}.npz", **held)
        rows += [f"p{i},0,4,a,p{i}", f"p{i},4,8,b,p{i}"]
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    target = {
        "kind": "files",
        "root": str(tmp_path),
        "pattern": "*.npz",
        "labels": "labels.csv",
        "seconds": 2.0,
        "sfreq": 64.0,
    }
    finetune = {
        "target": target,
        "labels": {"per_class": 4},
        "steps": 2,
        "rounds": 1,
        "drop_modality": 0.5,
        "mixup": 0.4,
    }
    member, seen = Member(validate(Trial, {"finetune": finetune}), None), list[torch.Tensor]()
    member.classifier.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    member.advance()
    absent = (seen[0] == 0).all(dim=2)  # zeros to a model that knows nothing of absent channels
    assert absent.any()
    assert not absent.all(dim=1).any()


@pytest.mark.parametrize(
    ("edits", "says"), [({"mode": "frozen"}, "made once"), ({"mode": "probe"}, "a probe is solved")]
)
def test_features_that_are_made_once_cannot_lose_modalities_anew(folder, edits, says):
    with pytest.raises(SpecError, match=says):
        trial(folder, drop_modality=0.5, **edits)


def test_one_modality_alone_cannot_be_dropped(folder):
    spec = trial(folder, drop_modality=0.5)
    alone = SignalContext(2, 64, 16.0, 2, ("ppg", "ppg"))
    (problem,) = spec.at({"pretrain": None}).problems({"finetune.target": alone})
    assert problem.path == "finetune.drop_modality"


# ---- what goes with what ----


@pytest.mark.parametrize(
    ("model", "task", "says"),
    [
        ({"kind": "conv"}, {"kind": "crossmodal"}, "give `model: crossmodal`"),
        (MODEL, {"kind": "crossmodal"}, "there is only ppg"),
        (MODEL, {"kind": "masked", "mix": 1, "drop_modality": 0.5}, "learns from itself"),
    ],
)
def test_a_task_of_sensors_goes_with_a_model_of_sensors(folder, model, task, says):
    spec = trial(folder, task).at({"model": model})
    ppg = SignalContext(2, 64, 16.0, 2, ("ppg", "ppg"))
    eeg = SignalContext(2, 64, 16.0, 2, ("ppg", "eeg"))
    source = eeg if task.get("drop_modality") else ppg
    problems = spec.problems({"pretrain.source": source, "finetune.target": source})
    assert [problem.path for problem in problems] == ["pretrain.task"]
    assert says in problems[0].message


# ---- in results ----


def test_a_claim_of_missing_modalities_is_judged_by_them_and_a_table_shows_each(tmp_path):
    claim = {
        "says": "pre-training keeps more when modalities are missing",
        "better": {"pretrain.task": {"kind": "masked"}},
        "worse": {"pretrain.task": None},
        "measure": "missing",
    }
    sweep = sweep_of(claims=[claim], final={"rounds": 5})
    for cell, score in zip(sweep.cells, (0.4, 0.6), strict=True):
        rows = []
        for seed in range(1000, 1005):
            metrics = {
                f"test/{METRIC}": 0.8,
                f"missing/{METRIC}": score + cell.index * (seed - 1000) / 100,
                f"missing:eda/{METRIC}": score,
            }
            rows.append(record_of(cell, {"seed": seed}, metrics, trial=f"f{cell.index}", seed=seed))
        records.write(tmp_path, f"f{cell.index}", rows)
        search = record_of(
            cell, {"seed": 0}, {f"val/{METRIC}": 0.8}, phase="search", trial=f"s{cell.index}"
        )
        records.write(tmp_path, f"s{cell.index}", [search])
    found = summarise(sweep, tmp_path, 1.0)
    assert found["claims"][0]["verdict"] == "supported"
    assert found["claims"][0]["effect"] == pytest.approx(0.22)
    assert [cell["missing"] for cell in found["cells"]] == [
        {"eda": pytest.approx(0.4)},
        {"eda": pytest.approx(0.6)},
    ]
    assert "test score, missing" in table(found)
    assert "test score, missing" not in table(found | {"claims": []})
