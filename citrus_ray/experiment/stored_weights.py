"""Weights from files, as a plan sees them: whether they arrive in encoders that ask for them."""

from collections.abc import Iterable, Iterator
from typing import Any

from citrus_ray.context import SignalContext
from citrus_ray.models.specs import EncoderSpec
from citrus_ray.spec import SpecError, locate

UNSEEN = "what they were trained on is not known here, so test subjects may be among it"


def misfit(model: EncoderSpec, ctx: SignalContext) -> str | None:
    """Why the weights that a model asks for do not arrive in it, for such signals, or None."""
    if not model.checkpoints():
        return None
    found = _arrived(model, ctx)
    return found if isinstance(found, str) else None


def lines(models: Iterable[tuple[EncoderSpec, SignalContext]]) -> Iterator[str]:
    """What of stored weights arrives where, each once."""
    said = dict[str, None]()
    for model, ctx in models:
        if model.checkpoints():
            found = _arrived(model, ctx)
            if not isinstance(found, str):
                said |= dict.fromkeys(sentence(name, one) for name, one in found.items())
    yield from said


def sentence(name: str, arrival: dict[str, Any]) -> str:
    """How the weights of one encoder arrived, as every surface says it."""
    into = f" in {name}" if name else ""
    unused = f", {arrival['n_not_used']} of the file not used" if arrival["n_not_used"] else ""
    return (
        f"{arrival['file']} ({arrival['content']}): {arrival['matched']} of {arrival['of']} "
        f"tensors{into} arrived, {arrival['share']:.1%} of its numbers{unused}; its output is at "
        f"least {arrival['moved']:.2f} of its size away from that of first weights"
    )


Arrived = dict[str, dict[str, Any]] | str  # what arrived, by encoder, or why it did not
_known: dict[Any, Arrived] = {}


def _arrived(model: EncoderSpec, ctx: SignalContext) -> Arrived:
    """Built once for each model and kind of signal: a plan asks for every member of every trial."""
    try:
        # a file that was written anew is another one
        contents = tuple(one.content for one in model.checkpoints())
        key = type(model), model.model_dump_json(), ctx, contents
        if key not in _known:
            _known[key] = _built(model, ctx)
    except SpecError as err:
        return "\n".join(problem.message for problem in err.problems)
    return _known[key]


def _built(model: EncoderSpec, ctx: SignalContext) -> Arrived:
    encoder = model.build(ctx)
    found: dict[str, dict[str, Any]] = locate("citrus_ray.models.nets.arrival:arrivals")(encoder)
    if len(found) < len(model.checkpoints()) and not model.multimodal:
        rule = f"{model.kind} builds its network itself and does not read `weights`"
        return f"{rule}; override `network` in place of `build`"
    return found
