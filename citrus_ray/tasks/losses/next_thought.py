"""Next Thought Prediction: does B follow A? Pairs come with the answer, which time alone gives: no
label is used.

Optionally some volumes of the pair are hidden too and have to be told from the others.
"""

import torch
from torch import nn
from torch.nn import functional as F

from citrus_ray.context import SignalContext
from citrus_ray.models.nets.encoder import Encoder, patches
from citrus_ray.tasks.losses.masking import span_mask
from citrus_ray.tasks.losses.task import Loss, Task


class NextThoughtTask(Task):
    uses_labels = True

    def __init__(
        self,
        ctx: SignalContext,
        encoder: Encoder,
        *,
        next_weight: float,
        masked_weight: float,
        ratio: float,
    ) -> None:
        super().__init__()
        self.next_weight, self.masked_weight, self.ratio = next_weight, masked_weight, ratio
        self.ctx, self.encoder = ctx, encoder
        self.head = _head(encoder.dim, 2) if next_weight else None
        n_out = encoder.patch * (ctx.n_chans if encoder.mixes_channels else 1)
        self.decoder = _head(encoder.dim, n_out) if masked_weight else None
        if self.decoder is None:
            encoder.without_mask()

    def forward(
        self, x: torch.Tensor, generator: torch.Generator, y: torch.Tensor | None = None
    ) -> Loss:
        if y is None:
            raise ValueError(
                "next_thought needs whether B follows A, (B,) of 0 and 1; give it pairs"
            )
        loss, metrics = torch.zeros((), device=x.device), dict[str, torch.Tensor]()
        if self.head is not None:
            logits = self.head(self.encoder.summary(x).mean(dim=1))  # (B, C, D) -> (B, 2)
            asked = F.cross_entropy(logits, y)
            loss = loss + self.next_weight * asked
            hits = (logits.argmax(dim=1) == y).float().mean()
            metrics |= {"next_loss": asked.detach(), "next_accuracy": hits.detach()}
        if self.decoder is not None:
            masked = self._masked(self.decoder, x, generator)
            loss = loss + self.masked_weight * masked
            metrics |= {"masked_mse": masked.detach()}
        return loss, metrics

    def _masked(
        self, decoder: nn.Module, x: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """Mean squared error over the samples of hidden tokens, which are hidden in all channels
        at once."""
        target = patches(x, self.encoder.patch)  # (B, C, T) -> (B, C, N, P)
        n_batch, n_chans, n_tokens, _ = target.shape
        hidden = span_mask((n_batch, 1, n_tokens), self.ratio, 1, generator).expand(-1, n_chans, -1)
        predicted = decoder(
            self.encoder(x, hidden)
        )  # (B, C, N, P), or (B, 1, N, C*P) where channels are mixed
        if self.encoder.mixes_channels:
            predicted = predicted.view(n_batch, n_tokens, n_chans, -1).transpose(1, 2)
        return F.mse_loss(predicted[hidden], target[hidden])


def at_the_seam(x: torch.Tensor) -> torch.Tensor:
    """Pairs (B, C, 2T) -> (B, 2): how far A's last volume and B's first are apart, and how alike.

    They are neighbours in time where B follows A without a gap, so this alone can solve the task.
    """
    half = x.shape[-1] // 2
    return how_alike(x[..., half - 1], x[..., half])


def how_alike(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Patterns (B, C) twice -> (B, 2): root mean square of the difference, and correlation over
    channels."""
    a, b = a.double(), b.double()
    one, other = (z - z.mean(dim=1, keepdim=True) for z in (a, b))
    norms = (one.square().sum(dim=1) * other.square().sum(dim=1)).sqrt()
    alike = (one * other).sum(dim=1) / torch.where(norms > 0, norms, 1)
    return torch.stack([(a - b).square().mean(dim=1).sqrt(), alike], dim=1)


def _head(dim: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, n_out))
