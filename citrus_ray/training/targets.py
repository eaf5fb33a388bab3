"""What a network is taught of each kind of target, and what its outputs then say."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from citrus_ray.data.windows import Index, Targets, Windows
from citrus_ray.training.closed_form import Floats

FLAT = 1e-12  # a spread of labelled values that is none


class Taught(ABC):
    """A kind of target as a network learns it: outputs (B, K) against what it is taught."""

    @abstractmethod
    def tensor(self, y: Targets) -> torch.Tensor:
        """Labels as the loss takes them: (n,) of classes, (n, K) of all else."""

    @abstractmethod
    def loss(
        self,
        outputs: torch.Tensor,
        y: torch.Tensor,
        weights: torch.Tensor | None = None,
        smoothing: float = 0.0,
    ) -> torch.Tensor:
        """Outputs (B, K) against labels (B,) or (B, K), weights (K,) -> ()."""

    def weights(self, y: torch.Tensor, n_outputs: int) -> torch.Tensor:
        """(K,): what each class counts where `class_weights` are balanced."""
        return torch.ones(n_outputs, device=y.device)

    def predicted(self, outputs: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """What outputs (n, K) say: logits, or values in their unit."""
        return outputs

    def votes(self, outputs: torch.Tensor) -> torch.Tensor:
        """What heads say, such that a mean of several says something too: probabilities, or
        values in their unit."""
        return outputs

    def of_outputs(self, weights: Floats, bias: Floats) -> tuple[Floats, Floats]:
        """A linear map (F, K), (K,) to what is predicted, as one to outputs."""
        return weights, bias


@dataclass(frozen=True)
class TaughtClasses(Taught):
    """One class of several: cross-entropy of logits."""

    def tensor(self, y: Targets) -> torch.Tensor:
        return torch.from_numpy(y)

    def loss(
        self,
        outputs: torch.Tensor,
        y: torch.Tensor,
        weights: torch.Tensor | None = None,
        smoothing: float = 0.0,
    ) -> torch.Tensor:
        return nn.functional.cross_entropy(outputs, y, weight=weights, label_smoothing=smoothing)

    def votes(self, outputs: torch.Tensor) -> torch.Tensor:
        return outputs.softmax(dim=-1)

    def weights(self, y: torch.Tensor, n_outputs: int) -> torch.Tensor:
        """By which every class counts the same; a class without a label counts nothing."""
        counts = torch.bincount(y, minlength=n_outputs)
        return torch.where(counts > 0, len(y) / (n_outputs * counts.clamp(min=1)), 0.0)


@dataclass(frozen=True)
class TaughtValue(Taught):
    """A number, in standard deviations of the labelled ones from their mean: Huber's loss, squared
    within one of them and absolute beyond."""

    mean: float
    scale: float

    @classmethod
    def of(cls, y: Targets) -> "TaughtValue":
        spread = float(y.std())
        return cls(float(y.mean()), spread if spread > FLAT * max(1.0, abs(y.mean())) else 1.0)

    def tensor(self, y: Targets) -> torch.Tensor:
        return torch.from_numpy(((y - self.mean) / self.scale).astype(np.float32))[:, None]

    def loss(
        self,
        outputs: torch.Tensor,
        y: torch.Tensor,
        weights: torch.Tensor | None = None,
        smoothing: float = 0.0,
    ) -> torch.Tensor:
        return nn.functional.smooth_l1_loss(outputs, y)

    def votes(self, outputs: torch.Tensor) -> torch.Tensor:
        return outputs.double() * self.scale + self.mean

    def predicted(self, outputs: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        return outputs.astype(np.float64) * self.scale + self.mean

    def of_outputs(self, weights: Floats, bias: Floats) -> tuple[Floats, Floats]:
        return weights / self.scale, (bias - self.mean) / self.scale


@dataclass(frozen=True)
class TaughtLabels(Taught):
    """Any of several labels at once: cross-entropy of each by itself."""

    def tensor(self, y: Targets) -> torch.Tensor:
        return torch.from_numpy(y.astype(np.float32))

    def loss(
        self,
        outputs: torch.Tensor,
        y: torch.Tensor,
        weights: torch.Tensor | None = None,
        smoothing: float = 0.0,
    ) -> torch.Tensor:
        return nn.functional.binary_cross_entropy_with_logits(outputs, y)

    def votes(self, outputs: torch.Tensor) -> torch.Tensor:
        return outputs.sigmoid()


def taught(windows: Windows, labelled: Index) -> Taught:
    """How the target of these windows is learnt from the labelled ones."""
    if windows.target == "value":
        return TaughtValue.of(windows.labels[labelled])
    return TaughtLabels() if windows.target == "labels" else TaughtClasses()
