"""Losses that ask two views of a window to have one embedding, and embeddings of windows to differ.

Each takes (B, D) twice and gives a scalar and what it is made of. All are of the batch as a whole:
where workers share one, they are given the rows of all (`gathering`).
"""

import torch
from torch.nn import functional as F

Terms = tuple[torch.Tensor, dict[str, torch.Tensor]]
EPSILON = 1e-4  # beside variances near 1


def vicreg(
    one: torch.Tensor,
    other: torch.Tensor,
    *,
    invariance: float,
    variance: float,
    covariance: float,
) -> Terms:
    """VICReg with these weights, divided by their sum."""
    terms = {
        "invariance": F.mse_loss(one, other),
        "variance": (too_narrow(one) + too_narrow(other)) / 2,
        "covariance": shared(one) + shared(other),
    }
    loss = (
        invariance * terms["invariance"]
        + variance * terms["variance"]
        + covariance * terms["covariance"]
    )
    return loss / (invariance + variance + covariance), terms


def barlow(one: torch.Tensor, other: torch.Tensor, *, redundancy: float) -> Terms:
    """Barlow Twins; `redundancy` is the weight of what is beside the diagonal."""
    a, b = (standardised(z) for z in (one, other))
    c = a.T @ b / len(a)  # (D, D)
    alike, apart = (1 - c.diagonal()).square().mean(), beside_diagonal(c) / len(c)
    return alike + redundancy * apart, {"invariance": alike, "redundancy": apart}


def infonce(one: torch.Tensor, other: torch.Tensor, *, temperature: float) -> Terms:
    """InfoNCE: the other view of a window among those of the batch."""
    a, b = (F.normalize(z, dim=1) for z in (one, other))
    likeness = a @ b.T / temperature  # (B, B)
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
