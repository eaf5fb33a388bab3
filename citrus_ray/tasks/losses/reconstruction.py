"""What tasks share that hide patches and predict something of them: masks, decoder, loss over
hidden entries."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from citrus_ray.context import SignalContext
from citrus_ray.models.electrodes import distances
from citrus_ray.models.nets.attention import (
    cross_attention,
    place_turns,
    side_by_side,
    turned,
)
from citrus_ray.models.nets.blocks import Block, apply_rope, in_pairs, rope_turns
from citrus_ray.models.nets.crossmodal import CrossmodalEncoder
from citrus_ray.models.nets.encoder import Encoder
from citrus_ray.tasks.losses.masking import (
    hide_modalities,
    n_hidden,
    neighbourhoods,
    over_hidden,
    places,
    span_mask,
)
from citrus_ray.tasks.losses.references import Hidden, Predictors
from citrus_ray.tasks.losses.task import Loss, References, Task

LOSSES = {"mse": F.mse_loss, "l1": F.l1_loss, "huber": F.smooth_l1_loss}


class ReconstructionTask(Task):
    """Predicts `n_out` numbers of every patch, or of those that it asks for."""

    # predictors that this can be compared with; samples have no mean spectrum: phases cancel
    simple: tuple[str, ...] = ("constant", "linear")
    # whether it predicts something of every channel, also where the encoder has one token for all
    of_channels = True
    apart: torch.Tensor

    def __init__(
        self,
        ctx: SignalContext,
        encoder: Encoder,
        n_out: int,
        *,
        ratio: float,
        span: int,
        loss: str,
        drop_modality: float,
        mix: int,
        by_modality: bool,
        encode: str,
        neighbours: int,
        bottleneck: bool,
        width: int | None = None,
    ) -> None:
        """`width` is that of the decoder's hidden layer, the encoder's where it is not said."""
        super().__init__()
        self.ctx, self.encoder = ctx, encoder
        self.neighbours = min(neighbours, ctx.n_chans)
        if self.neighbours > 1:
            apart = torch.tensor(distances(ctx.names, ctx.n_chans))
            self.register_buffer("apart", apart, persistent=False)  # (C, C)
        self.reads_all, self.ratio, self.span = encode == "all", ratio, span
        self.drop_modality, self.loss = drop_modality, LOSSES[loss]
        self.metric = f"hidden_{loss}"
        if not self.reads_all:
            encoder.without_mask()
        if self.of_channels and encoder.mixes_channels:
            last: Callable[..., Decoder | JointDecoder]
            last = partial(JointDecoder, encoder.dim, n_out, ctx.n_chans, width)
        else:
            last = partial(Decoder, encoder.dim, n_out, ctx, by_modality=by_modality, width=width)
        self.decoder: Decoder | JointDecoder | QueryDecoder | SummaryDecoder
        if bottleneck:
            self.decoder = SummaryDecoder(encoder.dim, last(mix=mix))
        elif self.reads_all:
            self.decoder = last(mix=mix)
        else:
            self.decoder = QueryDecoder(encoder.dim, last)

    def hidden(self, shape: tuple[int, int, int], generator: torch.Generator) -> torch.Tensor:
        """(B, C, N) bool, True = hidden."""
        if self.ratio == 0:
            hidden = torch.zeros(shape, dtype=torch.bool, device=generator.device)
        elif self.encoder.mixes_channels:  # a token of all is hidden in all
            hidden = span_mask((shape[0], 1, shape[2]), self.ratio, self.span, generator)
            hidden = hidden.expand(shape)
        elif self.neighbours == 1:
            hidden = span_mask(shape, self.ratio, self.span, generator)
        else:
            hidden = self._hidden_together(shape, generator)
        if not self.drop_modality:
            return hidden
        return hide_modalities(hidden, self.ctx.modalities, self.drop_modality, generator)

    def _hidden_together(
        self, shape: tuple[int, int, int], generator: torch.Generator
    ) -> torch.Tensor:
        """The same runs in neighbours, so that none can be copied from another."""
        n_batch, n_chans, n_tokens = shape
        group = neighbourhoods(self.apart, self.neighbours, n_batch, generator)  # (B, C)
        n_groups = -(-(n_chans - 1) // self.neighbours) + 1
        runs = span_mask((n_batch, n_groups, n_tokens), self.ratio, self.span, generator)
        return runs.gather(1, group[..., None].expand(shape))

    def shown(self, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Where every row's visible and hidden patches are: (B, C, V), (B, C, N - V)."""
        n_tokens = hidden.shape[-1]
        return places(hidden, n_tokens - n_hidden(n_tokens, self.ratio) if self.ratio else n_tokens)

    def n_asked(
        self, shape: tuple[int, int, int], generator: torch.Generator
    ) -> torch.Tensor | None:
        if not self.drop_modality:
            return None
        n_batch, n_chans, n_times = shape
        n_tokens = self.encoder.n_tokens(n_times)
        return self.hidden((n_batch, n_chans, n_tokens), generator).sum(dim=(1, 2))

    @abstractmethod
    def question(self, x: torch.Tensor, generator: torch.Generator) -> Hidden:
        """What `forward` would hide of such a batch, by the same draws, and what is left to see."""

    def references(
        self, x: torch.Tensor, generator: torch.Generator, *_: torch.Tensor
    ) -> References:
        names = sorted(set(self.ctx.modalities))
        kinds = torch.tensor([names.index(name) for name in self.ctx.modalities], device=x.device)
        predictors = Predictors(self.question(x, generator), kinds)

        def losses(x: torch.Tensor, generator: torch.Generator) -> dict[str, torch.Tensor]:
            batch = self.question(x, generator)
            found, target = predictors(batch), batch.target[batch.wanted]
            return {name: self.loss(found[name][batch.wanted], target) for name in self.simple}

        return losses

    def compared(
        self, predicted: torch.Tensor, target: torch.Tensor, hidden: torch.Tensor | None = None
    ) -> Loss:
        """What is hidden, as it was predicted and as it is; all that is given, where it is not said
        which of it is."""
        if hidden is None:
            loss = self.loss(predicted, target)
        else:
            loss = over_hidden(self.loss, predicted, target, hidden)
        return loss, {self.metric: loss.detach()}


