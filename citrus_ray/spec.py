"""The base of every spec: strict values, YAML with line numbers, dotted-path edits, digests.

What a spec *means* is in the classes that inherit from `Spec`; nothing here knows of signals or
sweeps.
"""

import ast
import difflib
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import itertools
import json
import math
import re
import textwrap
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar, Union

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

SpecT = TypeVar("SpecT", bound="Spec")
Loc = tuple[str | int, ...]


class Aside:
    """Marks a field that cannot change a result: paths, worker counts. Left out of digests."""


@dataclass(frozen=True)
class Later:
    """Marks a field that came later: at one value it means what was always done, and is left out of
    digests there, so that results from before keep their names."""

    of: str = ""  # the one digest that leaves it out; empty: that of its own spec
    was: Any = ...  # what was always done; ...: the field's default


class Spec(BaseModel):
    """A frozen, strict value. `"4"` is no int, unknown keys are refused, edits return a new
    value."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="after")
    def _numbers_mean_something(self) -> Self:
        """Refuse what no field of this package can mean, whatever bounds of its own it has."""
        for name, value in self:
            for number in value if isinstance(value, tuple) else (value,):
                if type(number) in (int, float) and number and "seed" not in name:
                    low, high = (0, 10**12) if type(number) is int else (1e-30, 1e30)
                    if not low <= abs(number) <= high:
                        rule = f"must be of a size from {low:g} to {high:g}"
                        raise ValueError(f"{name}={_short(number, 40)}: {rule}; correct it")
        return self

    def tree(self) -> dict[str, Any]:
        """Plain JSON values."""
        return self.model_dump(mode="json", by_alias=True)

    def at(self, edits: Mapping[str, Any]) -> Self:
        """A new value with the dotted paths of `edits` replaced, validated again as a whole."""
        tree = self.tree()
        for path, value in edits.items():
            if any(isinstance(edits.get(parent), str) for parent in _parents(path)):
                tree = validate(
                    type(self), tree
                ).tree()  # the name of a set became its block, which can be edited
            put(tree, path, value)
        return validate(type(self), tree)

    def identity(self) -> dict[str, Any]:
        """Everything that can change a result computed from this spec, and nothing else."""
        found = {
            name: _identity(getattr(self, name))
            for name, info in type(self).model_fields.items()
            if not _has(info, Aside) and not self.says_nothing_new(name)
        }
        outside = _modules_outside(type(self))
        return found | ({"code": [code_of(name) for name in outside]} if outside else {})

    def says_nothing_new(self, name: str, of: str = "") -> bool:
        """Whether a key that came later than the digest `of` says what was always done."""
        info = type(self).model_fields[name]
        later = [mark for mark in info.metadata if isinstance(mark, Later) and mark.of == of]
        was = [info.default if mark.was is ... else mark.was for mark in later]
        return getattr(self, name) in was

    def digest(self) -> str:
        return digest_of(self.identity())


def _has(info: FieldInfo, mark: type) -> bool:
    return any(one is mark or isinstance(one, mark) for one in info.metadata)


def _identity(value: Any) -> Any:
    if isinstance(value, Spec):
        return value.identity()
    if isinstance(value, tuple | list):
        return [_identity(item) for item in value]
    return value


def digest_of(value: Any) -> str:
    """16 hex digits of the SHA-256 of canonical JSON: one in 10^9 for a clash among 190,000
    values."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# ---- code from outside ----

# class variables by which a spec names what is looked up late
LATE = ("net", "method", "features", "voter")


def code_of(module: str) -> str:
    """The first 16 digits of the SHA-256 of a module's text: other code, other numbers."""
    try:
        origin = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        origin = None
    if origin is None or not origin.origin or not Path(origin.origin).is_file():
        way = "install it, or add its folder to PYTHONPATH"
        raise refuse(f"{module}: this module cannot be found; {way}", "cls")
    return hashlib.sha256(Path(origin.origin).read_bytes()).hexdigest()[:16]


