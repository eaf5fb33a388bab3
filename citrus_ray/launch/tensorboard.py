"""TensorBoard event files of a sweep: a run for each searched trial, one for the rounds of each
cell's winner, and one for each pre-training.

All runs bear the same table of hyper-parameters: TensorBoard shows that of whichever run it reads
first, and draws no run that lacks a value of it.
"""

import io
import math
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

from citrus_ray.evidence.rounds import round_of
from citrus_ray.evidence.trials import result_of
from citrus_ray.experiment.labels import axis_names, brief, canonical, unique, value_label
from citrus_ray.experiment.sweep import Cell, Sweep
from citrus_ray.experiment.trial import Trial
from citrus_ray.records import Record, write_bytes
from citrus_ray.spec import digest_of

if TYPE_CHECKING:
    from citrus_ray.evidence.evidence import Evidence
    from citrus_ray.evidence.outcomes import Outcome

Scalar = int | float | str
ABSENT = "absent"  # a parameter that an arm has not: without a value it would not be drawn
MOST = 48  # letters of a cell's folder
REFIT, PRETRAIN = "refit", "pretrain"
STATUS = {"failed": api_pb2.STATUS_FAILURE}


@dataclass(frozen=True)
class Column:
    """A hyper-parameter of the table."""

    path: str
    name: str
    words: Mapping[str, str] | None  # of compared values, by their JSON
    is_number: bool
    low: float = 0.0
    high: float = 0.0

    def shown(self, settings: Mapping[str, Any]) -> Scalar:
        if self.path not in settings:
            return ABSENT
        value = settings[self.path]
        if self.is_number:
            return float(value)
        return self.words[canonical(value)] if self.words else value_label(self.path, value)

    def info(self) -> Any:
        kind = api_pb2.DATA_TYPE_FLOAT64 if self.is_number else api_pb2.DATA_TYPE_STRING
        found = api_pb2.HParamInfo(name=self.name, type=kind, differs=True)
        if self.is_number:
            found.domain_interval.min_value, found.domain_interval.max_value = self.low, self.high
        elif self.words:
            found.domain_discrete.extend([*self.words.values(), ABSENT])
        return found