class EachSensor(Task):
    """Every sensor's encoder learns from its own signal alone; what brings sensors together
    learns nothing."""

    encoder: CrossmodalEncoder

    def __init__(self, tasks: Sequence[ReconstructionTask], encoder: CrossmodalEncoder) -> None:
        super().__init__()
        self.encoder, self.tasks = encoder, nn.ModuleList(tasks)
        self.target_moves = any(task.target_moves for task in tasks)
        # workers that share gradients wait for one of every parameter that asks for it
        encoder.aggregator.requires_grad_(False)

    def forward(self, x: torch.Tensor, generator: torch.Generator) -> Loss:
        found = []
        for i, task in enumerate(self.tasks):
            signal, counts = self._signal(i, x)
            loss, terms = task(signal, generator)
            found.append({"loss": loss} | terms)
            if not counts:
                found[-1] = {name: 0 * value for name, value in found[-1].items()}
        means = _means(found)
        return means.pop("loss"), means

    def references(
        self, x: torch.Tensor, generator: torch.Generator, *_: torch.Tensor
    ) -> References:
        """Those of every sensor, averaged as their losses are."""
        asked = list[References]()
        for i, task in enumerate(self.tasks):
            assert isinstance(task, ReconstructionTask)
            asked.append(task.references(self._signal(i, x)[0], generator))

        def losses(x: torch.Tensor, generator: torch.Generator) -> dict[str, torch.Tensor]:
            found = []
            for i, of_sensor in enumerate(asked):
                signal, counts = self._signal(i, x)
                lost = of_sensor(signal, generator)
                found.append({name: value * counts for name, value in lost.items()})
            return _means(found)

        return losses

    def complaint(self, metrics: dict[str, float]) -> str | None:
        """Of the first sensor that has one; metrics are means over all."""
        said = (task.complaint(metrics) for task in self.tasks if isinstance(task, Task))
        return next((one for one in said if one), None)

    def _signal(self, i: int, x: torch.Tensor) -> tuple[torch.Tensor, bool]:
        """One sensor's windows, of those that have all of its channels; of a batch without one
        zeros, which do not count."""
        signal = self.encoder.signal(self.encoder.there[i], x)
        whole = signal[..., 0].isfinite().all(dim=1)
        return (signal[whole], True) if bool(whole.any()) else (torch.zeros_like(signal), False)


