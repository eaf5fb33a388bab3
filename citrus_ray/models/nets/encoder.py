"""What every encoder promises: (B, C, T) -> (B, C, N, D), a token per patch of samples, hidden
samples never seen."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

if TYPE_CHECKING:
    from citrus_ray.models.nets.arrival import Arrival

Compared = Literal["siamese", "bilinear"]  # what is read of A and B, each encoded alone


class Encoder(nn.Module):
    """Channels are folded into the batch inside, so any number of channels and any length goes in.

    An encoder that mixes channels is built for a number of them, and returns one row of tokens
    for all: (B, 1, N, D).
    """

    mixes_channels: bool = False
    multimodal: bool = False  # reads all streams at once, and NaN as what is absent
    dim: int  # D
    patch: int  # P, samples per token
    names_within: str = ""  # what begins its tensors' names here and not in files of others
    heads_of_files: tuple[str, ...] = ()  # beginnings of names in such files that it has no use for
    old_names: dict[str, str] = {}  # of tensors in older files, and what they are now
    arrival: "Arrival | None" = None  # of weights from a file, where it has any

    def n_tokens(self, n_times: int) -> int:
        """Whole patches only: a remainder shorter than a patch is left out."""
        return n_times // self.patch

    @abstractmethod
    def forward(self, x: torch.Tensor, hidden: torch.Tensor | None = None) -> torch.Tensor:
        """(B, C, T) -> (B, C, N, D). Samples behind `hidden` (B, C, N), True = hidden, cannot
        reach the output."""

    def visible(self, x: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
        """(B, C, T), places (B, C, V) -> (B, C, V, D): tokens of these patches, which no sample of
        another reaches.

        Not those of `forward`: an encoder that has mask tokens reads none here, and so has less
        to compute.
        """
        return at_places(self(x, all_but(shown, self.n_tokens(x.shape[-1]))), shown)

    def tokens(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, C, T) -> twice (B, R, N, D): the tokens, and what they were before the encoder's last
        norm, which takes from them how strong a signal was. The same where there is no such norm.
        """
        tokens = self(x)
        return tokens, tokens

    def summary(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, T) -> (B, C, D): what heads read. The mean over tokens, unless an encoder has a
        token for it."""
        return self(x).mean(dim=2)

    def n_rows(self, n_chans: int) -> int:
        """Rows of `rows`."""
        return 1 if self.mixes_channels else n_chans

    def rows(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, T) -> (B, R, D): what can be kept side by side. Zeros for a row of which
        nothing was recorded."""
        return self.summary(x)

    def halves(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Pairs (B, C, 2T) -> twice (B, R, D): the rows of A and of B, each read alone."""
        a, b = x.chunk(2, dim=-1)
        return self.rows(a), self.rows(b)

    def without_mask(self, *others: str) -> None:
        """No token will be hidden, nor a tensor of these other names be read: what stands there
        asks for no gradient, which workers that share them wait for."""
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(not name.endswith(("mask_token", *others)))

    def adopted(
        self, weights: dict[str, torch.Tensor]
    ) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
        """The weights of one that was pre-trained on another set as they fit here, and why some of
        its own stay; by default they are taken as they are."""
        return weights, {}

    @abstractmethod
    def depths(self) -> list[nn.Module]:
        """The parts that hold all parameters, each once, from the signal inwards: what
        layer-wise rates count."""

    def __call__(self, x: torch.Tensor, hidden: torch.Tensor | None = None) -> torch.Tensor:
        return super().__call__(x, hidden)  # type: ignore[no-any-return]


def compared(encoder: Encoder, x: torch.Tensor, how: Compared) -> torch.Tensor:
    """Pairs (B, C, 2T) -> (B, R, D): how A and B differ, or go together, feature by feature."""
    a, b = encoder.halves(x)
    return (a - b).abs() if how == "siamese" else a * b


def patches(x: Any, patch: int) -> Any:
    """(…, T) -> (…, N, P), the remainder cut off. Works on tensors and arrays."""
    n_tokens = x.shape[-1] // patch
    return x[..., : n_tokens * patch].reshape(*x.shape[:-1], n_tokens, patch)


def at_places(tokens: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """(…, N, D), (…, V) -> (…, V, D)."""
    return tokens.gather(-2, places[..., None].expand(*places.shape, tokens.shape[-1]))


def all_but(shown: torch.Tensor, n_tokens: int) -> torch.Tensor:
    """(B, C, V) -> (B, C, N) bool: hidden is what is not shown."""
    hidden = torch.ones(*shown.shape[:-1], n_tokens, dtype=torch.bool, device=shown.device)
    return hidden.scatter(-1, shown, False)


def recorded(
    x: torch.Tensor,
    hidden: torch.Tensor | None,
    patch: int,
    n_times: int,
    padding: tuple[int, int],
) -> torch.Tensor:
    """(1 or B, 1 or C, N*P): 1 where there is a sample of the signal to be seen, 0 elsewhere.
    Windows of `n_times` are padded."""
    n = x.shape[-1] // patch * patch
    at = torch.arange(n, device=x.device)
    first, last = 0, n
    if x.shape[-1] == n_times:
        first, last = padding[0], n_times - padding[1]
    there = ((at >= first) & (at < last)).to(x.dtype)[None, None]
    return there if hidden is None else there * (~hidden).repeat_interleave(patch, dim=-1)


def hide_samples(x: torch.Tensor, hidden: torch.Tensor, patch: int) -> torch.Tensor:
    """Zero the samples of hidden patches: (B, C, T), (B, C, N) -> (B, C, T). The remainder goes
    too."""
    keep = (~hidden).repeat_interleave(patch, dim=-1)  # (B, C, N) -> (B, C, N*P)
    return x * nn.functional.pad(keep, (0, x.shape[-1] - keep.shape[-1]))
