"""Frequency-based masked auto-encoding: predict the spectrum of what is hidden.

Two halves, alone or together: patches are hidden (`ratio`), bands of frequency are hidden
(`hide`). The target is the spectrum of every patch; the loss counts its hidden entries, which
are all frequencies of a hidden patch and the hidden frequencies of every patch.
"""

from dataclasses import dataclass
from typing import Any

import torch

from citrus_ray.context import SignalContext
from citrus_ray.models.nets.encoder import Encoder, hide_samples
from citrus_ray.tasks.losses.reconstruction import ReconstructionTask
from citrus_ray.tasks.losses.references import Hidden
from citrus_ray.tasks.losses.spectra import (
    draw_bands,
    in_bands,
    n_parts,
    patch_spectra,
    represent,
    take_out,
    trend,
    visible_share,
)
from citrus_ray.tasks.losses.task import Loss


class SpectralTask(ReconstructionTask):
    simple = ("constant", "linear", "spectrum")

    def __init__(
        self,
        ctx: SignalContext,
        encoder: Encoder,
        *,
        predict: str,
        transform: str,
        window: int,
        floor: float,
        whiten: str,
        hide: dict[str, Any] | None,
        fill: str,
        **common: Any,
    ) -> None:
        """`hide` says which bands are drawn, as `draw_bands` takes it; null: none."""
        n_fft = encoder.patch * window if transform == "stft" else None
        n_bins = (n_fft or encoder.patch) // 2 + 1
        super().__init__(ctx, encoder, n_bins * n_parts(predict), **common)
        self.predict, self.floor, self.hide, self.fill = predict, floor, hide, fill
        self.n_fft, self.n_bins, self.whiten = n_fft, n_bins, whiten

    def forward(self, x: torch.Tensor, generator: torch.Generator) -> Loss:
        asked = self._drawn(x, generator)
        predicted = self._predicted(asked.x, asked.hidden).view(asked.target.shape)
        return self.compared(predicted, asked.target, asked.wanted)

    def n_asked(
        self, shape: tuple[int, int, int], generator: torch.Generator
    ) -> torch.Tensor | None:
        if self.hide is None:
            return super().n_asked(shape, generator)
        n_batch, n_chans, n_times = shape
        hidden = self.hidden((n_batch, n_chans, n_times // self.encoder.patch), generator)
        bands = in_bands(draw_bands(n_batch, n_chans, generator, **self.hide), self.n_bins)
        return (hidden[..., None] | bands[:, :, None]).sum(dim=(1, 2, 3))

    def question(self, x: torch.Tensor, generator: torch.Generator) -> Hidden:
        asked, patch = self._drawn(x, generator), self.encoder.patch
        seen = patch_spectra(hide_samples(asked.x, asked.hidden, patch), patch, self.n_fft)
        if self.n_fft is not None:
            # of frames that are hidden in part, the power that they would have as a whole
            seen = seen / visible_share(asked.hidden, patch, self.n_fft).sqrt()[..., None]
        # a bin is hidden with all of its parts
        wanted = asked.wanted[..., None].expand_as(asked.target)
        shown = represent(seen, self.predict, self.floor)
        if self.whiten != "none":
            # an encoder does not see what hidden patches add to the trend
            shown = shown - trend(shown[..., 0], ~asked.wanted, self.whiten)[..., None]
        numbers = (asked.target, wanted, shown)
        return Hidden(*(of.flatten(3) for of in numbers))

    def _drawn(self, x: torch.Tensor, generator: torch.Generator) -> "_Asked":
        patch = self.encoder.patch
        spectra = patch_spectra(x, patch, self.n_fft)
        target = represent(spectra, self.predict, self.floor)  # (B, C, N, F, parts)
        if self.whiten != "none":
            whole = torch.ones_like(target[..., 0], dtype=torch.bool)
            target = target - trend(target[..., 0], whole, self.whiten)[..., None]
        hidden = self.hidden((len(x), x.shape[1], x.shape[2] // patch), generator)
        wanted = hidden[..., None].expand(target.shape[:-1])  # (B, C, N, F)
        if self.hide is not None:
            edges = draw_bands(len(x), x.shape[1], generator, **self.hide)
            # patches first: a filter over the whole window would spread them to their neighbours
            x = take_out(hide_samples(x, hidden, patch), edges, self.fill, generator)
            wanted = wanted | in_bands(edges, self.n_bins)[:, :, None]
        return _Asked(x, hidden, target, wanted)

    def _predicted(self, x: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """(B, C, T) -> (B, C, N, F * parts): of every patch, because bands are hidden in the
        visible ones too."""
        if self.reads_all:
            return self.decoder(self.encoder(x, hidden))  # type: ignore[no-any-return]
        shown, _ = self.shown(hidden)
        asked = torch.arange(hidden.shape[-1], device=x.device).expand(hidden.shape)
        return self.decoder(self.encoder.visible(x, shown), shown, asked)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class _Asked:
    """A batch without its bands, where patches are hidden, and which bins of what are counted."""

    x: torch.Tensor  # (B, C, T)
    hidden: torch.Tensor  # (B, C, N) bool
    target: torch.Tensor  # (B, C, N, F, parts)
    wanted: torch.Tensor  # (B, C, N, F) bool