def _modules_outside(spec: type[Spec]) -> list[str]:
    """Modules of others that hold a variant's class and what it names; none of ours."""
    if "kind" not in spec.model_fields:
        return []
    named = (getattr(spec, name, None) for name in LATE)
    modules = [
        spec.__module__,
        *(of.partition(":")[0] for of in named if isinstance(of, str) and ":" in of),
    ]
    ours = (__name__.partition(".")[0], "__main__")
    return [name for name in dict.fromkeys(modules) if name.partition(".")[0] not in ours]


# ---- descriptions ----


@functools.cache
def descriptions(model: type[Spec]) -> dict[str, str]:
    """What each key means: the string that stands under its field, in the class or one it inherits
    from.

    Read from the source text when asked for, so that no start-up waits for it.
    """
    found: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        if issubclass(cls, Spec) and cls is not Spec:
            (body,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
            assert isinstance(body, ast.ClassDef)
            for field_, under in itertools.pairwise(body.body):
                if not (isinstance(field_, ast.AnnAssign) and isinstance(field_.target, ast.Name)):
                    continue
                said = under.value if isinstance(under, ast.Expr) else None
                if isinstance(said, ast.Constant) and isinstance(said.value, str):
                    found[field_.target.id] = " ".join(said.value.split())
    found.setdefault("kind", "Which of the variants this is.")
    return {name: found[name] for name in model.model_fields if name in found}


# ---- late names ----


def locate(path: str) -> Any:
    """The object at `package.module:Name`, imported now and not before."""
    module, colon, name = path.partition(":")
    if not colon or not name:
        raise ValueError(f"{path}: must read package.module:Name")
    try:
        found = importlib.import_module(module)
    except ImportError as err:
        raise ValueError(
            f"{path}: {module} cannot be imported ({err}); install it, or add its folder to "
            "PYTHONPATH"
        ) from None
    if not hasattr(found, name):
        near = difflib.get_close_matches(name, dir(found), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"{path}: {module} has no {name}{hint}")
    return getattr(found, name)


GROUP = "citrus_ray."  # of entry points: citrus_ray.models, citrus_ray.tasks and so on


@functools.cache
def entry_points(room: str) -> dict[str, str]:
    """What installed packages name under `citrus_ray.<room>`: name -> `module:object`."""
    found = dict[str, str]()
    for entry in importlib.metadata.entry_points(group=f"{GROUP}{room}"):
        if found.setdefault(entry.name, entry.value) != entry.value:
            rule = f"two packages name it in {GROUP}{room}: {found[entry.name]} and {entry.value}"
            raise refuse(f"{entry.name}: {rule}; uninstall one, or give the path of the class")
    return found


class Kinds:
    """Spec classes by `kind`, for a field: each is imported when a value first asks for it.

    A stranger's class is asked for by its path, `kind: "package.module:Class"`, or by the name that
    an installed package gives it under the entry points of `room`.
    """

    def __init__(
        self,
        table: Mapping[str, str],
        written_out: Callable[[Any], Any] = lambda value: value,
        room: str = "",
    ) -> None:
        self.table, self.written_out, self.room = table, written_out, room

    def of(self, kind: Any) -> type[Spec]:
        if isinstance(kind, str) and ":" in kind:
            return _spec_at(kind, kind)
        if isinstance(kind, str) and kind in self.table:
            return locate(self.table[kind])  # type: ignore[no-any-return]
        others = entry_points(self.room) if self.room else {}
        if isinstance(kind, str) and kind in others:
            return _spec_at(others[kind], kind)
        known = ", ".join(f"'{name}'" for name in (*self.table, *others))
        raise ValueError(f"kind={_short(kind)}: must be one of {known}")

    def classes(self) -> list[type[Spec]]:
        return [self.of(kind) for kind in self.table]

    def __call__(self, value: Any) -> Any:
        """A word, a short form or a block as a spec; runs before pydantic looks at the field."""
        if isinstance(value, Spec):
            return value
        block = self.written_out(value)
        if not isinstance(block, dict):
            raise ValueError(f"{_short(value)}: must be a block with a `kind`, or a name")
        if "kind" not in block:
            raise ValueError(
                "`kind` is required here and missing; it says which of the variants this is"
            )
        return validate(self.of(block["kind"]), block)


def _spec_at(path: str, kind: str) -> type[Spec]:
    """The class of specs at a path, which must call itself by the kind that it was asked as."""
    found = locate(path)
    if not (isinstance(found, type) and issubclass(found, Spec)):
        raise ValueError(f"kind={kind}: must name a class of specs, which inherits Spec")
    own = typing.get_args(found.model_fields["kind"].annotation) if _has_kind(found) else ()
    if kind not in own:
        rule = f'its key must read `kind: Literal["{kind}"] = "{kind}"`'
        raise ValueError(f"kind={kind}: {path} is not called so; {rule}")
    return found


def _has_kind(spec: type[Spec]) -> bool:
    return "kind" in spec.model_fields


# ---- errors ----


@dataclass(frozen=True)
class Problem:
    """One broken rule: where it is, and a message that reads rule, value, way out."""

    path: str
    message: str
    file: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line) if part is not None)
        return without_secrets(": ".join(part for part in (place, self.path, self.message) if part))


