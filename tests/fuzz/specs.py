"""Specs that are broken, hostile or nonsense: refused by key and rule, and at once."""

import copy
import json
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from citrus_ray.cli.sweep import _edit
from citrus_ray.experiment.sweep import parse_sweep
from citrus_ray.spec import SpecError, parse_yaml
from tests.fuzz.attack import DAMAGE, Attack, Verdict, tried
from tests.small import SWEEP

ROOT = Path(__file__).resolve().parents[2]
Tree = Any
Place = tuple[str | int, ...]
LAUGHS = "".join(f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 9)}]\n" for i in range(1, 12))
BOMBS: dict[str, Callable[[str], str]] = {
    "billion laughs": lambda text: f"x0: &x0 [1, 1]\n{LAUGHS}{text}",
    "an alias in itself": lambda text: text.replace("repeat:", "repeat: &a\n  b: *a\n", 1),
    "deep lists": lambda text: text + "claims: " + "[" * 5000 + "]" * 5000,
    "deep blocks": lambda text: text + "claims: " + "{a: " * 300 + "1" + "}" * 300,
    "many values": lambda text: text + f"claims: [{'1, ' * 60_000}]",
    "many letters": lambda text: text + f"claims: {'x' * 400_000}",
    "many lines": lambda text: text + "#\n" * 300_000,
    "a long number": lambda text: text.replace("trials: 4", f"trials: {'9' * 5000}"),
    "many cells": lambda text: text.replace(
        "compare:", "compare:" + "".join(f"\n  a{i}: {list(range(90))}" for i in range(9))
    ),
    "many members": lambda text: text.replace("[0, 1, 2]", str(list(range(300)))).replace(
        "repeat:", "repeat:\n  a: {0}\n  b: {0}".format(list(range(300)))
    ),
    "many arms": lambda text: (
        text + "arms: {" + ", ".join(f"a{i}: {{seed: {i}}}" for i in range(3000)) + "}"
    ),
    "python tag": lambda text: text + 'claims: !!python/object/apply:os.system ["true"]',
    "binary tag": lambda text: text + "claims: !!binary aGk=",
    "set tag": lambda text: text + "claims: !!set {a, b}",
    "int tag": lambda text: text + "claims: !!int many",
    "control characters": lambda text: text.replace("name: small", 'name: "sm\\e[2Jall"'),
    "bells in it": lambda text: text + "claims: \x07",
    "a key of a list": lambda text: text + "? [a, b]\n: 1\n",
    "an arm of a list": lambda text: text.replace(
        "compare:", "arms: {a: {seed: 1}}\ncompare:\n  arm: [[a]]"
    ),
}
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 3, 0.5, -0.5, 2**31, 2**53, 10**9, 10**15, 2**63, -(2**63)),
    *(1e308, 1e-308, 1e-300, 1e15, -1e308, "", " ", "(", "[", "*", "a.b", "..", "/", "nan", "1e-3"),
    *("\x1b[2J", "\u202e", "é" * 300, "null", [], {}, [[]], [None], [1, 1], [0, 1], ["a", "b"]),
    *({"kind": 1}, {"kind": []}, {"kind": "conv"}, {"kind": "files"}, {"kind": "a.b:C"}, {"": 1}),
    *(
        {"kind": "os:system"},
        {"choice": []},
        {"choice": [1, "a"]},
        {"int": [3, 1]},
        {"a": {"b": 1}},
    ),
    *({"loguniform": [0, 1]}, {"uniform": [1, 1]}, {"uniform": [-1e308, 1e308]}, [[1, 2], [3]]),
]
EDITS = (
    *("budget.trials.=1", ".=1", "=1", "a", "trial..model=1", "budget.trials=1e15", "name=(x"),
    *(
        "trial.model={kind: 1}",
        "budget.hours=1e-300",
        "trial.finetune.optim.lr=1e308",
        "x=[",
        "a=b=c",
    ),
    *(
        "search.x={choice: [1, 2]}",
        "trial.finetune.target.n_chans=1000000000",
        "[0]=1",
        "seed=1\nb: 2",
    ),
    *(
        "trial.finetune.target.seconds=1e308",
        "trial.finetune.steps=1e15",
        "budget[0]=2",
        "a.[0].b=1",
    ),
    *("trial.finetune.target.rhythms=[5, 5]", "trial.finetune.steps=1000000000000000", "\x1b=1"),
)


