"""One scale per channel for a whole set, from training windows alone.

Networks want numbers near one; differences of amplitude between windows stay, where the source kept them.
"""

from dataclasses import dataclass

import numpy as np

from citrus_ray.data.windows import Index, Signal

# windows that the scale is taken from; more would read a large set for the third digit
SAMPLE = 2048


@dataclass(frozen=True)
class Scale:
    """x -> (x - mean) / spread, channel by channel."""

    mean: Signal  # (C, 1)
    spread: Signal  # (C, 1)

    @classmethod
    def of(cls, x: Signal, train: Index) -> "Scale":
        """From evenly spaced windows of `train` that have the channel. One that is flat there is left as it is."""
        picked = train[np.linspace(0, len(train) - 1, min(SAMPLE, len(train))).astype(int)]
        seen = x[picked].astype(np.float64)  # (n, C, T)
        if np.isnan(seen[..., 0]).any():
            found = [_level(seen[~np.isnan(seen[:, c, 0]), c]) for c in range(seen.shape[1])]
            mean, spread = (np.array(values)[:, None] for values in zip(*found, strict=True))
        else:
            mean, spread = seen.mean(axis=(0, 2))[:, None], seen.std(axis=(0, 2))[:, None]
        flat = spread <= 1e-6 * np.abs(mean)
        return cls(
            np.where(flat, 0, mean).astype(np.float32), np.where(flat, 1, spread).astype(np.float32)
        )

    def __call__(self, x: Signal) -> Signal:
        """In place: a batch is megabytes, and fresh pages for it cost more than the arithmetic."""
        x -= self.mean
        x /= self.spread
        return x


def _level(x: Signal) -> tuple[float, float]:
    """Mean and spread; of nothing, those that change nothing."""
    return (float(x.mean()), float(x.std())) if x.size else (0.0, 1.0)
