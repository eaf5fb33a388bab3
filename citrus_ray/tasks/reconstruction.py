"""What tasks share that hide patches and predict something of them: masks, decoder, loss over hidden entries."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import nn
from torch.nn import functional as F

from citrus_ray.context import SignalContext
from citrus_ray.models.blocks import Block, rotate, rotations
from citrus_ray.models.crossmodal import CrossmodalEncoder
from citrus_ray.models.encoder import Encoder
from citrus_ray.spec import Later
from citrus_ray.tasks.masking import hide_modalities, n_hidden, places, span_mask
from citrus_ray.tasks.task import Loss, Task, TaskSpec

LOSSES = {"mse": F.mse_loss, "l1": F.l1_loss, "huber": F.smooth_l1_loss}


class Reconstruction(TaskSpec):
    """`ratio` of every channel's patches is hidden, in runs of `span`.

    Several modalities at once: `drop_modality` hides all patches of one modality in that share of windows, which only
    other channels can make up for, so it needs a decoder that looks across channels: `mix` layers of attention.
    """

    ratio: Annotated[float, Field(ge=0, lt=1)] = 0.5
    span: Annotated[int, Field(ge=1)] = 2
    loss: Literal["mse", "l1", "huber"] = "mse"
    drop_modality: Annotated[float, Field(ge=0, le=1)] = 0.0
    mix: Annotated[int, Field(ge=0)] = 0
    by_modality: bool = False  # a decoder per modality instead of one for all
    # what the encoder reads: all patches, a mask token in place of hidden ones, or the visible ones alone, which is
    # faster the more is hidden; the decoder then asks them for what is not there
    encode: Annotated[Literal["all", "visible"], Later()] = "all"

    @model_validator(mode="after")
    def _visible_alone_stay_in_their_channel(self) -> "Reconstruction":
        if self.encode == "visible" and (self.mix or self.drop_modality):
            rule = "encode=visible: channels show different moments, so the decoder cannot look across them"
            raise ValueError(f"{rule}; set mix and drop_modality to 0, or encode: all")
        return self

    @model_validator(mode="after")
    def _dropped_can_be_predicted(self) -> "Reconstruction":
        if self.drop_modality and not self.mix:
            raise ValueError(
                f"drop_modality={self.drop_modality:g}: a modality that is all hidden can only be predicted from other "
                "channels; set mix to 1 or more"
            )
        return self

    def check(self, ctx: SignalContext) -> str | None:
        if self.drop_modality and len(set(ctx.modalities)) < 2:
            there = ctx.modalities[0]
            return f"drop_modality={self.drop_modality:g}: needs signals of 2 modalities, but all are {there}"
        return None

    def build(self, ctx: SignalContext, encoder: Encoder) -> Task:
        """The task, or one for each sensor of a crossmodal encoder."""
        if isinstance(encoder, CrossmodalEncoder):
            return EachSensor([self.single(sensor.ctx, encoder.of(sensor)) for sensor in encoder.there], encoder)
        return self.single(ctx, encoder)

    @abstractmethod
    def single(self, ctx: SignalContext, encoder: Encoder) -> Task:
        """For an encoder whose tokens are of one channel each."""

    def hidden(self, shape: tuple[int, int, int], ctx: SignalContext, generator: torch.Generator) -> torch.Tensor:
        """(B, C, N) bool, True = hidden."""
        if self.ratio == 0:
            hidden = torch.zeros(shape, dtype=torch.bool, device=generator.device)
        else:
            hidden = span_mask(shape, self.ratio, self.span, generator)
        return hide_modalities(hidden, ctx.modalities, self.drop_modality, generator) if self.drop_modality else hidden

    def shown(self, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Where every row's visible and hidden patches are: (B, C, V), (B, C, N - V)."""
        n_tokens = hidden.shape[-1]
        return places(hidden, n_tokens - n_hidden(n_tokens, self.ratio) if self.ratio else n_tokens)

    def decoder(self, ctx: SignalContext, encoder: Encoder, n_out: int) -> "Decoder | Asker":
        if self.encode == "all":
            return Decoder(encoder.dim, n_out, ctx, self.mix, self.by_modality)
        for name, parameter in encoder.named_parameters():  # workers that share gradients wait for all that ask for one
            parameter.requires_grad_(not name.endswith("mask_token"))
        return Asker(encoder.dim, n_out, ctx, self.by_modality)

    def distance(self, predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return LOSSES[self.loss](predicted, target)


class EachSensor(Task):
    """Every sensor's encoder learns from its own signal alone; what brings sensors together learns nothing."""

    encoder: CrossmodalEncoder

    def __init__(self, tasks: Sequence[Task], encoder: CrossmodalEncoder) -> None:
        super().__init__()
        self.encoder, self.tasks = encoder, nn.ModuleList(tasks)
        # workers that share gradients wait for one of every parameter that asks for it
        encoder.aggregator.requires_grad_(False)

    def forward(self, x: torch.Tensor, generator: torch.Generator) -> Loss:
        found = [self._of(i, x, generator) for i in range(len(self.tasks))]
        names = found[0][1].keys()
        metrics = {name: torch.stack([terms[name] for _, terms in found]).mean() for name in names}
        return torch.stack([loss for loss, _ in found]).mean(), metrics

    def _of(self, i: int, x: torch.Tensor, generator: torch.Generator) -> Loss:
        """Of one sensor, in the windows that have all of its channels; in a batch without one, zeros teach nothing."""
        signal = self.encoder.signal(self.encoder.there[i], x)
        whole = signal[..., 0].isfinite().all(dim=1)
        if bool(whole.any()):
            return self.tasks[i](signal[whole], generator)  # type: ignore[no-any-return]
        loss, metrics = self.tasks[i](torch.zeros_like(signal), generator)
        return 0 * loss, {name: 0 * value for name, value in metrics.items()}


class Decoder(nn.Module):
    """(B, C, N, D) -> (B, C, N, n_out). Thrown away after pre-training."""

    def __init__(self, dim: int, n_out: int, ctx: SignalContext, mix: int, by_modality: bool) -> None:
        super().__init__()
        heads = next(n for n in (4, 2, 1) if dim % n == 0)
        self.mix = nn.ModuleList(Block(dim, heads, 2 * dim, dropout=0.0) for _ in range(mix))
        self.places = nn.Parameter(0.02 * torch.randn(ctx.n_chans, 1, dim)) if mix else None
        names = sorted(set(ctx.modalities)) if by_modality else ["all"]
        self.outputs = nn.ModuleList(_hidden_layer(dim, n_out) for _ in names)
        self.channels = [
            [c for c in range(ctx.n_chans) if not by_modality or ctx.modalities[c] == name] for name in names
        ]

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        if self.places is not None:
            tokens = self._across_channels(tokens + self.places)
        if len(self.outputs) == 1:
            return self.outputs[0](tokens)  # type: ignore[no-any-return]
        parts = [output(tokens[:, c]) for output, c in zip(self.outputs, self.channels, strict=True)]
        order = torch.tensor([c for channels in self.channels for c in channels], device=tokens.device)
        return torch.cat(parts, dim=1)[:, order.argsort()]

    def _across_channels(self, tokens: torch.Tensor) -> torch.Tensor:
        """Attention among the channels of a moment: what another modality shows at the same time."""
        n_batch, n_chans, n_tokens, dim = tokens.shape
        rows = tokens.transpose(1, 2).reshape(n_batch * n_tokens, n_chans, dim)  # (B, C, N, D) -> (B*N, C, D)
        for block in self.mix:
            rows = block(rows)
        return rows.view(n_batch, n_tokens, n_chans, dim).transpose(1, 2)


class Asker(nn.Module):
    """What stands at places that the encoder did not read, asked of the tokens that it did: (B, C, A, n_out).

    `ROUNDS` layers of attention from places to tokens, then a hidden layer. The first question is the same everywhere,
    turned by its place; the next is what the answer leaves open. Keys and values are those of all rounds.
    """

    ROUNDS, HEADS = 3, 4

    def __init__(self, dim: int, n_out: int, ctx: SignalContext, by_modality: bool) -> None:
        super().__init__()
        self.head_dim = 2 * -(-dim // (2 * self.HEADS))
        width = self.HEADS * self.head_dim
        # of size one: at 0.02 all places look at all tokens alike, and learning where to look takes longer
        self.question = nn.Parameter(torch.randn(1, 1, dim))
        self.read = nn.Linear(dim, 2 * width)
        self.asks = nn.ModuleList(nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, width)) for _ in range(self.ROUNDS))
        self.outs = nn.ModuleList(nn.Linear(width, dim) for _ in range(self.ROUNDS))
        self.norm = nn.LayerNorm(dim)
        self.decoder = Decoder(dim, n_out, ctx, mix=0, by_modality=by_modality)

    def forward(self, tokens: torch.Tensor, shown: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
        """Tokens (B, C, V, D) of the places `shown`."""
        pairs = self.read(tokens.flatten(0, 1)).unflatten(-1, (2, self.HEADS, -1))
        keys, values = pairs.permute(2, 0, 3, 1, 4)  # (R, V, 2, H, D/H) -> 2 x (R, H, V, D/H)
        keys = rotate(keys, *rotations(shown.flatten(0, 1), self.head_dim))
        turns, answers = rotations(asked.flatten(0, 1), self.head_dim), self.question  # (1, 1, D), then (R, A, D)
        for ask, out in zip(self.asks, self.outs, strict=True):
            questions = rotate(ask(answers).unflatten(-1, (self.HEADS, -1)).transpose(1, 2), *turns)  # (R, H, A, D/H)
            answers = answers + out(F.scaled_dot_product_attention(questions, keys, values).transpose(1, 2).flatten(2))
        return self.decoder(self.norm(answers).view(*asked.shape, -1))  # type: ignore[no-any-return]


def _hidden_layer(dim: int, n_out: int) -> nn.Module:
    return nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, n_out))
