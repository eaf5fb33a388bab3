"""Bringing a target's windows to the length and rate that an encoder was pre-trained on. Every arm
gets the same.

Windows come in as (n, C, T). Kinds that keep more than one pre-training length cut it into S
segments, which leave as more channels, (n, C*S, T'), those of a channel one after the other:
encoders read channels independently, and `finetune.head.segments` says how heads read segments.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from citrus_ray.context import SignalContext
from citrus_ray.data.windowing.disk import CHUNK, on_disk
from citrus_ray.data.windows import Signal, Windows
from citrus_ray.spec import Spec, refuse

Times = Annotated[int, Field(ge=2)]
Channels = Literal["keep", "average", "first"] | Annotated[tuple[str, ...], Field(min_length=1)]


class Align(Spec):
    """How windows of a target are made those of pre-training."""

    channels: Channels = "keep"
    """Keep all (each a signal of its own), average into one, the first only, or those named."""

    @abstractmethod
    def times(self, x: Signal, sfreq: float) -> tuple[Signal, float]:
        """Windows (n, C, T) at sfreq -> (n, C*S, T'), and the new rate."""

    def problem(self, ctx: SignalContext) -> str | None:
        """Why this cannot be done to such windows, or None."""
        return None

    def expects(self) -> float | None:
        """The rate that this aligns to; None where it does not look at rates."""
        return None

    def padding(self, ctx: SignalContext) -> tuple[int, int]:
        """Samples that are put before and after such a window."""
        return 0, 0

    def picked(self, ch_names: Sequence[str]) -> tuple[str, ...]:
        """The channels that it reads."""
        if isinstance(self.channels, tuple):
            return self.channels
        return tuple(ch_names[:1] if self.channels == "first" else ch_names)

    def apply(self, windows: Windows) -> Windows:
        """Aligned windows; labels and groups stay."""
        complaint = self.problem(windows.context)
        if complaint:
            raise refuse(complaint, "align")
        if self == Native():
            return windows
        if windows.streams:
            there = ", ".join(stream.name for stream in windows.streams)
            rule = f"a set of several streams ({there}) can only be left as it is"
            way = "name one of them in `streams:`, or give its `sfreq` a rate"
            raise refuse(f"{rule}: `kind: native`, `channels: keep`; {way}", "align")
        if windows.are_pairs:
            rule = "pairs can only be left as they are: `kind: native`"
            raise refuse(f"{rule}; align what they are made `of`", "align")
        names, modalities, pick = self._pick(windows)
        chunks = (windows.x[i : i + CHUNK] for i in range(0, len(windows), CHUNK))
        first, sfreq = self.times(pick(windows.x[:1]), windows.sfreq)
        aligned = on_disk((self.times(pick(x), windows.sfreq)[0] for x in chunks), first.shape[1:])
        n_segments = aligned.shape[1] // len(names)
        ends = [""] if n_segments == 1 else [f"#{s}" for s in range(n_segments)]
        return replace(
            windows,
            x=aligned,
            sfreq=sfreq,
            ch_names=tuple(name + end for name in names for end in ends),
            modalities=tuple(m for m in modalities for _ in ends),
            n_segments=n_segments,
            padding=self.padding(windows.context),
        )

    def _pick(
        self, windows: Windows
    ) -> tuple[tuple[str, ...], tuple[str, ...], Callable[[Signal], Signal]]:
        """Names, modalities, and the step (n, C, T) -> (n, C', T)."""
        if self.channels == "keep":
            return windows.ch_names, windows.modalities, lambda x: x
        if self.channels == "average":
            return ("average",), (windows.modalities[0],), lambda x: x.mean(axis=1, keepdims=True)
        wanted = windows.ch_names[:1] if self.channels == "first" else self.channels
        missing = [name for name in wanted if name not in windows.ch_names]
        if missing:
            rule = f"channels={missing}: not in this set, which has {', '.join(windows.ch_names)}"
            raise refuse(rule, "align.channels")
        index = [windows.ch_names.index(name) for name in wanted]
        return tuple(wanted), tuple(windows.modalities[i] for i in index), lambda x: x[:, index]


class Native(Align):
    """As they are: encoders take any length."""

    kind: Literal["native"] = "native"
    """As they are: encoders take any length."""

    def times(self, x: Signal, sfreq: float) -> tuple[Signal, float]:
        return x, sfreq


class Truncate(Align):
    """The first samples, at whatever rate: as the code of TF-C and SimMTM, on the first channel."""

    kind: Literal["truncate"] = "truncate"
    """The first samples."""
    n_times: Times
    """Samples of a pre-training window."""
    channels: Channels = "first"
    """Keep all (each a signal of its own), average into one, the first only, or those named."""

    def problem(self, ctx: SignalContext) -> str | None:
        if ctx.n_times < self.n_times:
            rule = f"n_times={self.n_times}: truncate needs at least as many"
            return f"{rule}, but windows have {ctx.n_times}; use pad"
        return None

    def times(self, x: Signal, sfreq: float) -> tuple[Signal, float]:
        return x[..., : self.n_times], sfreq


class Pad(Align):
    """Zeros on both sides, at whatever rate."""

    kind: Literal["pad"] = "pad"
    """Zeros on both sides."""
    n_times: Times
    """Samples of a pre-training window."""

    def problem(self, ctx: SignalContext) -> str | None:
        if ctx.n_times > self.n_times:
            rule = f"n_times={self.n_times}: pad needs at most as many"
            return f"{rule}, but windows have {ctx.n_times}; use truncate"
        return None

    def padding(self, ctx: SignalContext) -> tuple[int, int]:
        return halves(self.n_times - ctx.n_times)

    def times(self, x: Signal, sfreq: float) -> tuple[Signal, float]:
        return pad_to(x, self.n_times), sfreq


class Interpolate(Align):
    """Linear interpolation of whole windows, without a filter: as the code of bioFAME."""

    kind: Literal["interpolate"] = "interpolate"
    """Linear interpolation."""
    n_times: Times
    """Samples of a pre-training window."""

    def times(self, x: Signal, sfreq: float) -> tuple[Signal, float]:
        n = x.shape[-1]
        # sample centres, as torch's interpolate(mode="linear", align_corners=False) places them
        at = np.clip((np.arange(self.n_times) + 0.5) * n / self.n_times - 0.5, 0, n - 1)
        left = np.floor(at).astype(int)
        right = np.minimum(left + 1, n - 1)
        share = (at - left).astype(np.float32)
        return x[..., left] * (1 - share) + x[..., right] * share, sfreq * self.n_times / n


class Resample(Align):
    """Anti-aliased to the pre-training rate; the whole window is kept, in pre-training-length
    segments.

    A window that is shorter than `n_times` at the new rate is padded with zeros; segments of a
    longer one overlap just enough for the last to end with the window.
    """

    kind: Literal["resample"] = "resample"
    """Anti-aliased resampling."""
    sfreq: Annotated[float, Field(gt=0, le=1e6)]
    """Rate of pre-training windows in Hz."""
    n_times: Times
    """Samples of a pre-training window, and of each segment."""

    def expects(self) -> float | None:
        return self.sfreq

    def ratio(self, sfreq: float) -> Fraction:
        """The new rate over the old."""
        return Fraction(self.sfreq / sfreq).limit_denominator(1000)

    def padding(self, ctx: SignalContext) -> tuple[int, int]:
        return halves(max(self.n_times - math.ceil(ctx.n_times * self.ratio(ctx.sfreq)), 0))

    def times(self, x: Signal, sfreq: float) -> tuple[Signal, float]:
        from scipy.signal import resample_poly

        ratio = self.ratio(sfreq)
        if ratio != 1:
            # beyond the ends lies the line through them: zeros would ring where a window has an
            # offset
            up, down = ratio.as_integer_ratio()
            x = resample_poly(x, up, down, axis=-1, padtype="line").astype(np.float32)
        return segments(x, self.n_times), self.sfreq


AnyAlign = Annotated[Native | Truncate | Pad | Interpolate | Resample, Field(discriminator="kind")]


def pad_to(x: Signal, n_times: int) -> Signal:
    """Zeros on both sides of the last axis."""
    return np.pad(x, [(0, 0)] * (x.ndim - 1) + [halves(n_times - x.shape[-1])])


def halves(n: int) -> tuple[int, int]:
    """`n` in two parts, the second the larger where it is odd."""
    return n // 2, n - n // 2


def segments(x: Signal, n_times: int) -> Signal:
    """The fewest segments that cover every sample, (n, C, T) -> (n, C*S, n_times)."""
    n, n_chans, length = x.shape
    if length <= n_times:
        return pad_to(x, n_times)
    n_segments = math.ceil(length / n_times)
    starts = np.linspace(0, length - n_times, n_segments).round().astype(int)
    cut = np.stack([x[..., s : s + n_times] for s in starts], axis=2)  # (n, C, S, n_times)
    return cut.reshape(n, n_chans * n_segments, n_times)
