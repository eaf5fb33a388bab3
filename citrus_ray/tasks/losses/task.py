"""What every pre-training task promises: a batch of signals in, a scalar loss and named metrics
out; and what its loss is worth."""

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import nn

from citrus_ray.models.nets.encoder import Encoder

Loss = tuple[torch.Tensor, dict[str, torch.Tensor]]
# called as the task itself: losses of simple predictors, by name
References = Callable[..., dict[str, torch.Tensor]]


class Task(nn.Module):
    """Owns the encoder and whatever head the task needs; only the encoder outlives pre-training."""

    encoder: Encoder
    # whether `forward` takes the labels of the pre-training set, (B,), after the generator
    uses_labels: bool = False
    # whether what is predicted changes as the encoder learns: references are of the end then
    target_moves: bool = False

    @abstractmethod
    def forward(self, x: torch.Tensor, generator: torch.Generator) -> Loss:
        """(B, C, T) -> (), metrics. All randomness comes from `generator`."""

    def n_asked(
        self, shape: tuple[int, int, int], generator: torch.Generator
    ) -> torch.Tensor | None:
        """(B,): of how many numbers of each window (B, C, T) the loss is a mean, by the draws of
        `forward`; None: of as many of each. Only for tasks whose spec `takes_parts`."""
        return None

    def references(
        self, x: torch.Tensor, generator: torch.Generator, *y: torch.Tensor
    ) -> References | None:
        """What predictors without a network lose at this task, once these training windows have
        told them what they need; None where there are none.

        The result takes what `forward` takes and draws from `generator` what it draws, so that
        both are asked the same. Its names: `constant` for one answer whatever the window, `linear`
        for the best linear one, `spectrum` for the mean spectrum of what is visible, `seam` for
        how A's last and B's first volume compare, `visible` for the mean of visible tokens,
        `signal` for samples in place of tokens.
        """
        return None

    def complaint(self, metrics: dict[str, float]) -> str | None:
        """Why an epoch with such metrics is one that leads nowhere, or None."""
        return None
