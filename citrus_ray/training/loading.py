"""Putting stored encoder weights into a model: all of them or none, and a reason for every
parameter that is not."""

from torch import nn

from citrus_ray.models.nets.encoder import Encoder
from citrus_ray.store.checkpoint import CheckpointError, Weights


def load_encoder(model: nn.Module, encoder: Encoder, weights: Weights) -> dict[str, str]:
    """Fill `encoder`, a part of `model`; returns why each other parameter of `model` was not
    loaded.

    A partly loaded encoder gives a wrong answer, not a warning: it is refused, with every misfit
    named.
    """
    misfits = _misfits(encoder.state_dict(), weights)
    if misfits:
        n = len(encoder.state_dict())
        listed = "\n".join(f"  {name}: {reason}" for name, reason in misfits.items())
        raise CheckpointError(
            f"encoder weights do not fit, {len(misfits)} of {n} parameters; "
            f"pre-train this model anew, or fine-tune the model that was pre-trained:\n{listed}"
        )
    encoder.load_state_dict(weights)
    own = {id(p) for p in encoder.parameters()}
    new = [name for name, p in model.named_parameters() if id(p) not in own]
    return dict.fromkeys(new, "new: pre-training has no labels to learn a head from")


def _misfits(own: Weights, weights: Weights) -> dict[str, str]:
    """A reason for every name that the two do not share in name and shape."""
    found = dict.fromkeys(own.keys() - weights.keys(), "not in the stored weights")
    found |= dict.fromkeys(weights.keys() - own.keys(), "in the stored weights alone")
    for name in own.keys() & weights.keys():
        if own[name].shape != weights[name].shape:
            there, here = tuple(weights[name].shape), tuple(own[name].shape)
            found[name] = f"stored as {there}, the model has {here}"
    return dict(sorted(found.items()))
