"""Event files, read back with TensorBoard's own reader and its own HParams service."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, backend_context, get_experiment
from tensorboard.plugins.hparams import list_session_groups as groups

from citrus_ray import records
from citrus_ray.evidence.evidence import evidence_of
from citrus_ray.experiment.sweep import Sweep
from citrus_ray.launch.tensorboard import ABSENT, MOST, Board, slug, write_run
from tests.evidence.test_summary import LR, TEST, VAL, final, search_trial
from tests.small import sweep_of

RATIO = "pretrain.task.ratio"
CURVES = [{"train/loss": 1.5, VAL: 0.5}, {"train/loss": 1.0, VAL: 0.75}]


def read(folder: Path) -> Any:
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


class Served:
    """What TensorBoard's HParams tab gets."""

    def __init__(self, folder: Path) -> None:
        runs = plugin_event_multiplexer.EventMultiplexer().AddRunsFromDirectory(str(folder))
        runs.Reload()
        provider = data_provider.MultiplexerDataProvider(runs, str(folder))
        context = backend_context.Context(TBContext(data_provider=provider, logdir=str(folder)))
        told = context.hparams_metadata(RequestContext(), "")
        found = context.hparams_from_data_provider(RequestContext(), "", 100)
        self.experiment = get_experiment.Handler(
            RequestContext(), context, "", api_pb2.GetExperimentRequest(include_metrics=True)
        ).run()
        asked = api_pb2.ListSessionGroupsRequest(
            slice_size=10_000,
            allowed_statuses=[api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE],
            include_metrics=True,
        )
        asked.col_params.extend(
            api_pb2.ColParams(hparam=info.name) for info in self.experiment.hparam_infos
        )
        asked.col_params.extend(
            api_pb2.ColParams(metric=info.name) for info in self.experiment.metric_infos
        )
        del told, found
        listed = groups.Handler(RequestContext(), context, "", asked).run()
        self.sessions = {group.name: group for group in listed.session_groups}

    @property
    def columns(self) -> list[str]:
        return [info.name for info in self.experiment.hparam_infos]

    def hparams(self, name: str) -> dict[str, Any]:
        found = self.sessions[name].hparams.items()
        return {key: getattr(value, value.WhichOneof("kind")) for key, value in found}

    def metrics(self, name: str) -> dict[str, Any]:
        values = self.sessions[name].metric_values
        return {value.name.tag: pytest.approx(value.value) for value in values}


def board_of(folder: Path, **edits: Any) -> Board:
    return Board(sweep_of(**edits), folder / "tensorboard")


def searched(board: Board, index: int, name: str, values: list[float], **fields: Any) -> None:
    """A trial as a worker records and shows it."""
    cell, folder = board.sweep.cells[index], board.folder.parent / "records"
    search_trial(folder, cell, name, values, params=cell.points[0], **fields)
    board.show_trial(cell, records.read_trial(folder, name), CURVES)


def test_a_searched_trial_has_its_curves_score_and_spread(tmp_path):
    board = board_of(tmp_path)
    searched(board, 0, "a", [0.7, 0.8])
    (folder,) = (board.folder / "from_scratch").iterdir()
    events = read(folder)
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(1, 1.5), (2, 1.0)]
    served = Served(board.folder)
    assert served.metrics("from_scratch/a") == {f"result/{VAL}": 0.75, f"spread/{VAL}": 0.05}


def test_the_control_has_a_value_for_what_it_lacks_and_compared_axes_come_first(tmp_path):
    board = board_of(tmp_path)
    searched(board, 0, "a", [0.7])
    searched(board, 1, "b", [0.8])
    served = Served(board.folder)
    assert served.columns == ["1 task", "lr", "phase", "ratio", "status"]
    scratch, masked = served.hparams("from_scratch/a"), served.hparams("masked/b")
    assert (scratch["1 task"], masked["1 task"]) == ("from scratch", "masked")
    assert scratch["ratio"] == ABSENT
    assert masked["ratio"] in ("0.4", "0.6")
    assert scratch["lr"] == board.sweep.cells[0].points[0][LR], "numbers stay numbers"


def test_a_failed_trial_is_shown_without_a_score(tmp_path):
    board = board_of(tmp_path)
    searched(board, 0, "a", [0.7], status="failed", reason="OSError: x")
    served = Served(board.folder)
    assert served.hparams("from_scratch/a")["status"] == "failed"
    assert served.metrics("from_scratch/a") == {}


