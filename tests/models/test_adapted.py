"""Encoders of one set of channels go to others: by a learned layer, by names, by places."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from citrus_ray.context import SignalContext
from citrus_ray.experiment.trial import Trial
from citrus_ray.models.specs import KINDS, Sequence
from citrus_ray.spec import SpecError, validate
from citrus_ray.testing import EncoderContract
from citrus_ray.testing.encoders import signals
from citrus_ray.training.finetuning import Member
from citrus_ray.training.loading import load_encoder
from citrus_ray.training.loop import seeded
from citrus_ray.training.pretraining import run
from tests.small import PRETRAINED

MIX = {"kind": "custom", "cls": "tests.models.mixing:MixNet"}
HEAD = ("Fp1", "C3", "Cz", "C4", "Oz")
CTX = SignalContext(5, 64, 50.0, 2, ("eeg",) * 5, names=HEAD)


class TestAdapted(EncoderContract):
    block = {"kind": "adapted", "encoder": MIX, "n_chans": 3}

    def build(self, spec, seed=0, n_chans=2):
        return super().build(spec, seed, n_chans)


def adapted(**edits: object) -> Any:
    found: Any = KINDS({"kind": "adapted", "encoder": MIX} | edits)
    return found


def test_channels_are_found_by_name_in_any_order_and_spelling():
    spec = adapted(channels="match", names=["Oz", "T7", "C3"])
    encoder = spec.build(CTX)
    assert encoder.step.weight.tolist() == [[0, 0, 0, 0, 1], [0, 0, 0, 0, 0], [0, 1, 0, 0, 0]]
    other = SignalContext(2, 64, 50.0, names=("EEG C3-A2", "EEG T3"), modalities=("eeg",) * 2)
    assert spec.build(other).step.weight.tolist() == [[0, 0], [0, 1], [1, 0]]
    x = signals(2, 5, 64)
    moved = x.clone()
    moved[:, 2:4] += 5  # Cz and C4, which it does not read
    assert torch.equal(encoder(x), encoder(moved))


def test_electrodes_are_means_of_their_neighbours():
    step = adapted(channels="interpolate", names=["C3", "C1", "O1"]).build(CTX).step.weight
    torch.testing.assert_close(step.sum(dim=1), torch.ones(3))
    assert step[0].tolist() == [0, 1, 0, 0, 0]
    assert step[1].topk(2).indices.tolist() in ([1, 2], [2, 1])  # C1 lies between C3 and Cz
    assert int(step[2].argmax()) == 4
    assert not step.requires_grad


@pytest.mark.parametrize(
    ("edits", "said"),
    [
        ({}, "needs how many channels"),
        ({"encoder": "conv", "n_chans": 3}, "reads any number of channels by itself"),
        ({"channels": "match"}, "needs the names"),
        ({"channels": "interpolate", "names": ["voxel 1"]}, "have no place on the head"),
        ({"names": ["C3", "C3"]}, "each must stand once"),
        ({"names": ["C3"], "n_chans": 2}, "`names` has 1"),
    ],
)
def test_what_does_not_say_the_channels_is_refused(edits, said):
    with pytest.raises(SpecError, match=said):
        adapted(**edits)


def test_signals_without_such_channels_are_refused():
    other = SignalContext(2, 64, 50.0, names=("x", "y"), modalities=("motion",) * 2)
    for channels in ("match", "interpolate"):
        said = adapted(channels=channels, names=["C3"]).check(other)
        assert said is not None
        assert f"channels={channels}" in said
    assert adapted(n_chans=3).check(other) is None


def of_sets() -> Trial:
    """Pre-trained on 3 channels, fine-tuned on 2."""
    return validate(
        Trial,
        PRETRAINED.at({"pretrain.source.n_chans": 3}).tree()
        | {"model": {"kind": "adapted", "encoder": MIX, "n_chans": 4}},
    )


def test_an_encoder_of_some_channels_is_fine_tuned_on_others():
    trial = of_sets()
    assert trial.pretraining is not None
    weights = run(trial.pretraining, trial.model).weights
    member = Member(trial, weights)
    ours = member.classifier.encoder.state_dict()
    inner = [name for name in weights if name.startswith("inner.")]
    assert len(inner) > 4
    assert all(torch.equal(ours[name], weights[name]) for name in inner)
    assert ours["step.weight"].shape == (4, 2) != weights["step.weight"].shape
    assert member.not_loaded["encoder.step.weight"] == "new: the step is of other channels"
    member.finish()
    assert 0 < member.best["val/balanced_accuracy"] <= 1


def test_of_the_same_channels_the_step_goes_along():
    spec = adapted(n_chans=3)
    with seeded(0):
        one, other = spec.build(CTX), spec.build(CTX)
    load_encoder(other, other, one.state_dict())
    x = signals(2, 5, 64)
    assert torch.equal(one(x), other(x))


def test_without_an_adapter_other_channels_are_refused_and_the_way_out_is_named():
    trial = of_sets().at({"model": MIX})
    three = SignalContext(3, 64, 50.0, modalities=("eeg",) * 3)
    two = SignalContext(2, 64, 50.0, 2, modalities=("eeg",) * 2)
    (said,) = trial.problems({"pretrain.source": three, "finetune.target": two})
    assert "`model: adapted`" in said.message


PAIR = SignalContext(4, 24, 0.5, 2, ("fmri",) * 4, n_parts=2)
ALONE = SignalContext(4, 12, 0.5, 2, ("fmri",) * 4)


@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_an_encoder_of_pairs_reads_a_window_alone_as_their_first(positions):
    spec = Sequence(dim=16, layers=1, heads=2, positions=positions)
    assert spec.misfit(PAIR, ALONE) is None
    assert spec.misfit(ALONE, PAIR) is not None
    pair: Any
    alone: Any
    with seeded(1):
        pair, alone = spec.build(PAIR).eval(), spec.build(ALONE).eval()
    with torch.no_grad():
        pair.segments.add_(signals(2, 16))
    load_encoder(alone, alone, pair.state_dict())
    x = signals(3, 4, 12)
    first = pair._joined([pair._read(x.transpose(1, 2))], pair.cls, None) + pair.segments[0]
    wanted = pair.transformer(first, None, n_chans=1)
    torch.testing.assert_close(alone._tokens(x, None), wanted)


def test_a_projection_that_nothing_would_train_is_refused():
    ctxs = {"pretrain.source": replace(CTX, n_chans=3, names=()), "finetune.target": CTX}
    trial = of_sets().at({"finetune.mode": "probe"})
    (said,) = trial.problems(ctxs)
    assert said.path == "finetune.mode"
    assert "nothing would train it; give full or lora" in said.message
    assert not trial.problems({"pretrain.source": CTX, "finetune.target": CTX})
    assert not trial.at({"finetune.mode": "lora"}).problems(ctxs)


def test_what_it_reads_is_said():
    spec = adapted(channels="match", names=["Oz", "T7", "C3"])
    said = spec.reads(CTX)
    assert said.startswith("5 channels x 64 samples at 50 Hz, brought by match (2 of 3 are there)")
    assert said.endswith("to 3 channels x 64 samples at 50 Hz")
    assert Member(of_sets(), None).network()["reads"].startswith("2 channels x 64 samples")


@pytest.mark.slow
def test_regions_go_to_voxels_and_pairs_to_windows_alone():
    """Next Thought Prediction on pairs of few voxels, then windows of many."""
    few = {"kind": "synthetic_fmri", "n_voxels": 12, "seed": 1}
    many = {"kind": "synthetic_fmri", "n_voxels": 20, "seed": 2}
    trial = validate(
        Trial,
        {
            "model": {
                "kind": "adapted",
                "encoder": {"kind": "sequence", "dim": 16, "layers": 1, "heads": 2},
                "n_chans": 8,
            },
            "pretrain": {
                "source": {"kind": "pairs", "of": few, "ask": "next"},
                "task": {"kind": "next_thought"},
                "epochs": 1,
            },
            "finetune": {"target": many, "labels": {"per_class": 4}, "steps": 4, "rounds": 2},
        },
    )
    assert trial.pretraining is not None
    weights = run(trial.pretraining, trial.model).weights
    member = Member(trial, weights)
    assert set(member.not_loaded) >= {"encoder.step.weight"}
    member.finish()
    assert 0 <= member.best["val/balanced_accuracy"] <= 1
