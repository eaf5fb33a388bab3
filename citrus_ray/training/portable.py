"""What was learnt, taken apart into plain values and arrays, and put together again in another
process: no pickle, so nothing in a file can run.

Only what stands in `PARTS` is put together, and what lies in the module of the model's own class,
which whoever loads the model has installed.
"""

import functools
import inspect
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from citrus_ray.context import SignalContext
from citrus_ray.models.head import Head
from citrus_ray.models.nets.classifier import Classifier
from citrus_ray.models.specs import KINDS, EncoderSpec, Pooling
from citrus_ray.spec import locate, refuse, validate
from citrus_ray.training.learner import Reader

Arrays = dict[str, npt.NDArray[Any]]
PLAIN = (bool, int, float, str, type(None))

PARTS = frozenset(
    {
        "citrus_ray.data.windowing.normalize:Scale",
        "citrus_ray.training.closed_form:Probe",
        "citrus_ray.training.closed_form:Scaler",
        "citrus_ray.training.covariance:TangentFeatures",
        "citrus_ray.training.features:Tokens",
        "citrus_ray.training.features:band_passes",
        "citrus_ray.training.features:in_steps",
        "citrus_ray.training.finetuning:Votes",
        "citrus_ray.training.methods:FeaturesAt",
        "citrus_ray.training.methods:Forest",
        "citrus_ray.training.methods:LogPowers",
        "citrus_ray.training.methods:Polled",
        "citrus_ray.training.methods:Probed",
        "citrus_ray.training.methods:ScalarsAt",
        "citrus_ray.training.methods:Sensed",
        "citrus_ray.training.methods:Unpadded",
        "citrus_ray.training.methods:powers_in_bands",
        "citrus_ray.training.minirocket:MiniRocketFeatures",
        "citrus_ray.training.portable:Network",
        "citrus_ray.training.scalars:scalars",
        "citrus_ray.training.targets:TaughtClasses",
        "citrus_ray.training.targets:TaughtLabels",
        "citrus_ray.training.targets:TaughtValue",
        "citrus_ray.training.views:Ensemble",
        "citrus_ray.training.views:Forests",
        "citrus_ray.training.views:Heads",
        "citrus_ray.training.views:Ridges",
        "citrus_ray.training.views:Stack",
        "citrus_ray.training.views:Standardised",
    }
)


# ---- networks ----


@dataclass(frozen=True)
class Blueprint:
    """All that a classifier is built from."""

    model: EncoderSpec
    ctx: SignalContext
    pool: Pooling
    head: Head
    erase: bool = False

    def classifier(self) -> Classifier:
        """A new one, its first weights drawn by lot."""
        encoder = self.model.build(self.ctx)
        return Classifier(encoder, self.ctx, self.pool, self.head, self.erase)


@dataclass(frozen=True)
class Network:
    """A classifier and what it is built from."""

    blueprint: Blueprint
    classifier: Classifier

    def packed(self) -> dict[str, Any]:
        built = self.blueprint
        model = built.model.untrained()  # its weights are here: no other file is asked for them
        facts = {"model": model.tree(), "head": built.head.tree(), "ctx": asdict(built.ctx)}
        rest = {"pool": built.pool, "erase": built.erase}
        return {"built": facts | rest, "state": self.classifier.state_dict()}

    @classmethod
    def unpacked(cls, built: dict[str, Any], state: dict[str, Any]) -> Self:
        blueprint = Blueprint(
            KINDS(built["model"]).untrained(),  # weights of a file are in `state`, whole
            context_of(built["ctx"]),
            built["pool"],
            validate(Head, built["head"]),
            built["erase"],
        )
        classifier = blueprint.classifier()
        classifier.load_state_dict(state)
        return cls(blueprint, classifier.eval())


def context_of(tree: dict[str, Any]) -> SignalContext:
    """Facts of signals as JSON gives them back."""
    plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in tree.items()}
    plain["streams"] = tuple(map(context_of, tree["streams"]))
    return SignalContext(**plain)


