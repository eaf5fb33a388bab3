"""Templates into pages. Everything that is placed is text; figures alone are markup."""

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["css"] = Markup((TEMPLATES / "style.css").read_text(encoding="utf-8"))
    script = (TEMPLATES / "tables.js").read_text(encoding="utf-8")
    made.globals["script"] = Markup(script)
    # this very text may run, and nothing else
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    made.globals["script_hash"] = Markup(f"sha256-{digest}")
    return made


def rendered(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(**values)