def test_a_winner_has_one_run_with_its_test_score_however_many_rounds(tmp_path):
    board = board_of(tmp_path)
    scores: dict[int, float | None] = {1000 + i: 0.6 + 0.05 * i for i in range(5)}
    for cell in board.sweep.cells:
        searched(board, cell.index, "ab"[cell.index], [0.8])
        final(tmp_path / "records", cell, scores, params=cell.points[0])
    for _ in range(2):  # again changes nothing
        board.show_refits(evidence_of(board.sweep, tmp_path / "records"))
    served = Served(board.folder)
    assert set(served.sessions) == {
        *("from_scratch/a", "masked/b"),
        *("from_scratch/refit", "masked/refit"),
    }
    found = served.metrics("masked/refit")
    assert found[f"result/{TEST}"] == 0.7
    assert found[f"result/{VAL}"] == 0.8
    assert found[f"gain/{TEST}"] == 0.0
    assert found[f"spread/{TEST}"] == pytest.approx(0.0707, abs=1e-3)
    folder = board.folder / "masked" / "refit"
    by_round = [(e.step, e.value) for e in read(folder).Scalars(TEST)]
    assert by_round == [(i + 1, pytest.approx(0.6 + 0.05 * i)) for i in range(5)]
    assert len(list(folder.iterdir())) == 1


def test_rounds_that_are_not_all_back_have_no_run_yet(tmp_path):
    board = board_of(tmp_path)
    searched(board, 0, "a", [0.8])
    cell = board.sweep.cells[0]
    final(tmp_path / "records", cell, {1000: 0.6}, params=cell.points[0])
    board.show_refits(evidence_of(board.sweep, tmp_path / "records"))
    assert set(Served(board.folder).sessions) == {"from_scratch/a"}


def eighteen() -> Sweep:
    """Blocks whose labels agree in their first hundred letters."""
    cleaned = [{"kind": "shift", "most": 0.01 * (1 + i)} for i in range(9)]
    long = [[{"kind": "shift", "most": 0.5}] * 4 + [last] for last in cleaned]
    tasks = [None, {"kind": "masked"}]
    return sweep_of(compare={"finetune.augment": long, "pretrain.task": tasks}, search={})


def test_every_cell_is_listed_under_its_own_name_with_the_compared_arm(tmp_path):
    board = Board(eighteen(), tmp_path / "tensorboard")
    assert len(board.names) == len(set(board.names)) == len(board.sweep.cells) == 18
    assert all(len(name) <= MOST + 3 for name in board.names)
    for cell in board.sweep.cells:
        search_trial(tmp_path / "records", cell, f"t{cell.index}", [0.5], params={})
        board.show_trial(cell, records.read_trial(tmp_path / "records", f"t{cell.index}"), [])
    served = Served(board.folder)
    assert {name.split("/")[0] for name in served.sessions} == set(board.names)
    arms = [(h["1 augment"], h["2 task"]) for h in map(served.hparams, served.sessions)]
    assert len(set(arms)) == 18
    assert {task for _, task in arms} == {"from scratch", "masked"}


def test_names_that_differ_in_capitals_alone_are_told_apart():
    cells = [SimpleNamespace(label=label) for label in ("lr A", "lr a", "pretrain", "lr A")]
    board = Board(SimpleNamespace(cells=cells), Path())  # type: ignore[arg-type]
    assert board.names == ["lr_A", "lr_a~2", "pretrain~2", "lr_A~3"]


def test_a_run_is_one_file_and_the_newest_stands(tmp_path):
    write_run(tmp_path, [(1, {"a": 1.0})])
    (first,) = tmp_path.iterdir()
    write_run(tmp_path, [(1, {"a": 1.0})])
    assert list(tmp_path.iterdir()) == [first]
    write_run(tmp_path, [(1, {"a": 1.0}), (2, {"a": 2.0})])
    (second,) = tmp_path.iterdir()
    assert second.name > first.name
    assert [e.value for e in read(tmp_path).Scalars("a")] == [1.0, 2.0]


def test_a_folder_name_can_be_read_and_is_never_empty_or_long():
    assert slug("masked, labels 5 per class") == "masked_labels_5_per_class"
    assert slug("///") == "all"
    assert len(slug("x" * 500)) == MOST
