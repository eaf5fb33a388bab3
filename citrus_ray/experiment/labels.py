"""Labels: settings in a few words, made last, for people. What is told apart is told apart by
its settings."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

Axes = dict[str, Any]  # compared path -> value
T = TypeVar("T")
SCRATCH = "from scratch"
VOTES = ("plain", "chosen", "half")  # what `weights` may be of `model: views`, which has no file


def canonical(value: Any) -> str:
    """The text that is equal for equal settings, whatever the order of their keys."""
    return json.dumps(value, sort_keys=True)


def is_pretrain(path: str, value: Any) -> bool:
    """Whether a setting says how an encoder is pre-trained: here, or by weights from a file."""
    first, *rest = path.split(".")
    return first == "pretrain" or (first == "model" and "weights" in rest and value not in VOTES)


def is_kind(value: Any) -> bool:
    return isinstance(value, dict) and "kind" in value


def axis_names(paths: Iterable[str]) -> dict[str, str]:
    """The last part of each path, or the whole path where two would read the same."""
    paths = list(paths)
    last = [path.rsplit(".", 1)[-1] for path in paths]
    return {p: end if last.count(end) == 1 else p for p, end in zip(paths, last, strict=True)}


def settings_label(settings: Mapping[str, Any]) -> str:
    """`masked, labels 8 per class`: a block that names its kind speaks for itself, as "from
    scratch" does."""
    names, said = axis_names(settings), []
    for path, value in settings.items():
        alone = is_kind(value) or value_label(path, value) == SCRATCH
        said.append(f"{'' if alone else names[path] + ' '}{value_label(path, value)}")
    return ", ".join(said)


def exact_label(settings: Mapping[str, Any]) -> str:
    """As `settings_label`, with every digit and key: for settings that it does not tell apart."""
    names = axis_names(settings)
    return ", ".join(f"{names[path]} {canonical(value)}" for path, value in settings.items())


def value_label(path: str, value: Any) -> str:
    """One value of the setting at `path`. Null means "from scratch" in two places only."""
    if value is None:
        return SCRATCH if path in ("pretrain", "pretrain.task") else "none"
    if isinstance(value, dict):
        return _block_label(path, {k: inner for k, inner in value.items() if inner is not None})
    if isinstance(value, list | tuple):
        return "[" + ", ".join(value_label(f"{path}[]", item) for item in value) + "]"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _block_label(path: str, block: dict[str, Any]) -> str:
    if set(block) == {"per_class"}:
        return f"{block['per_class']} per class"
    if set(block) == {"fraction"} and isinstance(block["fraction"], float):
        return f"{100 * block['fraction']:.3g} %"
    inner = (
        (key, value_label(f"{path}.{key}", v))
        for key, v in block.items()
        if key not in ("kind", "set")
    )
    rest = ", ".join(f"{key} {said}" for key, said in inner)
    kind = str(block.get("kind", block.get("set", "")))
    return f"{kind} ({rest})" if kind and rest else kind or rest or "default"


def shortened(axes: Mapping[str, Any], all_axes: Sequence[Axes]) -> Axes:
    """`axes` with each block by its kind alone, where no other compared block is of that kind."""
    short: Axes = {}
    for path, value in axes.items():
        blocks = {canonical(other[path]) for other in all_axes if is_kind(other.get(path))}
        kinds = [json.loads(block)["kind"] for block in blocks]
        alone = is_kind(value) and kinds.count(value["kind"]) <= 1
        short[path] = {"kind": value["kind"]} if alone else value
    return short


def brief(axes: Axes, all_axes: Sequence[Axes]) -> Axes:
    """`axes` with each block by its kind or set, and by no more of its keys than tell it from
    others that are compared at the same path."""
    return {
        path: _brief(value, [other[path] for other in all_axes if path in other])
        for path, value in axes.items()
    }


def _brief(value: Any, compared: Sequence[Any]) -> Any:
    if not isinstance(value, dict):
        return value
    name = next((key for key in ("kind", "set") if key in value), None)
    blocks = {canonical(one): one for one in compared if isinstance(one, dict)}.values()
    alike = [one for one in blocks if name is None or one.get(name) == value[name]]
    if name is not None and len(alike) <= 1:
        return {name: value[name]}
    differs = {
        key: inner
        for key, inner in value.items()
        if key == name or len({canonical(one.get(key)) for one in alike}) > 1
    }
    return differs or value


def part_of(axes: Axes, pretrain: bool) -> Axes:
    """The compared settings of pre-training, or all the others."""
    return {path: value for path, value in axes.items() if is_pretrain(path, value) == pretrain}


def cell_labels(all_axes: Sequence[Axes]) -> list[str]:
    """A name for each combination of compared values: its pre-training, then everything else."""
    arms = {canonical(part_of(axes, True)): part_of(axes, True) for axes in all_axes}
    wordings = [
        lambda a: settings_label(shortened(a, list(arms.values()))),
        settings_label,
        exact_label,
    ]
    arm = dict(zip(arms, unique(list(arms.values()), wordings), strict=True))
    regime = regime_labels(all_axes)
    return [
        joined(arm[canonical(part_of(axes, True))] if part_of(axes, True) else "", rest)
        for axes, rest in zip(all_axes, regime, strict=True)
    ]


def regime_labels(all_axes: Sequence[Axes]) -> list[str]:
    """What is compared beside pre-training, in words; empty where nothing else is."""
    regimes = {canonical(part_of(axes, False)): part_of(axes, False) for axes in all_axes}
    said = unique(list(regimes.values()), [settings_label, exact_label])
    names = dict(zip(regimes, said, strict=True))
    return [names[canonical(part_of(axes, False))] for axes in all_axes]


def joined(arm: str, regime: str) -> str:
    return ", ".join(part for part in (arm, regime) if part) or "the only cell"


def unique(things: Sequence[T], wordings: Sequence[Callable[[T], str]]) -> list[str]:
    """The first wording of each that no other thing shares; the last one, numbered, where all
    are shared."""
    found: dict[int, str] = {}
    for wording in wordings:
        said = {i: wording(thing) for i, thing in enumerate(things) if i not in found}
        shared = Counter([*said.values(), *found.values()])
        found |= {i: name for i, name in said.items() if shared[name] == 1}
    last = wordings[-1]
    return [found.get(i, f"{last(thing)} #{i + 1}") for i, thing in enumerate(things)]


def count(n: int, thing: str) -> str:
    """`1 pair`, `12 pairs`."""
    plural = thing[:-1] + "ies" if thing.endswith("y") else thing + "s"
    return f"{n:,} {thing if n == 1 else plural}"
