"""A kept model in another process: the recorded predictions bit for bit, arrays and recordings
alike, and a refusal by name of what does not fit."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from citrus_ray.data.sources.given import Allowed
from citrus_ray.data.tools.export import write, write_edf, write_npz
from citrus_ray.inference.model import KeptModel, load_model, said_of
from citrus_ray.records import write_bytes
from citrus_ray.spec import SpecError
from citrus_ray.store import kept as kept_models
from citrus_ray.store import predictions
from citrus_ray.training.learner import Learner
from tests.inference.conftest import RATE, VALUE, Keep, target_of

NAMES = ("syn0", "syn1")


def recorded(learner: Learner, folder: Path) -> predictions.TestOutputs:
    """The test predictions, as a refit writes them."""
    predictions.write(folder, "trial", [learner.test_outputs()])
    (found,) = predictions.read(folder, "trial")
    return found


@pytest.mark.parametrize(
    "edits",
    [
        {},
        {"finetune__target__normalize": "recording"},
        {"finetune__target__reference": "average", "finetune__target__band": [1.0, 20.0]},
        {"finetune__target__normalize": "none", "finetune__align": {"kind": "pad", "n_times": 80}},
        {"finetune__align": {"kind": "resample", "sfreq": 25.0, "n_times": 16}},
        {"finetune__align": {"kind": "truncate", "n_times": 40}},
        {"finetune__mode": "probe", "finetune__subjects": "recentre"},
        {"model": {"kind": "minirocket", "n_kernels": 84}},
        {"model": {"kind": "bag", "trees": 5}},
        VALUE,
        VALUE | {"model": {"kind": "bag", "trees": 5}},
    ],
    ids=[
        "conv",
        "recording",
        "cleaned",
        "pad",
        "segments",
        "truncate",
        "recentre",
        "minirocket",
        "bag",
        "value",
        "bag of values",
    ],
)
def test_test_recordings_are_predicted_as_they_were_recorded_bit_for_bit(
    keep: Keep, study, tmp_path, edits
):
    model, learner = keep(**edits)
    before = recorded(learner, tmp_path)
    names = sorted(set(before.group))
    found = model.predict({name: study / "recordings" / f"{name}.edf" for name in names})
    assert np.array_equal(found.outputs, said_of(before.outputs, model.target))
    assert before.start_s is not None
    assert found.start_s == pytest.approx(before.start_s)
    assert found.stop_s == pytest.approx(before.start_s + before.seconds)
    assert [found.recordings[i] for i in found.recording] == list(before.group)


def test_kept_predictions_give_the_recorded_score(keep: Keep, tmp_path):
    from citrus_ray.metrics import score

    _, learner = keep()
    found = recorded(learner, tmp_path)
    assert score(found.y, found.outputs, "test") == learner.score_test()
    assert found.member == learner.trial.digest()
    assert set(found.group) == {
        learner.windows.groups[g] for g in learner.windows.group[found.window]
    }


def test_an_array_says_what_its_recording_says(model: KeptModel, signal, tmp_path):
    write_npz(tmp_path / "one.npz", signal, RATE, NAMES, ("eeg", "eeg"))
    asked = model.predict({"one": tmp_path / "one.npz"})
    found = model(signal, RATE, NAMES)
    assert found.shape == (5, 2)
    assert found.sum(axis=1) == pytest.approx(1)
    assert np.array_equal(found, asked.outputs)
    assert np.array_equal(model(signal[::-1], RATE, NAMES[::-1]), found)
    windows = signal[:, :320].reshape(2, 5, 64).swapaxes(0, 1)
    assert np.array_equal(model(windows, RATE), found)
    overlapping = model(signal, RATE, stride_s=0.64)
    assert len(overlapping) == 10
    assert overlapping[::2] == pytest.approx(found, abs=1e-6)


def test_channels_may_stand_in_any_order_among_others_and_under_other_names(
    model: KeptModel, signal, tmp_path
):
    want = model(signal, RATE, NAMES)
    more = np.concatenate([signal[::-1], 9 * signal[:1]])
    write_npz(tmp_path / "a.npz", more, RATE, ("syn1", "syn0", "trigger"), ("eeg", "eeg", "stim"))
    assert np.array_equal(model.predict({"a": tmp_path / "a.npz"}).outputs, want)
    write_npz(tmp_path / "b.npz", signal, RATE, ("EEG A", "EEG B"), ("ecg", "ecg"))
    names = {"syn0": "EEG A", "syn1": "EEG B"}
    asked = model.predict({"b": tmp_path / "b.npz"}, Allowed(names))
    assert np.array_equal(asked.outputs, want)


def test_an_array_is_filtered_as_recordings_are(keep: Keep, study, signal, tmp_path):
    model, _ = keep(target_of(study, band=[1.0, 20.0], clip=3.0))
    write_npz(tmp_path / "x.npz", signal, RATE, NAMES, ("eeg", "eeg"))
    found = model(signal, RATE)
    assert np.array_equal(found, model.predict({"x": tmp_path / "x.npz"}).outputs)
    with pytest.raises(SpecError, match="recordings were filtered before they were cut"):
        model(np.zeros((2, 2, 64)), RATE)
    referenced, _ = keep(target_of(study, reference="average"))
    with pytest.raises(SpecError, match="measured against others of the recording"):
        referenced(signal, RATE)


# ---- what does not fit ----


def refusal(model: KeptModel, path: Path, allowed: Allowed | None = None) -> str:
    with pytest.raises(SpecError) as err:
        model.predict({"x": path}, allowed)
    return str(err.value)


def test_a_channel_that_is_not_there_is_named_with_those_there_are(model, signal, tmp_path):
    write_npz(tmp_path / "x.npz", signal, RATE, ("syn0", "Syn1"), ("eeg", "eeg"))
    said = refusal(model, tmp_path / "x.npz")
    assert "x.npz: channels: has no channel `syn1`" in said
    assert "did you mean `Syn1`?" in said
    assert "--rename 'syn1=NAME'" in said


def test_a_lower_rate_lacks_frequencies_and_a_higher_one_is_resampled_as_in_training(
    model, signal, tmp_path
):
    write_npz(tmp_path / "low.npz", signal, 25.0, NAMES, ("eeg", "eeg"))
    said = refusal(model, tmp_path / "low.npz")
    assert "recorded at 25 Hz, but the model reads 50 Hz, and nothing above 12.5 Hz" in said
    assert len(model.predict({"x": tmp_path / "low.npz"}, Allowed(resample=True)).recording) == 11
    write_npz(tmp_path / "high.npz", signal, 100.0, NAMES, ("eeg", "eeg"))
    assert len(model.predict({"x": tmp_path / "high.npz"}).recording) == 2


def test_a_model_of_windows_that_were_never_resampled_takes_no_other_rate(
    keep: Keep, signal, tmp_path
):
    model, _ = keep({"kind": "synthetic", "n_subjects": 8, "windows_per_subject": 8, "n_chans": 2})
    assert model.sfreq == 100.0
    write_npz(tmp_path / "x.npz", np.tile(signal, 2), 200.0, NAMES, ("eeg", "eeg"))
    assert "training resampled nothing; --resample does" in refusal(model, tmp_path / "x.npz")
    with pytest.raises(SpecError, match="`resample=True` brings it there"):
        model(signal, 200.0)


def test_a_recording_shorter_than_a_window_is_refused(model, signal, tmp_path):
    write_npz(tmp_path / "x.npz", signal[:, :60], RATE, NAMES, ("eeg", "eeg"))
    assert "is 1.2 s long, shorter than the model's window of 1.28 s" in refusal(
        model, tmp_path / "x.npz"
    )
    with pytest.raises(SpecError, match="shorter than the model's window"):
        model(signal[:, :60], RATE)


def test_units_matter_where_amplitude_does(keep: Keep, study, signal, tmp_path):
    model, _ = keep(target_of(study, normalize="none"))
    assert model.units == ("uV", "uV")
    for unit, scale in (("uV", 1.0), ("mV", 1e-3)):
        write_edf(tmp_path / f"{unit}.edf", signal * scale, RATE, NAMES, unit)
    said = refusal(model, tmp_path / "mV.edf")
    assert "syn0 is in mV, but the model reads uV" in said
    assert "--units convert" in said
    want = model.predict({"x": tmp_path / "uV.edf"}).outputs
    path = {"x": tmp_path / "mV.edf"}
    converted = model.predict(path, Allowed(units="convert")).outputs
    assert converted == pytest.approx(want, abs=1e-4)
    assert not np.allclose(model.predict(path, Allowed(units="ignore")).outputs, want)


def test_units_do_not_matter_where_windows_are_z_scored(model, signal, tmp_path):
    write_edf(tmp_path / "x.edf", signal, RATE, NAMES, "mV")
    assert model.units == ("", "")
    assert len(model.predict({"x": tmp_path / "x.edf"}).recording) == 5


def test_everything_that_is_wrong_is_said_at_once(model, signal, tmp_path):
    write_npz(tmp_path / "a.npz", signal, 25.0, NAMES, ("eeg", "eeg"))
    (tmp_path / "b.edf").write_text("no recording")
    with pytest.raises(SpecError) as err:
        model.predict({"a": tmp_path / "a.npz", "b": tmp_path / "b.edf"})
    assert {Path(problem.file or "").name for problem in err.value.problems} == {"a.npz", "b.edf"}


def test_pairs_are_given_as_windows_alone(keep: Keep, signal, tmp_path):
    pairs = {"kind": "pairs", "of": {"kind": "synthetic_fmri", "n_subjects": 4}, "ask": "next"}
    model, _ = keep(pairs, model="sequence")
    write_npz(tmp_path / "x.npz", signal, RATE, NAMES, ("eeg", "eeg"))
    said = refusal(model, tmp_path / "x.npz")
    assert "cannot be given recordings: it reads pairs of windows, side by side" in said


def test_windows_around_an_event_need_a_table(model, study, tmp_path):
    facts = model.facts | {"expected": model.facts["expected"] | {"around": "the R peak of a beat"}}
    beats = KeptModel(model.folder, facts, model.arrays)
    path = study / "recordings" / "subject00.edf"
    assert "windows around the R peak of a beat" in refusal(beats, path)
    table = tmp_path / "beats.csv"
    table.write_text("file,start_s,stop_s,label\nx,0.5,1.78,N\nx,3,4.28,V\n")
    found = beats.predict({"x": path}, Allowed(table=table))
    assert found.start_s.tolist() == [0.5, 3.0]
    assert found.labels == ("N", "V")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((np.zeros(9), RATE, None), r"must be a recording \(C, T\) or windows"),
        ((np.zeros((3, 99)), RATE, None), "x has 3 channels, but the model reads 2"),
        ((np.zeros((3, 99)), RATE, NAMES), "there are 2 names"),
        ((np.full((2, 99), np.nan), RATE, NAMES), "samples that are no numbers"),
        ((np.zeros((2, 99)), RATE, ("a", "b")), "no channel syn0, syn1"),
        ((np.zeros((4, 2, 63)), RATE, NAMES), "windows are 63 samples at 50 Hz"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(model, given, said):
    with pytest.raises(SpecError, match=said):
        model(*given)


# ---- the folder ----


def test_a_model_that_was_damaged_or_half_copied_is_refused(keep: Keep, tmp_path):
    model, _ = keep()
    (weights,) = model.folder.glob("*.safetensors")
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(SpecError, match="its checksum is another; copy the folder again"):
        load_model(model.folder)
    weights.unlink()
    with pytest.raises(SpecError, match="cannot be read: No such file"):
        load_model(model.folder)
    assert kept_models.held(model.folder) is None
    (model.folder / "model.json").write_text("{")
    with pytest.raises(SpecError, match=r"model\.json: is damaged"):
        load_model(model.folder)
    with pytest.raises(SpecError, match="there is no folder"):
        load_model(tmp_path / "nothing")


def test_a_write_that_fails_leaves_the_model_before_it_whole(keep: Keep, monkeypatch):
    model, learner = keep()
    before = {path.name: path.read_bytes() for path in model.folder.iterdir()}
    real = write_bytes

    def full(path: Path, content: bytes) -> Path:
        if path.name == "model.json":
            raise OSError(28, "No space left on device")
        return real(path, content)

    monkeypatch.setattr(kept_models, "write_bytes", full)
    facts = {"digest": "another"}
    with pytest.raises(OSError, match="No space"):
        kept_models.write(model.folder, facts, {"x": np.zeros(3)})
    assert kept_models.held(model.folder) == learner.trial.digest()
    monkeypatch.undo()
    assert load_model(model.folder).classes == model.classes
    kept_models.write(model.folder, facts, {"x": np.zeros(3)})
    assert kept_models.held(model.folder) == "another"
    assert len(list(model.folder.iterdir())) == 2 < len(before) + 1


def test_a_model_of_a_later_format_is_refused(keep: Keep):
    model, _ = keep()
    path = model.folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(SpecError, match="format=99: this version"):
        load_model(model.folder)


def test_of_several_models_below_a_folder_one_is_to_be_named(model, tmp_path):
    import shutil

    for name in ("a", "b"):
        shutil.copytree(model.folder, tmp_path / name)
    with pytest.raises(SpecError, match=r"holds 2 models; give one:\n"):
        load_model(tmp_path)
    shutil.rmtree(tmp_path / "b")
    assert load_model(tmp_path).folder == tmp_path / "a"
    assert load_model(tmp_path / "a" / "model.json").classes == model.classes


# ---- several rates ----


def test_a_model_of_several_rates_reads_recordings_that_have_them_or_lack_one(keep: Keep, tmp_path):
    model, learner = keep(
        {"kind": "synthetic_sensors", "n_subjects": 8, "rates": [64.0, 32.0], "absent": 0.3},
        model="crossmodal",
    )
    group, streams = learner.windows.group, learner.windows.streams
    lacks = {
        tuple(bool(np.isnan(part.x[group == g]).any()) for part in streams): g for g in range(8)
    }
    assert {(False, False), (True, False)} <= lacks.keys()
    for lacking, g in lacks.items():
        index = np.flatnonzero(group == g)
        there = [part for part, gone in zip(streams, lacking, strict=True) if not gone]
        facts: dict[str, Any] = {"streams": [part.name for part in there]}
        for part in there:
            x = np.concatenate([*part.x[index]], axis=1)
            facts |= {f"x_{part.name}": x, f"sfreq_{part.name}": part.sfreq}
        np.savez(tmp_path / "x.npz", **facts)
        found = model.predict({"x": tmp_path / "x.npz"})
        want = said_of(learner.fitted()(index))
        assert found.outputs == pytest.approx(want, abs=1e-6)
    with pytest.raises(SpecError, match="several rates, which one array cannot hold"):
        model(np.zeros((2, 99)), 64.0)
    slow = np.zeros((2, 999), np.float32)
    write(tmp_path / "slow.npz", slow, 16.0, ("eeg", "ecg"), ("eeg", "ecg"))
    assert "several rates together; resample the recording" in refusal(model, tmp_path / "slow.npz")
