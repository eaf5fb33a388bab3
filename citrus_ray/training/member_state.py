"""One member of a trial and how it goes: times, rounds, scores, and why it failed."""

import time
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from citrus_ray.experiment.trial import Trial
from citrus_ray.records import Status
from citrus_ray.spec import MachineError

if TYPE_CHECKING:
    from citrus_ray.training.finetuning import Member

Metrics = dict[str, float]


@dataclass
class MemberState:
    trial: Trial
    member: "Member | None" = None
    status: Status = "ok"
    reason: str | None = None
    seconds: float = 0.0
    history: list[Metrics] = field(default_factory=list)
    metrics: Metrics = field(default_factory=dict)
    baselines: dict[str, Metrics] = field(default_factory=dict)
    curve: list[tuple[float, float]] = field(
        default_factory=list
    )  # by round: objective, seconds so far


class guarded:  # noqa: N801  (reads as a statement: `with guarded(slot):`)
    """Times the block, makes an exception the slot's failure; not Ctrl-C, nor what another machine could do."""

    def __init__(self, slot: MemberState, already: float = 0.0) -> None:
        self.slot, self.already = slot, already  # seconds that were spent on it before

    def __enter__(self) -> "guarded":
        self.started = time.perf_counter()
        return self

    @property
    def seconds(self) -> float:
        return self.already + time.perf_counter() - self.started

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: object
    ) -> bool:
        self.slot.seconds += self.seconds
        if not isinstance(err, Exception) or isinstance(err, MachineError):
            return False
        last = traceback.extract_tb(err.__traceback__)[-1]
        self.slot.status = "failed"
        self.slot.reason = f"{type(err).__name__}: {err} ({last.name}, line {last.lineno})"
        return True