class SpecError(ValueError):
    """Everything that is wrong with a spec or its data, at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[type["SpecError"], tuple[tuple[Problem, ...]]]:
        return type(self), (self.problems,)


class MachineError(SpecError):
    """Something is wrong with this machine, not with what it was asked: another may do it."""


# each looks a few hundred characters ahead: an error may hold a whole file
KEYS = r"token|secret|passw(?:or)?d|signature|credential|api_?key|access_?key|account_?key"
NAME_AND_PASSWORD = re.compile(  # before the @ of a URI, whatever a password holds
    r"(?<=://)(?:[^\s/?#]{1,300}@|(?![^\s/:]+:\d+(?:/|$))[^\s/@]{0,99}:\S{0,300}@)"
)
VALUES = (  # in the query of a URI, and of a setting
    re.compile(rf"([?&;][\w.-]{{0,50}}(?:{KEYS}|key|sig|auth))=[^\s&;#'\",)]*[^\s&;#'\",):]", re.I),
    re.compile(rf"\b(\w{{0,50}}(?:{KEYS}))=[^\s&;#'\",)]+\b", re.I),
)


def without_secrets(text: str) -> str:
    """A text to be shown or kept, with `***` for names, passwords and keys of the URIs in it."""
    text = NAME_AND_PASSWORD.sub("***@", text)
    for value in VALUES:
        text = value.sub(r"\1=***", text)
    return text


def refuse(message: str, path: str = "") -> SpecError:
    """A single-problem error, for `raise refuse(…)`."""
    return SpecError([Problem(path, message)])


# ---- classes from outside ----

FoundT = TypeVar("FoundT")


class Foreign(Spec):
    """A class outside this package, looked up when it is built. Its source is part of the
    digest."""

    cls: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]
    """`package.module:Class`, importable on every machine that runs trials."""
    kwargs: dict[str, Any] = {}
    """What the class is built with, by keyword: plain values."""

    @property
    def found(self) -> Any:
        return locate(self.cls)

    def made(self, base: type[FoundT], *args: Any) -> FoundT:
        """An object of the class, which must inherit `base`."""
        found = self.found
        if not (isinstance(found, type) and issubclass(found, base)):
            rule = f"must inherit {base.__module__}:{base.__name__}"
            raise ValueError(f"cls={self.cls}: {rule}; see docs/own-model.md")
        try:
            return found(*args, **self.kwargs)
        except TypeError as err:
            raise ValueError(
                f"cls={self.cls}: cannot be built with kwargs={_short(self.kwargs)}: {err}"
            ) from err

    def identity(self) -> dict[str, Any]:
        """With the text of its module: other code, other numbers."""
        try:
            return super().identity() | {"code": code_of(self.cls.partition(":")[0])}
        except SpecError:
            way = "install it, or add its folder to PYTHONPATH"
            raise refuse(f"cls={self.cls}: its module cannot be found; {way}", "cls") from None


# ---- validation ----


def validate(model: type[SpecT], tree: Mapping[str, Any]) -> SpecT:
    """Build `model` from plain values; every error at once, in our own words."""
    try:
        # Through JSON, strict mode refuses "4" for an int yet fills tuples and paths from lists and
        # strings.
        return model.model_validate_json(json.dumps(tree))
    except ValidationError as err:
        raise SpecError(_problems(model, tree, err)) from None
    except (TypeError, ValueError) as err:
        if isinstance(err, SpecError):
            raise
        raise refuse(f"not plain data: {err}") from None


def _problems(model: type[Spec], tree: Mapping[str, Any], err: ValidationError) -> list[Problem]:
    found = []
    for item in err.errors(include_url=False):
        loc = _loc_in_tree(tree, item["loc"], item["type"] == "missing")
        cause = item.get("ctx", {}).get("error")
        if isinstance(cause, SpecError):  # of a block inside, which was validated by itself
            found += [replace(p, path=joined_path(dotted(loc), p.path)) for p in cause.problems]
        else:
            found.append(Problem(dotted(loc), _say(model, loc, dict(item))))
    return found


def _loc_in_tree(tree: Any, loc: Loc, missing: bool) -> Loc:
    """pydantic puts a union's tag into the location; the file has no such level, so drop it.

    A part that is not in the file is a tag, unless it is the key that is `missing`.
    """
    out: list[str | int] = []
    node = tree
    for depth, part in enumerate(loc, start=1):
        is_tag = isinstance(node, dict) and part not in node and not (missing and depth == len(loc))
        if is_tag or (isinstance(part, str) and not isinstance(node, dict) and node is not None):
            continue
        out.append(part)
        try:
            node = node[part]
        except (KeyError, IndexError, TypeError):
            node = None
    return tuple(out)


def _say(model: type[Spec], loc: Loc, item: dict[str, Any]) -> str:
    """One pydantic error in the words rule, value, way out."""
    value, kind, name = item.get("input"), item["type"], str(loc[-1]) if loc else ""
    if kind == "extra_forbidden":
        known = sorted(_keys_at(model, item["loc"][:-1]))
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean `{near[0]}`? " if near else ""
        return f"`{name}` is not a key here; {hint}known keys: {', '.join(known)}"
    if kind == "missing":
        return f"`{name}` is required and missing; add it"
    if kind == "union_tag_invalid":
        given = value.get("kind") if isinstance(value, dict) else value
        return f"kind={_short(given)}: must be one of {item['ctx']['expected_tags']}"
    if kind == "union_tag_not_found":
        return "`kind` is required here and missing; it says which of the variants this is"
    if kind == "value_error":
        return str(item["ctx"]["error"])
    rule = item["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    rule = "not empty" if kind in ("too_short", "string_too_short") else rule
    return f"{name}={_short(value)}: must be {rule}"


def _short(value: Any, limit: int = 80) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _keys_at(model: type[Spec], loc: Loc) -> set[str]:
    """The keys that the spec at pydantic's `loc` knows. Keys of a dict and indices of a list
    lead to the same kind."""
    specs = [model]
    for part in loc:
        tagged = [spec for spec in specs if len(specs) > 1 and part in _kinds(spec)]
        fields = specs[0].model_fields
        specs = (
            tagged
            or (list(_variants(fields[str(part)].annotation)) if part in fields else specs)
            or [Spec]
        )
    return {info.alias or name for name, info in specs[0].model_fields.items()}


def _kinds(spec: type[Spec]) -> tuple[Any, ...]:
    info = spec.model_fields.get("kind")
    return typing.get_args(info.annotation) if info else ()


def _variants(annotation: Any) -> Iterator[type[Spec]]:
    """The spec classes inside an annotation, through Annotated, unions and containers."""
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        yield annotation
        return
    if typing.get_origin(annotation) in (Annotated, Union, types.UnionType, tuple, list, dict):
        for inner in typing.get_args(annotation):
            yield from _variants(inner)


# ---- dotted paths ----


def dotted(loc: Loc) -> str:
    """`("compare", "seed", 1)` -> `compare.seed[1]`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return text.removeprefix(".")