@dataclass(frozen=True)
class Board:
    """The runs of a sweep: their folders, and the table that all of them bear."""

    sweep: Sweep
    folder: Path

    @cached_property
    def names(self) -> list[str]:
        """Folders of cells, no two alike, on a disk that knows no capitals either."""
        taken, names = {PRETRAIN}, list[str]()
        for cell in self.sweep.cells:
            base = name = slug(cell.label)
            number = 1
            while name.lower() in taken:
                number += 1
                name = f"{base}~{number}"
            taken.add(name.lower())
            names.append(name)
        return names

    @cached_property
    def columns(self) -> list[Column]:
        """Compared axes, numbered, for TensorBoard sorts by name; then what is searched; then what
        a run is."""
        cells, compared = self.sweep.cells, [*self.sweep.compared]
        searched = [path for path in self.sweep.search if path not in compared]
        names = axis_names([*compared, *searched])
        found = [
            Column(path, f"{i} {names[path]}", self._words(path), False)
            for i, path in enumerate(compared, start=1)
        ]
        for path in searched:
            axes = [cell.search[path] for cell in cells if path in cell.search]
            # a column of numbers and words is one of words
            everywhere = len(axes) == len(cells) and all(axis.choice is None for axis in axes)
            ends = [end for axis in axes if everywhere for end in axis.bounds] or [0.0]
            found.append(Column(path, names[path], None, everywhere, min(ends), max(ends)))
        return [*found, *(Column(word, word, None, False) for word in ("phase", "status"))]

    def _words(self, path: str) -> dict[str, str]:
        """What each compared value at a path is called."""
        axes = [cell.axes for cell in self.sweep.cells if path in cell.axes]
        values = list({canonical(one[path]): one[path] for one in axes}.values())
        said = unique(
            values,
            [
                lambda value: value_label(path, brief({path: value}, axes)[path]),
                lambda value: value_label(path, value),
                canonical,
            ],
        )
        return {canonical(value): word for value, word in zip(values, said, strict=True)}

    @property
    def metrics(self) -> list[str]:
        """What stands beside the parameters: the objective, the test score of refits with its
        interval, the gain, and how far members lie apart."""
        val = self.sweep.objective.metric
        test = val.replace("val/", "test/", 1)
        found = [f"result/{val}", f"result/{test}", f"low/{test}", f"high/{test}", f"gain/{test}"]
        return [*found, f"spread/{val}", f"spread/{test}"]

    def hparams(self, cell: Cell, params: Mapping[str, Any], **of_run: str) -> dict[str, Scalar]:
        settings = {**cell.axes, **params, **of_run}
        return {column.name: column.shown(settings) for column in self.columns}

    def show_trial(
        self, cell: Cell, rows: Sequence[Record], curves: Sequence[Mapping[str, float]]
    ) -> None:
        """A searched trial: its curves step by step, its score, and its members' spread."""
        self._write(self._trial(cell, rows, curves))

    def show_refits(self, evidence: "Evidence") -> None:
        """The winners' rounds, a run for each cell that has had as many as were asked for: the test
        score round by round, and what the evidence says of it."""
        for run in self._refits(evidence):
            self._write(run)

    def runs(self, evidence: "Evidence", refits: bool) -> "Iterator[BoardRun]":
        """Everything that is recorded: searched trials, with the objective round by round, and
        refits."""
        for cell, outcome in zip(self.sweep.cells, evidence.cells, strict=True):
            of_trial: dict[str, list[Record]] = defaultdict(list)
            for row in outcome.rows:
                of_trial[row.trial].append(row)
            for result in outcome.searched:
                rows = of_trial[result.digest]
                rounds = zip(*(row.curve for row in rows), strict=False)
                means = [fmean(value for value, _ in of) for of in rounds]
                yield self._trial(cell, rows, [{self.sweep.objective.metric: m} for m in means])
        if refits:
            yield from self._refits(evidence)

    def _trial(
        self, cell: Cell, rows: Sequence[Record], curves: Sequence[Mapping[str, float]]
    ) -> "BoardRun":
        metric = self.sweep.objective.metric
        result = result_of(rows, metric)
        values = [value for value in result.values if value is not None]
        scores = {} if result.value is None else {f"result/{metric}": result.value}
        scores |= {f"spread/{metric}": pstdev(values)} if len(values) > 1 else {}
        hparams = self.hparams(cell, rows[0].params, phase="search", status=result.status)
        steps = [*enumerate(curves, start=1), (len(curves), scores)]
        return BoardRun(self.names[cell.index], rows[0].trial[:10], hparams, steps)

    def _refits(self, evidence: "Evidence") -> "Iterator[BoardRun]":
        for cell, outcome in zip(self.sweep.cells, evidence.cells, strict=True):
            n = len({round_of(row) for row in outcome.scored})
            if outcome.best is not None and n >= self.sweep.final.rounds:
                yield self._refit(cell, outcome, evidence)

    def _refit(self, cell: Cell, outcome: "Outcome", evidence: "Evidence") -> "BoardRun":
        test, best, effect = outcome.design.test_metric, outcome.best, outcome.test
        assert best is not None
        by_round: dict[int, list[float]] = defaultdict(list)
        for row in outcome.scored:
            by_round[round_of(row)].append(row.metrics[test])
        values = [value for of in by_round.values() for value in of]
        val = self.sweep.objective.metric
        scores = {f"result/{val}": best.value, f"spread/{test}": pstdev(values)}
        if effect is not None:
            scores |= {f"result/{test}": effect.mean}
            scores |= {f"low/{test}": effect.low, f"high/{test}": effect.high}
        if (gain := evidence.gain_of.get(cell.digest)) is not None:
            scores |= {f"gain/{test}": gain.effect.mean}
        # of two rounds the interval has no ends
        known = {n: v for n, v in scores.items() if v is not None and math.isfinite(v)}
        rounds = [(1 + number, {test: fmean(of)}) for number, of in sorted(by_round.items())]
        hparams = self.hparams(cell, best.params, phase=REFIT, status="ok")
        return BoardRun(self.names[cell.index], REFIT, hparams, [*rounds, (len(rounds), known)])

    def _write(self, run: "BoardRun") -> None:
        table = api_pb2.Experiment(
            hparam_infos=[column.info() for column in self.columns],
            metric_infos=[
                api_pb2.MetricInfo(name=api_pb2.MetricName(tag=name)) for name in self.metrics
            ],
        )
        write_run(self.folder / run.cell / run.what, run.steps, table, run.hparams)


