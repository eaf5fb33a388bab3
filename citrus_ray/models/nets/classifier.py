"""Classification: an encoder and a linear head. The same module whether weights are new or
pre-trained."""

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from citrus_ray.context import SignalContext
from citrus_ray.models.head import Head
from citrus_ray.models.nets.encoder import Encoder
from citrus_ray.models.nets.heads import FeatureHead, LateFusion, LinearHead
from citrus_ray.models.nets.parts import HeadParts
from citrus_ray.models.nets.subjects import Erasure

PLAIN = Head()


class Classifier(nn.Module):
    """(B, C, T) -> logits (B, K). The head reads the encoder's summary, or its rows side by side
    or one by one; or the parts that a spec names."""

    def __init__(
        self,
        encoder: Encoder,
        ctx: SignalContext,
        pool: str,
        head: Head = PLAIN,
        erase: bool = False,
    ) -> None:
        """`erase`: who a window is of is taken from its features before the head reads them."""
        super().__init__()
        self.encoder, self.by_row = encoder, pool != "mean"
        self.parts = None if head == PLAIN else HeadParts(encoder, ctx, pool, head)
        if self.parts is not None:
            n_normed = 0 if head.standardises else self.parts.n_learnt
            self.head: LinearHead | FeatureHead = FeatureHead(
                self.parts.sizes, n_normed, ctx.n_outputs
            )
        else:
            n_rows = encoder.n_rows(ctx.n_chans) if self.by_row else 1
            late = LateFusion(n_rows, encoder.dim, ctx.n_outputs) if pool == "late" else None
            self.head = late or LinearHead(n_rows, encoder.dim, ctx.n_outputs, pool)
        self.erasure = Erasure(self.head.linear.in_features) if erase else None

    @torch.no_grad()
    def fit(
        self,
        labelled: Sequence[torch.Tensor],
        others: Iterable[torch.Tensor] = (),
        subject: torch.Tensor | None = None,
    ) -> None:
        """Take from labelled windows (B, C, T) what parts are seen from, and their scale; from
        others, which are those of `subject` (n,), what is erased."""
        self.eval()
        if self.parts is not None:
            self.parts.fit(labelled)
        if self.erasure is not None and subject is not None:
            self.erasure.fit(torch.cat([self.features(x) for x in others]), subject)
        if isinstance(self.head, FeatureHead):
            self.head.fit(torch.cat([self.features(x) for x in labelled]))

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, T) -> (B, F): what a frozen encoder gives the head."""
        found = self._read(x)
        return found if self.erasure is None else self.erasure(found)

    def _read(self, x: torch.Tensor) -> torch.Tensor:
        if self.parts is not None:
            return self.parts(self.encoder, x)  # type: ignore[no-any-return]
        assert isinstance(self.head, LinearHead)
        return self.head.pooled(self.encoder.rows(x) if self.by_row else self.encoder.summary(x))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head.classify(self.features(x))
