"""What steps cost is asked of the machine once a day, and of nothing that is like it but
another."""

import json
import time

import pytest

from citrus_ray.context import SignalContext
from citrus_ray.data.root import cache_root
from citrus_ray.data.sources.synthetic import Synthetic
from citrus_ray.experiment import step_times as timing
from citrus_ray.experiment.dry_run import DryRun
from citrus_ray.experiment.step_times import KEPT_S, StepTimes
from citrus_ray.experiment.trial import Pretrain
from citrus_ray.models.head import Head
from citrus_ray.models.specs import Conv, Patch
from citrus_ray.tasks.specs import Masked
from tests.small import sweep_of

CTX = SignalContext(n_chans=2, n_times=64, sfreq=32.0, n_outputs=2, modalities=("eeg", "eeg"))
MODEL = Conv(dim=8, strides=(2, 2))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CITRUS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def measured(monkeypatch):
    """How often something is really timed."""
    calls = []
    real = timing._median

    def noted(run):
        calls.append(run)
        return real(run)

    monkeypatch.setattr(timing, "_median", noted)
    return calls


def ages(by_s: float) -> None:
    """Every kept timing gets older."""
    for path in (cache_root() / "timings").glob("*.json"):
        kept = json.loads(path.read_text())
        path.write_text(json.dumps(kept | {"at": kept["at"] - by_s}))


def test_a_step_is_timed_once_and_then_remembered(measured):
    first, second = (StepTimes().finetune(MODEL, "mean", CTX, 8) for _ in range(2))
    assert first == second > 0
    assert len(measured) == 1


def test_what_makes_a_step_longer_is_timed_anew(measured):
    source, task = Synthetic(), Masked()
    ask = StepTimes()
    ask.finetune(MODEL, "mean", CTX, 8)
    ask.finetune(MODEL, "mean", CTX, 16)
    ask.finetune(MODEL, "channels", CTX, 8)
    ask.finetune(Patch(), "mean", CTX, 8)
    ask.look(MODEL, "mean", CTX, 8)
    ask.finetune(MODEL, "mean", CTX, 8, Head(moments=True))
    ask.look(MODEL, "mean", CTX, 8, Head(moments=True))
    for spec in (
        Pretrain(source=source, task=task),
        Pretrain(source=source, task=Masked(ratio=0.75)),
        Pretrain(source=source, task=task, precision="bfloat16"),
    ):
        ask.pretraining(MODEL, spec, CTX, 8)
    assert len(measured) == 10
    ask.pretraining(MODEL, Pretrain(source=source, task=task, epochs=7), CTX, 8)
    assert len(measured) == 10, "more epochs are more steps, not longer ones"


def test_a_timing_of_yesterday_is_taken_again(measured):
    StepTimes().look(MODEL, "mean", CTX, 8)
    ages(KEPT_S - 60)
    StepTimes().look(MODEL, "mean", CTX, 8)
    assert len(measured) == 1
    ages(120)
    StepTimes().look(MODEL, "mean", CTX, 8)
    assert len(measured) == 2


def test_a_kept_timing_that_cannot_be_read_is_taken_again(measured):
    StepTimes().look(MODEL, "mean", CTX, 8)
    for path in (cache_root() / "timings").glob("*.json"):
        path.write_text("{")
    assert StepTimes().look(MODEL, "mean", CTX, 8) > 0
    assert len(measured) == 2


def test_a_cache_that_cannot_be_written_to_is_no_reason_to_have_no_plan(measured):
    cache_root().mkdir()
    (cache_root() / "timings").write_text("in the way of the folder")
    assert [StepTimes().look(MODEL, "mean", CTX, 8) > 0 for _ in range(2)] == [True, True]
    assert len(measured) == 2
    ask = StepTimes()
    assert ask.look(MODEL, "mean", CTX, 8) == ask.look(MODEL, "mean", CTX, 8)
    assert len(measured) == 3, "one plan asks for each once"


def test_a_plan_says_how_old_its_timings_are():
    sweep = sweep_of()
    assert "(timed on 3 steps of each)" in "\n".join(DryRun(sweep).lines())
    ages(5 * 3600)
    assert "(timed on 3 steps of each, 5 h ago)" in "\n".join(DryRun(sweep).lines())


def test_the_oldest_timing_is_what_counts():
    StepTimes().look(MODEL, "mean", CTX, 8)
    ages(7200)
    ask = StepTimes()
    ask.look(MODEL, "mean", CTX, 8)
    ask.look(MODEL, "mean", CTX, 16)
    assert time.time() - ask.oldest == pytest.approx(7200, abs=60)
