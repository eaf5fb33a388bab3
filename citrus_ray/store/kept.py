"""Kept models: arrays in a safetensors file, all else in JSON that is written last and names it.

A reader sees a whole model or none. Writing one over another leaves the old one whole until the new
one is.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from citrus_ray.records import write_bytes
from citrus_ray.spec import Problem, SpecError

MODEL = "model.json"
WHY_NOT = "why-not.json"  # in place of a model that cannot be kept
FORMAT = 1  # counts up when an older reader would misread what is written
Arrays = dict[str, npt.NDArray[Any]]


def write(folder: Path, facts: dict[str, Any], arrays: Arrays) -> None:
    """The model in `folder`, in place of any other that is there."""
    from safetensors.numpy import save

    content = save({name: np.asarray(x) for name, x in arrays.items()})
    checksum = hashlib.sha256(content).hexdigest()
    name = f"weights-{checksum[:16]}.safetensors"
    about = {"format": FORMAT, "weights": name, "sha256": checksum}
    text = json.dumps(facts | about, indent=1, allow_nan=False)
    write_bytes(folder / name, content)
    write_bytes(folder / MODEL, text.encode())
    for old in folder.glob("weights-*.safetensors"):
        if old.name != name:
            old.unlink(missing_ok=True)
    (folder / WHY_NOT).unlink(missing_ok=True)


def write_why_not(folder: Path, digest: str, reason: str) -> None:
    """That a model cannot be kept, so that nobody tries again."""
    write_bytes(folder / WHY_NOT, json.dumps({"digest": digest, "reason": reason}).encode())


def held(folder: Path) -> str | None:
    """The digest of the member whose model is there, None without one."""
    digest = _facts(folder / MODEL).get("digest")
    weights = _facts(folder / MODEL).get("weights")
    return digest if weights and (folder / weights).is_file() else None


def why_not(folder: Path, digest: str) -> str | None:
    """Why the model of a member is not there, where it cannot be."""
    found = _facts(folder / WHY_NOT)
    return str(found["reason"]) if found.get("digest") == digest else None


def _facts(path: Path) -> dict[str, Any]:
    """What a file says; nothing where it is not there, or damaged."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def read(folder: Path) -> tuple[dict[str, Any], Arrays]:
    """The facts and arrays of a model, once their checksum is right."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    again = "copy the folder again, or keep the model again"
    path = folder / MODEL
    facts = _facts(path)
    if not facts:
        raise _wrong(path, f"is damaged; {again}" if path.exists() else "is not there")
    if facts.get("format") != FORMAT:
        rule = f"format={facts.get('format')}: this version of citrus_ray reads {FORMAT}"
        raise _wrong(path, f"{rule}; update it, or keep the model again")
    weights = folder / str(facts.get("weights"))
    try:
        content = weights.read_bytes()
    except OSError as err:
        raise _wrong(weights, f"cannot be read: {err.strerror}; {again}") from None
    if hashlib.sha256(content).hexdigest() != facts.get("sha256"):
        raise _wrong(weights, f"is not what was kept: its checksum is another; {again}")
    try:
        return facts, dict(load(content))
    except SafetensorError as err:
        raise _wrong(weights, f"is no safetensors file: {err}; {again}") from None


def _wrong(path: Path, message: str) -> SpecError:
    return SpecError([Problem("", message, str(path))])


def slug(text: str, most: int = 80) -> str:
    """The name of a file that a person can read."""
    return re.sub(r"[^A-Za-z0-9._=-]+", "_", text).strip("_.")[:most] or "all"
