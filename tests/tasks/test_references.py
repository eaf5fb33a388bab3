"""Predictors without a network: they know what they must, see nothing that is hidden, and are asked
what the task is asked."""

import math
from typing import Any

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn import functional as F

from citrus_ray.context import SignalContext
from citrus_ray.models.specs import Conv, Crossmodal, EncoderSpec, Sequence
from citrus_ray.tasks.losses.next_thought import RIDGE, _logistic, at_the_seam
from citrus_ray.tasks.losses.reconstruction import Decoder, ReconstructionTask
from citrus_ray.tasks.losses.task import Task
from citrus_ray.tasks.specs import KINDS
from citrus_ray.training.loop import seeded

CTX = SignalContext(2, 96, 50.0, modalities=("eeg", "emg"))
PAIRS = SignalContext(4, 12, 1.0, modalities=("fmri",) * 4, n_parts=2)
CONV = Conv(dim=8, strides=(2, 2))
RECONSTRUCTIONS: dict[str, dict[str, Any]] = {
    "masked": {"kind": "masked"},
    "masked visible": {"kind": "masked", "encode": "visible", "loss": "l1"},
    "masked across": {"kind": "masked", "mix": 1, "drop_modality": 0.5, "loss": "huber"},
    "spectral": {"kind": "spectral"},
    "spectral stft": {"kind": "spectral", "transform": "stft", "predict": "magnitude_phase"},
    "spectral bands": {"kind": "spectral", "ratio": 0.3, "hide": {"width": 0.2, "fill": "noise"}},
    "masked together": {"kind": "masked", "neighbours": 2},
    "masked summary": {"kind": "masked", "bottleneck": True},
    "spectral white": {"kind": "spectral", "whiten": "window"},
    "spectral smooth": {
        "kind": "spectral",
        "transform": "stft",
        "whiten": "smooth",
        "ratio": 0.3,
        "hide": {"width": 0.2},
    },
    "spectral bands alone": {"kind": "spectral", "ratio": 0, "hide": {"band": [0.2, 0.5]}},
}


def task_of(block: dict[str, Any], ctx: SignalContext = CTX, model: EncoderSpec = CONV) -> Task:
    with seeded(0):
        found: Task = KINDS(block).build(ctx, model.build(ctx)).eval()
    return found


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed))


def losses(
    task: Task, train: torch.Tensor, val: torch.Tensor, *y: torch.Tensor
) -> dict[str, float]:
    found = task.references(train, generator(1), *y)
    assert found is not None
    return {name: float(value) for name, value in found(val, generator(2), *y).items()}


# ---- what is hidden ----


def test_the_constant_of_samples_is_the_mean_of_each_channel():
    level = torch.tensor([3.0, -1.0])[:, None]
    found = losses(
        task_of({"kind": "masked"}), level + noise(400, 2, 96), level + noise(400, 2, 96)
    )
    assert found["constant"] == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("name", RECONSTRUCTIONS)
def test_of_noise_nothing_is_known_but_its_mean(name):
    block = RECONSTRUCTIONS[name]
    found = losses(task_of(block), noise(200, 2, 96), noise(400, 2, 96, seed=7))
    assert 0.98 * found["constant"] < found["linear"] < 1.03 * found["constant"]
    assert found.keys() == {"constant", "linear"} | ({"spectrum"} if "spectral" in name else set())


def test_the_linear_predictor_knows_a_line_from_what_is_left_of_it():
    t = torch.linspace(-1, 1, 96)
    lines = noise(300, 2, 1) + noise(300, 2, 1, seed=1) * t
    found = losses(task_of({"kind": "masked"}), lines[:200], lines[200:])
    assert found["constant"] > 0.5
    assert found["linear"] < 0.01 * found["constant"]


def test_channels_of_one_modality_share_what_is_linear_and_others_do_not():
    """What goes on in one channel turns its sign from patch to patch in the other."""
    walk = noise(300, 2, 24).cumsum(dim=2) / 24**0.5
    walk[:, 1, ::2] *= -1
    x, block = walk.repeat_interleave(4, dim=2), {"kind": "masked", "span": 1, "ratio": 0.25}
    alike = SignalContext(2, 96, 50.0, modalities=("eeg", "eeg"))
    apart, together = (losses(task_of(block, ctx), x[:200], x[200:]) for ctx in (CTX, alike))
    assert apart["linear"] < 0.1 * apart["constant"] < 0.5 * together["linear"]