def joined_path(outer: str, inner: str) -> str:
    """`trial.model` and `dim` -> `trial.model.dim`."""
    return f"{outer}{inner}" if inner.startswith("[") else f"{outer}.{inner}".strip(".")


def put(tree: dict[str, Any], path: str, value: Any) -> None:
    """Set `a.b.c` in nested dicts, in place. The parent must be there: a typo must not create a
    branch."""
    *parents, leaf = path.split(".")
    if not all((*parents, leaf)):
        raise refuse(f"{path}: must be words with dots between them", path)
    node: Any = tree
    for depth, part in enumerate(parents):
        axis = ".".join([*parents[depth:], leaf])
        if (
            isinstance(node, dict) and axis in node
        ):  # a searched or compared axis: its key is a path itself
            node[axis] = value
            return
        if not isinstance(node, dict) or part not in node:
            near = difflib.get_close_matches(
                part, list(node) if isinstance(node, dict) else [], n=1
            )
            hint = f"; did you mean `{near[0]}`?" if near else ""
            raise refuse(
                f"{path}: there is no `{'.'.join(parents[: depth + 1])}` to set it in{hint}", path
            )
        node = node[part]
    if not isinstance(node, dict):
        raise refuse(f"`{'.'.join(parents)}` is {_short(node)}, so it has no `{leaf}`", path)
    node[leaf] = value