# ---- taking apart ----


def taken_apart(part: Any, arrays: Arrays, foreign: Collection[str] = ()) -> Any:
    """Plain values that `put_together` makes the same part of; its arrays go into `arrays`.
    `foreign` are modules whose classes and functions may stand in it."""
    if isinstance(part, Reader):
        return {"reader": True}
    if isinstance(part, PLAIN):
        return part
    if isinstance(part, np.generic):
        return part.item()
    if isinstance(part, np.ndarray | torch.Tensor):
        name, is_tensor = str(len(arrays)), isinstance(part, torch.Tensor)
        x = part.detach().cpu().numpy() if isinstance(part, torch.Tensor) else part
        arrays[name] = np.ascontiguousarray(x).reshape(x.shape)  # of 0 axes it makes one
        return {"tensor" if is_tensor else "array": name}
    if isinstance(part, list | tuple):
        return {"items": [taken_apart(item, arrays, foreign) for item in part]}
    if isinstance(part, dict):
        return {"dict": {key: taken_apart(item, arrays, foreign) for key, item in part.items()}}
    if isinstance(part, functools.partial):
        if part.args:
            raise _unknown(part, "hold it as a keyword")
        inner = taken_apart(dict(part.keywords), arrays, foreign)
        return {"function": _name(part.func, foreign), "with": inner}
    if inspect.isfunction(part):
        return {"function": _name(part, foreign)}
    part = part.to_keep() if hasattr(part, "to_keep") else part
    made_of = _name(type(part), foreign)
    if hasattr(part, "packed"):
        return {"part": made_of, "of": taken_apart(part.packed(), arrays, foreign)}
    if not is_dataclass(part):
        raise _unknown(part, "make it a dataclass, or give it `packed` and `unpacked`")
    inside = {field.name: getattr(part, field.name) for field in fields(part) if field.init}
    return {"part": made_of, "of": taken_apart(inside, arrays, foreign)}


def put_together(tree: Any, arrays: Arrays, reader: Reader, foreign: Collection[str] = ()) -> Any:
    """The part that was taken apart, which reads windows through `reader`."""
    if isinstance(tree, PLAIN):
        return tree
    again: Callable[[Any], Any] = lambda inner: put_together(inner, arrays, reader, foreign)  # noqa: E731
    if "reader" in tree:
        return reader
    if "array" in tree:
        return arrays[tree["array"]]
    if "tensor" in tree:
        return torch.from_numpy(arrays[tree["tensor"]])
    if "items" in tree:
        return tuple(map(again, tree["items"]))
    if "dict" in tree:
        return {key: again(item) for key, item in tree["dict"].items()}
    if "function" in tree:
        function = _located(tree["function"], foreign)
        return functools.partial(function, **again(tree["with"])) if "with" in tree else function
    made_of = _located(tree["part"], foreign)
    inside = again(tree["of"])
    return (made_of.unpacked if hasattr(made_of, "unpacked") else made_of)(**inside)


def _name(what: Any, foreign: Collection[str]) -> str:
    name = f"{what.__module__}:{what.__qualname__}"
    if name not in PARTS and what.__module__ not in foreign:
        raise _unknown(what, "only parts of this package and of the model's own module can be")
    if "<" in name or "." in what.__qualname__:
        raise _unknown(what, "write it at the top of its module, where another process finds it")
    return name


def _located(name: str, foreign: Collection[str]) -> Any:
    if name not in PARTS and name.partition(":")[0] not in foreign:
        rule = "is no part of a model that this version knows"
        raise refuse(f"{name}: {rule}; update citrus_ray, or keep the model again")
    return locate(name)


def _unknown(what: Any, way: str) -> Exception:
    name = getattr(what, "__qualname__", type(what).__qualname__)
    return refuse(f"{name}: cannot be kept; {way}", "final.keep")
