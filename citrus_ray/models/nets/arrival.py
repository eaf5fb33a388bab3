"""Weights from outside put into an encoder, and the proof that they arrived."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from citrus_ray.context import SignalContext
from citrus_ray.models.nets.encoder import Encoder
from citrus_ray.models.weights import PLAIN, STORE, Checkpoint
from citrus_ray.spec import locate, refuse

Named = dict[str, torch.Tensor]
LISTED = 30  # misfits that an error names


@dataclass(frozen=True)
class Arrival:
    """What of stored weights is in an encoder now."""

    file: str
    content: str  # first digits of the SHA-256 of what was read
    matched: int  # tensors of the encoder that came from the file
    of: int  # tensors that the encoder has
    share: float  # of its numbers
    moved: float  # distance of its output from that of first weights, beside the size of the latter
    not_loaded: dict[str, str]  # tensors that start by lot, and why
    not_used: dict[str, str]  # entries of the file that went nowhere, and why

    def tree(self) -> dict[str, Any]:
        """Plain values, with as many names as a record has room for."""
        names = ("not_loaded", "not_used")
        counts = {f"n_{name}": len(getattr(self, name)) for name in names}
        few = {name: dict(list(getattr(self, name).items())[:LISTED]) for name in names}
        return asdict(self) | counts | few


def fill(encoder: Encoder, checkpoint: Checkpoint, ctx: SignalContext) -> None:
    """Put stored weights into an encoder that has first ones, all or what the spec names of them;
    `encoder.arrival` says how it went."""
    own, given = encoder.state_dict(), _named(checkpoint, encoder)
    heads = tuple(f"{encoder.names_within}{name}" for name in encoder.heads_of_files)
    misfits = why_not(own, given)
    wrong = {
        name: reason
        for name, reason in misfits.items()
        if (name in own and checkpoint.must_arrive(name))
        or (name not in own and not checkpoint.is_left(name) and not _of_head(name, heads))
    }
    if wrong:
        raise refuse(_said(checkpoint, own, given, wrong), "file")
    arriving = {
        name: value
        for name, value in given.items()
        if name in own and name not in misfits and checkpoint.must_arrive(name)
    }
    if not arriving:
        rule = f"part={', '.join(checkpoint.part)}: names nothing of the encoder"
        raise refuse(f"{rule}, which begins {', '.join(_beginnings(own))}", "part")
    before = _output(encoder, ctx)
    encoder.load_state_dict(arriving, strict=False)
    after = _output(encoder, ctx)
    moved = float((after - before).norm() / before.norm().clamp(min=1e-12))
    if not moved > 1e-6:
        rule = "the encoder's output is what its first weights gave, so nothing of use arrived"
        raise refuse(f"file={checkpoint.file}: {rule}; look at `rename` and `part`", "file")
    lot = "starts by lot: `part` does not name it"
    encoder.arrival = Arrival(
        file=checkpoint.file,
        content=checkpoint.content,
        matched=len(arriving),
        of=len(own),
        share=sum(own[name].numel() for name in arriving) / sum(t.numel() for t in own.values()),
        moved=moved,
        not_loaded={name: lot for name in own if name not in arriving},
        not_used={name: _not_used(checkpoint, name) for name in given if name not in arriving},
    )


def arrivals(module: nn.Module) -> dict[str, dict[str, Any]]:
    """What arrived from files in a module's encoders, by their names in it."""
    parts = ((name, part) for name, part in module.named_modules() if isinstance(part, Encoder))
    return {name: part.arrival.tree() for name, part in parts if part.arrival is not None}


