"""README and docs/ as a whole: links lead somewhere, commands exist, blocks are what they claim."""

import re
import shlex
from typing import Any

import pytest
import yaml

from citrus_ray.experiment.sweep import Sweep, load_sweep
from citrus_ray.experiment.trial import Finetune, Trial
from tests.docs.pages import (
    DOCS,
    LANGUAGES,
    PAGES,
    ROOT,
    NotHereError,
    Reader,
    blocks,
    check_flags,
    commands,
)

BLOCKS = [block for page in PAGES for block in blocks(page)]
COMMANDS = {line: where for page in PAGES for where, line, _ in commands(page)}
OURS = ("citrus", "python", "make")
TO_FOLLOW = [str(page.relative_to(ROOT)) for page in PAGES if blocks(page, "python", "sh")]
YAML = [pytest.param(b.text, id=b.where) for b in BLOCKS if b.language == "yaml"]


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


def words_of(line: str) -> list[str]:
    words = shlex.split(line, comments=True)
    while words and re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    return words


def asked(*, ours: bool) -> list[Any]:
    """The commands that pages name, each once: ours, or those of others."""
    found = {line: words_of(line) for line in COMMANDS}
    return [
        pytest.param(words, id=f"{COMMANDS[line]} {' '.join(words[:3])}")
        for line, words in found.items()
        if words and words[0] not in ("export", "mkdir") and (words[0] in OURS) == ours
    ]


@pytest.mark.parametrize("words", asked(ours=True))
def test_commands_exist_with_their_flags(words):
    check_flags(words)


@pytest.mark.slow
@pytest.mark.parametrize("words", asked(ours=False))
def test_commands_of_others_exist_with_their_flags(words):
    try:
        check_flags(words)
    except NotHereError as err:
        pytest.skip(str(err))


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.where)
def test_every_block_is_one_that_is_run_or_says_why_not(block):
    """Blocks of no language are what a command prints: nothing in them reads like code."""
    assert block.language in (*LANGUAGES, ""), f"{block.where}: no test knows how to run it"
    assert block.why is None or len(block.why.split()) > 2, f"{block.where}: why is it not run?"
    if not block.language:
        code = r"^(\$ |citrus |python |pip |import |from \w+ import |\w+ = \w+\()"
        assert not re.search(code, block.text, re.M), f"{block.where}: say which language it is"


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


def unknown_keys(text: str) -> set[str]:
    """Dotted keys of a text, as `finetune.head.bins`, that the reference of keys does not have."""
    roots = {*Sweep.model_fields, *Trial.model_fields}
    known = roots | {*re.findall(r"^\| `(\w+)`", (ROOT / "docs" / "keys.md").read_text(), re.M)}
    files = r"(?!\w+\.(?:json|pt|safetensors)`)"
    named = re.findall(rf"`{files}(\w+(?:\.\w+)+)(?=[`:=])", text)
    return {key for key in named if key.split(".")[0] in roots and not {*key.split(".")} <= known}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_key_that_a_page_names_exists(page):
    assert unknown_keys(page.read_text()) == set()


def test_a_key_that_does_not_exist_is_seen():
    assert unknown_keys("`final.runds` and `final.rounds: 3`, `model.json`") == {"final.runds"}


@pytest.mark.parametrize("line", ["citrus fly", "citrus run a.yaml --fast", "python sweeps/no.py"])
def test_a_command_that_does_not_exist_is_seen(line):
    with pytest.raises(AssertionError):
        check_flags(shlex.split(line))


@pytest.mark.slow
@pytest.mark.parametrize("page", TO_FOLLOW)
def test_a_page_is_followed_from_its_first_block_to_its_last(page, followed):
    reader = followed(page)
    if reader.lacks:
        pytest.skip("all else was run; " + "; ".join(reader.lacks))


FOLLOWED = """
```python
# add.py
import sys
print(int(sys.argv[1]) + int(sys.argv[2]))
```
```python
two = 2
```
```python
assert two == 2
```
```sh
python add.py 1 2    # three
citrus cluster list
```
<!-- not run: it stands for itself -->
```sh
citrus fly
```
"""


@pytest.fixture
def reader(tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    return Reader(tmp_path / "home", monkeypatch)


def test_a_page_is_followed_block_by_block_in_its_order(reader, tmp_path):
    (tmp_path / "page.md").write_text(FOLLOWED)
    reader.follow(tmp_path / "page.md")
    assert reader.said["python add.py 1 2    # three"] == "3\n"
    assert "citrus fly" not in reader.said
    assert reader.lacks == []


@pytest.mark.parametrize(
    ("right", "wrong", "says"),
    [
        ("two = 2", "tow = 2", "two"),
        ("1 2 ", "1 ", "list index"),
        (
            "citrus cluster list",
            "citrus cluster list --fast",
            "page.md:13: citrus cluster list --fast: exit",
        ),
        ("<!-- not run: it stands for itself -->\n", "", "no such command"),
        ("assert two", "asert two", "invalid syntax"),
    ],
)
def test_a_fault_of_a_page_is_found(reader, tmp_path, right, wrong, says):
    assert right in FOLLOWED
    (tmp_path / "page.md").write_text(FOLLOWED.replace(right, wrong, 1))
    with pytest.raises(Exception, match=re.escape(says)):
        reader.follow(tmp_path / "page.md")


def test_a_set_that_is_not_here_is_said(reader, tmp_path, monkeypatch):
    monkeypatch.setenv("CITRUS_DATA", str(tmp_path / "nowhere"))
    (tmp_path / "page.md").write_text("```sh\ncitrus data describe bonn5\n```\n")
    reader.follow(tmp_path / "page.md")
    assert "page.md:1: citrus data describe bonn5: there is no folder" in reader.lacks[0]
