"""Losses that ask two views of a window to have one embedding, and embeddings of windows to differ.

Each takes (B, D) twice and gives a scalar and what it is made of.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch.nn import functional as F

from citrus_ray.spec import Spec

Terms = tuple[torch.Tensor, dict[str, torch.Tensor]]
Weight = Annotated[float, Field(ge=0)]
EPSILON = 1e-4  # beside variances near 1


class Vicreg(Spec):
    """Bardes et al. 2022. Weights are divided by their sum; the code of CroSSL takes 10, 10 and 100."""

    kind: Literal["vicreg"] = "vicreg"
    invariance: Weight = 25.0
    variance: Weight = 25.0
    covariance: Weight = 1.0

    @model_validator(mode="after")
    def _agrees_and_differs(self) -> "Vicreg":
        if not self.invariance:
            raise ValueError("invariance=0: nothing asks the two views to agree; give it a weight")
        if not self.variance:
            raise ValueError("variance=0: the same embedding for every window would be best; give it a weight")
        return self

    def __call__(self, one: torch.Tensor, other: torch.Tensor) -> Terms:
        invariance = F.mse_loss(one, other)
        variance = (too_narrow(one) + too_narrow(other)) / 2
        covariance = shared(one) + shared(other)
        total = self.invariance + self.variance + self.covariance
        loss = self.invariance * invariance + self.variance * variance + self.covariance * covariance
        return loss / total, {"invariance": invariance, "variance": variance, "covariance": covariance}


class Barlow(Spec):
    """Zbontar et al. 2021: the cross-correlation of the two views should be the identity."""

    kind: Literal["barlow"] = "barlow"
    redundancy: Annotated[float, Field(gt=0)] = 0.005  # weight of what is beside the diagonal

    def __call__(self, one: torch.Tensor, other: torch.Tensor) -> Terms:
        a, b = (standardised(z) for z in (one, other))
        c = a.T @ b / len(a)  # (D, D)
        invariance = (1 - c.diagonal()).square().mean()
        redundancy = beside_diagonal(c) / len(c)
        return invariance + self.redundancy * redundancy, {"invariance": invariance, "redundancy": redundancy}


class InfoNce(Spec):
    """van den Oord et al. 2018: find the other view of a window among those of the batch. All others are negatives."""

    kind: Literal["infonce"] = "infonce"
    temperature: Annotated[float, Field(gt=0)] = 0.2

    def __call__(self, one: torch.Tensor, other: torch.Tensor) -> Terms:
        a, b = (F.normalize(z, dim=1) for z in (one, other))
        likeness = a @ b.T / self.temperature  # (B, B)
        own = torch.arange(len(a), device=a.device)
        loss = (F.cross_entropy(likeness, own) + F.cross_entropy(likeness.T, own)) / 2
        return loss, {"found": (likeness.argmax(dim=1) == own).float().mean()}


AnyAgreement = Annotated[Vicreg | Barlow | InfoNce, Field(discriminator="kind")]


def too_narrow(z: torch.Tensor) -> torch.Tensor:
    """How far the spread of each dimension over the batch is below 1."""
    return F.relu(1 - (z.var(dim=0, unbiased=False) + EPSILON).sqrt()).mean()


def shared(z: torch.Tensor) -> torch.Tensor:
    """Squared covariances of different dimensions, by dimension."""
    centred = z - z.mean(dim=0)
    return beside_diagonal(centred.T @ centred / max(len(z) - 1, 1)) / z.shape[1]


def beside_diagonal(square: torch.Tensor) -> torch.Tensor:
    return square.square().sum() - square.diagonal().square().sum()


def standardised(z: torch.Tensor) -> torch.Tensor:
    return (z - z.mean(dim=0)) / (z.var(dim=0, unbiased=False) + EPSILON).sqrt()