def why_not(own: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """A reason for every name that the two do not share in name and shape."""
    found = dict.fromkeys(own.keys() - given.keys(), "not in the stored weights")
    found |= dict.fromkeys(given.keys() - own.keys(), "in the stored weights alone")
    for name in own.keys() & given.keys():
        if own[name].shape != given[name].shape:
            there, here = tuple(given[name].shape), tuple(own[name].shape)
            found[name] = f"stored as {there}, the model has {here}"
    return dict(sorted(found.items()))


def _of_head(name: str, heads: tuple[str, ...]) -> bool:
    return any(name == head or name.startswith(f"{head}.") for head in heads)


def _not_used(checkpoint: Checkpoint, name: str) -> str:
    if checkpoint.is_left(name):
        return "left, as `leave` says"
    return "`part` does not name it" if checkpoint.part else "of a head that the encoder has not"


def _said(checkpoint: Checkpoint, own: Named, given: Named, wrong: dict[str, str]) -> str:
    n_fit = len(own.keys() & given.keys()) - sum("stored as" in why for why in wrong.values())
    listed = [f"  {name}: {why}" for name, why in list(wrong.items())[:LISTED]]
    more = [f"  and {len(wrong) - LISTED} more"] if len(wrong) > LISTED else []
    rule = f"{n_fit} of {len(own)} tensors of the encoder arrive, and all must"
    way = "`rename` maps names, `part` says what must arrive, `leave` what of the file is not used"
    return "\n".join([f"file={checkpoint.file}: {rule}; {way}:", *listed, *more])


def _beginnings(own: Named) -> list[str]:
    return sorted({name.partition(".")[0] for name in own})


@torch.no_grad()
def _output(encoder: Encoder, ctx: SignalContext) -> torch.Tensor:
    """Tokens of two windows of noise, always the same."""
    shape = ctx.together if encoder.multimodal else (ctx.n_chans, ctx.n_times)
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    training = encoder.training
    found = encoder.eval()(x)
    encoder.train(training)
    return found


def _named(checkpoint: Checkpoint, encoder: Encoder) -> Named:
    """The stored weights by the encoder's names."""
    found, came_from = Named(), dict[str, str]()
    own = encoder.state_dict()
    for name, value in _read(checkpoint).items():
        new = checkpoint.renamed(name)
        new = encoder.old_names.get(new, new)
        new = new if new in own else f"{encoder.names_within}{new}"
        if new in found:
            rule = f"{came_from[new]} and {name} would both become {new}"
            raise refuse(f"rename: {rule}; map them apart", "rename")
        found[new], came_from[new] = value, name
    return found


def _read(checkpoint: Checkpoint) -> Named:
    if checkpoint.file.startswith(STORE):
        from safetensors.torch import load

        storage, digest, meta = checkpoint.stored()
        read = locate("citrus_ray.store.entries:read_weights")
        return dict(load(read(storage, digest, meta)))
    path = checkpoint.path()
    if path.suffix in PLAIN:
        from safetensors.torch import load_file

        try:
            return dict(load_file(path))
        except Exception as err:  # of safetensors, which has one class for all
            rule = f"is not a file of safetensors ({err})"
            raise refuse(f"file={checkpoint.file}: {rule}", "file") from None
    try:
        # weights alone: a pickle that holds code is refused, not run
        kept = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as err:  # of pickle, zip and torch, each its own
        first = (str(err).splitlines() or [type(err).__name__])[0]
        rule = f"holds more than weights, or is no such file ({first})"
        way = "torch.save(model.state_dict(), FILE) writes one, safetensors a better one"
        raise refuse(f"file={checkpoint.file}: {rule}; {way}", "file") from None
    return _inside(kept, checkpoint)


def _inside(kept: Any, checkpoint: Checkpoint) -> Named:
    """The one dictionary of tensors in what a file keeps, or the one that is named."""
    places = dict(_places(kept))
    if checkpoint.inside and checkpoint.inside not in places:
        there = ", ".join(place or "the file itself" for place in places) or "none"
        rule = f"inside={checkpoint.inside}: no weights are there"
        raise refuse(f"{rule}; found in {there}", "inside")
    if not checkpoint.inside and len(places) != 1 and "" not in places:
        there = ", ".join(places) or "no place"
        rule = f"file={checkpoint.file}: weights are in {there}"
        raise refuse(f"{rule}; name one with `inside`", "inside")
    found = (
        places[checkpoint.inside] if checkpoint.inside in places else next(iter(places.values()))
    )
    return {str(name): value for name, value in found.items() if isinstance(value, torch.Tensor)}


def _places(kept: Any, at: str = "", depth: int = 0) -> list[tuple[str, Mapping[Any, Any]]]:
    """Dictionaries that hold tensors, outermost first, three levels down; an optimiser's are
    none."""
    if not isinstance(kept, Mapping) or depth > 3:
        return []
    named = [name for name, value in kept.items() if isinstance(value, torch.Tensor)]
    if named and all(isinstance(name, str) for name in named):
        return [(at, kept)]
    below = ((str(name), value) for name, value in kept.items() if isinstance(name, str))
    return [
        found
        for name, value in below
        if name != "optimizer"
        for found in _places(value, f"{at}.{name}".lstrip("."), depth + 1)
    ]
