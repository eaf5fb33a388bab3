"""Networks of braindecode as encoders: what they make of a window before their head, as tokens."""

import importlib
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from citrus_ray.context import SignalContext
from citrus_ray.models.electrodes import electrode, place_of
from citrus_ray.models.nets.encoder import Encoder, hide_samples

HEAD_RADIUS = 0.095  # m, of the places that a network is told
Features = Callable[[Any, torch.Tensor, list[str]], torch.Tensor]  # -> (B, n, D)


class BraindecodeEncoder(Encoder):
    """(B, C, T) -> (B, 1, N, D). The network is cut off before its head, and where it has another
    number of steps than the window has patches, its features are brought to that by lines."""

    mixes_channels = True
    names_within = "net."  # files of weights call the network's tensors without it
    heads_of_files = ("final_layer", "fc", "transformer.decoder")  # in files, of no use here

    def __init__(
        self, ctx: SignalContext, *, name: str, kwargs: dict[str, Any], patch: int
    ) -> None:
        super().__init__()
        self.name, self.patch = name, patch
        self.n_times = ctx.n_times // patch * patch
        self.chans = [electrode(one) or one for one in ctx.names]
        net = _made(name, kwargs, ctx, self.chans, self.n_times)
        self.old_names: dict[str, str] = dict(getattr(net, "mapping", None) or {})
        self.net = _beheaded(net)
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            found = self.eval()._features(torch.zeros(1, ctx.n_chans, self.n_times))
        self.train()
        self.dim = found.shape[-1]

    def forward(self, x: torch.Tensor, hidden: torch.Tensor | None = None) -> torch.Tensor:
        if hidden is not None:
            x = hide_samples(x, hidden, self.patch)
        n_tokens = self.n_tokens(x.shape[-1])
        found = self._features(x[..., : n_tokens * self.patch])
        return _in_steps(found, n_tokens)[:, None]

    def _features(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, T) -> (B, n, D)."""
        return FEATURES[self.name](self.net, x, self.chans)

    def depths(self) -> list[nn.Module]:
        direct = nn.ParameterList(self.net.parameters(recurse=False))
        parts = (part for part in self.net.children() if next(part.parameters(), None) is not None)
        return [*([direct] if len(direct) else []), *parts]


def tried(encoder: Encoder, ctx: SignalContext) -> None:
    """Raise a ValueError where such a window cannot go through."""
    try:
        with torch.no_grad():
            encoder.eval()(torch.zeros(1, ctx.n_chans, ctx.n_times))
    except (RuntimeError, ValueError, IndexError) as err:
        raise ValueError(f"{_first(err)}; windows are {ctx.n_chans} x {ctx.n_times}") from None


def _in_steps(found: torch.Tensor, n_tokens: int) -> torch.Tensor:
    """(B, n, D) -> (B, N, D)."""
    if found.shape[1] == n_tokens:
        return found
    rows = found.transpose(1, 2)
    if found.shape[1] > n_tokens:
        return F.adaptive_avg_pool1d(rows, n_tokens).transpose(1, 2)
    return F.interpolate(rows, size=n_tokens, mode="linear").transpose(1, 2)


def _made(
    name: str, kwargs: dict[str, Any], ctx: SignalContext, chans: list[str], n_times: int
) -> nn.Module:
    """The network, in words of ours where it cannot be."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            models = importlib.import_module("braindecode.models")
    except (ImportError, OSError) as err:  # torchaudio of another build raises the latter
        rule = f"braindecode cannot be imported ({_first(err)})"
        way = "pip install 'citrus_ray[braindecode]', with the torchaudio of your torch"
        raise ValueError(f"{name}: {rule}; {way}") from None
    facts: dict[str, Any] = {"n_chans": ctx.n_chans, "n_times": n_times, "sfreq": ctx.sfreq}
    facts |= {"n_outputs": 2, "chs_info": _channels(chans)}
    if not chans:
        facts.pop("chs_info")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            net: nn.Module = getattr(models, name)(**facts | kwargs)
    except Exception as err:  # of other code, whichever it is
        where = f"windows of {ctx.n_chans} x {n_times} at {ctx.sfreq:g} Hz"
        raise ValueError(f"{name}: cannot be built for {where}: {_first(err)}") from None
    return net


