"""A change of low rank beside each chosen tensor of an encoder (LoRA, Hu et al. 2021): few numbers
are trained, and in the end they are in the encoder's own weights."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

import torch
from torch import nn
from torch.func import functional_call

from citrus_ray.spec import refuse

Named = dict[str, torch.Tensor]


class LowRank(nn.Module):
    """What is added to tensors of `encoder`, a part of `model`, which stand still themselves. At
    full rank the change of a matrix is a matrix of its shape."""

    def __init__(
        self,
        model: nn.Module,
        encoder: nn.Module,
        rank: int,
        alpha: float,
        targets: Sequence[str],
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        chosen = {id(p): name for name, p in of_encoder(encoder, targets).items()}
        self.named = {n: p for n, p in model.named_parameters() if id(p) in chosen}
        self.first = {name: p.detach().clone() for name, p in self.named.items()}
        self.scale = dict[str, float]()
        self.left, self.right = (
            nn.ParameterList(),
            nn.ParameterList(),
        )  # of a whole one the left alone
        for name, p in self.named.items():
            left, right = factors(p, rank, generator)
            self.scale[name] = alpha / rank if right.numel() else 1.0
            self.left.append(nn.Parameter(left.to(p.device)))
            self.right.append(nn.Parameter(right.to(p.device)))
        encoder.requires_grad_(False)

    def changed(self) -> Named:
        """The tensors as they are now."""
        found = {}
        for (name, first), left, right in zip(
            self.first.items(), self.left, self.right, strict=True
        ):
            change = (left @ right).view(first.shape) if right.numel() else left
            found[name] = first + self.scale[name] * change
        return found

    def __call__(self, model: nn.Module, x: torch.Tensor) -> torch.Tensor:
        """What `model` makes of windows with the change in it."""
        return functional_call(model, self.changed(), (x,))  # type: ignore[no-any-return]

    @torch.no_grad()
    def write(self) -> None:
        """Put the change into the encoder's own tensors."""
        for name, value in self.changed().items():
            self.named[name].copy_(value)


def factors(
    p: torch.Tensor, rank: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """(out, R) and (R, in) whose product is zero. Of a vector, and at full rank, where a product of
    two would only be a longer way to any change at all, the change itself and nothing."""
    n_out, n_in = p.shape[0], p.numel() // max(p.shape[0], 1)
    if p.ndim < 2 or rank >= min(n_out, n_in):
        return torch.zeros(p.shape), torch.zeros(0)
    return torch.zeros(n_out, rank), torch.randn(rank, n_in, generator=generator) / n_in**0.5


def of_encoder(encoder: nn.Module, targets: Sequence[str]) -> dict[str, nn.Parameter]:
    """Tensors by name: those that a pattern of `targets` fits; else all weights that are matrices
    or kernels, without tables."""
    tables = {
        id(p) for m in encoder.modules() if isinstance(m, nn.Embedding) for p in m.parameters()
    }
    named = {name: p for name, p in encoder.named_parameters() if p.requires_grad}
    if not targets:
        matrices = {n: p for n, p in named.items() if p.ndim >= 2 and "weight" in n}
        return {n: p for n, p in matrices.items() if id(p) not in tables}
    for pattern in targets:
        if not any(fnmatchcase(name, pattern) for name in named):
            some = ", ".join(list(named)[:12]) + (" and so on" if len(named) > 12 else "")
            rule = f"targets={pattern}: no tensor of the encoder is called so"
            raise refuse(f"{rule}; there are {some}", "finetune.lora.targets")
    return {n: p for n, p in named.items() if any(fnmatchcase(n, of) for of in targets)}
