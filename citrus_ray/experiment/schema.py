"""JSON schema and key reference of sweep files, made from the specs: short forms included, as
`target: bonn5` and `model: conv`.

The schema says what a file may look like. What it means for data and models is said by the specs
alone: `citrus run --dry-run`.
"""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from citrus_ray.data import sets
from citrus_ray.data.kinds import KINDS as SOURCES
from citrus_ray.experiment.augment import KINDS as AUGMENTATIONS
from citrus_ray.experiment.sweep import Sweep
from citrus_ray.models.specs import KINDS as MODELS
from citrus_ray.models.views import KINDS as VIEWS
from citrus_ray.spec import Kinds, Spec, descriptions
from citrus_ray.tasks.specs import KINDS as TASKS

Tree = dict[str, Any]
DRAFT = "https://json-schema.org/draft/2020-12/schema"
# a field of any of these is written as one of its kinds
FAMILIES: Mapping[str, Kinds] = {
    "Source": SOURCES,
    "EncoderSpec": MODELS,
    "TaskSpec": TASKS,
    "Augmentation": AUGMENTATIONS,
    "ViewSpec": VIEWS,
}
TITLES = {
    "Source": "Sources",
    "EncoderSpec": "Models and methods",
    "TaskSpec": "Pre-training tasks",
    "Augmentation": "Augmentations",
    "ViewSpec": "Views",
}
IN_A_WORD = ("EncoderSpec", "Augmentation", "ViewSpec")  # `conv` is `{kind: conv}`


@cache
def schema() -> Tree:
    """The schema of a sweep's file."""
    root, found = _read(Sweep), dict[str, Tree]()
    defs = root.pop("$defs")
    for kinds in FAMILIES.values():
        for spec in kinds.classes():
            tree = _read(spec)
            defs |= tree.pop("$defs", {}) | {spec.__name__: tree}
    known = {spec.__name__: spec for spec in _below(Spec)}
    for name in sorted(defs.keys() - FAMILIES.keys()):
        found[name] = _said(known[name], defs[name])
    # a part of `joined` is a set by its name as well
    (parts,) = found["Joined"]["properties"]["of"]["patternProperties"].values()
    parts["$ref"] = "#/$defs/Source"
    found |= {base: _any_of(base, kinds) for base, kinds in FAMILIES.items()}
    block = found.pop("Checkpoint")
    found |= {"Checkpoint": {"anyOf": [{"type": "string"}, block]}}  # a file, or `hub:org/name`
    root = _said(Sweep, root)
    return {"$schema": DRAFT, "title": "A sweep of citrus_ray", **root, "$defs": found}


