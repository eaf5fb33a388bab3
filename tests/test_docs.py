"""README and docs/ as a whole: links lead somewhere, commands exist, blocks are what they claim."""

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from citrus_ray.cli import citrus
from citrus_ray.experiment.sweep import Sweep, load_sweep
from citrus_ray.experiment.trial import Finetune, Trial

ROOT = Path(__file__).resolve().parents[1]
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "cluster" / "README.md", *DOCS]


def blocks(*languages: str) -> Iterator[tuple[str, str]]:
    """(page:line, text) of every fenced block in one of `languages`."""
    for page in PAGES:
        text = page.read_text()
        for found in re.finditer(r"^ *```(\w*)\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE):
            if found[1] in languages:
                line = text[: found.start()].count("\n") + 1
                yield f"{page.relative_to(ROOT)}:{line}", found[2]


def commands() -> Iterator[tuple[str, list[str]]]:
    """(page:line, words) of every command of ours that a page tells to run, `#` notes cut off."""
    for where, text in blocks("sh", "bash"):
        for line in text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["citrus"] or words[:1] == ["python"]:
                yield where, words


COMMANDS = [pytest.param(words, id=f"{where} {' '.join(words[:3])}") for where, words in commands()]
YAML = [pytest.param(text, id=where) for where, text in blocks("yaml")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_a_file_and_a_heading(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, heading = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), f"{target}: no such file"
        if heading:
            titles = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", t.lower()).replace(" ", "-") for t in titles}
            assert heading in slugs, f"{target}: no such heading"


def test_the_site_leads_to_every_page():
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    named = re.findall(r"[\w-]+\.md", str(site["nav"]))
    assert sorted(named) == [page.name for page in DOCS]
    front = (ROOT / "README.md").read_text() + (ROOT / "docs" / "index.md").read_text()
    for page in DOCS:
        assert page.name == "index.md" or page.name in front, f"{page.name}: no way leads there"


def test_the_readme_is_read_in_one_go():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 130
    # tables and what a command prints are as wide as they are
    prose = [line for line in lines if not line.startswith(("|", "```"))]
    assert sum(len(line) > 100 for line in prose) <= 12


@pytest.mark.parametrize("words", COMMANDS)
def test_commands_exist_with_their_flags(words, capsys):
    script = words[1] if words[0] == "python" and len(words) > 1 else ""
    if script.endswith(".py") and "/" in script:
        assert (ROOT / script).is_file(), f"{script}: no such file"
    if script == "-m" and words[2].startswith("tests."):
        pytest.skip("a benchmark, which parses no flags of a command")
    if script == "-m" and words[2] != "citrus_ray":
        assert (
            (ROOT / words[2].replace(".", "/")).exists()
            or (ROOT / (words[2].replace(".", "/") + ".py")).exists()
            or words[2] == "pytest"
        )
        return
    asked = ["run"] if script.endswith("sweeps/run.py") else words[1:2]
    if words[0] == "python" and asked != ["run"]:
        return
    assert asked[0] in citrus.COMMANDS or asked[0].startswith("-"), f"{asked[0]}: no such command"
    flags = {word.partition("=")[0] for word in words[2:] if re.match(r"--?[a-z]", word)}
    sub = [w for w in words[2:3] if asked[0] in ("data", "store", "records", "cluster")]
    with pytest.raises(SystemExit) as ended:
        sys.exit(citrus.main([*asked, *sub, "--help"]))
    assert not ended.value.code
    said = capsys.readouterr().out
    assert all(flag in said for flag in flags), f"{flags}: not all in its --help"


def joined(below: Any, above: Any) -> Any:
    """`above` written into `below`, block by block; one of a kind or amount takes its place."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    if above.keys() & {"kind", "set", "per_class", "count", "fraction"}:
        below = {}
    return below | {key: joined(below.get(key), value) for key, value in above.items()}


def placed(key: str, value: Any) -> dict[str, Any]:
    """A key of a sweep, a trial, a fine-tune or a target with the blocks that it belongs in."""
    if key in Sweep.model_fields:
        return {key: value}
    if key in Trial.model_fields:
        return {"trial": {key: value}}
    block = {key: value} if key in Finetune.model_fields else {"target": {key: value}}
    return {"trial": {"finetune": block}}


BASE = {
    "name": "base",
    "trial": {
        "model": "conv",
        "pretrain": {"source": {"kind": "synthetic"}, "task": None, "epochs": 2},
        "finetune": {
            "target": {"kind": "files", "root": ".", "pattern": "*.npz", "seconds": 2.0}
            | {"sfreq": 100.0, "labels": "labels.csv"},
            "labels": {"per_class": 8},
        },
    },
    "budget": {"trials": 12},
}


@pytest.mark.parametrize("text", YAML)
def test_yaml_is_of_a_sweep_or_fits_into_one(text, tmp_path):
    """A block that is a part of a sweep is put where its keys belong in one that is whole."""
    whole: Any = BASE
    block = yaml.safe_load(text)
    if "claims" in block and "compare" not in block:  # of cells that the page has shown before
        block["compare"] = {
            "model": ["conv", "citrus"],
            "pretrain.task": [None, {"kind": "masked"}],
        }
    for key, value in block.items():
        whole = joined(whole, placed(key, value))
    file = tmp_path / "sweep.yaml"
    file.write_text(yaml.safe_dump(whole))
    load_sweep(file)


@pytest.mark.parametrize("text", [pytest.param(t, id=w) for w, t in blocks("python")])
def test_python_compiles(text):
    compile(text, "<page>", "exec")


@pytest.mark.parametrize("line", ["citrus fly", "citrus run a.yaml --fast", "python sweeps/no.py"])
def test_a_command_that_does_not_exist_is_seen(line, capsys):
    with pytest.raises(AssertionError):
        test_commands_exist_with_their_flags(shlex.split(line), capsys)
