"""Event files, read back with TensorBoard's own reader."""

from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

from citrus_ray.launch.tensorboard import plain, slug, write_run

HPARAMS = {
    "pretrain.task.band": [0.5, 4],
    "pretrain.task": None,
    "finetune.labels": {"per_class": 5},
    "finetune.optim.lr": 0.002,
    "members": 3,
    "frozen": True,
    "phase": "search",
    "strides": [2, 2, 2],
}
CURVES = [{"train/loss": 1.5, "val/accuracy": 0.5}, {"train/loss": 1.0, "val/accuracy": 0.75}]


def read(folder: Path) -> Any:
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def hparams_of(events: Any) -> dict[str, Any]:
    content = events.PluginTagToContent("hparams")[metadata.SESSION_START_INFO_TAG]
    info = metadata.parse_session_start_info_plugin_data(content)
    return {
        name: getattr(value, str(value.WhichOneof("kind"))) for name, value in info.hparams.items()
    }


@pytest.fixture
def events(tmp_path: Path) -> Any:
    write_run(tmp_path / "run", HPARAMS, CURVES, {"val/accuracy": 0.75})
    return read(tmp_path / "run")


def test_every_hyper_parameter_is_there_bands_and_nothing_as_words(events):
    assert hparams_of(events) == {
        "pretrain.task.band": "0.5-4",
        "pretrain.task": "none",
        "finetune.labels": '{"per_class": 5}',
        "finetune.optim.lr": 0.002,
        "members": 3,
        "frozen": True,
        "phase": "search",
        "strides": "[2, 2, 2]",
    }


def test_curves_are_there_step_by_step(events):
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(1, 1.5), (2, 1.0)]
    assert [(e.step, e.value) for e in events.Scalars("val/accuracy")] == [(1, 0.5), (2, 0.75)]


def test_the_result_is_the_metric_of_the_hyper_parameters(events):
    assert [e.value for e in events.Scalars("result/val/accuracy")] == [0.75]
    content = events.PluginTagToContent("hparams")[metadata.EXPERIMENT_TAG]
    names = [info.name.tag for info in metadata.parse_experiment_plugin_data(content).metric_infos]
    assert names == ["result/val/accuracy"]


def test_a_run_is_one_folder_with_one_file(tmp_path):
    write_run(tmp_path / "run", HPARAMS, CURVES, {"val/accuracy": 0.75})
    assert len([path for path in (tmp_path / "run").rglob("*") if path.is_file()]) == 1
    assert not [path for path in (tmp_path / "run").iterdir() if path.is_dir()]


def test_a_failed_trial_is_shown_without_a_result(tmp_path):
    write_run(tmp_path / "run", HPARAMS | {"status": "failed"}, [], {})
    events = read(tmp_path / "run")
    assert hparams_of(events)["status"] == "failed"
    assert events.Tags()["scalars"] == []


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ([4, 12], "4-12"),
        ((0.5, 4.0), "0.5-4"),
        (None, "none"),
        ([1], "[1]"),
        (["a", "b"], '["a", "b"]'),
        (True, True),
        (3, 3),
        ("x", "x"),
    ],
)
def test_values_that_tensorboard_cannot_hold_become_words(value, word):
    assert plain(value) == word
    assert type(plain(value)) is type(word)


def test_a_folder_name_can_be_read_and_is_never_empty_or_long():
    assert (
        slug("pretrain.task=masked:ratio=0.5, labels=5 per class")
        == "pretrain.task=masked_ratio=0.5_labels=5_per_class"
    )
    assert slug("///") == "all"
    assert len(slug("x" * 500)) == 80
