"""Recordings cut into windows: where each begins, what becomes of gaps and short ends, caveats."""

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from citrus_ray.data.fingerprints import Fingerprints
from citrus_ray.data.formats.labels import Stretch
from citrus_ray.data.source import Normalize
from citrus_ray.data.windowing.normalize import zscore, zscore_finite
from citrus_ray.data.windows import Index, Signal

Span = tuple[int, int]  # first sample and length
Item = TypeVar("Item")


@dataclass(frozen=True)
class RecordingWindows:
    """The windows of one recording, the stretch that each is from, and what was left out."""

    # n times (C, T) of each stream, made as they are asked for
    windows: Iterator[tuple[Signal, ...]]
    first: Index  # (n,), the sample that each begins at
    stretches: tuple[Stretch, ...]
    tally: Counter[str]
    fingerprints: Fingerprints | None = None  # where the samples are known as they were read


@dataclass(frozen=True)
class Cutter:
    """How stretches of recordings are cut into windows; lengths in samples at `sfreq`."""

    sfreq: float
    n_times: int
    stride: int
    normalize: Normalize
    short: Literal["drop", "pad"]
    limit: int | None = None  # windows of a stretch
    limit_of_all: int | None = None  # and of a recording

    def __call__(self, x: Signal, stretches: Sequence[Stretch]) -> RecordingWindows:
        """Windows (C, n_times) of a recording (C, T)."""
        return self.together([x], [self.sfreq], stretches)

    def together(
        self,
        streams: Sequence[Signal],
        rates: Sequence[float],
        stretches: Sequence[Stretch],
        late: Sequence[float] | None = None,
        absent: bool = False,
    ) -> RecordingWindows:
        """The same windows of each (C, T) at its rate; `sfreq` is the lowest, so that all begin
        with a sample of it. `late` are the seconds by which each begins later than the stretches
        count from.

        A window that one stream does not have whole is dropped from all; or, where streams may be
        `absent`, that stream is NaN in it, and it is dropped where none is whole.
        """
        xs = [zscore_finite(x) for x in streams] if self.normalize == "recording" else streams
        ratios = [rate / self.sfreq for rate in rates]
        skips = [
            round(seconds * f) for seconds, f in zip(late or [0.0] * len(xs), rates, strict=True)
        ]
        parts_of = list(zip(xs, ratios, skips, strict=True))
        ends = [math.floor((x.shape[1] + skip) / ratio + 1e-6) for x, ratio, skip in parts_of]
        n_total = max(ends) if absent else min(ends)
        spans = [(span, stretch) for stretch in stretches for span in self.spans(stretch, n_total)]
        spans = _spread(spans, self.limit_of_all)

        def parts(span: Span) -> list[Signal]:
            return [_at(x, span, ratio, skip) for x, ratio, skip in parts_of]

        enough = any if absent else all
        whole = [found for found in spans if enough(np.isfinite(x).all() for x in parts(found[0]))]
        tally = Counter(
            stretches=len(stretches),
            short=sum(self.length(stretch, n_total) < self.n_times for stretch in stretches),
            windows=len(spans),
            gaps=len(spans) - len(whole),
            overlaps=overlaps([span for span, _ in whole]),
        )
        lengths = [round(self.n_times * ratio) for ratio in ratios]
        windows = (tuple(map(self._window, parts(span), lengths)) for span, _ in whole)
        first = np.array([span[0] for span, _ in whole], dtype=np.int64)
        return RecordingWindows(windows, first, tuple(stretch for _, stretch in whole), tally)

    def length(self, stretch: Stretch, n_total: int) -> int:
        if math.isinf(stretch.stop_s):
            return n_total
        # from the difference: rounding both ends could cost the one sample that makes a window
        return min(round((stretch.stop_s - stretch.start_s) * self.sfreq), n_total)

    def spans(self, stretch: Stretch, n_total: int) -> list[Span]:
        """Every window of a stretch, in a recording of `n_total` samples."""
        n = self.length(stretch, n_total)
        # rounding may pass the end by one
        first = min(round(stretch.start_s * self.sfreq), n_total - n)
        if n < self.n_times:
            return [(first, n)] if self.short == "pad" and n > 0 else []
        starts = np.arange(0, n - self.n_times + 1, self.stride)
        spans = [(first + int(start), self.n_times) for start in starts]
        return _spread(spans, self.limit)

    def _window(self, x: Signal, n_times: int) -> Signal:
        """A window (C, n) -> (C, n_times): zeros around a short one, normalised without them; NaN
        where it is not whole."""
        if not np.isfinite(x).all():
            return np.full((len(x), n_times), np.nan, np.float32)
        x = zscore(x) if self.normalize == "window" else x
        missing = n_times - x.shape[1]
        return np.pad(x, ((0, 0), (missing // 2, missing - missing // 2))) if missing else x

    def caveats(self, tally: Counter[str], stretches: Sequence[Stretch]) -> Iterator[str]:
        """What whoever reads a number from these windows should know."""
        if tally["short"]:
            fate = "padded with zeros" if self.short == "pad" else "gave no window"
            than = f"are shorter than {self.n_times / self.sfreq:g} s and {fate}"
            yield f"{tally['short']} of {tally['stretches']} segments {than}"
        if tally["gaps"]:
            yield f"dropped for missing samples: {tally['gaps']} of {tally['windows']} windows"
        if tally["overlaps"]:
            some = f"{tally['overlaps']} of {len(stretches)} windows"
            yield f"overlapping the one before: {some}, so not independent"
        groups = defaultdict[str, set[str]](set)
        for stretch in stretches:
            groups[stretch.label].add(stretch.group)
        single = sorted(label for label, of in groups.items() if label and len(of) == 1)
        if single:
            rule = f"{', '.join(single)}: all windows are from one group"
            yield f"{rule}, so class and group cannot be told apart"


def _spread(items: list[Item], most: int | None) -> list[Item]:
    """At most so many, evenly spread over all; all where there is no limit."""
    if not most or len(items) <= most:
        return items
    return [items[i] for i in np.linspace(0, len(items) - 1, most).round().astype(int)]


def overlaps(spans: Sequence[Span]) -> int:
    """How many windows start before the one before ends; a sample of rounding does not count."""
    return sum(b < a + n - 1 for (a, n), (b, _) in itertools.pairwise(sorted(spans)))


def _at(x: Signal, span: Span, ratio: float, skip: int = 0) -> Signal:
    """The samples of a span whose rate is `ratio` times lower, in a stream that begins `skip`
    samples later; NaN before its beginning and beyond its end."""
    first, length = round(span[0] * ratio) - skip, round(span[1] * ratio)
    before = min(max(-first, 0), length)
    part = x[:, max(first, 0) : max(first + length, 0)]
    short = length - before - part.shape[1]
    if not before and not short:
        return part
    return np.pad(part, ((0, 0), (before, short)), constant_values=np.nan)
