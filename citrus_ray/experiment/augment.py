"""What is done to windows while a network learns from them: what is labelled stays what it is.

Of each kind the spec is the transform too. No torch until one is called: a plan does without.
"""

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field, SerializeAsAny

from citrus_ray.context import SignalContext
from citrus_ray.spec import Kinds, Spec

if TYPE_CHECKING:
    import torch

Chance = Annotated[float, Field(gt=0, le=1)]


class Augmentation(Spec):
    """Windows (B, C, T) of one stream -> as many, of which `rng` draws what is done to each. What
    was not recorded is `blank` in a whole row, 0 or NaN, and stays so."""

    kind: str

    @abstractmethod
    def __call__(
        self, x: "torch.Tensor", rng: np.random.Generator, blank: float = 0.0
    ) -> "torch.Tensor": ...

    def check(self, ctx: SignalContext) -> str | None:
        """Why this changes nothing in such windows, or None."""
        return None


class Shift(Augmentation):
    """Every window begins earlier or later, all of its channels together."""

    kind: Literal["shift"] = "shift"
    most: Annotated[float, Field(gt=0, le=0.5)] = 0.1
    """The farthest, as a share of the window."""
    edge: Literal["wrap", "zero"] = "wrap"
    """What comes in at the edge: what went out at the other one, or zeros."""

    def __call__(
        self, x: "torch.Tensor", rng: np.random.Generator, blank: float = 0.0
    ) -> "torch.Tensor":
        n_times, farthest = x.shape[-1], round(self.most * x.shape[-1])
        by = rng.integers(-farthest, farthest, size=(len(x), 1), endpoint=True)
        places = np.arange(n_times) - by  # (B, T)
        index = as_tensor(places % n_times, x)[:, None].expand_as(x)
        moved = x.gather(-1, index)
        if self.edge == "wrap":
            return moved
        outside = as_tensor((places < 0) | (places >= n_times), x)[:, None]
        return moved.masked_fill(outside & ~moved.isnan(), 0.0)

    def check(self, ctx: SignalContext) -> str | None:
        if round(self.most * ctx.n_times):
            return None
        rule = f"is less than a sample of {ctx.n_times}"
        return f"shift: most={self.most:g}: {rule}; raise it, or drop it"


class RandomGain(Augmentation):
    """Every window is larger or smaller by a factor, the same for all of its channels."""

    kind: Literal["scale"] = "scale"
    spread: Annotated[float, Field(gt=0)] = 0.2
    """Standard deviation of the factor's logarithm."""

    def __call__(
        self, x: "torch.Tensor", rng: np.random.Generator, blank: float = 0.0
    ) -> "torch.Tensor":
        factor = np.exp(self.spread * rng.standard_normal((len(x), 1, 1)))
        return x * as_tensor(factor, x).to(x.dtype)


class Noise(Augmentation):
    """White noise is added."""

    kind: Literal["noise"] = "noise"
    share: Annotated[float, Field(gt=0)] = 0.1
    """Standard deviation of the noise, as a share of the channel's in the window."""

    def __call__(
        self, x: "torch.Tensor", rng: np.random.Generator, blank: float = 0.0
    ) -> "torch.Tensor":
        noise = as_tensor(rng.standard_normal(tuple(x.shape), dtype=np.float32), x).to(x.dtype)
        return x + self.share * x.std(dim=-1, keepdim=True) * noise


class DropChannels(Augmentation):
    """Channels are missing; one stays always."""

    kind: Literal["drop_channels"] = "drop_channels"
    chance: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Of each channel to be missing from a window."""

    def __call__(
        self, x: "torch.Tensor", rng: np.random.Generator, blank: float = 0.0
    ) -> "torch.Tensor":
        n_windows, n_chans = x.shape[:2]
        gone = rng.random((n_windows, n_chans)) < self.chance
        stays = rng.integers(n_chans, size=n_windows)
        gone[np.arange(n_windows), stays] &= ~gone.all(axis=1)
        return x.masked_fill(as_tensor(gone, x)[..., None], blank)

    def check(self, ctx: SignalContext) -> str | None:
        # parts: each stream of a source that has several
        if any(part.n_chans > 1 for part in ctx.parts):
            return None
        return "drop_channels: signals have one channel, and one always stays; drop it"


class Surrogate(Augmentation):
    """Another signal of the same spectrum: of every frequency the phase is turned by an angle that
    is drawn, the same in all channels, so that amplitudes and cross-spectra stay."""

    kind: Literal["surrogate"] = "surrogate"
    chance: Chance = 0.5
    """Of each window to be replaced by one."""

    def __call__(
        self, x: "torch.Tensor", rng: np.random.Generator, blank: float = 0.0
    ) -> "torch.Tensor":
        import torch

        n_times = x.shape[-1]
        n_turned = (
            n_times - 1
        ) // 2  # the mean and the highest frequency of an even length are real
        angles = np.zeros((len(x), 1, n_times // 2 + 1))
        angles[..., 1 : n_turned + 1] = rng.uniform(0, 2 * np.pi, (len(x), 1, n_turned))
        chosen = rng.random((len(x), 1, 1)) < self.chance
        turn = torch.polar(torch.ones(angles.shape), torch.from_numpy(angles).float()).to(x.device)
        turned = torch.fft.irfft(torch.fft.rfft(x) * turn, n=n_times)
        return torch.where(as_tensor(chosen, x), turned, x)


def as_tensor(array: Any, like: "torch.Tensor") -> "torch.Tensor":
    """An array where `like` is, of its own type."""
    import torch

    return torch.from_numpy(np.asarray(array)).to(like.device)


def _written_out(value: Any) -> Any:
    """`shift` as a whole block."""
    return {"kind": value} if isinstance(value, str) else value


AUGMENTATIONS = {
    "drop_channels": "citrus_ray.experiment.augment:DropChannels",
    "noise": "citrus_ray.experiment.augment:Noise",
    "scale": "citrus_ray.experiment.augment:RandomGain",
    "shift": "citrus_ray.experiment.augment:Shift",
    "surrogate": "citrus_ray.experiment.augment:Surrogate",
}
KINDS = Kinds(AUGMENTATIONS, _written_out, "augmentations")
AnyAugmentation = Annotated[SerializeAsAny[Augmentation], BeforeValidator(KINDS)]