def test_the_mean_spectrum_knows_how_loud_a_window_is():
    def loud(seed: int) -> torch.Tensor:
        return noise(300, 2, 96, seed=seed) * (2 * noise(300, 1, 1, seed=seed + 9)).exp()

    for block in ({"kind": "spectral"}, {"kind": "spectral", "transform": "stft"}):
        found = losses(task_of(block), loud(0), loud(1))
        assert found["spectrum"] < 0.5 * found["constant"]
        assert found["linear"] < found["spectrum"]


@pytest.mark.parametrize("name", RECONSTRUCTIONS)
def test_what_predictors_see_does_not_change_with_what_is_hidden(name):
    task, x = task_of(RECONSTRUCTIONS[name]), noise(6, 2, 96)
    assert isinstance(task, ReconstructionTask)
    one = task.question(x, generator())
    hidden = one.wanted.all(dim=-1).repeat_interleave(task.encoder.patch, dim=-1)
    other = task.question(torch.where(hidden, 100 * noise(6, 2, 96, seed=3), x), generator())
    assert torch.equal(one.wanted, other.wanted)
    torch.testing.assert_close(one.seen[~one.wanted], other.seen[~one.wanted])
    assert RECONSTRUCTIONS[name].get("ratio") == 0 or not torch.allclose(one.target, other.target)


def test_frames_that_are_hidden_in_part_are_as_strong_as_whole_ones():
    block = {"kind": "spectral", "transform": "stft", "predict": "real_imag"}
    task = task_of(block)
    assert isinstance(task, ReconstructionTask)
    asked = task.question(noise(300, 2, 96), generator())
    shown = ~asked.wanted
    ratio = asked.seen[shown].square().mean() / asked.target[shown].square().mean()
    assert ratio == pytest.approx(1, rel=0.03)


@pytest.mark.parametrize("name", RECONSTRUCTIONS)
def test_a_network_that_says_the_constant_loses_what_the_constant_loses(name):
    """The same windows, masks and units."""
    ctx = SignalContext(1, 96, 50.0, modalities=("eeg",))
    block = {k: v for k, v in RECONSTRUCTIONS[name].items() if k not in ("mix", "drop_modality")}
    task, train, val = task_of(block, ctx), noise(64, 1, 96), noise(16, 1, 96, seed=5)
    assert isinstance(task, ReconstructionTask)
    middle = task.question(train, generator(1)).target.mean(dim=(0, 1, 2))
    decoder = task.decoder if isinstance(task.decoder, Decoder) else task.decoder.decoder
    assert isinstance(decoder, Decoder)
    last = decoder.outputs[0][-1]  # type: ignore[index]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(middle)
    found = losses(task, train, val)
    assert found["constant"] == pytest.approx(float(task(val, generator(2))[0].detach()), rel=1e-5)


# ---- each task as it is ----

SENSORS = Crossmodal(encoder=CONV)
TASKS: dict[str, tuple[dict[str, Any], SignalContext, EncoderSpec]] = {
    **{name: (block, CTX, CONV) for name, block in RECONSTRUCTIONS.items()},
    "latent": ({"kind": "latent"}, CTX, CONV),
    "latent sensors": ({"kind": "latent"}, CTX, SENSORS),
    "each sensor": ({"kind": "masked"}, CTX, SENSORS),
    "crossmodal": ({"kind": "crossmodal"}, CTX, SENSORS),
    "next thought": ({"kind": "next_thought"}, PAIRS, CONV),
    "next and masked": (
        {"kind": "next_thought", "weights": {"next": 0.1, "masked": 0.9}},
        PAIRS,
        Sequence(dim=8, layers=1, heads=2),
    ),
}


