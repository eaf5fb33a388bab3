"""Weights from outside: they arrive whole or are refused, by name; nothing in them is run."""

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from citrus_ray.context import SignalContext
from citrus_ray.evidence.labels import is_from_scratch
from citrus_ray.experiment import stored_weights
from citrus_ray.experiment.trial import Trial
from citrus_ray.models.nets.arrival import arrivals
from citrus_ray.models.nets.encoder import Encoder
from citrus_ray.models.specs import Conv, EncoderSpec
from citrus_ray.records import Record
from citrus_ray.spec import SpecError, validate
from citrus_ray.store import checkpoint
from citrus_ray.training.finetuning import Member
from citrus_ray.training.loop import seeded
from citrus_ray.training.members import MemberState
from tests.small import MODEL, PRETRAINED, SCRATCH

CTX = SignalContext(n_chans=2, n_times=64, sfreq=50.0, modalities=("eeg",) * 2)


def built(weights: Any, model: EncoderSpec = MODEL) -> Encoder:
    with seeded(5):
        return validate(type(model), model.tree() | {"weights": weights}).build(CTX)


@pytest.fixture(scope="module")
def theirs() -> dict[str, torch.Tensor]:
    """Weights of an encoder that somebody else trained."""
    with seeded(1):
        return MODEL.build(CTX).state_dict()


def layouts(folder: Path, weights: dict[str, torch.Tensor]) -> dict[str, Any]:
    """The same weights in the forms in which people publish them."""
    save_file(weights, folder / "plain.safetensors")
    torch.save(weights, folder / "plain.pt")
    wrapped = {f"module.net.{name}": value for name, value in weights.items()}
    torch.save({"epoch": 3, "model": wrapped, "optimizer": {"m": weights}}, folder / "deep.ckpt")
    (folder / "repo").mkdir(exist_ok=True)
    save_file(wrapped, folder / "repo" / "model.safetensors")
    store = folder / "store"
    checkpoint.save(store, "abcdef0123456789", weights, {"finished": "now"})
    return {
        "safetensors": str(folder / "plain.safetensors"),
        "pt": str(folder / "plain.pt"),
        "renamed in a checkpoint": {
            "file": str(folder / "deep.ckpt"),
            "rename": {"module.net": ""},
        },
        "a folder": {"file": str(folder / "repo"), "rename": {"module.net": ""}},
        "the store": f"store:{store}/abcdef",
    }


def test_weights_arrive_whole_from_every_layout(tmp_path, theirs):
    for layout, weights in layouts(tmp_path, theirs).items():
        encoder = built(weights)
        assert all(torch.equal(encoder.state_dict()[n], theirs[n]) for n in theirs), layout
        (found,) = arrivals(encoder).values()
        assert (found["matched"], found["of"], found["share"]) == (len(theirs), len(theirs), 1.0)
        assert found["moved"] > 0.01
        assert not found["not_loaded"]
        assert not found["not_used"]


def test_weights_that_lack_something_are_refused_with_the_list(tmp_path, theirs):
    first, second, *_ = theirs
    wrong = {n: v for n, v in theirs.items() if n != first}
    wrong |= {second: torch.zeros(3), "head.weight": torch.zeros(2)}
    save_file(wrong, tmp_path / "wrong.safetensors")
    file = str(tmp_path / "wrong.safetensors")
    n = len(theirs)
    with pytest.raises(SpecError) as caught:
        built(file)
    said = str(caught.value)
    assert f"{n - 2} of {n} tensors" in said
    assert f"{first}: not in the stored weights" in said
    assert f"{second}: stored as (3,), the model has" in said
    assert "head.weight: in the stored weights alone" in said
    rest = [name for name in theirs if name not in (first, second)]
    only = built({"file": file, "part": rest, "leave": ["head", second, first]})
    assert torch.equal(only.state_dict()[rest[0]], theirs[rest[0]])
    (found,) = arrivals(only).values()
    assert (found["matched"], found["of"]) == (n - 2, n)
    assert 0 < found["share"] < 1
    assert set(found["not_loaded"]) == {first, second}
    assert "head.weight" in found["not_used"]


def test_a_part_that_names_nothing_is_refused(tmp_path, theirs):
    torch.save(theirs, tmp_path / "a.pt")
    with pytest.raises(SpecError, match="part=nose: names nothing"):
        built({"file": str(tmp_path / "a.pt"), "part": ["nose"], "leave": list(theirs)})


def test_weights_that_change_no_output_are_refused(tmp_path):
    with seeded(5):
        save_file(MODEL.build(CTX).state_dict(), tmp_path / "same.safetensors")
    with pytest.raises(SpecError, match="nothing of use arrived"):
        built(str(tmp_path / "same.safetensors"))


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_code_in_a_file_is_never_run(tmp_path, theirs):
    torch.save({"model": theirs, "extra": Bomb(tmp_path / "boom")}, tmp_path / "bad.pt")
    (tmp_path / "worse.pt").write_bytes(pickle.dumps(Bomb(tmp_path / "boom")))
    (tmp_path / "text.safetensors").write_text("no weights")
    for name, why in (("bad.pt", "more than weights"), ("worse.pt", "more than weights")):
        with pytest.raises(SpecError, match=why):
            built(str(tmp_path / name))
    with pytest.raises(SpecError, match="is not a file of safetensors"):
        built(str(tmp_path / "text.safetensors"))
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ("nowhere.pt", "there is no file"),
        ("hub:just-a-name", "must read hub:org/name"),
        ("store:missing/abc", "no encoder abc"),
        (".", "is a folder that holds none of"),
        (__file__, r"must end in one of \.safetensors"),
    ],
)
def test_a_place_without_weights_is_refused_in_words(weights, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError, match=said):
        built(weights).state_dict()


