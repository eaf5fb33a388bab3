"""Features of a window that a head reads: of an encoder's tokens over time, and of the window
itself, from which nothing is learnt but its scale."""

import itertools
from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import nn

from citrus_ray.context import SignalContext
from citrus_ray.models.head import MOST_ROWS, Head, kept_delays
from citrus_ray.models.nets.encoder import Encoder, compared
from citrus_ray.spec import locate, refuse

POWER_BANDS = 8
SHRINKAGE = 0.1  # of a covariance towards that of channels alike and apart
FAINT = 1e-5  # beside a variance of numbers near 1: its log is finite


class HeadParts(nn.Module):
    """(B, C, T) -> (B, F): blocks of features, of the encoder first."""

    def __init__(self, encoder: Encoder, ctx: SignalContext, pool: str, head: Head) -> None:
        super().__init__()
        joined = ctx.n_segments if head.segments == "joined" else 1
        self.by_row, self.moments = pool == "channels", head.moments
        self.pairs = head.pairs
        n_rows = encoder.n_rows(ctx.n_chans) // joined if self.by_row else 1
        self.time = Time(encoder, ctx, head.bins, joined) if head.of_time else None
        of_encoder = [head.bins * n_rows * encoder.dim] + [n_rows * encoder.dim] * head.moments
        fixed: list[OfWindow] = [ChannelPower(ctx, self.by_row)] if head.power else []
        fixed += [ChannelCovariance(ctx, head.delays)] if head.covariance else []
        fixed += [_of_others(path, ctx) for path in head.own]
        self.fixed = nn.ModuleList(fixed)
        self.n_learnt = len(of_encoder)
        self.sizes = (*of_encoder, *(part.n_features for part in fixed))

    def forward(self, encoder: Encoder, x: torch.Tensor) -> torch.Tensor:
        blocks = self._of_encoder(encoder, x)
        with torch.no_grad():
            blocks += [part(x) for part in self.fixed]
        return torch.cat(blocks, dim=1)

    def fit(self, batches: Sequence[torch.Tensor]) -> None:
        """What parts of the window take from labelled windows."""
        for part in self.fixed:
            assert isinstance(part, OfWindow)
            part.fit(batches)

    def _of_encoder(self, encoder: Encoder, x: torch.Tensor) -> list[torch.Tensor]:
        """(B, C, T) -> (B, F) each: means, and log variances; or of pairs how A and B compare."""
        if self.pairs != "joint":
            return [self._pooled(compared(encoder, x, self.pairs))]
        if self.time is None:
            return [self._pooled(encoder.rows(x) if self.by_row else encoder.summary(x))]
        tokens, unnormed = encoder.tokens(x)
        found = [self._pooled(self.time.means(tokens))]
        return [*found, self._pooled(self.time.log_variance(unnormed))] if self.moments else found

    def _pooled(self, rows: torch.Tensor) -> torch.Tensor:
        """(B, R, …) -> (B, F), rows side by side or their mean."""
        return (rows if self.by_row else rows.mean(dim=1)).flatten(1)


def _of_others(path: str, ctx: SignalContext) -> "OfWindow":
    found = locate(path)
    if not (isinstance(found, type) and issubclass(found, OfWindow)):
        rule = f"must inherit {OfWindow.__module__}:{OfWindow.__name__}"
        raise refuse(f"own={path}: {rule}; see docs/own-model.md", "finetune.head.own")
    return found(ctx)


class Time(nn.Module):
    """Pooling over the time of a window: padding does not count, segments may follow each other."""

    bins: torch.Tensor  # (bins, N), and (1, N): shares of tokens
    whole: torch.Tensor

    def __init__(self, encoder: Encoder, ctx: SignalContext, bins: int, joined: int) -> None:
        super().__init__()
        self.joined = joined
        n_tokens = joined * encoder.n_tokens(ctx.n_times)
        before, after = ctx.padding
        stretch = (before, min(joined * ctx.n_times - after, n_tokens * encoder.patch))
        for name, n in (("bins", bins), ("whole", 1)):
            shares = overlaps(n_tokens, encoder.patch, stretch, n)
            self.register_buffer(name, shares, persistent=False)

    def means(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, R, N, D) -> (B, R, bins, D)."""
        return self.bins @ self._in_time(tokens)

    def log_variance(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, R, N, D) -> (B, R, D), over the whole window."""
        in_time, shares = self._in_time(tokens), self.whole[0][:, None]
        mean = (in_time * shares).sum(dim=2, keepdim=True)
        return (((in_time - mean) ** 2 * shares).sum(dim=2) + FAINT).log()

    def _in_time(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, C*S, N, D) -> (B, C, S*N, D) where segments are joined."""
        if self.joined == 1:
            return tokens
        n_batch, n_rows, _, dim = tokens.shape
        return tokens.reshape(n_batch, n_rows // self.joined, -1, dim)


def overlaps(n_tokens: int, patch: int, stretch: tuple[int, int], n_bins: int) -> torch.Tensor:
    """(n_bins, N): what share of each even bin of the stretch of samples every token has."""
    edges = torch.linspace(*stretch, n_bins + 1)
    first, last = edges[:-1, None], edges[1:, None]
    starts = patch * torch.arange(n_tokens)
    inside = (torch.minimum(last, starts + patch) - torch.maximum(first, starts)).clamp(min=0)
    return inside / inside.sum(dim=1, keepdim=True)


# ---- of the window itself ----


class OfWindow(nn.Module):
    """(B, C, T) -> (B, F), of a whole window: its padding left out, its segments together."""

    n_features: int

    def __init__(self, ctx: SignalContext) -> None:
        super().__init__()
        self.padding, self.n_segments = ctx.padding, ctx.n_segments
        self.n_chans = ctx.n_chans // ctx.n_segments
        self.n_times = ctx.n_times - sum(ctx.padding)

    @abstractmethod
    def of(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, S, L) around zero -> (B, F)."""

    def fit(self, batches: Sequence[torch.Tensor]) -> None:
        """Take what it needs from windows (B, C, T); most need nothing."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.of(self.cut(x))

    def cut(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C*S, T) -> (B, C, S, L), every segment around its own mean."""
        signal = x[..., self.padding[0] : x.shape[-1] - self.padding[1]]
        apart = signal.reshape(x.shape[0], self.n_chans, self.n_segments, -1)
        return apart - apart.mean(dim=-1, keepdim=True)


