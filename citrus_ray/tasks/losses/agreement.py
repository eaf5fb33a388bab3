"""Losses that ask two views of a window to have one embedding, and embeddings of windows to differ.

Each takes (B, D) twice and gives a scalar and what it is made of.
"""

import torch
from torch.nn import functional as F

from citrus_ray.tasks.specs import Agreement, Barlow, InfoNce, Vicreg

Terms = tuple[torch.Tensor, dict[str, torch.Tensor]]
EPSILON = 1e-4  # beside variances near 1


def agreement(spec: Agreement, one: torch.Tensor, other: torch.Tensor) -> Terms:
    """The loss that `spec` asks for."""
    match spec:
        case Vicreg():
            return vicreg(spec, one, other)
        case Barlow():
            return barlow(spec, one, other)
        case InfoNce():
            return infonce(spec, one, other)


def vicreg(spec: Vicreg, one: torch.Tensor, other: torch.Tensor) -> Terms:
    invariance = F.mse_loss(one, other)
    variance = (too_narrow(one) + too_narrow(other)) / 2
    covariance = shared(one) + shared(other)
    total = spec.invariance + spec.variance + spec.covariance
    loss = spec.invariance * invariance + spec.variance * variance + spec.covariance * covariance
    return loss / total, {"invariance": invariance, "variance": variance, "covariance": covariance}


def barlow(spec: Barlow, one: torch.Tensor, other: torch.Tensor) -> Terms:
    a, b = (standardised(z) for z in (one, other))
    c = a.T @ b / len(a)  # (D, D)
    invariance = (1 - c.diagonal()).square().mean()
    redundancy = beside_diagonal(c) / len(c)
    return invariance + spec.redundancy * redundancy, {
        "invariance": invariance,
        "redundancy": redundancy,
    }


def infonce(spec: InfoNce, one: torch.Tensor, other: torch.Tensor) -> Terms:
    a, b = (F.normalize(z, dim=1) for z in (one, other))
    likeness = a @ b.T / spec.temperature  # (B, B)
    own = torch.arange(len(a), device=a.device)
    loss = (F.cross_entropy(likeness, own) + F.cross_entropy(likeness.T, own)) / 2
    return loss, {"found": (likeness.argmax(dim=1) == own).float().mean()}


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