@dataclass(frozen=True)
class BoardRun:
    """A searched trial, or the rounds of a winner, as viewers of runs know it."""

    cell: str
    what: str
    hparams: Mapping[str, Scalar]
    steps: Sequence[tuple[int, Mapping[str, float]]]

    @property
    def name(self) -> str:
        return f"{self.cell}/{self.what}"


def write_run(
    folder: Path,
    steps: Iterable[tuple[int, Mapping[str, float]]],
    table: Any = None,
    hparams: Mapping[str, Scalar] | None = None,
) -> None:
    """One run as one file: scalars by step and, where there is a table, its hyper-parameters. The
    same again writes nothing, and what is new takes the place of what was there."""
    steps = [(step, dict(scalars)) for step, scalars in steps]
    name = digest_of([[*map(list, steps)], hparams and dict(hparams)])[:16]
    before = list(folder.glob("events.out.tfevents.*"))
    if any(path.name.endswith(name) for path in before):
        return
    content, now = io.BytesIO(), time.time()
    events = RecordWriter(content)

    def put(step: int, *values: Any) -> None:
        event = Event(wall_time=now, step=step, summary=Summary(value=values))
        events.write(event.SerializeToString())

    events.write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
    if table is not None:
        put(0, *_of_table(table, hparams or {}, now))
    for step, scalars in steps:
        if scalars:
            put(step, *(Summary.Value(tag=t, simple_value=v) for t, v in scalars.items()))
    # in the order of their names, in which TensorBoard reads them
    write_bytes(folder / f"events.out.tfevents.{now:017.6f}.{name}", content.getvalue())
    for path in before:
        path.unlink(missing_ok=True)


def write_pretraining(
    folder: Path, trial: Trial, digest: str, history: Sequence[dict[str, float]]
) -> None:
    """A pre-trained encoder's run, below the sweep's `folder`."""
    spec, encoder = trial.pretraining, trial.model.backbone
    task = spec.task.kind if spec and spec.task else "none"
    name = f"{task}-{encoder.kind if encoder else 'none'}-{digest[:8]}"
    write_run(folder / PRETRAIN / slug(name), enumerate(history, start=1))


def _of_table(table: Any, hparams: Mapping[str, Scalar], now: float) -> list[Any]:
    data = plugin_data_pb2.HParamsPluginData
    start = plugin_data_pb2.SessionStartInfo(start_time_secs=now)
    for name, value in hparams.items():
        if isinstance(value, str):
            start.hparams[name].string_value = value
        else:
            start.hparams[name].number_value = value
    status = STATUS.get(str(hparams.get("status")), api_pb2.STATUS_SUCCESS)
    end = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=now)
    told = {
        metadata.EXPERIMENT_TAG: data(experiment=table),
        metadata.SESSION_START_INFO_TAG: plugin_data_pb2.HParamsPluginData(
            session_start_info=start
        ),
        metadata.SESSION_END_INFO_TAG: data(session_end_info=end),
    }
    return [
        Summary.Value(tag=tag, metadata=metadata.create_summary_metadata(one))
        for tag, one in told.items()
    ]


def slug(text: str) -> str:
    """A folder name that a person can read, short enough to be read."""
    return re.sub(r"[^A-Za-z0-9._=-]+", "_", text)[:MOST].strip("_.") or "all"
