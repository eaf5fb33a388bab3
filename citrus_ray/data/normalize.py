"""One scale per channel for a whole set, from training windows alone.

Networks want numbers near one; differences of amplitude between windows stay, where the source kept them.
"""

from dataclasses import dataclass

import numpy as np

from citrus_ray.data.windows import Index, Signal

SAMPLE = 2048  # windows that the scale is taken from; more would read a large set for the third digit


@dataclass(frozen=True)
class Scale:
    """x -> (x - mean) / spread, channel by channel."""

    mean: Signal  # (C, 1)
    spread: Signal  # (C, 1)

    @classmethod
    def of(cls, x: Signal, train: Index) -> "Scale":
        """From evenly spaced windows of `train`. A channel that is flat there is left as it is."""
        picked = train[np.linspace(0, len(train) - 1, min(SAMPLE, len(train))).astype(int)]
        seen = x[picked].astype(np.float64)  # (n, C, T)
        mean, spread = seen.mean(axis=(0, 2))[:, None], seen.std(axis=(0, 2))[:, None]
        flat = spread <= 1e-6 * np.abs(mean)
        return cls(np.where(flat, 0, mean).astype(np.float32), np.where(flat, 1, spread).astype(np.float32))

    def __call__(self, x: Signal) -> Signal:
        return np.asarray((x - self.mean) / self.spread, dtype=np.float32)
