# %% [markdown]
# A model of your own beside ours: pre-trained, fine-tuned and compared in the same sweep.
#
# `python examples/own_model.py` takes a few seconds. More in docs/own-model.md.

# %% The network: windows (B, C, T) in, tokens (B, C, N, D) out
import torch
from torch import nn

from citrus_ray import Sweep
from citrus_ray.context import SignalContext
from citrus_ray.models.nets.encoder import Encoder, hide_samples, patches


class MeanNet(Encoder):
    """Each patch by a linear layer, and what the whole channel has in common."""

    def __init__(self, ctx: SignalContext, *, dim: int = 16, patch: int = 8) -> None:
        super().__init__()
        self.dim, self.patch = dim, patch
        self.embed = nn.Linear(patch, dim)
        self.place = nn.Linear(1, dim)  # tokens must know where they stand
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: torch.Tensor, hidden: torch.Tensor | None = None) -> torch.Tensor:
        if hidden is not None:
            x = hide_samples(x, hidden, self.patch)  # hidden samples must not reach the output
        tokens = self.embed(patches(x, self.patch))
        steps = torch.linspace(0, 1, tokens.shape[2], device=x.device)[:, None]
        return self.norm(tokens + tokens.mean(dim=2, keepdim=True) + self.place(steps))

    def depths(self) -> list[nn.Module]:
        return [nn.ModuleList([self.embed, self.place, self.norm])]


# %% The sweep names it by its import path: module (this file), class
if __name__ == "__main__":
    ours = {"kind": "conv", "dim": 16, "strides": [2, 2, 2]}
    mine = {"kind": "custom", "cls": "own_model:MeanNet", "kwargs": {"dim": 16}}
    people = {"kind": "synthetic", "n_subjects": 12, "windows_per_subject": 16}
    sweep = Sweep.of(
        {
            "name": "own_model",
            "trial": {
                "model": ours,
                "pretrain": {"source": {**people, "seed": 1}, "task": None, "epochs": 1},
                "finetune": {
                    "target": people,
                    "labels": {"per_class": 8},
                    "steps": 20,
                    "rounds": 4,
                },
            },
            "compare": {"model": [ours, mine], "pretrain.task": [None, {"kind": "masked"}]},
            "search": {"finetune.optim.lr": {"loguniform": [1e-3, 1e-2]}},
            "budget": {"trials": 2},
            "final": {"rounds": 3},
        }
    )
    results = sweep.run(progress=False)
    print(results.cells[["label", "test_mean", "val"]].to_string())
