"""The members of a trial, run in step: round by round, so that a scheduler can stop the whole trial between rounds."""

import time
from collections.abc import Sequence

from citrus_ray.experiment.trial import Trial
from citrus_ray.metrics import mean_metrics
from citrus_ray.records import Status
from citrus_ray.store.checkpoint import Weights
from citrus_ray.training.baselines import baselines
from citrus_ray.training.finetuning import Member
from citrus_ray.training.member_state import MemberState, Metrics, guarded
from citrus_ray.training.vmapped import vmap_groups


class Population:
    """`weights` holds the pre-trained encoder of each member, None from scratch. A member that fails fails alone."""

    def __init__(
        self,
        trials: Sequence[Trial],
        weights: Sequence[Weights | None],
        metric: str,
        device: str = "cpu",
        stacked: bool | None = None,
    ) -> None:
        self.metric = metric
        self.slots = [MemberState(trial) for trial in trials]
        for slot, w in zip(self.slots, weights, strict=True):
            with guarded(slot):
                slot.member = Member(slot.trial, w, metric, device)
        alike = device != "cpu" if stacked is None else stacked
        self.vmap_groups = (
            vmap_groups(slot.member for slot in self.slots if slot.member) if alike else []
        )

    def advance(self) -> Metrics | None:
        """One round for every member; the means over members, or None when all rounds are done."""
        going, together = False, self._train_stacks()
        for slot in self.slots:
            with guarded(slot, together.get(id(slot.member), 0.0)) as timed:
                metrics = slot.member.advance() if slot.member and slot.status == "ok" else None
                if metrics is not None and slot.member is not None:
                    before = slot.curve[-1][1] if slot.curve else 0.0
                    slot.curve.append((metrics[self.metric], round(before + timed.seconds, 4)))
                    slot.history.append(metrics)
                    slot.metrics = slot.member.best
                    going = True
        # a member that stopped early stands with its best round
        return (
            mean_metrics([slot.metrics for slot in self.slots if slot.status == "ok"])
            if going
            else None
        )

    def _train_stacks(self) -> dict[int, float]:
        """Each member's share of the seconds of a round that members of one shape spend together."""
        shares: dict[int, float] = {}
        for stack in self.vmap_groups:
            started, going = time.perf_counter(), [id(stack.members[i]) for i in stack.going]
            if going:
                stack.train(stack.round + 1)
            shares |= dict.fromkeys(going, (time.perf_counter() - started) / max(len(going), 1))
        return shares

    def score_test(self, with_baselines: bool = False) -> None:
        """The one place where test data is scored: winners on fresh seeds, after their cell's search is over."""
        for slot in self.slots:
            with guarded(slot):
                if slot.member is not None and slot.status == "ok":
                    slot.metrics = slot.metrics | slot.member.score_test()
                    slot.baselines = baselines(slot.trial, self.metric) if with_baselines else {}

    @property
    def status(self) -> Status:
        statuses = {slot.status for slot in self.slots}
        return "failed" if "failed" in statuses else "ok"

    @property
    def value(self) -> float | None:
        """The objective: the mean over members, None where one of them failed."""
        if self.status == "failed":
            return None
        return mean_metrics([slot.metrics for slot in self.slots]).get(self.metric)

    def curves(self) -> list[Metrics]:
        """Means over members, round by round."""
        n_rounds = min((len(slot.history) for slot in self.slots), default=0)
        return [mean_metrics([slot.history[i] for slot in self.slots]) for i in range(n_rounds)]
