"""Pages of the docs as a reader follows them: files, code and commands in order, in one folder.

What a command trains is made short by rule (`as_called`). A block under `<!-- not run: WHY -->` is
left alone."""

import contextlib
import io
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from citrus_ray.cli import citrus
from citrus_ray.experiment.sweep_files import by_name

ROOT = Path(__file__).resolve().parents[2]
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "cluster" / "README.md", *DOCS]
LANGUAGES = ("python", "yaml", "toml", "sh")  # of none is what a command prints, or a drawing
BLOCK = re.compile(
    r"(?:^ *<!-- not run:(?P<why>[^>]*)-->\n)?"
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^ *```",
    re.DOTALL | re.MULTILINE,
)
# of a sweep that a page shows
SHORT = {"budget.trials": 1, "final.rounds": 2, "trial.finetune.steps": 10}
NO_DATA = re.compile(r"there is no folder \S+(?=; say with --data DIR| with the set )")
# commands with commands of their own
GROUPS = ("citrus data", "citrus store", "citrus records", "citrus cluster", "ray", "pip", "wandb")


class Block(NamedTuple):
    """A fenced block of a page; `why` says why it is not run, None where it is."""

    page: Path
    line: int
    language: str
    text: str
    why: str | None

    @property
    def where(self) -> str:
        page = self.page.relative_to(ROOT) if self.page.is_relative_to(ROOT) else self.page.name
        return f"{page}:{self.line}"

    @property
    def file(self) -> str | None:
        """The file that it is: named in its first line, or a sweep."""
        if self.language == "python" and (named := re.match(r"# (\w+\.py)\n", self.text)):
            return named[1]
        if self.language == "yaml" and (named := re.match(r"(?:#.*\n)*name: (\w+)\n", self.text)):
            return f"{named[1]}.yaml"
        return None


def blocks(page: Path, *languages: str) -> list[Block]:
    """The blocks of a page, in order; of some languages alone, where they are named."""
    text, found = page.read_text(encoding="utf-8"), []
    for at in BLOCK.finditer(text):
        inside = re.sub(f"^{at['indent']}", "", at["text"], flags=re.MULTILINE)
        line = text[: at.start("language")].count("\n") + 1
        found.append(Block(page, line, at["language"], inside, at["why"]))
    return [block for block in found if not languages or block.language in languages]


def commands(page: Path) -> Iterator[tuple[str, str, bool]]:
    """(where, command, whether it is a line of a block that is run) of all that a page names."""
    for block in blocks(page, "sh"):
        yield from ((block.where, line, block.why is None) for line in lines(block))
    prose = BLOCK.sub(lambda at: "\n" * at[0].count("\n"), page.read_text(encoding="utf-8"))
    for at in re.finditer(r"`((?:citrus|python|ray|pip|make|tensorboard|wandb) [^`]+)`", prose):
        yield f"{page.relative_to(ROOT)}:{prose[: at.start()].count(chr(10)) + 1}", at[1], False


def lines(block: Block) -> list[str]:
    return [line for line in block.text.replace("\\\n", " ").splitlines() if line.strip()]


class NotHereError(Exception):
    """A set of recordings or a program that this machine lacks."""


@dataclass
class Reader:
    """Somebody who follows pages in a folder, which is home too, with a checkout in it."""

    folder: Path
    patch: pytest.MonkeyPatch
    said: dict[str, str] = field(default_factory=dict)  # by command, as the page has it
    lacks: list[str] = field(default_factory=list)  # commands that need what is not here
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "__main__"})

    def __post_init__(self) -> None:
        self.patch.chdir(self.folder)
        self.patch.setenv("HOME", str(self.folder))
        self.patch.delenv("CITRUS_STORE", raising=False)  # encoders lie beside the results
        self.patch.syspath_prepend(str(self.folder))
        (self.folder / "sweeps").symlink_to(ROOT / "sweeps")
        (self.folder / "cluster").mkdir()
        for file in (ROOT / "cluster").glob("*.yaml"):  # filled in, as the page says
            text = re.sub(r"<[A-Z_0-9]+>", "x", file.read_text())
            (self.folder / "cluster" / file.name).write_text(text)
        if data := os.environ.get("CITRUS_DATA"):
            (self.folder / "data").symlink_to(data)

    def follow(self, page: Path) -> None:
        for block in blocks(page, *LANGUAGES):
            if block.why is not None:
                continue
            if block.file:
                (self.folder / block.file).write_text(block.text)
            elif block.language == "python":
                exec(compile("\n" * block.line + block.text, block.where, "exec"), self.names)
            elif block.language == "toml":
                tomllib.loads(block.text)
            elif block.language == "sh":
                for line in lines(block):
                    self._call(line, block.where)

    def _call(self, line: str, where: str) -> None:
        """A command, which must end well; `said` has what it printed."""
        words = [word for said in shlex.split(line, comments=True) for word in self._read(said)]
        words = words[1:] if words[:1] == ["export"] else words
        while words and re.match(r"[A-Z_]+=", words[0]):
            name, _, value = words.pop(0).partition("=")
            self.patch.setenv(name, f"{value}:{ROOT}" if name == "PYTHONPATH" else value)
        try:
            code, said = called(words) if words else (0, "")
            if code and (gone := NO_DATA.search(said)):
                raise NotHereError(gone[0])
        except NotHereError as err:
            self.lacks.append(f"{where}: {line.strip()}: {err}")
            return
        assert not code, f"{where}: {line}: exit code {code}\n{said}"
        self.said[line.strip()] = said

    def _read(self, word: str) -> list[str]:
        """A word as a shell hands it over; `3f2a` of a page is an encoder of the store."""
        if word == "3f2a":
            return [min(path.name for path in (self.folder / "results" / "store").iterdir())[:6]]
        name, equals, value = word.replace("$PWD", str(self.folder)).rpartition("=")
        word = name + equals + os.path.expandvars(os.path.expanduser(value))
        return sorted(map(str, self.folder.glob(word))) if "*" in word else [word]


def called(words: list[str]) -> tuple[int, str]:
    """Exit code and output of a command: ours in this process, another's in its own."""
    words = as_called(words)
    if words[0] not in ("citrus", "python") or words[1:3] == ["-m", "pytest"]:
        program = sys.executable if words[0] == "python" else program_of(words[0])
        done = subprocess.run([program, *words[1:]], capture_output=True, text=True, timeout=200)
        return done.returncode, done.stdout + done.stderr
    out, code = io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            code = citrus.main(words[1:]) if words[0] == "citrus" else _python(words[1:])
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return code, out.getvalue()


def _python(words: list[str]) -> int:
    run, words = (runpy.run_module, words[1:]) if words[0] == "-m" else (runpy.run_path, words)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", words)
        run(words[0], run_name="__main__")
    return 0


def program_of(name: str) -> str:
    """Where a program is: beside this Python, or on the path."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    if (found := shutil.which(name, path=places)) is None:
        raise NotHereError(f"there is no {name} on this machine")
    return found


def as_called(words: list[str]) -> list[str]:
    """A command as it is called here. What needs a network, a cluster or another's program is
    asked for its help; a sweep that has a name, or reads sets that have one, is planned; one of
    the page runs in this process, short. All else is called as it stands."""
    words = by_its_name(words)
    if words[0] not in ("citrus", "python", "mkdir") or {"--cluster", "--address", "fetch"} & {
        *words
    }:
        return asking_help(words)
    if words[:2] != ["citrus", "run"] or {"--dry-run", "--status", "--top", "--help"} & {*words}:
        return words
    if words[2] in by_name(ROOT / "sweeps"):
        return [*words, "--dry-run"]
    trial = yaml.safe_load(Path(words[2]).read_text())["trial"]
    if "kind" not in trial["finetune"]["target"]:
        return [*words, "--dry-run"]
    short = SHORT | ({"trial.pretrain.epochs": 1} if "pretrain" in trial else {})
    edits = (word for path, value in short.items() for word in ("--set", f"{path}={value}"))
    return [*words, "--no-ray", *edits]


def by_its_name(words: list[str]) -> list[str]:
    """`citrus …` for all ways to call it."""
    if words[:2] == ["python", "sweeps/run.py"]:
        return ["citrus", "run", *words[2:]]
    return ["citrus", *words[3:]] if words[:3] == ["python", "-m", "citrus_ray"] else words


def asking_help(words: list[str]) -> list[str]:
    """The call that shows the flags of a command."""
    words = by_its_name(words)
    depth = 1 + (words[0] in ("citrus", *GROUPS)) + (" ".join(words[:2]) in GROUPS)
    return [*words[:depth], "--help"]


def check_flags(words: list[str]) -> None:
    """A command is there, and so are its flags; of `make`, the target; of a script, the file."""
    words = by_its_name(words)
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.M), words
        return
    if words[0] == "python":
        named = words[2].replace(".", "/") if words[1] == "-m" else words[1].removesuffix(".py")
        places = [ROOT / f"{named}.py", ROOT / named / "__main__.py"]
        of_the_page = "-m" not in words and "/" not in named
        assert of_the_page or named == "pytest" or any(map(Path.is_file, places)), words
        return
    if words[:2] == ["citrus", "run"] and re.fullmatch("[a-z_/]+", "".join(words[2:3])):
        assert words[2] in by_name(ROOT / "sweeps"), f"{words[2]}: no such sweep"
    code, said = called(asking_help(words))
    assert not code, said
    flags = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    assert all(flag in said for flag in flags), f"{flags}: not all in its --help"
