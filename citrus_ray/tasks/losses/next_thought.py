"""Next Thought Prediction: does B follow A? Pairs come with the answer, which time alone gives: no
label is used.

Optionally some volumes of the pair are hidden too and have to be told from the others.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from citrus_ray.context import SignalContext
from citrus_ray.models.nets.encoder import Encoder, compared, patches
from citrus_ray.tasks.losses.masking import over_hidden, span_mask
from citrus_ray.tasks.losses.references import Hidden, Predictors
from citrus_ray.tasks.losses.task import Loss, References, Task


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
        compares: Literal["joint", "siamese", "bilinear"] = "joint",
    ) -> None:
        super().__init__()
        self.next_weight, self.masked_weight, self.ratio = next_weight, masked_weight, ratio
        self.ctx, self.encoder, self.compares = ctx, encoder, compares
        self.head = _head(encoder.dim, 2) if next_weight else None
        n_out = encoder.patch * (ctx.n_chans if encoder.mixes_channels else 1)
        self.decoder = _head(encoder.dim, n_out) if masked_weight else None
        if self.decoder is None:
            encoder.without_mask(*(() if compares == "joint" else ("sep",)))

    def forward(
        self, x: torch.Tensor, generator: torch.Generator, y: torch.Tensor | None = None
    ) -> Loss:
        if y is None:
            raise ValueError(
                "next_thought needs whether B follows A, (B,) of 0 and 1; give it pairs"
            )
        loss, metrics = torch.zeros((), device=x.device), dict[str, torch.Tensor]()
        if self.head is not None:
            logits = self.head(self._read(x).mean(dim=1))  # (B, R, D) -> (B, 2)
            asked = F.cross_entropy(logits, y)
            loss = loss + self.next_weight * asked
            hits = (logits.argmax(dim=1) == y).float().mean()
            metrics |= {"next_loss": asked.detach(), "next_accuracy": hits.detach()}
        if self.decoder is not None:
            masked = self._masked(self.decoder, x, generator)
            loss = loss + self.masked_weight * masked
            metrics |= {"masked_mse": masked.detach()}
        return loss, metrics

    def _read(self, x: torch.Tensor) -> torch.Tensor:
        if self.compares == "joint":
            return self.encoder.summary(x)
        return compared(self.encoder, x, self.compares)

    def _masked(
        self, decoder: nn.Module, x: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """Mean squared error over the samples of hidden tokens."""
        target, hidden = self._hidden(x, generator)
        n_batch, n_chans, n_tokens, _ = target.shape
        predicted = decoder(
            self.encoder(x, hidden)
        )  # (B, C, N, P), or (B, 1, N, C*P) where channels are mixed
        if self.encoder.mixes_channels:
            predicted = predicted.view(n_batch, n_tokens, n_chans, -1).transpose(1, 2)
        return over_hidden(F.mse_loss, predicted, target, hidden)

    def _hidden(
        self, x: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Samples of tokens (B, C, N, P), and those that are hidden, in all channels at once."""
        target = patches(x, self.encoder.patch)  # (B, C, T) -> (B, C, N, P)
        n_batch, n_chans, n_tokens, _ = target.shape
        hidden = span_mask((n_batch, 1, n_tokens), self.ratio, 1, generator)
        return target, hidden.expand(-1, n_chans, -1)

    def references(
        self, x: torch.Tensor, generator: torch.Generator, *y: torch.Tensor
    ) -> References:
        """Whether B follows A: as often as it does, and a logistic regression on the seam. Hidden
        volumes: as of all that is hidden; the linear predictor stands beside the seam."""
        (follows,) = y
        names = ("constant", "seam" if self.head is not None else "linear")
        seam = _logistic(at_the_seam(x), follows)
        often = torch.bincount(follows, minlength=2).double().add(1).log()  # (2,)
        kinds = torch.zeros(x.shape[1], dtype=torch.int64, device=x.device)
        predictors = Predictors(self._question(x, generator), kinds) if self.decoder else None

        def losses(
            x: torch.Tensor, generator: torch.Generator, follows: torch.Tensor
        ) -> dict[str, torch.Tensor]:
            found = dict.fromkeys(names, torch.zeros((), device=x.device))
            if self.head is not None:
                asked = {"constant": often.expand(len(x), 2), "seam": seam(at_the_seam(x))}
                for name, logits in asked.items():
                    found[name] = self.next_weight * F.cross_entropy(logits, follows)
            if predictors is not None:
                batch = self._question(x, generator)
                guesses, target = predictors(batch), batch.target[batch.wanted]
                for name in names:
                    guess = guesses["constant" if name == "constant" else "linear"][batch.wanted]
                    found[name] = found[name] + self.masked_weight * F.mse_loss(guess, target)
            return found

        return losses

    def _question(self, x: torch.Tensor, generator: torch.Generator) -> Hidden:
        target, hidden = self._hidden(x, generator)
        return Hidden(target, hidden[..., None].expand_as(target), target)


# of the logistic regression: classes that can be told apart without an error have no end without
# the one, and most need six of the other
RIDGE, STEPS = 0.1, 30


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


def _logistic(x: torch.Tensor, y: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """Features (B, F) -> logits (B, 2) of a logistic regression on these windows, by Newton's
    method."""
    middle, spread = x.mean(dim=0), x.std(dim=0, unbiased=False).clamp(min=1e-12)

    def wide(x: torch.Tensor) -> torch.Tensor:
        return F.pad((x - middle) / spread, (0, 1), value=1.0)

    z, target = wide(x), y.to(x.dtype)

    def cost(weights: torch.Tensor) -> torch.Tensor:  # (T, F + 1) -> (T,)
        scores = weights @ z.T
        lost = (F.softplus(scores) - target * scores).sum(dim=1)
        return lost + RIDGE / 2 * weights.square().sum(dim=1)

    ridge = RIDGE * torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
    weights, lengths = z.new_zeros(z.shape[1]), z.new_tensor([1.0, 0.5, 0.1, 0.01, 0.0])
    for _ in range(STEPS):
        p = (z @ weights).sigmoid()
        slope = z.T @ (p - target) + ridge @ weights
        step = torch.linalg.solve((z.T * (p * (1 - p))) @ z + ridge, slope)
        tried = weights - lengths[:, None] * step
        weights = tried[cost(tried).argmin()]  # a whole step may go too far

    def logits(x: torch.Tensor) -> torch.Tensor:
        return F.pad((wide(x) @ weights)[:, None], (1, 0))

    return logits


def _head(dim: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, n_out))