def test_two_places_in_a_file_must_be_told_apart(tmp_path, theirs):
    torch.save({"student": theirs, "teacher": theirs}, tmp_path / "two.pt")
    file = str(tmp_path / "two.pt")
    with pytest.raises(SpecError, match="weights are in student, teacher; name one with `inside`"):
        built(file)
    with pytest.raises(SpecError, match="inside=pupil: no weights are there"):
        built({"file": file, "inside": "pupil"})
    assert arrivals(built({"file": file, "inside": "teacher"}))


def test_two_names_that_would_become_one_are_refused(tmp_path, theirs):
    first = next(iter(theirs))
    torch.save(theirs | {f"module.{first}": theirs[first]}, tmp_path / "a.pt")
    with pytest.raises(SpecError, match="would both become"):
        built({"file": str(tmp_path / "a.pt"), "rename": {"module": ""}})


def trial_with(weights: Any, trial: Trial = SCRATCH) -> Trial:
    return trial.at({"model.weights": weights})


def test_a_digest_holds_what_is_in_the_file_and_not_where_it_lies(tmp_path, theirs):
    found = layouts(tmp_path, theirs)
    one = trial_with(found["safetensors"]).digest()
    (tmp_path / "plain.safetensors").rename(tmp_path / "moved.safetensors")
    assert trial_with(str(tmp_path / "moved.safetensors")).digest() == one != SCRATCH.digest()
    other = {name: value + 1 for name, value in theirs.items()}
    save_file(other, tmp_path / "other.safetensors")
    assert trial_with(str(tmp_path / "other.safetensors")).digest() != one
    assert SCRATCH.at({"model.weights": None}).digest() == SCRATCH.digest()
    named = trial_with(found["safetensors"].replace("plain", "moved"), PRETRAINED)
    assert named.encoder_digest() != PRETRAINED.encoder_digest()


def test_a_fine_tune_begins_with_them_and_its_record_says_so(tmp_path, theirs):
    file = layouts(tmp_path, theirs)["safetensors"]
    member = Member(trial_with(file), None)
    encoder = member.classifier.encoder.state_dict()
    assert all(torch.equal(encoder[name], theirs[name]) for name in theirs)
    said = MemberState(member.trial, member).outcome()["network"]
    (proof,) = said["weights"].values()
    assert proof["share"] == 1.0
    n = sum(p.numel() for p in member.classifier.parameters())
    assert said["parameters"] == said["trained"] == n
    frozen = Member(trial_with(file).at({"finetune.mode": "probe"}), None).network()
    assert frozen["trained"] == 8 * 2 + 2 < frozen["parameters"] == n
    identity = member.identity()
    assert identity["identity/start"] != identity["identity/untrained"]


def test_the_plan_says_that_they_arrive_or_why_they_do_not(tmp_path, theirs):
    file = layouts(tmp_path, theirs)["safetensors"]
    (line,) = stored_weights.lines([(trial_with(file).model, CTX)] * 2)
    assert f"{len(theirs)} of {len(theirs)} tensors arrived, 100.0% of its numbers" in line
    other = trial_with(file).at({"model.dim": 16})
    (problem,) = [p for p in other.problems({"finetune.target": CTX}) if p.path == "model.weights"]
    assert "tensors of the encoder arrive, and all must" in problem.message


class Stubborn(Conv):
    """Builds its network itself, and so would pass weights over in silence."""

    def build(self, ctx: SignalContext) -> Encoder:
        return self.network(ctx)


def test_a_model_that_would_pass_them_over_is_refused(tmp_path, theirs):
    file = layouts(tmp_path, theirs)["safetensors"]
    model = validate(Stubborn, MODEL.tree() | {"weights": file})
    assert "does not read `weights`" in (stored_weights.misfit(model, CTX) or "")


def test_a_row_with_weights_from_a_file_is_not_from_scratch():
    def row(**config: Any) -> Record:
        common: dict[str, Any] = dict.fromkeys(Record.__dataclass_fields__, "")
        return Record(**common | {"config": config, "encoder": None})

    assert is_from_scratch(row())
    assert is_from_scratch(row(**{"model.weights": None, "pretrain.task": None}))
    assert is_from_scratch(row(**{"model.kind": "views", "model.weights": "plain"}))
    assert not is_from_scratch(row(**{"model.weights.file": "a.pt"}))


def test_the_hub_is_read_from_its_cache_and_missed_in_words(tmp_path, theirs, monkeypatch):
    reason = "the extra `hub` is not installed"
    constants = pytest.importorskip("huggingface_hub.constants", reason=reason)
    repo = tmp_path / "models--some--encoder"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("1" * 40)
    snapshot = repo / "snapshots" / ("1" * 40)
    snapshot.mkdir(parents=True)
    save_file(theirs, snapshot / "model.safetensors")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    encoder = built("hub:some/encoder")
    assert all(torch.equal(encoder.state_dict()[n], theirs[n]) for n in theirs)
    with pytest.raises(SpecError, match="hub cannot be reached"):
        built("hub:some/other")


def test_without_the_hubs_library_a_word_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(SpecError, match=r"pip install 'citrus_ray\[hub\]'"):
        built("hub:some/third")
