"""Putting stored encoder weights into a model: all of them or none, and a reason for every
parameter that is not."""

from torch import nn

from citrus_ray.models.nets.arrival import why_not
from citrus_ray.models.nets.encoder import Encoder
from citrus_ray.store.checkpoint import CheckpointError, Weights


def load_encoder(model: nn.Module, encoder: Encoder, weights: Weights) -> dict[str, str]:
    """Fill `encoder`, a part of `model`; returns why each other parameter of `model` was not
    loaded.

    A partly loaded encoder gives a wrong answer, not a warning: it is refused, with every misfit
    named.
    """
    weights, kept = encoder.adopted(weights)
    misfits = why_not(encoder.state_dict(), weights)
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
    head = dict.fromkeys(new, "new: pre-training has no labels to learn a head from")
    where = next((name for name, part in model.named_modules() if part is encoder), "")
    return head | {".".join(filter(None, (where, name))): why for name, why in kept.items()}
