"""Rates of an optimiser, step by step."""

import math
from typing import Annotated

from pydantic import Field

from citrus_ray.spec import Later, Spec


class Optim(Spec):
    """AdamW with linear warm-up over a share of the steps, then a cosine towards zero."""

    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Learning rate at its highest, after the warm-up."""
    weight_decay: Annotated[float, Field(ge=0, le=1e6)] = 0.01
    """Decay of the weights per step, as a share of the rate."""
    batch_size: Annotated[int, Field(ge=1, le=10_000_000)] = 64
    """Windows per step, over all workers."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the steps in which the rate rises."""
    clip: Annotated[Annotated[float, Field(gt=0)] | None, Later()] = None
    """Largest norm of a step's gradient, over all weights that learn; a longer one is scaled
    down to it. null: none is."""

    def rate(self, step: int, n_steps: int) -> float:
        """Rate of a step, counted from 0: the schedule in the middle of the step, above 0 in every
        one, be it the only one."""
        done = (step + 0.5) / n_steps
        if done < self.warmup:
            return self.lr * done / self.warmup
        falling = (done - self.warmup) / (1 - self.warmup)
        return self.lr * 0.5 * (1 + math.cos(math.pi * falling))
