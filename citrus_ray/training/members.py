"""Members of a trial, run in step: round by round, so that a scheduler can stop the whole trial
between rounds."""

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from citrus_ray.experiment.trial import Trial
from citrus_ray.metrics import MAIN, mean_metrics
from citrus_ray.records import Status
from citrus_ray.spec import MachineError
from citrus_ray.store.checkpoint import Weights
from citrus_ray.training.baselines import baselines
from citrus_ray.training.finetuning import Member
from citrus_ray.training.learner import Learner
from citrus_ray.training.methods import Solved
from citrus_ray.training.pretraining import ensure_encoder
from citrus_ray.training.vmapped import vmap_groups

Metrics = dict[str, float]


def run_alone(trial: Trial) -> Metrics:
    """Validation metrics of one trial's kept weights, its encoder pre-trained if need be."""
    metric = f"val/{MAIN[trial.finetune.target.target_kind]}"
    member = learner_of(trial, ensure_encoder(trial), metric)
    member.finish()
    return member.best


def learner_of(
    trial: Trial,
    weights: Weights | None,
    metric: str = "val/balanced_accuracy",
    device: str = "cpu",
) -> Learner:
    """What learns for a trial: a network, from the weights of its encoder where it has one that was
    pre-trained, or a method that is solved, for which a device does nothing."""
    if trial.model.is_solved:
        return Solved(trial, metric, weights)
    return Member(trial, weights, metric, device)


@dataclass
class MemberState:
    """One member of a trial and how it goes: times, rounds, scores, and why it failed."""

    trial: Trial
    member: Learner | None = None  # None where it could not be built
    status: Status = "ok"
    reason: str | None = None
    seconds: float = 0.0
    history: list[Metrics] = field(default_factory=list)
    metrics: Metrics = field(default_factory=dict)
    baselines: dict[str, Metrics] = field(default_factory=dict)
    # by round: objective, seconds so far
    curve: list[tuple[float, float]] = field(default_factory=list)

    @contextmanager
    def guarded(self, already: float = 0.0) -> Iterator[Callable[[], float]]:
        """Time the block, `already` seconds included, and make an exception this member's failure;
        not Ctrl-C, nor what another machine could do. Yields the seconds so far."""
        started = time.perf_counter() - already
        try:
            yield lambda: time.perf_counter() - started
        except MachineError:
            raise
        except Exception as err:
            last = traceback.extract_tb(err.__traceback__)[-1]
            self.status = "failed"
            self.reason = f"{type(err).__name__}: {err} ({last.name}, line {last.lineno})"
        finally:
            self.seconds += time.perf_counter() - started

    def outcome(self) -> dict[str, Any]:
        """What came of it, by the names that a record has."""
        return {
            "status": self.status,
            "reason": self.reason,
            "metrics": self.metrics,
            "baselines": self.baselines,
            "curve": self.curve,
            **(self.member.tested if self.member else {}),
            "modalities": self.member.view.names if self.member else [],
            "labelled": self.member.n_labelled() if self.member else {},
            "network": self.member.network() if self.member else {},
            "seconds": round(self.seconds, 4),
        }


class Population:
    """Members of one trial, each with its pre-trained encoder's weights, None from scratch. A
    member that fails fails alone."""

    def __init__(
        self,
        trials: Sequence[Trial],
        weights: Sequence[Weights | None],
        metric: str,
        device: str = "cpu",
        stacked: bool | None = None,  # by default on GPUs, where it pays
    ) -> None:
        self.metric = metric
        self.states = [MemberState(trial) for trial in trials]
        for state, w in zip(self.states, weights, strict=True):
            with state.guarded():
                state.member = learner_of(state.trial, w, metric, device)
        alike = device != "cpu" if stacked is None else stacked
        members = (state.member for state in self.states if state.member)
        self.vmap_groups = vmap_groups(members) if alike else []

    def advance(self) -> Metrics | None:
        """One round for every member; the means over members, or None when all rounds are done."""
        going, together = False, self._train_groups()
        for state in self.states:
            with state.guarded(together.get(id(state.member), 0.0)) as seconds:
                metrics = state.member.advance() if state.member and state.status == "ok" else None
                if metrics is not None and state.member is not None:
                    before = state.curve[-1][1] if state.curve else 0.0
                    if self.metric in metrics:  # none where nothing is chosen
                        state.curve.append((metrics[self.metric], round(before + seconds(), 4)))
                    state.history.append(metrics)
                    state.metrics = state.member.best
                    going = True
        # a member that stopped early stands with what it kept
        well = [state.metrics for state in self.states if state.status == "ok"]
        return mean_metrics(well) if going else None

    def _train_groups(self) -> dict[int, float]:
        """Each member's share of the seconds of a round that members of one shape spend
        together."""
        shares: dict[int, float] = {}
        for group in self.vmap_groups:
            started, going = time.perf_counter(), [id(group.members[i]) for i in group.going]
            if going:
                group.train(group.round + 1)
            shares |= dict.fromkeys(going, (time.perf_counter() - started) / max(len(going), 1))
        return shares

    def score_test(self, with_baselines: bool = False, kept: Path | None = None) -> None:
        """The one place where test data is scored: winners in their rounds, after their cell's
        search is over. Baselines that other cells share are in the folder `kept`."""
        for state in self.states:
            with state.guarded():
                if state.member is not None and state.status == "ok":
                    state.metrics = state.metrics | state.member.score_test()
                    state.metrics |= state.member.identity()
                    if with_baselines:
                        state.baselines = baselines(state.trial, self.metric, kept)

    def scored(self) -> list[MemberState]:
        """Members whose test score stands."""
        return [state for state in self.states if state.member and state.status == "ok"]

    @property
    def status(self) -> Status:
        return "failed" if any(state.status == "failed" for state in self.states) else "ok"

    @property
    def value(self) -> float | None:
        """The objective: the mean over members, None where one of them failed."""
        if self.status == "failed":
            return None
        return mean_metrics([state.metrics for state in self.states]).get(self.metric)

    def curves(self) -> list[Metrics]:
        """Means over members, round by round."""
        n_rounds = min((len(state.history) for state in self.states), default=0)
        return [mean_metrics([state.history[i] for state in self.states]) for i in range(n_rounds)]
