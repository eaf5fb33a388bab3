"""What is hidden, predicted without a network: what a reconstruction loss is worth.

Three predictors, in closed form, all of one channel from itself: its training mean, a ridge on the
visible patches around a hidden one, and the mean of what is visible.
"""

from dataclasses import dataclass

import torch

# weights of the squared norm, beside the mean square of a feature times the number of rows
PENALTIES = (1.0, 0.1, 0.01, 1e-3, 1e-4, 1e-5)
# patches between a hidden one and the nearest visible one, as far as they are told apart
FAR, NONE = 3, 4


@dataclass(frozen=True)
class Hidden:
    """Numbers of the patches of a batch, F of each, some of which are to be predicted."""

    target: torch.Tensor  # (B, C, N, F)
    wanted: torch.Tensor  # (B, C, N, F) bool: hidden, and counted by the loss
    seen: torch.Tensor  # (B, C, N, F): what an encoder sees of them; of use where not wanted


class Predictors:
    """Predictors that learnt from one batch; `kinds` (C,) says which channels share weights."""

    def __init__(self, batch: Hidden, kinds: torch.Tensor) -> None:
        self.kinds, n_windows = kinds, len(batch.target)
        self.middle = batch.target.mean(dim=(0, 2), keepdim=True)  # (1, C, 1, F)
        rows = self._rows(batch, self._visible_mean(batch))
        # every other window chooses the penalty; then all are learnt from
        learns = (torch.arange(n_windows) % 2 == 0).to(kinds.device)[rows.window]
        keys = sorted(set(rows.key.tolist()))
        errors = torch.zeros(len(PENALTIES), dtype=torch.float64, device=kinds.device)
        for key in keys:
            one, other = (rows.key == key) & learns, (rows.key == key) & ~learns
            for i, weights in enumerate(_ridges(rows.x[one], rows.y[one], PENALTIES)):
                errors[i] += (rows.x[other] @ weights - rows.y[other]).square().sum()
        best = (PENALTIES[int(errors.argmin())],)
        mine = {key: rows.key == key for key in keys}
        self.weights = {k: _ridges(rows.x[at], rows.y[at], best)[0] for k, at in mine.items()}

    def __call__(self, batch: Hidden) -> dict[str, torch.Tensor]:
        """Predictions (B, C, N, F), by name."""
        mean = self._visible_mean(batch)
        rows, linear = self._rows(batch, mean), torch.zeros_like(batch.target)
        found = torch.zeros_like(rows.y)
        for key, weights in self.weights.items():
            at = rows.key == key
            found[at] = rows.x[at] @ weights
        linear[rows.asked] = found.to(linear.dtype)
        nothing = torch.zeros_like(batch.target)
        offsets = {"constant": nothing, "linear": linear, "spectrum": nothing + mean}
        return {name: self.middle + offset for name, offset in offsets.items()}

    def _centred(self, batch: Hidden) -> torch.Tensor:
        """What is seen beside the training mean, (B, C, N, F); zeros for what is not."""
        return torch.where(batch.wanted, 0, batch.seen - self.middle)

    def _visible_mean(self, batch: Hidden) -> torch.Tensor:
        """The mean over visible patches, (B, C, 1, F), beside the training mean."""
        counts = (~batch.wanted).sum(dim=2, keepdim=True)
        return self._centred(batch).sum(dim=2, keepdim=True) / counts.clamp(min=1)

    def _rows(self, batch: Hidden, mean: torch.Tensor) -> "_Rows":
        """Of each patch that is asked for: the nearest visible patch on either side, itself where
        only bands of it are hidden, and the mean of all."""
        n_tokens, seen = batch.target.shape[2], self._centred(batch)
        at = torch.arange(n_tokens, device=seen.device)
        visible = (~batch.wanted).any(dim=-1)  # (B, C, N)
        before = torch.where(visible, at, -1).cummax(dim=-1).values
        after = torch.where(visible, at, n_tokens).flip(-1).cummin(dim=-1).values.flip(-1)
        sides = [_at(seen, before), _at(seen, after)]
        gap_before = torch.where(before < 0, NONE, (at - before).clamp(max=FAR))
        gap_after = torch.where(after == n_tokens, NONE, (after - at).clamp(max=FAR))
        key = (self.kinds[:, None] * (NONE + 1) + gap_before) * (NONE + 1) + gap_after
        asked = batch.wanted.any(dim=-1)
        x = torch.cat([*sides, mean.expand_as(seen), torch.ones_like(seen[..., :1])], dim=-1)
        y = (batch.target - self.middle)[asked]
        return _Rows(asked, asked.nonzero()[:, 0], key[asked], x[asked].double(), y.double())


@dataclass(frozen=True)
class _Rows:
    """A row for each patch that is asked for."""

    asked: torch.Tensor  # (B, C, N) bool
    window: torch.Tensor  # (R,)
    key: torch.Tensor  # (R,): rows of one key share weights
    x: torch.Tensor  # (R, 3F + 1)
    y: torch.Tensor  # (R, F)


def _at(seen: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    """(B, C, N, F), places (B, C, N) -> (B, C, N, F); zeros for a place that there is not."""
    n_tokens = seen.shape[2]
    inside = place.clamp(0, n_tokens - 1)[..., None].expand_as(seen)
    there = ((place >= 0) & (place < n_tokens))[..., None]
    return torch.where(there, seen.gather(2, inside), 0)


def _ridges(x: torch.Tensor, y: torch.Tensor, penalties: tuple[float, ...]) -> list[torch.Tensor]:
    """Weights (3F + 1, F) for each penalty; without a row, zeros."""
    gram, products = x.T @ x, x.T @ y
    size = gram.diagonal().mean()
    if not bool(size > 0):
        return [torch.zeros_like(products)] * len(penalties)
    eye = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    return [torch.linalg.solve(gram + p * size * eye, products) for p in penalties]
