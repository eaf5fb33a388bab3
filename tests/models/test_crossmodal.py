"""One encoder per sensor and an aggregator: sensors of any rate, order and number, absent ones
left out."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from citrus_ray.context import SignalContext
from citrus_ray.models.nets.classifier import Classifier
from citrus_ray.models.nets.crossmodal import CrossmodalEncoder
from citrus_ray.models.nets.heads import LateFusion
from citrus_ray.models.sensors import sensors
from citrus_ray.models.specs import Conv, Crossmodal
from citrus_ray.spec import SpecError, validate
from citrus_ray.training.loop import seeded

SMALL = Conv(dim=8, strides=(2, 2))
ONE_RATE = SignalContext(4, 48, 50.0, 3, ("emg", "eeg", "emg", "ecg"))
WRIST = SignalContext(1, 64, 64.0, 3, ("ppg",))
RATES = replace(
    WRIST,
    streams=(
        WRIST,
        SignalContext(3, 32, 32.0, 0, ("motion",) * 3),
        SignalContext(1, 8, 4.0, 0, ("eda",)),
    ),
)
NAN = float("nan")


def built(ctx: SignalContext = ONE_RATE, seed: int = 0, **edits: Any) -> CrossmodalEncoder:
    with seeded(seed):
        encoder = Crossmodal(encoder=SMALL, **edits).build(ctx).eval()
    assert isinstance(encoder, CrossmodalEncoder)
    return encoder


def signals(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def of_rates(n: int = 3) -> torch.Tensor:
    """Windows of `RATES` as they come in: rows of slower streams end early."""
    x = signals(n, 5, 64)
    x[:, 1:4, 32:], x[:, 4, 8:] = NAN, NAN
    return x


def test_a_sensor_is_a_modality_or_a_channel():
    assert [(s.name, s.rows) for s in sensors(ONE_RATE, "modality")] == [
        ("ecg", (3,)),
        ("eeg", (1,)),
        ("emg", (0, 2)),
    ]
    by_channel = [(s.name, s.rows) for s in sensors(ONE_RATE, "channel")]
    assert by_channel == [("ecg", (3,)), ("eeg", (1,)), ("emg#1", (0,)), ("emg#2", (2,))]


def test_streams_are_sensors_of_their_own_rate_and_length():
    found = [(s.name, s.rows, s.ctx.n_times, s.ctx.sfreq) for s in sensors(RATES, "modality")]
    assert found == [
        ("eda", (4,), 8, 4.0),
        ("motion", (1, 2, 3), 32, 32.0),
        ("ppg", (0,), 64, 64.0),
    ]
    twice = replace(WRIST, streams=(WRIST, replace(WRIST, n_times=8, sfreq=8.0)))
    assert [s.name for s in sensors(twice, "modality")] == ["ppg#1", "ppg#2"]


@pytest.mark.parametrize("aggregator", ["attention", "mlp"])
def test_sensors_of_unlike_lengths_become_one_embedding(aggregator):
    encoder = built(RATES, aggregator=aggregator)
    x = of_rates()
    assert encoder.summary(x).shape == (3, 1, 8)
    assert encoder.rows(x).shape == (3, 3, 8)
    assert encoder(x).shape == (3, 1, 2, 8)  # steps of the slowest
    assert encoder(x).isfinite().all()
    for row, last in ((0, 63), (2, 31), (4, 7)):  # every sensor is read, to its end
        other = x.clone()
        other[:, row, last - 3 : last + 1] += 5
        assert not torch.allclose(encoder.summary(x), encoder.summary(other))


@pytest.mark.parametrize("aggregator", ["attention", "mlp"])
def test_what_an_absent_sensor_would_have_shown_changes_nothing_and_its_row_is_zeros(aggregator):
    encoder = built(aggregator=aggregator)
    x = signals(3, 4, 48)
    x[1, 3] = NAN
    rows, summary = encoder.rows(x), encoder.summary(x)
    assert not rows[1, 0].any()
    assert rows[[0, 2]].all()
    assert summary.isfinite().all()
    assert torch.allclose(summary[[0, 2]], encoder.summary(x[[0, 2]]), atol=1e-5)
    assert not torch.allclose(summary[1], encoder.summary(x.nan_to_num())[1]), (
        "zeros are a signal, absence is none"
    )


def test_a_sensor_that_lacks_some_channels_is_read_from_the_others():
    encoder = built()
    x = signals(2, 4, 48)
    x[:, 2] = NAN
    alone = x.clone()
    alone[:, 2] = x[:, 0]  # the mean over two equal channels is the channel
    torch.testing.assert_close(encoder.summary(x), encoder.summary(alone))


def test_a_window_of_nothing_has_an_embedding_all_the_same():
    assert built().summary(torch.full((2, 4, 48), NAN)).isfinite().all()


def test_no_gradient_of_an_absent_sensor_is_lost_to_nan():
    encoder = built().train()
    x = signals(4, 4, 48)
    x[:2, 1], x[2:, 3] = NAN, NAN
    encoder.summary(x).square().sum().backward()  # type: ignore[no-untyped-call]
    grads = [p.grad for name, p in encoder.named_parameters()]
    assert all(grad is not None and grad.isfinite().all() for grad in grads)


def test_channels_in_another_order_have_the_same_embedding():
    one, other = built(), built(replace(ONE_RATE, modalities=("ecg", "emg", "emg", "eeg")))
    other.load_state_dict(one.state_dict())
    x = signals(2, 4, 48)
    torch.testing.assert_close(other.summary(x[:, [3, 0, 2, 1]]), one.summary(x))


def test_a_model_of_named_sensors_serves_a_set_that_has_some_of_them():
    names = ("ecg", "eeg", "emg", "resp")
    whole, part = (
        built(sensors=names),
        built(SignalContext(1, 48, 50.0, 3, ("eeg",)), seed=1, sensors=names),
    )
    part.load_state_dict(whole.state_dict())
    x = signals(2, 4, 48)
    lacking = x.clone()
    lacking[:, [0, 2, 3]] = NAN
    torch.testing.assert_close(part.summary(x[:, 1:2]), whole.summary(lacking))


def test_a_set_of_other_sensors_is_refused_with_the_way_out():
    spec, fewer = Crossmodal(encoder=SMALL), replace(ONE_RATE, n_chans=1, modalities=("eeg",))
    assert "name all of them in `model.sensors`" in str(spec.misfit(ONE_RATE, fewer))
    assert spec.misfit(ONE_RATE, replace(ONE_RATE, n_times=96)) is None
    named = Crossmodal(encoder=SMALL, sensors=("ecg", "eeg", "emg"))
    assert named.misfit(ONE_RATE, fewer) is None
    assert "does not name resp" in str(named.check(replace(fewer, modalities=("resp",))))


def test_a_sensor_too_short_for_the_encoder_is_named():
    complaint = Crossmodal(encoder=Conv(dim=8)).check(RATES)
    assert complaint is not None
    assert complaint.startswith("eda: ")


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(SpecError, match=r"heads=3: must divide encoder\.dim=8"):
        validate(Crossmodal, {"encoder": {"kind": "conv", "dim": 8}, "heads": 3})


def test_late_fusion_averages_the_probabilities_of_the_sensors_that_are_there():
    classifier = Classifier(built(), ONE_RATE, "late").eval()
    x = signals(5, 4, 48)
    x[0, 3] = NAN
    rows = classifier.encoder.rows(x)
    assert isinstance(classifier.head, LateFusion)
    weight, bias = classifier.head.linear.weight.chunk(3), classifier.head.linear.bias.chunk(3)
    each = torch.stack(
        [(classifier.head.norm(rows[:, r]) @ weight[r].T + bias[r]).softmax(-1) for r in range(3)]
    )
    torch.testing.assert_close(classifier(x).exp()[1:], each.mean(dim=0)[1:])
    torch.testing.assert_close(classifier(x).exp()[0], each[1:, 0].mean(dim=0))


@pytest.mark.parametrize(("pool", "n"), [("mean", 8), ("channels", 24), ("late", 24)])
def test_features_are_the_aggregate_or_the_embeddings_side_by_side(pool, n):
    classifier = Classifier(built(), ONE_RATE, pool).eval()
    x = signals(5, 4, 48)
    assert classifier.features(x).shape == (5, n)
    torch.testing.assert_close(classifier.head.classify(classifier.features(x)), classifier(x))