def _means(found: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {name: torch.stack([of[name] for of in found]).mean() for name in found[0]}


class Decoder(nn.Module):
    """(B, C, N, D) -> (B, C, N, n_out). Thrown away after pre-training."""

    def __init__(
        self,
        dim: int,
        n_out: int,
        ctx: SignalContext,
        mix: int,
        by_modality: bool,
        width: int | None = None,
    ) -> None:
        super().__init__()
        heads = next(n for n in (4, 2, 1) if dim % n == 0)
        self.mix = nn.ModuleList(Block(dim, heads, 2 * dim, dropout=0.0) for _ in range(mix))
        self.places = nn.Parameter(0.02 * torch.randn(ctx.n_chans, 1, dim)) if mix else None
        names = sorted(set(ctx.modalities)) if by_modality else ["all"]
        self.outputs = nn.ModuleList(_hidden_layer(dim, width or dim, n_out) for _ in names)
        self.channels = [
            [c for c in range(ctx.n_chans) if not by_modality or ctx.modalities[c] == name]
            for name in names
        ]

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        if self.places is not None:
            tokens = self._across_channels(tokens + self.places)
        if len(self.outputs) == 1:
            return self.outputs[0](tokens)  # type: ignore[no-any-return]
        parts = [
            output(tokens[:, c]) for output, c in zip(self.outputs, self.channels, strict=True)
        ]
        order = torch.tensor(
            [c for channels in self.channels for c in channels], device=tokens.device
        )
        return torch.cat(parts, dim=1)[:, order.argsort()]

    def _across_channels(self, tokens: torch.Tensor) -> torch.Tensor:
        """Attention among the channels of a moment: what another modality shows at the same
        time."""
        n_batch, n_chans, n_tokens, dim = tokens.shape
        rows = tokens.transpose(1, 2).reshape(
            n_batch * n_tokens, n_chans, dim
        )  # (B, C, N, D) -> (B*N, C, D)
        for block in self.mix:
            rows = block(rows)
        return rows.view(n_batch, n_tokens, n_chans, dim).transpose(1, 2)


class JointDecoder(nn.Module):
    """(B, 1, N, D) -> (B, C, N, n_out): every channel from the token of all."""

    def __init__(
        self, dim: int, n_out: int, n_chans: int, width: int | None = None, mix: int = 0
    ) -> None:
        super().__init__()
        assert not mix, "there is one row of tokens, and nothing to look across"
        self.n_chans = n_chans
        self.outputs = _hidden_layer(dim, width or dim, n_chans * n_out)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        found = self.outputs(tokens[:, 0])  # (B, N, C * n_out)
        return found.unflatten(-1, (self.n_chans, -1)).transpose(1, 2)  # type: ignore[no-any-return]


class QueryDecoder(nn.Module):
    """What stands at places that the encoder did not read, asked of the tokens that it did: (B, C,
    A, n_out).

    `ROUNDS` layers of attention from places to tokens, then a hidden layer. The first question
    is the same everywhere, turned by its place; the next is what the answer leaves open. Keys
    and values are those of all rounds.
    """

    ROUNDS, HEADS = 3, 4

    def __init__(self, dim: int, last: Callable[..., nn.Module]) -> None:
        """`last` makes the hidden layer, here at the end, since first weights are drawn in turn."""
        super().__init__()
        self.head_dim = 2 * -(-dim // (2 * self.HEADS))
        width = self.HEADS * self.head_dim
        # of size one: at 0.02 all places look at all tokens alike, and learning where to look takes
        # longer
        self.question = nn.Parameter(torch.randn(1, 1, dim))
        self.read = nn.Linear(dim, 2 * width)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(self.ROUNDS))
        self.asks = nn.ModuleList(nn.Linear(dim, width) for _ in range(self.ROUNDS))
        self.outs = nn.ModuleList(nn.Linear(width, dim) for _ in range(self.ROUNDS))
        self.norm = nn.LayerNorm(dim)
        self.decoder = last(mix=0)

    def forward(
        self, tokens: torch.Tensor, shown: torch.Tensor, asked: torch.Tensor
    ) -> torch.Tensor:
        """Tokens (B, C, V, D) of the places `shown`."""
        rows = tokens.flatten(0, 1)  # (R, V, D)
        if side_by_side(tokens, asked.shape[2], shown.shape[2], len(rows)):
            answers = self._by_place(rows, shown.flatten(0, 1), asked.flatten(0, 1))
            return self.decoder(answers.transpose(0, 1).reshape(*asked.shape, -1))  # type: ignore[no-any-return]
        keys, values = self._heads(self.read, rows).chunk(2, dim=2)  # (R, V, H, D/H) each
        keys, values = apply_rope(keys, self._turns(shown)).transpose(1, 2), values.transpose(1, 2)
        turns, answers = self._turns(asked), self.question  # (1, 1, D), then (R, A, D)
        for norm, ask, out in zip(self.norms, self.asks, self.outs, strict=True):
            questions = apply_rope(self._heads(ask, norm(answers)), turns).transpose(
                1, 2
            )  # (R, H, A, D/H)
            answers = answers + out(
                F.scaled_dot_product_attention(questions, keys, values).transpose(1, 2).flatten(2)
            )
        return self.decoder(self.norm(answers).view(*asked.shape, -1))  # type: ignore[no-any-return]

    def _by_place(
        self, tokens: torch.Tensor, shown: torch.Tensor, asked: torch.Tensor
    ) -> torch.Tensor:
        """Answers (A, R, D), from tokens (R, V, D), with the rows of a place side by side."""
        x = tokens.transpose(0, 1)  # (V, R, D)
        read = self._features(self.read, x).view(2, self.HEADS, self.head_dim, *x.shape[:2])
        keys = turned(read[0], place_turns(shown, self.head_dim))
        turns, shape = place_turns(asked, self.head_dim), asked.t().shape  # (A, R)
        answers = self.question.expand(1, 1, -1)  # then (A, R, D)
        for norm, ask, out in zip(self.norms, self.asks, self.outs, strict=True):
            asking = self._features(ask, norm(answers))  # of the first round the same everywhere
            questions = asking.view(self.HEADS, self.head_dim, *answers.shape[:2])
            questions = questions.expand(self.HEADS, self.head_dim, *shape)
            found = cross_attention(turned(questions, turns), keys, read[1])
            found = found.view(-1, shape.numel()).t()  # (A*R, H*D/H)
            answers = answers + out(found).view(*shape, -1)
        return self.norm(answers)  # type: ignore[no-any-return]

    def _features(self, linear: nn.Module, x: torch.Tensor) -> torch.Tensor:
        """(N, R, D) -> (D', N*R)."""
        assert isinstance(linear, nn.Linear)
        return torch.addmm(linear.bias[:, None], linear.weight, x.reshape(-1, x.shape[-1]).t())

    def _turns(self, places: torch.Tensor) -> torch.Tensor:
        """(B, C, N) -> (R, N, 1, D/H / 2)."""
        return rope_turns(places.flatten(0, 1), self.head_dim)[:, :, 0]

    def _heads(self, linear: nn.Module, x: torch.Tensor) -> torch.Tensor:
        """(R, N, D) -> (R, N, H, D/H), or twice the heads, of keys and values. The first H are
        there to be turned."""
        assert isinstance(linear, nn.Linear)
        found = F.linear(x, *in_pairs(linear, self.HEADS * self.head_dim, self.head_dim))
        return found.view(*x.shape[:2], -1, self.head_dim)


class SummaryDecoder(nn.Module):
    """What stands at places, asked of a channel's mean token alone: (B, C, A, n_out).

    What is asked is one token plus the waves of its place. Tokens at other places never reach it,
    so the mean has to hold what is predicted.
    """

    WAVES = 16

    def __init__(self, dim: int, decoder: nn.Module) -> None:
        super().__init__()
        self.place = nn.Linear(2 * self.WAVES, dim)
        self.both = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.GELU())
        self.out = nn.Linear(2 * dim, dim)
        self.decoder = decoder

    def forward(
        self,
        tokens: torch.Tensor,
        shown: torch.Tensor | None = None,
        asked: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Tokens (B, C, N, D) of all places, which are then asked for, or (B, C, V, D) of those
        that are shown."""
        summary = tokens.mean(dim=2, keepdim=True)
        if asked is None:
            asked = torch.arange(tokens.shape[2], device=tokens.device).expand(tokens.shape[:3])
        turns = rope_turns(asked.flatten(0, 1), 2 * self.WAVES).flatten(2)  # (R, A, WAVES)
        waves = torch.cat([turns.real, turns.imag], dim=-1).view(*asked.shape, -1)
        question = summary + self.place(waves)
        return self.decoder(question + self.out(self.both(question)))  # type: ignore[no-any-return]


def _hidden_layer(dim: int, width: int, n_out: int) -> nn.Module:
    return nn.Sequential(nn.Linear(dim, width), nn.GELU(), nn.Linear(width, n_out))