def bases() -> list[Tree]:
    """Specs that are right: the small one and those that come with the project."""
    files = (
        ROOT / "sweeps" / f"{name}.yaml" for name in ("quickstart", "floor", "citrus/frequency")
    )
    return [parse_yaml(SWEEP).tree, *(parse_yaml(file.read_text()).tree for file in files)]


def places(tree: Tree, at: Place = ()) -> Iterator[Place]:
    """Every place of a value in a tree."""
    items: Any = tree.items() if isinstance(tree, dict) else ()
    for key, value in enumerate(tree) if isinstance(tree, list) else items:
        yield (*at, key)
        yield from places(value, (*at, key))


def _parent(tree: Tree, at: Place) -> Tree:
    for part in at[:-1]:
        tree = tree[part]
    return tree


def _odd_value(tree: Tree, rng: random.Random) -> tuple[Place, Any]:
    at, value = rng.choice(list(places(tree))), rng.choice(VALUES)
    _parent(tree, at)[at[-1]] = copy.deepcopy(value)
    return at, value


def _other_key(tree: Tree, rng: random.Random) -> tuple[Place, Any]:
    """A key called otherwise, or one that is not there."""
    at = rng.choice([at for at in places(tree) if isinstance(at[-1], str)])
    parent, name = _parent(tree, at), str(at[-1])
    kept = parent.pop(name) if rng.random() < 0.5 else parent[name]
    parent[rng.choice(("", name[:-1], f"{name}s", "x", "kind", "seed", "é", name.upper()))] = kept
    return at, None


def _lost_or_moved(tree: Tree, rng: random.Random) -> tuple[Place, Any]:
    """A value that is not there, or stands in another's place."""
    at, other = rng.choice(list(places(tree))), rng.choice(list(places(tree)))
    if rng.random() < 0.5:
        del _parent(tree, at)[at[-1]]
    else:
        moved = copy.deepcopy(_parent(tree, other)[other[-1]])
        _parent(tree, at)[at[-1]] = moved
    return at, None


TREES: dict[str, Callable[[Tree, random.Random], tuple[Place, Any]]] = {
    "an odd value": _odd_value,
    "another key": _other_key,
    "lost or moved": _lost_or_moved,
}


def read(text: str, edits: tuple[str, ...] = ()) -> str:
    """What is said of a spec; empty where it is taken."""
    try:
        sweep = parse_sweep(parse_yaml(text, "odd.yaml"), dict(_edit(edit) for edit in edits))
        sweep.digest()
        return ""
    except SpecError as err:
        bare = [str(p) for p in err.problems if len(str(p)) < 8 or len(str(p)) > 5000]
        return str(err) if not bare else f"BAD {bare[0][:100]}"


def verdict_of(
    text: str, value: Any = None, at: Place = (), edits: tuple[str, ...] = ()
) -> tuple[Verdict, str]:
    said = read(text, edits)
    if said:
        return ("silent" if said.startswith("BAD") else "said"), said.splitlines()[0]
    absurd = isinstance(value, float | int) and (abs(value) >= 1e14 or 0 < abs(value) < 1e-200)
    # a seed may be any number, and what a claim is about is compared with, not computed
    if absurd and at[:1] != ("claims",) and not any("seed" in str(part) for part in at):
        return "silent", f"{at}={value} is taken"
    return "harmless", f"{at}={value!r}"


def attacks(n: int, seed: int = 0) -> Iterator[Attack]:
    trees, texts = bases(), [SWEEP]
    names = [*BOMBS, *EDITS]
    for i in range(seed, seed + n):
        rng = random.Random(i)
        if i % 4 == 0 and i // 4 < len(names):
            name = names[i // 4]
            if name in BOMBS:
                text = BOMBS[name](SWEEP)
                yield tried(name, partial(verdict_of, text))
            else:
                yield tried("--set", partial(verdict_of, SWEEP, edits=(name,)))
        elif i % 4 == 1:
            name = rng.choice(list(DAMAGE))
            text = DAMAGE[name](rng.choice(texts).encode(), rng).decode("utf-8", "replace")
            yield tried(f"text: {name}", partial(verdict_of, text))
        else:
            name, tree = rng.choice(list(TREES)), copy.deepcopy(rng.choice(trees))
            at, value = TREES[name](tree, rng)
            text = json.dumps(tree)
            yield tried(name, partial(verdict_of, text, value, at))
