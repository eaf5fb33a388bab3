"""Cross-modal self-supervision (CroSSL): two masked views of the sensors' embeddings, aggregated,
should be alike.

No input is augmented and, with VICReg or Barlow, no window is a negative: the views differ by
what is masked alone.
"""

from collections.abc import Callable

import torch
from torch import nn

from citrus_ray.models.nets.crossmodal import CrossmodalEncoder
from citrus_ray.models.nets.encoder import Encoder
from citrus_ray.tasks.losses.agreement import Terms
from citrus_ray.tasks.losses.gathering import gathered, in_common
from citrus_ray.tasks.losses.masking import two_views
from citrus_ray.tasks.losses.task import Loss, References, Task


class CrossmodalTask(Task):
    encoder: CrossmodalEncoder

    def __init__(
        self,
        encoder: Encoder,
        *,
        mask: str,
        keep: float,
        disjoint: bool,
        agreement: Callable[[torch.Tensor, torch.Tensor], Terms],
        expander: int,
        narrowest: float,
    ) -> None:
        super().__init__()
        if not isinstance(encoder, CrossmodalEncoder):
            rule = "the crossmodal task needs the crossmodal encoder, whose embeddings it masks"
            raise TypeError(rule)
        self.encoder, self.agreement = encoder, agreement
        self.mask, self.keep, self.disjoint, self.narrowest = mask, keep, disjoint, narrowest
        self.expander = _expander(encoder.dim, expander) if expander else nn.Identity()
        encoder.without_mask()

    def forward(self, x: torch.Tensor, generator: torch.Generator) -> Loss:
        if self.disjoint and self.training:
            # one split for the whole batch, or a negative would be told by its split
            generator = in_common(generator)
        latent, present = self.encoder.latent(x)
        views = [self.encoder.aggregate(*view) for view in self.views(latent, present, generator)]
        pair = torch.stack([self.expander(view).float() for view in views], dim=1)  # (B, 2, D)
        # in validation each worker sees all windows by itself
        one, other = (gathered(pair) if self.training else pair).unbind(dim=1)
        with torch.autocast(
            x.device.type, enabled=False
        ):  # covariances are products too, and small
            loss, terms = self.agreement(one, other)
        spread = torch.stack([relative_spread(view) for view in views]).mean()
        return loss, {
            name: value.detach() for name, value in {**terms, "embedding_std": spread}.items()
        }

    def references(
        self, x: torch.Tensor, generator: torch.Generator, *_: torch.Tensor
    ) -> References:
        """What one embedding for all windows costs: log B of InfoNCE, the whole variance of
        VICReg. Nothing linear is asked for, and no spectrum."""

        def losses(x: torch.Tensor, generator: torch.Generator) -> dict[str, torch.Tensor]:
            alike = torch.zeros(len(x), self.encoder.dim, device=x.device)
            return {"constant": self.agreement(alike, alike)[0]}

        return losses

    def views(
        self, latent: torch.Tensor, present: torch.Tensor, generator: torch.Generator
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """(B, M, N, D), (B, M) -> twice what is seen of the embeddings (B, M, D), and of which
        sensors (B, M)."""
        n_batch, n_sensors, n_tokens, dim = latent.shape
        shape = {"spatial": (1, 1), "temporal": (n_tokens, 1), "random": (1, dim)}[self.mask]
        cells = present[..., None, None].expand(n_batch, n_sensors, *shape)
        seen = two_views(cells.flatten(1), self.keep, generator, self.disjoint)
        seen = seen.view(2, n_batch, n_sensors, *shape)
        return [(_mean_over_seen(latent, view), view.flatten(2).any(dim=2)) for view in seen]

    def complaint(self, metrics: dict[str, float]) -> str | None:
        spread = metrics["val/embedding_std"]
        if spread >= self.narrowest:
            return None
        rule = (
            f"embeddings have collapsed: their spread is {spread:.2g}, below "
            f"narrowest={self.narrowest:g}"
        )
        return f"{rule}; give the loss's variance more weight, or lower the rate"


def relative_spread(z: torch.Tensor) -> torch.Tensor:
    """Standard deviation over the batch, beside the size of the embedding: 0 where all windows
    have the same one."""
    return z.std(dim=0, unbiased=False).mean() / z.square().mean().sqrt().clamp(min=1e-12)


def _mean_over_seen(latent: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """(B, M, N, D) -> (B, M, D): the mean over the steps that are seen; hidden elements are
    zeros."""
    shown = seen.expand(-1, -1, latent.shape[2], -1)  # (B, M, N, 1 or D)
    if seen.shape[3] > 1:
        return (latent * shown).mean(dim=2)
    return (latent * shown).sum(dim=2) / shown.sum(dim=2).clamp(min=1)


def _expander(dim: int, width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(dim, width), nn.ReLU(), nn.Linear(width, width))
