"""Networks of braindecode by name: from scratch, pre-trained here, with published weights."""

import json
from typing import Any

import pytest
import torch

from citrus_ray.context import SignalContext
from citrus_ray.experiment.trial import Trial
from citrus_ray.models.braindecode import NETWORKS, Braindecode
from citrus_ray.models.nets.arrival import arrivals
from citrus_ray.models.specs import KINDS
from citrus_ray.spec import validate
from citrus_ray.tasks.specs import KINDS as TASKS
from citrus_ray.training.finetuning import Member
from citrus_ray.training.loop import seeded
from citrus_ray.training.pretraining import run
from tests.small import PRETRAINED

NAMES = ("Fp1", "Fp2", "F3", "F4", "C3", "C4", "P3", "P4")
CTX = SignalContext(8, 1000, 200.0, 2, ("eeg",) * 8, names=NAMES)
SMALL = {
    "BIOT": {"embed_dim": 32, "num_layers": 1},
    "Labram": {"num_layers": 1},
    "CBraMod": {"n_layer": 1},
    "EEGPT": {"embed_dim": 64, "depth": 1},
    "REVE": {"embed_dim": 64, "depth": 1, "heads": 2},
    "SignalJEPA": {"transformer__num_encoder_layers": 1, "transformer__num_decoder_layers": 1},
}


def spec_of(name: str, **more: object) -> Braindecode:
    block = {"kind": "braindecode", "name": name, "kwargs": SMALL.get(name, {})} | more
    found: Braindecode = KINDS(block)
    return found


def test_without_the_library_a_word_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "braindecode.models", None)
    said = spec_of("EEGNet").check(CTX)
    assert said is not None
    assert "pip install 'citrus_ray[braindecode]'" in said


def test_published_weights_are_refused_at_another_rate_and_the_way_out_is_named(tmp_path):
    (tmp_path / "a.pt").touch()
    spec = spec_of("EEGPT", weights=str(tmp_path / "a.pt"))
    said = spec.check(CTX)
    assert said is not None
    assert "256 Hz, these signals of 200 Hz; give the source `sfreq: 256`" in said


@pytest.fixture(scope="module")
def library():
    try:
        import braindecode.models as models
    except (ImportError, OSError) as err:
        pytest.skip(f"the extra `braindecode` is not installed here, or not whole: {err}")
    return models


@pytest.fixture
def bank(tmp_path, monkeypatch):
    """Places of electrodes that REVE would download."""
    places = {name: [0.1 * i, 0.2, 0.3] for i, name in enumerate(NAMES)}
    (tmp_path / "reve_positions.json").write_text(json.dumps(places))
    monkeypatch.setenv("REVE_POSITIONS_PATH", str(tmp_path))
    monkeypatch.setenv("MNE_DATA", str(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_makes_tokens_and_learns_from_what_is_hidden(name, library, bank):
    spec = spec_of(name)
    assert spec.check(CTX) is None
    with seeded(0):
        encoder = spec.build(CTX)
    x = torch.randn(3, 8, 1000, generator=torch.Generator().manual_seed(0))
    n_tokens = 1000 // spec.patch
    encoder.eval()
    tokens = encoder(x)
    assert tokens.shape == (3, 1, n_tokens, encoder.dim)
    assert tokens.isfinite().all()
    torch.testing.assert_close(encoder(x[1:2]), tokens[1:2], rtol=1e-3, atol=1e-4)
    hidden = torch.zeros(3, 8, n_tokens, dtype=torch.bool)
    hidden[..., 1::2] = True
    noise = 9 * x.flip(0)[..., : n_tokens * spec.patch]
    noise = noise * hidden.repeat_interleave(spec.patch, dim=-1)
    changed = x.clone()
    changed[..., : n_tokens * spec.patch] += noise
    assert torch.equal(encoder(x, hidden), encoder(changed, hidden))
    assert not torch.allclose(encoder(x), encoder(changed))
    held = [id(p) for part in encoder.depths() for p in part.parameters()]
    assert sorted(held) == sorted(id(p) for p in encoder.parameters())
    for task in ("masked", "spectral"):
        with seeded(1):
            learnt = TASKS({"kind": task}).build(CTX, encoder.train())
        learnt(x, torch.Generator().manual_seed(0))[0].backward()
        dead = [
            n
            for n, p in encoder.named_parameters()
            if p.requires_grad and (p.grad is None or not p.grad.abs().sum() > 0)
        ]
        assert not dead


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_weights_that_the_library_wrote_arrive_whole(name, library, bank, tmp_path):
    """A file of its own class, head and all, as it is published."""
    from citrus_ray.models.nets.braindecode import _made

    rate = NETWORKS[name].sfreq or 200.0
    ctx = SignalContext(8, 1000, rate, 2, ("eeg",) * 8, names=NAMES)
    with seeded(7):
        theirs: Any = _made(name, SMALL.get(name, {}), ctx, list(NAMES), 1000)
    torch.save(theirs.state_dict(), tmp_path / "theirs.pt")
    if hasattr(theirs, "save_pretrained") and name == "CBraMod":
        theirs.save_pretrained(tmp_path / "folder")
        places = [str(tmp_path / "theirs.pt"), str(tmp_path / "folder")]
    else:
        places = [str(tmp_path / "theirs.pt")]
    for place in places:
        spec = spec_of(name, weights=place)
        with seeded(1):
            (found,) = arrivals(spec.build(ctx)).values()
        assert found["share"] == 1.0
        assert found["matched"] == found["of"]
        heads = ("net.final_layer", "net.fc", "net.transformer.decoder")
        assert all(unused.startswith(heads) for unused in found["not_used"])


@pytest.mark.slow
def test_eegnet_learns_from_scratch_and_from_masked_pre_training(library):
    model = {"kind": "braindecode", "name": "EEGNet", "kwargs": {"kernel_length": 16}}
    trial = validate(Trial, PRETRAINED.tree() | {"model": model})
    assert trial.pretraining is not None
    found = run(trial.pretraining, trial.model)
    assert found.history[-1]["val/loss"] > 0
    for weights in (None, found.weights):
        member = Member(trial, weights)
        member.finish()
        assert 0 < member.best["val/balanced_accuracy"] <= 1


@pytest.mark.slow
def test_a_published_montage_is_met_by_an_adapter(library):
    """Seven channels of another cap, brought to the names that the network knows."""
    other = ("Fp1", "Fpz", "C3", "Cz", "C4", "O1", "O2")
    ctx = SignalContext(7, 1000, 200.0, 2, ("eeg",) * 7, names=other)
    block = {"kind": "braindecode", "name": "Labram", "kwargs": SMALL["Labram"]}
    spec = KINDS(
        {"kind": "adapted", "encoder": block, "channels": "interpolate", "names": list(NAMES)}
    )
    assert spec.check(ctx) is None
    assert spec.build(ctx)(torch.randn(2, 7, 1000)).shape == (2, 1, 5, 200)