class ChannelPower(OfWindow):
    """Log power of channels, in all and in bands, side by side or their mean over channels."""

    bands: torch.Tensor  # (L // 2 + 1, n)
    taper: torch.Tensor  # (L,), of unit energy

    def __init__(self, ctx: SignalContext, by_row: bool) -> None:
        super().__init__(ctx)
        self.by_row = by_row
        bands, taper = spectral_bands(self.n_times), torch.hann_window(self.n_times)
        self.register_buffer("bands", bands, persistent=False)
        self.register_buffer("taper", taper / taper.square().sum().sqrt(), persistent=False)
        self.n_features = (1 + bands.shape[1]) * (self.n_chans if by_row else 1)

    def of(self, x: torch.Tensor) -> torch.Tensor:
        density = torch.fft.rfft(x * self.taper).abs().square().mean(dim=2)  # (B, C, L // 2 + 1)
        whole = x.square().mean(dim=(2, 3))[..., None]
        logs = (torch.cat([whole, density @ self.bands], dim=-1) + FAINT).log()
        return (logs if self.by_row else logs.mean(dim=1)).flatten(1)


def spectral_bands(n_times: int) -> torch.Tensor:
    """(L // 2 + 1, n): each a mean over lines of a spectrum; the bands widen as their frequency
    grows, and a short window has fewer."""
    n_lines = n_times // 2 + 1
    edges = torch.logspace(0, torch.tensor(float(n_lines)).log10(), POWER_BANDS + 1).round()
    edges = torch.tensor(sorted(set(edges.long().tolist())))
    bands = torch.zeros(n_lines, len(edges) - 1)
    for i, (first, last) in enumerate(itertools.pairwise(edges)):
        bands[first:last, i] = 1 / (last - first)
    return bands


class ChannelCovariance(OfWindow):
    """The matrix logarithm of a window's covariance, of its channels and delayed copies, seen from
    the mean of labelled windows: its upper triangle, what lies off the diagonal by the root of
    2."""

    rows: torch.Tensor  # (F,), and columns: places in the upper triangle
    columns: torch.Tensor
    whitening: torch.Tensor  # (R, R)
    axes: torch.Tensor | None  # (C, C'), principal

    def __init__(self, ctx: SignalContext, delays: Sequence[int] = ()) -> None:
        super().__init__(ctx)
        n_chans = self.n_chans
        axes = None
        if delays and n_chans > MOST_ROWS:
            n_chans, axes = MOST_ROWS, torch.eye(n_chans)[:, :MOST_ROWS].clone()
        self.register_buffer("axes", axes)
        self.delays = kept_delays(delays, n_chans, self.n_times)
        n = n_chans * len(self.delays)
        rows, columns = torch.triu_indices(n, n)
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("columns", columns, persistent=False)
        self.register_buffer("whitening", torch.eye(n))
        self.n_features = n * (n + 1) // 2

    def fit(self, batches: Sequence[torch.Tensor]) -> None:
        if self.axes is not None:
            flat = torch.cat([self.cut(x).flatten(2) for x in batches]).transpose(0, 1).flatten(1)
            self.axes.copy_(torch.linalg.eigh(flat @ flat.mT)[1][:, -self.axes.shape[1] :])
        found = torch.cat([self.shrunk(self.cut(x)) for x in batches]).mean(dim=0)
        self.whitening.copy_(of_symmetric(found, torch.rsqrt))

    def shrunk(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, S, L) -> (B, R, R)."""
        flat = self.rows_of(x).flatten(2)
        found = flat @ flat.mT / flat.shape[-1]
        size = found.diagonal(dim1=-2, dim2=-1).mean(dim=-1)[..., None, None]
        even = torch.eye(found.shape[-1], device=x.device)
        return (1 - SHRINKAGE) * found + (SHRINKAGE * size + FAINT) * even

    def rows_of(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, S, L) -> (B, R, S, L'): channels, or their principal axes, and delayed copies."""
        if self.axes is not None:
            x = torch.einsum("bcsl,cd->bdsl", x, self.axes)
        if len(self.delays) == 1:
            return x
        n_times = x.shape[-1] - max(self.delays)
        return torch.cat([x[..., d : d + n_times] for d in self.delays], dim=1)

    def of(self, x: torch.Tensor) -> torch.Tensor:
        seen = self.whitening @ self.shrunk(x) @ self.whitening
        logs = of_symmetric(seen, torch.log)
        factor = torch.where(self.rows == self.columns, 1.0, 2**0.5)
        return logs[..., self.rows, self.columns] * factor


def of_symmetric(x: torch.Tensor, function: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """A function of positive definite matrices (…, C, C), by their eigenvalues."""
    values, vectors = torch.linalg.eigh(x)
    turned: torch.Tensor = vectors * function(values.clamp(min=1e-7))[..., None, :]
    return turned @ vectors.mT  # type: ignore[no-any-return]
