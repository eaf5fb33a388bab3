"""A trial as a value: what it reads, what it refuses, what it gives."""

import pytest

from citrus_ray.context import SignalContext
from citrus_ray.spec import SpecError
from citrus_ray.store import checkpoint, default_store
from citrus_ray.training.pretraining import ensure_encoder, held_out, run
from tests.small import MODEL, OTHERS, PRETRAIN, PRETRAINED, SCRATCH, SOURCE, windows_of

CTX = SignalContext(n_chans=2, n_times=64, sfreq=50.0, n_outputs=2)


def test_null_in_two_places_means_from_scratch():
    nothing, no_task = SCRATCH, PRETRAINED.at({"pretrain.task": None})
    assert nothing.pretraining is no_task.pretraining is None
    assert nothing.digest() == no_task.digest()
    assert set(no_task.sources()) == {"finetune.target"}
    assert set(PRETRAINED.sources()) == {"finetune.target", "pretrain.source"}


def test_a_window_too_short_for_the_model_is_a_problem_at_the_model():
    trial = SCRATCH.at({"model.strides": [8, 8]})
    (problem,) = trial.problems({"finetune.target": CTX})
    assert problem.path == "model"
    assert "64 samples must hold at least 2 patches" in problem.message
    assert "finetune.target" in problem.message
    assert SCRATCH.problems({"finetune.target": CTX}) == []


def test_more_workers_than_windows_in_a_batch_is_a_problem():
    trial = PRETRAINED.at({"pretrain.workers": 17})
    assert [p.path for p in trial.problems({})] == ["pretrain.workers"]
    assert trial.at({"pretrain.task": None}).problems({}) == []


def test_more_rounds_than_steps_are_refused():
    with pytest.raises(SpecError, match="rounds=4 must not exceed steps=3"):
        SCRATCH.at({"finetune.steps": 3})
    assert SCRATCH.at({"finetune.steps": 4}).run()


def test_a_trial_runs_alone_and_gives_validation_metrics_only():
    found = SCRATCH.run()
    assert {
        "round",
        "train/loss",
        "val/accuracy",
        "val/balanced_accuracy",
        "val/macro_f1",
    } <= found.keys()
    assert not any(name.startswith("test/") for name in found)
    assert found == SCRATCH.run()


def test_a_pretraining_is_computed_once_and_read_back(monkeypatch):
    assert not checkpoint.exists(default_store(), PRETRAINED.encoder_digest() or "")
    one = PRETRAINED.run()
    monkeypatch.setattr(
        "citrus_ray.training.pretraining.run", lambda *_, **__: pytest.fail("computed twice")
    )
    assert PRETRAINED.run() == one
    assert PRETRAINED.at({"seed": 1}).run()
    assert ensure_encoder(SCRATCH) is None


def test_the_store_says_where_an_encoder_came_from():
    ensure_encoder(PRETRAINED)
    meta = checkpoint.read_meta(default_store(), PRETRAINED.encoder_digest() or "")
    assert meta["pretrain"] == PRETRAIN.tree()
    assert meta["model"] == MODEL.tree()
    assert meta["data_digest"] == OTHERS.digest()
    assert [row["epoch"] for row in meta["history"]] == [1]
    assert {"train/loss", "val/loss"} <= meta["history"][0].keys()


def test_pretraining_hangs_on_its_seed_alone():
    one, again = run(PRETRAIN, MODEL), run(PRETRAIN, MODEL)
    other = run(PRETRAIN.at({"seed": 1}), MODEL)
    assert one.history == again.history != other.history
    assert all((one.weights[name] == again.weights[name]).all() for name in one.weights)


@pytest.mark.slow
def test_pretraining_lowers_its_loss_on_people_it_has_not_seen():
    spec = PRETRAIN.at(
        {"epochs": 25, "optim.lr": 5e-3, "source.n_subjects": 12, "source.rhythm_gain": 2.0}
    )
    history = run(spec, MODEL.at({"dim": 16})).history
    assert history[-1]["val/loss"] < 0.9 * history[0]["val/loss"]


def test_no_group_is_both_trained_on_and_watched():
    windows = windows_of(SOURCE.prepare().labels, SOURCE.prepare().group, 2)
    for seed in range(5):
        train, val = held_out(windows, PRETRAIN.at({"val": 0.25, "seed": seed}))
        assert not set(windows.group[train].tolist()) & set(windows.group[val].tolist())
        assert len(train) + len(val) == len(windows)
        assert len(set(windows.group[val].tolist())) == 2


def test_a_single_group_watches_itself():
    windows = windows_of(SOURCE.prepare().labels[:8], SOURCE.prepare().group[:8], 2)
    train, val = held_out(windows, PRETRAIN)
    assert train.tolist() == val.tolist() == list(range(8))


# ---- methods without a network ----

METHOD = SCRATCH.at({"model": {"kind": "minirocket", "n_kernels": 168}})


def test_nothing_of_a_method_can_be_pre_trained():
    with pytest.raises(SpecError, match=r"pretrain\.task: masked: model=minirocket has no encoder"):
        PRETRAINED.at({"model": {"kind": "minirocket"}})
    assert METHOD.at({"pretrain": PRETRAIN.tree() | {"task": None}}).pretraining is None


def test_how_networks_learn_does_not_name_a_method():
    edits = {"finetune.steps": 50, "finetune.optim.lr": 0.1, "finetune.pool": "channels"}
    for edit in (edits, {"finetune.mode": "probe"}, {"finetune.mixup": 0.3}):
        assert METHOD.at(edit).digest() == METHOD.digest()
        assert SCRATCH.at(edit).digest() != SCRATCH.digest()
    others = {"finetune.labels": {"per_class": 3}, "model.n_kernels": 252, "seed": 1}
    assert all(METHOD.at({k: v}).digest() != METHOD.digest() for k, v in others.items())


def test_a_method_is_no_encoder_of_a_sensor():
    with pytest.raises(SpecError, match=r"minirocket.*must be one of"):
        SCRATCH.at({"model": {"kind": "crossmodal", "encoder": "minirocket"}})