def open_blocks(spec: type[Spec], tree: dict[str, Any], path: str) -> None:
    """Blocks on the way to a path that a file leaves to their defaults, written out, in place, so
    that a key of theirs can be set. One of many kinds is not: the file must say which."""
    node: Any = tree
    for part in path.split(".")[:-1]:
        info = spec.model_fields.get(part)
        inner = list(_variants(info.annotation)) if info else []
        if not info or not isinstance(node, dict) or len(inner) != 1 or _has_kind(inner[0]):
            return
        if node.get(part) is None:
            node[part] = info.default.tree() if isinstance(info.default, Spec) else {}
        spec, node = inner[0], node[part]


def _parents(path: str) -> Iterator[str]:
    """`a.b.c` -> `a`, `a.b`."""
    return itertools.accumulate(path.split(".")[:-1], "{}.{}".format)


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Nested dicts to `{dotted path: value}`; lists stay whole."""
    if not isinstance(tree, dict):
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat.update(flatten(value, f"{prefix}.{key}" if prefix else str(key)))
    return flat


# ---- YAML ----


@dataclass(frozen=True)
class Document:
    """A YAML file as plain values, with the line of every dotted path."""

    file: str
    text: str
    tree: dict[str, Any]
    lines: dict[str, int] = field(default_factory=dict)

    def place(self, problem: Problem) -> Problem:
        """The problem with its file and the line of the nearest enclosing key."""
        path = problem.path
        while path and path not in self.lines:
            path = re.sub(r"(\.?[^.\[]+|\[\d+\]|.)$", "", path, flags=re.DOTALL)
        return Problem(problem.path, problem.message, self.file, self.lines.get(path))


# what no spec needs more of, so that one that was made to be endless, or was damaged, ends at once
MOST_BYTES = 200_000
MOST_VALUES = 20_000  # those that aliases stand for counted
DEEPEST = 40
TOO_DEEP = f"is nested more than {DEEPEST} deep, or an alias stands for something that holds it"
LONGEST_KEY = 200
TAGS = {f"tag:yaml.org,2002:{name}" for name in ("bool", "null", "int", "float", "str")}
# what a terminal obeys and what turns text around; lines and tabs are text
CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


class _Loader(yaml.SafeLoader):
    """YAML's JSON subset: no dates, no yes/no booleans, and `1e-3` is a number."""


_Loader.yaml_implicit_resolvers = {}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:null", re.compile(r"^(?:~|null|)$"), ["~", "n", ""]
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9_]*)$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|\.[0-9]+(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)$"
    ),
    list("-+0123456789."),
)
# YAML 1.1 wants a dot and a signed exponent; people write 1e-3, and Python reads it.
_Loader.add_constructor(
    "tag:yaml.org,2002:float", lambda loader, node: float(node.value.replace("_", ""))
)


