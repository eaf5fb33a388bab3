"""Frequency-based masked auto-encoding: predict the spectrum of what is hidden.

Two halves, alone or together: patches are hidden (`ratio`), bands of frequency are hidden (`hide`). The target is the
spectrum of every patch; the loss counts its hidden entries, which are all frequencies of a hidden patch and the hidden
frequencies of every patch.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator

from citrus_ray.context import SignalContext
from citrus_ray.models.encoder import Encoder, hide_samples
from citrus_ray.tasks.reconstruction import Reconstruction
from citrus_ray.tasks.spectra import Hide, Representation, in_bands, n_parts, patch_spectra, represent, take_out
from citrus_ray.tasks.task import Loss, Task


class Spectral(Reconstruction):
    """`transform: stft` looks at `window` patches around each, `rfft` at the patch alone."""

    kind: Literal["spectral"] = "spectral"
    predict: Representation = "log_magnitude"
    transform: Literal["rfft", "stft"] = "rfft"
    window: Annotated[int, Field(ge=2)] = 4
    floor: Annotated[float, Field(gt=0)] = 0.01
    hide: Hide | None = None

    @model_validator(mode="after")
    def _hides_something(self) -> "Spectral":
        if self.ratio == 0 and self.hide is None:
            raise ValueError("ratio=0 and hide=null: nothing is hidden; give a ratio above 0 or bands to hide")
        return self

    def check(self, ctx: SignalContext) -> str | None:
        return super().check(ctx) or (self.hide.problem(ctx.sfreq / 2) if self.hide is not None else None)

    def single(self, ctx: SignalContext, encoder: Encoder) -> "SpectralTask":
        return SpectralTask(self, ctx, encoder)


class SpectralTask(Task):
    def __init__(self, spec: Spectral, ctx: SignalContext, encoder: Encoder) -> None:
        super().__init__()
        self.spec, self.ctx, self.encoder = spec, ctx, encoder
        self.n_fft = encoder.patch * spec.window if spec.transform == "stft" else None
        self.n_bins = (self.n_fft or encoder.patch) // 2 + 1
        self.decoder = spec.decoder(ctx, encoder, self.n_bins * n_parts(spec.predict))

    def forward(self, x: torch.Tensor, generator: torch.Generator) -> Loss:
        spec, patch = self.spec, self.encoder.patch
        target = represent(patch_spectra(x, patch, self.n_fft), spec.predict, spec.floor)  # (B, C, N, F, parts)
        hidden = spec.hidden((len(x), x.shape[1], x.shape[2] // patch), self.ctx, generator)
        wanted = hidden[..., None].expand(target.shape[:-1])  # (B, C, N, F)
        if spec.hide is not None:
            edges = spec.hide.edges(len(x), x.shape[1], self.ctx.sfreq / 2, generator)
            # patches first: a filter over the whole window would spread what they hide to their neighbours
            x = take_out(hide_samples(x, hidden, patch), edges, spec.hide.fill, generator)
            wanted = wanted | in_bands(edges, self.n_bins)[:, :, None]
        predicted = self._predicted(x, hidden).view(target.shape)
        loss = spec.distance(predicted[wanted], target[wanted])
        return loss, {f"hidden_{spec.loss}": loss.detach()}

    def _predicted(self, x: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """(B, C, T) -> (B, C, N, F * parts): of every patch, because bands are hidden in the visible ones too."""
        if self.spec.encode == "all":
            return self.decoder(self.encoder(x, hidden))  # type: ignore[no-any-return]
        shown, _ = self.spec.shown(hidden)
        asked = torch.arange(hidden.shape[-1], device=x.device).expand(hidden.shape)
        return self.decoder(self.encoder.visible(x, shown), shown, asked)  # type: ignore[no-any-return]