def text() -> str:
    """The file that editors read."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def _read(spec: type[Spec]) -> Tree:
    return spec.model_json_schema(by_alias=True)


def _below(spec: type[Spec]) -> Iterator[type[Spec]]:
    for cls in spec.__subclasses__():
        yield cls
        yield from _below(cls)


def _said(spec: type[Spec], tree: Tree) -> Tree:
    """With what each key means, and without titles, which say the key again."""
    tree = _untitled(tree)
    about = descriptions(spec)
    for name, info in spec.model_fields.items():
        place = tree["properties"][info.alias or name]
        if name in about:
            place["description"] = about[name]
    if "kind" in spec.model_fields:
        tree["required"] = sorted({*tree.get("required", ()), "kind"})
    if presets := getattr(spec, "PRESETS", None):
        names = ["small", *presets]
        about_it = "Sizes from which the other keys begin."
        tree["properties"]["preset"] = {"enum": names, "description": about_it}
    tree["description"] = " ".join((spec.__doc__ or "").split())
    return tree


def _untitled(tree: Any) -> Any:
    if isinstance(tree, list):
        return [_untitled(one) for one in tree]
    if not isinstance(tree, dict):
        return tree
    # a title of pydantic's is text; one that is a key of ours is a block
    return {k: _untitled(v) for k, v in tree.items() if k != "title" or not isinstance(v, str)}


def _any_of(base: str, kinds: Kinds) -> Tree:
    """What may stand where a spec of a family does: a block of one of its kinds, a stranger's
    class by its path, and short forms."""
    blocks = [{"$ref": f"#/$defs/{spec.__name__}"} for spec in kinds.classes()]
    theirs = {"type": "string", "pattern": r"^[\w.]+:\w+$"}
    strange: Tree = {"type": "object", "required": ["kind"], "properties": {"kind": theirs}}
    found = [*blocks, strange]
    if base in IN_A_WORD:
        found += [{"enum": list(kinds.table)}, theirs]
    if base == "ViewSpec":
        found.append({"$ref": "#/$defs/EncoderSpec"})  # a view of that encoder
    if base == "Source":
        names = {"enum": list(sets.names()), "description": "A set by its name."}
        edited: Tree = {"type": "object", "required": ["set"], "properties": {"set": names}}
        found += [names, edited | {"not": {"required": ["kind"]}}]
    return {"anyOf": found}


# ---- the reference ----


def markdown() -> str:
    """Every key, by block: type, default and what it means."""
    defs = dict(schema()["$defs"])
    lines = [
        "# Keys of a sweep",
        "",
        "Made by `citrus schema --markdown` from the specs. A key without a default is required.",
        "In an editor, `# yaml-language-server: $schema=FILE` as the first line of a sweep gives",
        "all of this while you type; `citrus schema > FILE` writes what it names.",
        "",
        *_section("A sweep", schema()),
    ]
    of_families = {spec.__name__ for kinds in FAMILIES.values() for spec in kinds.classes()}
    for name, tree in defs.items():
        if name not in FAMILIES and name not in of_families:
            block = tree["anyOf"][1] if "anyOf" in tree else tree
            lines += _section(name, block)
    for base, kinds in FAMILIES.items():
        lines += ["", f"## {TITLES[base]}", ""]
        for kind, spec in zip(kinds.table, kinds.classes(), strict=True):
            lines += _section(f"`{kind}`", defs[spec.__name__], level=3)
    return "\n".join(lines) + "\n"


def _section(title: str, tree: Tree, level: int = 2) -> list[str]:
    rows = [
        f"| `{key}` | {_type(of)} | {_default(of, key in tree.get('required', ()))} "
        f"| {_cell(of.get('description', ''))} |"
        for key, of in tree.get("properties", {}).items()
        if key != "kind"
    ]
    head = ["| key | is | default | means |", "|---|---|---|---|"] if rows else []
    return ["#" * level + f" {title}", "", tree.get("description", ""), "", *head, *rows, ""]


def _default(of: Tree, is_required: bool) -> str:
    if is_required or "default" not in of:
        return ""
    if isinstance(of["default"], dict) and of["default"]:
        return _cell(f"`{of['default'].get('kind', '{…}')}`")
    return _cell(f"`{json.dumps(of['default'], ensure_ascii=False)}`")


def _type(of: Tree) -> str:
    """A type in words: `number > 0`, `list of text`, `Optim`."""
    if "$ref" in of:
        name = str(of["$ref"]).rsplit("/", 1)[1]
        return TITLES[name].lower() if name in TITLES else name
    if "enum" in of or "const" in of:
        values = of.get("enum", [of.get("const")])
        return _cell(", ".join(f"`{json.dumps(v) if v is None else v}`" for v in values))
    if any_of := of.get("anyOf") or of.get("oneOf"):
        return " or ".join(dict.fromkeys(_type(one) for one in any_of))
    kind = str(of.get("type", "any value"))
    if kind == "array":
        inner = of.get("prefixItems")
        if inner:
            return f"[{', '.join(_type(one) for one in inner)}]"
        return f"list of {_type(of.get('items', {}))}"
    if kind == "object" and isinstance(of.get("additionalProperties"), dict):
        return f"name: {_type(of['additionalProperties'])}"
    words = {"string": "text", "boolean": "true or false", "object": "block", "integer": "whole"}
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {of[key]:g}" for key, sign in signs.items() if key in of]
    return " ".join([words.get(kind, kind), ", ".join(limits)]).strip()


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