def _channels(chans: list[str]) -> list[dict[str, Any]]:
    """Names and places on the head, as MNE has them."""
    found = []
    for chan in chans:
        place = place_of(chan)
        loc = [HEAD_RADIUS * one for one in place] if place else [float("nan")] * 3
        found.append({"ch_name": chan, "kind": "eeg", "loc": loc + [float("nan")] * 9})
    return found


def _first(err: BaseException) -> str:
    return (str(err).splitlines() or [type(err).__name__])[0]


def _beheaded(net: Any) -> nn.Module:
    """Without what only its own head or pre-training uses."""
    for name in ("final_layer", "fc"):
        if hasattr(net, name):
            setattr(net, name, nn.Identity())
    if isinstance(getattr(net, "transformer", None), nn.Transformer):
        net.transformer.decoder = nn.Identity()
    assert isinstance(net, nn.Module)
    return net


# ---- what each network makes of a window before its head ----


def _map(net: Any, x: torch.Tensor, chans: list[str]) -> torch.Tensor:
    """Of a convolutional network: its last map, (B, D, n, 1) or (B, D, 1, n)."""
    found: torch.Tensor = net(x)
    return found.flatten(2).transpose(1, 2)


def _conformer(net: Any, x: torch.Tensor, chans: list[str]) -> torch.Tensor:
    found: torch.Tensor = net.transformer(net.patch_embedding(x[:, None]))
    return found


def _atcnet(net: Any, x: torch.Tensor, chans: list[str]) -> torch.Tensor:
    """The last step of each of its sliding windows."""
    steps = net.conv_block(net.dimshuffle(net.ensuredims(x))).flatten(2)  # (B, D, n)
    windows = zip(net.attention_blocks, net.temporal_conv_nets, strict=True)
    found = [
        tcn(attention(steps[..., i : i + net.Tw]))[..., -1]
        for i, (attention, tcn) in enumerate(windows)
    ]
    return torch.stack(found, dim=1)


def _biot(net: Any, x: torch.Tensor, chans: list[str]) -> torch.Tensor:
    """Its tokens before they are averaged: of each channel in turn."""
    kept: list[torch.Tensor] = []
    handle = net.encoder.transformer.register_forward_hook(lambda *of: kept.append(of[-1]))
    try:
        net.encoder(x)
    finally:
        handle.remove()
    return _mean_of_channels(kept[0], x.shape[1])


def _labram(net: Any, x: torch.Tensor, chans: list[str]) -> torch.Tensor:
    found: torch.Tensor = net(x, ch_names=chans or None, return_features=True)["features"]
    return _mean_of_channels(found, x.shape[1])


def _of_channels(net: Any, x: torch.Tensor, chans: list[str]) -> torch.Tensor:
    """Tokens of each channel, (B, C, n, D) or in turn."""
    found: torch.Tensor = net(x, return_features=True)["features"]
    return found.mean(dim=1) if found.ndim == 4 else _mean_of_channels(found, x.shape[1])


def _mean_of_channels(tokens: torch.Tensor, n_chans: int) -> torch.Tensor:
    """(B, C*n, D), those of a channel after each other, -> (B, n, D)."""
    return tokens.view(len(tokens), n_chans, -1, tokens.shape[-1]).mean(dim=1)


def _of_all(net: Any, x: torch.Tensor, chans: list[str]) -> torch.Tensor:
    found: torch.Tensor = net(x, return_features=True)["features"]
    return found


FEATURES: dict[str, Features] = {
    "EEGNet": _map,
    "ShallowFBCSPNet": _map,
    "Deep4Net": _map,
    "EEGConformer": _conformer,
    "ATCNet": _atcnet,
    "BIOT": _biot,
    "Labram": _labram,
    "CBraMod": _of_channels,
    "EEGPT": _of_all,
    "REVE": _of_channels,
    "SignalJEPA": _of_channels,
}
