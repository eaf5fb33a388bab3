"""CroSSL: an encoder for each sensor, and an aggregator that makes one embedding of whatever
sensors there are.

Sensors (`sensors.py`) may have their own rates and lengths. What is absent comes in as NaN and
is no part of the embedding.
"""

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional as F

from citrus_ray.context import SignalContext
from citrus_ray.models.nets.blocks import Block
from citrus_ray.models.nets.encoder import Encoder
from citrus_ray.models.sensors import Sensor


class CrossmodalEncoder(Encoder):
    mixes_channels = True
    multimodal = True

    def __init__(
        self,
        ctx: SignalContext,
        *,
        sensors: Sequence[Sensor],
        make: Callable[[SignalContext], Encoder],
        dim: int,
        patch: int,
        aggregator: str,
        layers: int,
        heads: int,
    ) -> None:
        """`make` builds the encoder of one sensor from the facts of its signals."""
        super().__init__()
        self.dim, self.patch = dim, patch
        self.sensors, self.in_streams = tuple(sensors), bool(ctx.streams)
        self.encoders = nn.ModuleDict({sensor.name: make(sensor.ctx) for sensor in sensors})
        names = [sensor.name for sensor in sensors]
        is_mlp = aggregator == "mlp"
        self.aggregator = Mlp(names, dim) if is_mlp else Attention(names, dim, layers, heads)

    def n_rows(self, n_chans: int) -> int:
        return len(self.sensors)

    @property
    def there(self) -> list[Sensor]:
        """The sensors that the signals have, some windows of them at least."""
        return [sensor for sensor in self.sensors if sensor.rows]

    def of(self, sensor: Sensor) -> Encoder:
        found = self.encoders[sensor.name]
        assert isinstance(found, Encoder)
        return found

    def latent(
        self, x: torch.Tensor, hidden: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, C, T) -> (B, M, N, D), zeros where a sensor is absent, and (B, M) bool, True = there.

        Tokens of the sensors that have more of them are averaged to the fewest.
        """
        parts = [self._read(sensor, x, hidden) for sensor in self.sensors]
        n_tokens = min(tokens.shape[1] for tokens, there in parts if tokens.shape[1])
        latent = torch.stack([_shortened(tokens, n_tokens) for tokens, _ in parts], dim=1)
        present = torch.stack([there for _, there in parts], dim=1)
        return latent * present[..., None, None], present

    def _read(
        self, sensor: Sensor, x: torch.Tensor, hidden: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, N, D) of one sensor, the mean over those of its channels that are there, and (B,)
        whether any is."""
        if not sensor.rows:
            return x.new_zeros(len(x), 0, self.dim), torch.zeros(
                len(x), dtype=torch.bool, device=x.device
            )
        signal = self.signal(sensor, x)
        there = signal[..., 0].isfinite()  # (B, C)
        behind = None if hidden is None else hidden[:, list(sensor.rows)]
        tokens = self.of(sensor)(signal.nan_to_num(), behind)  # (B, C, N, D), or (B, 1, N, D)
        weight = there if tokens.shape[1] == there.shape[1] else there.any(dim=1, keepdim=True)
        share = weight / weight.sum(dim=1, keepdim=True).clamp(min=1)
        return (tokens * share[..., None, None]).sum(dim=1), there.any(dim=1)

    def signal(self, sensor: Sensor, x: torch.Tensor) -> torch.Tensor:
        """(B, C, T) of one sensor at its own length; NaN where a channel is absent."""
        own = x[:, list(sensor.rows)]
        return own[..., : sensor.ctx.n_times] if self.in_streams else own

    def aggregate(self, latent: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """(B, M, D), (B, M) -> (B, D): one embedding of the sensors that are seen."""
        return self.aggregator(latent, seen)  # type: ignore[no-any-return]

    def forward(self, x: torch.Tensor, hidden: torch.Tensor | None = None) -> torch.Tensor:
        latent, present = self.latent(x, hidden)
        n_tokens = latent.shape[2]
        steps = latent.transpose(1, 2).flatten(0, 1)  # (B, M, N, D) -> (B*N, M, D)
        tokens = self.aggregate(steps, present.repeat_interleave(n_tokens, dim=0))
        return tokens.view(len(x), 1, n_tokens, self.dim)

    def summary(self, x: torch.Tensor) -> torch.Tensor:
        latent, present = self.latent(x)
        return self.aggregate(latent.mean(dim=2), present)[:, None]

    def rows(self, x: torch.Tensor) -> torch.Tensor:
        return self.latent(x)[0].mean(dim=2)

    def depths(self) -> list[nn.Module]:
        of_each = [self.of(sensor).depths() for sensor in self.sensors]
        return [*(nn.ModuleList(layer) for layer in zip(*of_each, strict=True)), self.aggregator]


class Mlp(nn.Module):
    """All embeddings side by side, zeros for what is not seen, as in the released code."""

    def __init__(self, names: list[str], dim: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(len(names) * dim, 2 * dim),
            nn.ReLU(),
            nn.Linear(2 * dim, dim),
            nn.ReLU(),
            nn.Linear(dim, dim),
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, latent: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        return self.norm(self.layers((latent * seen[..., None]).flatten(1)))  # type: ignore[no-any-return]


class Attention(nn.Module):
    """A token of its own reads the embeddings that are seen: any number of them, in any order."""

    def __init__(self, names: list[str], dim: int, layers: int, heads: int) -> None:
        super().__init__()
        self.names = names
        self.reader = nn.Parameter(0.02 * torch.randn(dim))
        self.kinds = nn.ParameterDict(
            {name: nn.Parameter(0.02 * torch.randn(dim)) for name in names}
        )
        self.blocks = nn.ModuleList(Block(dim, heads, 2 * dim, dropout=0.0) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)

    def forward(self, latent: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        kinds = torch.stack([self.kinds[name] for name in self.names])
        reader = self.reader.expand(len(latent), 1, -1)
        tokens = torch.cat([reader, latent + kinds], dim=1)  # (B, 1 + M, D)
        reach = F.pad(seen, (1, 0), value=True)
        for block in self.blocks:
            tokens = block(tokens, None, reach)
        return self.norm(tokens[:, 0])  # type: ignore[no-any-return]


def _shortened(tokens: torch.Tensor, n_tokens: int) -> torch.Tensor:
    """(B, N, D) -> (B, n_tokens, D)."""
    if not tokens.shape[1]:
        return tokens.new_zeros(len(tokens), n_tokens, tokens.shape[2])
    return F.adaptive_avg_pool1d(tokens.transpose(1, 2), n_tokens).transpose(1, 2)
