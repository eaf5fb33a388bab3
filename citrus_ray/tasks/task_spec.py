"""What every task's spec promises. No torch: that comes with `build`."""

from abc import abstractmethod
from typing import TYPE_CHECKING

from citrus_ray.context import SignalContext
from citrus_ray.spec import Spec

if TYPE_CHECKING:
    from citrus_ray.models.nets.encoder import Encoder
    from citrus_ray.tasks.losses.task import Task


class TaskSpec(Spec):
    @abstractmethod
    def build(self, ctx: SignalContext, encoder: "Encoder") -> "Task": ...

    def check(self, ctx: SignalContext) -> str | None:
        """Why this task means nothing for such windows, or None."""
        return None