@pytest.mark.parametrize("name", TASKS)
def test_references_draw_what_the_task_draws(name):
    """So that the second batch has the masks that it has in validation, too."""
    block, ctx, model = TASKS[name]
    task, x = task_of(block, ctx, model), noise(6, ctx.n_chans, ctx.n_times)
    y = [torch.tensor([0, 1, 0, 1, 1, 0])] if task.uses_labels else []
    ours, theirs = generator(3), generator(3)
    task(x, ours, *y)
    found = task.references(x, generator(1), *y)
    assert found is not None
    found(x, theirs, *y)
    if block["kind"] != "crossmodal":  # its constant needs no view
        assert torch.equal(ours.get_state(), theirs.get_state())


def test_sensors_of_their_own_are_averaged_and_one_that_is_absent_counts_as_in_the_loss():
    task, x = task_of({"kind": "masked"}, CTX, SENSORS), noise(200, 2, 96)
    x[:, 1] *= 3
    assert losses(task, x, x)["constant"] == pytest.approx((1 + 9) / 2, rel=0.05)
    there = x + torch.tensor([0.0, 5.0])[:, None]
    x[:, 1] = torch.nan
    assert losses(task, there, x)["constant"] == pytest.approx(1 / 2, rel=0.05)


@pytest.mark.parametrize(
    ("loss", "expected"), [("infonce", math.log(6)), ("barlow", 1.0), ("vicreg", 25 * 0.99 / 51)]
)
def test_one_embedding_for_all_windows_costs_what_the_formula_says(loss, expected):
    task = task_of({"kind": "crossmodal", "loss": {"kind": loss}}, CTX, SENSORS)
    x = noise(6, 2, 96)
    assert losses(task, x, x) == {"constant": pytest.approx(expected, rel=1e-5)}


def pairs(seed: int, n: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    """Pairs whose A goes over into B where B follows."""
    x, y = noise(n, 4, 12, seed=seed), torch.arange(n) % 2
    x[y == 1, :, 6] = x[y == 1, :, 5] + 0.3 * noise(n // 2, 4, seed=seed + 5)
    return x, y


def test_of_next_thoughts_the_seam_stands_beside_how_often_b_follows():
    (x, y), task = pairs(0), task_of({"kind": "next_thought"}, PAIRS)
    found = losses(task, x, x, y)
    assert found["constant"] == pytest.approx(math.log(2), rel=1e-3)
    assert found["seam"] < 0.4
    same, often = task.references(x, generator(), y), (y == 1).float()
    assert same is not None
    always = same(x, generator(), torch.ones_like(y))["constant"]
    assert always == pytest.approx(-math.log(float(often.mean())), rel=1e-2)


def test_hidden_volumes_add_their_own_constant_and_linear_predictor():
    x, y = pairs(0)
    weights = {"next": 0.5, "masked": 2.0}
    both = losses(task_of({"kind": "next_thought", "weights": weights}, PAIRS), x, x, y)
    alone = {
        part: losses(
            task_of({"kind": "next_thought", "weights": {"next": 0.0} | {part: 1.0}}, PAIRS),
            x,
            x,
            y,
        )
        for part in ("next", "masked")
    }
    assert alone["masked"].keys() == {"constant", "linear"}
    assert both["constant"] == pytest.approx(
        0.5 * alone["next"]["constant"] + 2 * alone["masked"]["constant"], rel=1e-5
    )
    assert both["seam"] == pytest.approx(
        0.5 * alone["next"]["seam"] + 2 * alone["masked"]["linear"], rel=1e-5
    )


def test_the_seam_is_weighed_as_scikit_learn_weighs_it():
    x, y = pairs(0)
    seam = at_the_seam(x)
    z = (seam - seam.mean(dim=0)) / seam.std(dim=0, unbiased=False)
    wide = F.pad(z, (0, 1), value=1.0).numpy()
    theirs = LogisticRegression(C=1 / RIDGE, fit_intercept=False, tol=1e-8).fit(wide, y.numpy())
    ours = F.softmax(_logistic(seam, y)(seam), dim=1)[:, 1]
    assert ours.numpy() == pytest.approx(theirs.predict_proba(wide)[:, 1], abs=1e-4)


def test_a_task_of_ones_own_has_none_unless_it_says_so():
    class Own(Task):
        def forward(self, x: torch.Tensor, generator: torch.Generator) -> Any:
            return x.mean(), {}

    assert Own().references(noise(2, 2, 8), generator()) is None
