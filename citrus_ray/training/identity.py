"""Who a window is of, as an embedding says it: how much of it that is, and how it is taken away
where a subject's unlabelled windows are at hand."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from citrus_ray.data.windowing.normalize import SAMPLE
from citrus_ray.data.windowing.subjects import FEWEST, by_subject, evenly
from citrus_ray.data.windows import Index, Windows

MOST = 512  # windows that the share of the subject is measured on
OF_SUBJECT = 128  # windows that a subject's mean is taken of
Missing = tuple[str, ...]  # modalities
Pooled = Callable[[Index, Sequence[str]], torch.Tensor]  # features (n, F) without those


def subject_share(features: npt.NDArray[np.floating], subject: Index) -> float | None:
    """Share of the variance of features (n, F) that lies between subjects (n,): omega squared, all
    features together, 0 in the mean where subjects are drawn by lot. None where nothing varies, or
    there is nobody to tell apart."""
    x = features.astype(np.float64)
    _, number, counts = np.unique(subject, return_inverse=True, return_counts=True)
    n, k = len(x), len(counts)
    if k < 2 or n == k:
        return None
    means = np.stack([x[number == g].mean(axis=0) for g in range(k)])
    within = float(((x - means[number]) ** 2).sum())
    total = float(((x - x.mean(axis=0)) ** 2).sum())
    if not total > 0:
        return None
    noise = within / (n - k)
    return (total - within - (k - 1) * noise) / (total + noise)


class Centres:
    """Mean features of subjects, of their unlabelled windows, those of test subjects too: of a
    frozen encoder, so that each is computed once."""

    def __init__(
        self, windows: Windows, train: Index, pooled: Pooled, middle: torch.Tensor | None = None
    ) -> None:
        """`middle` is that of those who train, where they are not at hand."""
        self.windows, self.train, self.pooled = windows, train, pooled
        self.known: dict[tuple[Missing, int], torch.Tensor] = {}
        self.middles: dict[Missing, torch.Tensor] = {} if middle is None else {(): middle}

    def taken_from(self, features: torch.Tensor, index: Index, missing: Missing) -> torch.Tensor:
        """Features (n, F) of the windows at `index`, each subject brought to the mean of those who
        train. One of a single window stays as it is."""
        groups, number = np.unique(self.windows.group[index], return_inverse=True)
        off = torch.stack([self._off(int(group), missing) for group in groups])
        return features - off[torch.from_numpy(number).to(off.device)]

    def _off(self, group: int, missing: Missing) -> torch.Tensor:
        middle = self.middle(missing)
        if (self.windows.group == group).sum() < FEWEST:
            return torch.zeros_like(middle)
        return self._mean(group, missing) - middle

    def middle(self, missing: Missing = ()) -> torch.Tensor:
        """(F,): the mean of all who train, each counting the same."""
        if missing not in self.middles:
            who = np.unique(self.windows.group[by_subject(self.windows, self.train, SAMPLE)])
            each = [self._mean(int(group), missing) for group in who]
            self.middles[missing] = torch.stack(each).mean(dim=0)
        return self.middles[missing]

    def _mean(self, group: int, missing: Missing) -> torch.Tensor:
        key = missing, group
        if key not in self.known:
            own = np.flatnonzero(self.windows.group == group)
            own = own[evenly(len(own), OF_SUBJECT)]
            self.known[key] = self.pooled(own, missing).mean(dim=0)
        return self.known[key]
