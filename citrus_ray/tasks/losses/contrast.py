"""Tasks that tell windows and moments apart, in the manner of TS2Vec (Yue et al. 2022) and SimMTM
(Dong et al. 2023), written anew on encoders that hide patches.

Nothing but their negatives keeps embeddings from becoming the same everywhere, so their spread is
watched.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from citrus_ray.context import SignalContext
from citrus_ray.models.nets.encoder import Encoder, hide_samples, patches
from citrus_ray.tasks.losses.crossmodal import relative_spread
from citrus_ray.tasks.losses.masking import span_mask
from citrus_ray.tasks.losses.reconstruction import Decoder, JointDecoder
from citrus_ray.tasks.losses.task import Loss, References, Task


class ContrastiveTask(Task):
    """What both share: a temperature, and a look at the spread of what is told apart."""

    def __init__(self, encoder: Encoder, temperature: float, narrowest: float) -> None:
        super().__init__()
        self.encoder, self.temperature, self.narrowest = encoder, temperature, narrowest

    def complaint(self, metrics: dict[str, float]) -> str | None:
        spread = metrics["val/token_std"]
        if spread >= self.narrowest:
            return None
        rule = f"tokens have collapsed: their spread over windows is {spread:.2g}"
        way = "raise the batch size, or lower the rate"
        return f"{rule}, below narrowest={self.narrowest:g}; {way}"

    def alike(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """(…, n, D), (…, m, D) -> (…, n, m): cosines over the temperature."""
        cosines = F.normalize(one, dim=-1) @ F.normalize(other, dim=-1).mT
        return cosines / self.temperature


# ---- TS2Vec ----


class Ts2VecTask(ContrastiveTask):
    """Two contexts of a stretch: its moments should be known again in the other one, among other
    moments of the window and among other windows, at every scale of time."""

    def __init__(
        self,
        ctx: SignalContext,
        encoder: Encoder,
        *,
        overlap: float,
        ratio: float,
        weight: float,
        temperature: float,
        narrowest: float,
    ) -> None:
        """`weight` is that of other windows, the rest that of other moments."""
        super().__init__(encoder, temperature, narrowest)
        self.overlap, self.ratio, self.weight = overlap, ratio, weight

    def forward(self, x: torch.Tensor, generator: torch.Generator) -> Loss:
        hidden, at = self._contexts(x, generator)
        views = [self.encoder(x, of).mean(dim=1) for of in hidden]  # (B, N, D) each
        loss, terms = self._over_scales(*(_gathered(view, at) for view in views))
        # of a lone window, over its own moments
        rows = views[0] if len(x) > 1 else views[0].flatten(0, 1)
        return loss, terms | {"token_std": relative_spread(rows.detach())}

    def references(
        self, x: torch.Tensor, generator: torch.Generator, *_: torch.Tensor
    ) -> References:
        """Of moments that all look the same, and of the samples that are seen of each."""

        def losses(x: torch.Tensor, generator: torch.Generator) -> dict[str, torch.Tensor]:
            hidden, at = self._contexts(x, generator)
            patch = self.encoder.patch
            seen = [patches(hide_samples(x, of, patch), patch).mean(dim=1) for of in hidden]
            samples = [_gathered(view, at) for view in seen]
            nothing = [torch.zeros_like(view) for view in samples]
            guesses = {"constant": nothing, "signal": samples}
            return {name: self._over_scales(*of)[0] for name, of in guesses.items()}

        return losses

    def _contexts(
        self, x: torch.Tensor, generator: torch.Generator
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """What each context hides, (B, C, N) twice, and the places (B, L) of the stretch that both
        hold: what lies before it is seen by the first alone, what comes after by the second."""
        n_batch, n_chans, n_times = x.shape
        n, device = self.encoder.n_tokens(n_times), x.device
        length = max(1, round(self.overlap * n))

        def drawn(most: torch.Tensor) -> torch.Tensor:
            lot = torch.rand(n_batch, 1, generator=generator, device=device)
            return (lot * (most + 1)).long().clamp(max=n - 1)

        start = drawn(torch.tensor(n - length, device=device))
        stop = start + length
        ends = [(start - drawn(start), stop), (start, stop + drawn(n - stop))]
        moments = torch.arange(n, device=device)
        hidden = list[torch.Tensor]()
        for first, last in ends:
            outside = (moments < first) | (moments >= last)  # (B, N)
            lot = torch.rand(n_batch, n, generator=generator, device=device)
            kept = moments == (first if not hidden else last - 1)  # a moment at least is seen
            gone = (outside | (lot < self.ratio)) & ~kept
            hidden.append(gone[:, None].expand(-1, n_chans, -1))
        return hidden, start + torch.arange(length, device=device)

    def _over_scales(
        self, one: torch.Tensor, other: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Both contrasts, (B, L, D) twice, of moments, then of pairs of them, and so on."""
        windows, moments = [], []
        while True:
            windows.append(self._contrast(one.transpose(0, 1), other.transpose(0, 1)))
            if one.shape[1] > 1:
                moments.append(self._contrast(one, other))
            if one.shape[1] == 1:
                break
            one, other = (F.max_pool1d(of.mT, 2, ceil_mode=True).mT for of in (one, other))
        zero = torch.zeros((), device=one.device)
        terms = {
            "windows": torch.stack(windows).mean(),
            "moments": torch.stack(moments).mean() if moments else zero,
        }
        loss = self.weight * terms["windows"] + (1 - self.weight) * terms["moments"]
        return loss, {name: term.detach() for name, term in terms.items()}

    def _contrast(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """(G, n, D) twice: find the other view of each among all 2n - 1 of its group."""
        n, both = one.shape[1], torch.cat([one, other], dim=1)
        among = self.alike(both, both)  # (G, 2n, 2n)
        itself = torch.eye(2 * n, dtype=torch.bool, device=one.device)
        wanted = torch.arange(2 * n, device=one.device).roll(n).expand(len(one), -1)
        return F.cross_entropy(among.masked_fill(itself, -math.inf).flatten(0, 1), wanted.flatten())


def _gathered(tokens: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """(B, N, D), places (B, L) -> (B, L, D)."""
    return tokens.gather(1, at[..., None].expand(-1, -1, tokens.shape[-1]))


# ---- SimMTM ----


class SimMtmTask(ContrastiveTask):
    """Each window is put together from masked views, its own and those of others, by how alike
    they are."""

    def __init__(
        self,
        ctx: SignalContext,
        encoder: Encoder,
        *,
        views: int,
        ratio: float,
        span: int,
        weight: float,
        temperature: float,
        narrowest: float,
    ) -> None:
        """`weight` is that of telling windows apart, beside the reconstruction."""
        super().__init__(encoder, temperature, narrowest)
        self.views, self.ratio, self.span, self.weight = views, ratio, span, weight
        dim = encoder.dim
        self.project = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim))
        self.decoder: Decoder | JointDecoder
        if encoder.mixes_channels:
            self.decoder = JointDecoder(dim, encoder.patch, ctx.n_chans)
        else:
            self.decoder = Decoder(dim, encoder.patch, ctx, mix=0, by_modality=False)

    def forward(self, x: torch.Tensor, generator: torch.Generator) -> Loss:
        tokens = self.encoder(x.repeat(self.views + 1, 1, 1), self._hidden(x, generator))
        series = self.project(tokens.mean(dim=2)).transpose(0, 1)  # (S*B, R, D) -> (R, S*B, D)
        alike = self._among_others(self.alike(series, series))
        terms = {
            "reconstruction": F.mse_loss(self._rebuilt(alike, tokens), self._target(x)),
            "apart": self._apart(alike, len(x)),
        }
        loss = terms["reconstruction"] + self.weight * terms["apart"]
        seen = tokens[: len(x)]
        rows = seen.mean(dim=(1, 2)) if len(x) > 1 else seen.flatten(0, 2)
        told = {name: term.detach() for name, term in terms.items()}
        return loss, told | {"token_std": relative_spread(rows.detach())}

    def references(
        self, x: torch.Tensor, generator: torch.Generator, *_: torch.Tensor
    ) -> References:
        """Of the mean patch, windows being told apart by chance; and of what is seen of each view,
        in place of its tokens."""
        middle = self._target(x).mean(dim=(0, 2), keepdim=True)  # (1, C, 1, P)

        def losses(x: torch.Tensor, generator: torch.Generator) -> dict[str, torch.Tensor]:
            target, hidden = self._target(x), self._hidden(x, generator)
            n = len(hidden)
            alike = self._among_others(torch.zeros(1, n, n, device=x.device))
            chance = self.weight * self._apart(alike, len(x))
            return {
                "constant": F.mse_loss(middle.expand_as(target), target) + chance,
                "signal": self._of_samples(target - middle, hidden),
            }

        return losses

    def _of_samples(self, target: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """The loss of windows (B, C, N, P) that are put together from samples, by how alike these
        are."""
        there = (~hidden[..., None]).to(target.dtype)  # (S*B, C, N, 1)
        seen = (target.repeat(self.views + 1, 1, 1, 1) * there).transpose(0, 1)  # (C, S*B, N, P)
        series = seen.flatten(2)
        if self.encoder.mixes_channels:
            series = series.transpose(0, 1).flatten(1)[None]
        alike = self._among_others(self.alike(series, series))
        shares = alike[:, : len(target)].softmax(dim=-1)  # (R, B, S*B)
        shares = shares.expand(len(seen), -1, -1)
        found = torch.einsum("cbs,csnp->bcnp", shares, seen)
        share = torch.einsum("cbs,csnp->bcnp", shares, there.transpose(0, 1))
        rebuilt = found / share.clamp(min=1e-6)
        return F.mse_loss(rebuilt, target) + self.weight * self._apart(alike, len(target))

    def _target(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, T) -> (B, C, N, P)."""
        found: torch.Tensor = patches(x, self.encoder.patch)
        return found

    def _hidden(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """(S*B, C, N): nothing of the windows, then runs of patches of every view."""
        n_batch, n_chans, n_times = x.shape
        n = self.encoder.n_tokens(n_times)
        n_rows = 1 if self.encoder.mixes_channels else n_chans
        drawn = span_mask((self.views * n_batch, n_rows, n), self.ratio, self.span, generator)
        whole = torch.zeros(n_batch, n_chans, n, dtype=torch.bool, device=drawn.device)
        return torch.cat([whole, drawn.expand(-1, n_chans, -1)])

    def _among_others(self, alike: torch.Tensor) -> torch.Tensor:
        """(R, n, n) without what each is to itself."""
        itself = torch.eye(alike.shape[-1], dtype=torch.bool, device=alike.device)
        return alike.masked_fill(itself, -math.inf)

    def _rebuilt(self, alike: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """(B, C, N, P): windows from tokens (S*B, R, N, D) of all others."""
        n_batch = len(tokens) // (self.views + 1)
        shares = alike[:, :n_batch].softmax(dim=-1)  # (R, B, S*B)
        rows = tokens.transpose(0, 1).flatten(2)  # (R, S*B, N*D)
        joined = (shares @ rows).view(*shares.shape[:2], *tokens.shape[2:])  # (R, B, N, D)
        return self.decoder(joined.transpose(0, 1))  # type: ignore[no-any-return]

    def _apart(self, alike: torch.Tensor, n_batch: int) -> torch.Tensor:
        """How much of what each view is like is not its own window."""
        window = torch.arange(alike.shape[-1], device=alike.device) % n_batch
        own = alike.masked_fill(window != window[:, None], -math.inf)
        return (alike.logsumexp(dim=-1) - own.logsumexp(dim=-1)).mean()