def read_yaml(path: str | Path) -> Document:
    """Parse one YAML mapping; duplicate keys and syntax errors are problems with a line."""
    path = Path(path)
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for without end
            raise SpecError([Problem("", "is no file; give one", str(path))])
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1).decode("utf-8")
    except OSError as err:
        raise SpecError([Problem("", f"cannot be read: {err.strerror}", str(path))]) from None
    except UnicodeDecodeError as err:
        raise SpecError(
            [Problem("", f"is not UTF-8 text: {err.reason} at byte {err.start}", str(path))]
        ) from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, file: str = "<text>") -> Document:
    if len(text) > MOST_BYTES:
        rule = f"must have at most {MOST_BYTES:,} letters; leave out what is no spec"
        raise SpecError([Problem("", rule, file)])
    try:
        loader = _Loader(text)
    except yaml.YAMLError as err:
        raise SpecError([Problem("", f"is not YAML: {_first_line(err)}", file)]) from None
    reader = _TreeReader(loader, file)
    try:
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            raise SpecError([Problem("", "must hold `key: value` lines at its top level", file)])
        tree = reader.read(root, ())
    except yaml.YAMLError as err:
        mark = getattr(err, "problem_mark", None)
        what = getattr(err, "problem", None) or _first_line(err)
        raise SpecError(
            [Problem("", f"is not YAML: {what}", file, mark.line + 1 if mark else None)]
        ) from None
    except RecursionError:
        raise SpecError([Problem("", TOO_DEEP, file)]) from None
    finally:
        loader.dispose()
    if reader.problems:
        raise SpecError(reader.problems)
    return Document(file, text, tree, reader.lines)


def _first_line(err: Exception) -> str:
    return (str(err).splitlines() or [type(err).__name__])[0]


class _TreeReader:
    """Nodes of YAML as plain values, within limits, and everything that is wrong with them."""

    def __init__(self, loader: _Loader, file: str) -> None:
        self.loader, self.file = loader, file
        self.lines: dict[str, int] = {}
        self.problems: list[Problem] = []
        self.n_values = 0

    def read(self, node: yaml.Node, loc: Loc) -> Any:
        line = node.start_mark.line + 1
        self.lines.setdefault(dotted(loc), line)
        self.n_values += 1
        # at once: there may be no end of what follows
        if self.n_values > MOST_VALUES:
            rule = f"holds more than {MOST_VALUES:,} values, what aliases stand for counted"
            raise SpecError([Problem("", f"{rule}; write fewer", self.file, line)])
        if len(loc) > DEEPEST:
            raise SpecError([Problem("", TOO_DEEP, self.file, line)])
        if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return [self.read(item, (*loc, i)) for i, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return self._mapping(node, loc)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, loc, line)
        return self._refuse(loc, line, f"is not YAML of a spec: the tag {node.tag[:40]}; drop it")

    def _mapping(self, node: yaml.MappingNode, loc: Loc) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key, line = key_node.value, key_node.start_mark.line + 1
            if not isinstance(key, str) or len(key) > LONGEST_KEY or CONTROL.search(key):
                rule = f"a key must be a word of at most {LONGEST_KEY} letters that can be printed"
                self._refuse(loc, line, f"{rule}, and one is {_short(str(key), 40)}")
                continue
            where = (*loc, key)
            if key in tree:
                first = self.lines[dotted(where)]
                self._refuse(where, line, f"stands twice, first on line {first}; keep one")
                continue
            self.lines[dotted(where)] = line
            tree[key] = self.read(value_node, where)
        return tree

    def _scalar(self, node: yaml.ScalarNode, loc: Loc, line: int) -> Any:
        if node.tag not in TAGS:
            return self._refuse(
                loc, line, f"is not YAML of a spec: the tag {node.tag[:40]}; drop it"
            )
        try:
            value = self.loader.construct_object(node, deep=True)
        except (ValueError, KeyError):  # !!int of what is none, or of thousands of digits
            return self._refuse(loc, line, f"{_short(node.value, 40)} is no number; correct it")
        is_long = type(value) is int and not -(2**63) <= value < 2**64
        if is_long or (isinstance(value, float) and not math.isfinite(value)):
            rule = "must be a number of at most 64 bits"
            return self._refuse(loc, line, f"{_short(node.value, 40)}: {rule}")
        if isinstance(value, str) and (odd := CONTROL.search(value)):
            rule = f"holds the control character {odd[0].encode('unicode_escape').decode()}"
            return self._refuse(loc, line, f"{rule}; write text that can be printed")
        return value

    def _refuse(self, loc: Loc, line: int, message: str) -> None:
        self.problems.append(Problem(dotted(loc), message, self.file, line))
