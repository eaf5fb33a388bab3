"""The `citrus` command: one door to every other."""

import subprocess
import sys

import pytest

from citrus_ray import __version__
from citrus_ray.cli import completion
from citrus_ray.cli.citrus import COMMANDS, GROUPS, main
from citrus_ray.spec import locate


def test_help_names_every_command_in_its_group(capsys):
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for title, group in GROUPS.items():
        first = lines.index(f"{title}:") + 1
        rows = [f"  {name:10} {command.about}" for name, command in group.items()]
        assert lines[first : first + len(group)] == rows
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help_that_names_it_as_it_was_called(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: citrus {name} ")
    assert "run.py" not in said
    assert locate(COMMANDS[name].parser)(f"citrus {name}").format_help() == said


def test_an_unknown_command_is_named_with_those_there_are(capsys):
    assert main(["rnu"]) == 2
    assert "citrus rnu: no such command; there are init, run, " in capsys.readouterr().err


def test_the_version_is_that_of_the_package(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"citrus_ray {__version__}\n"


def test_python_m_is_the_same_door():
    said = subprocess.run(
        [sys.executable, "-m", "citrus_ray", "--help"], capture_output=True, text=True, check=True
    )
    assert said.stdout.startswith("usage: citrus COMMAND")


# ---- what comes with the package ----


def test_the_sweeps_that_have_a_name_are_listed_with_their_questions(capsys):
    assert main(["run", "--list"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert "citrus/frequency" in lines
    assert lines["lowdata"].startswith("How much, and when, does pre-training help")
    assert all("?" in said for said in lines.values())


def test_a_cluster_file_is_listed_and_printed_to_be_filled_in(capsys):
    assert main(["cluster", "list"]) == 0
    assert "onprem   Machines that you reach by ssh" in capsys.readouterr().out
    assert main(["cluster", "show", "onprem"]) == 0
    assert "<HEAD_IP>" in capsys.readouterr().out
    assert main(["cluster", "show", "moon"]) == 2
    assert "moon: no such cluster file; there are aws, gcp," in capsys.readouterr().err


# ---- completion ----


def completed(*words: str) -> list[str]:
    """What bash offers for the last of these words."""
    script = completion.bash(list(completion.known()))
    ask = f"COMP_WORDS=({' '.join(map(repr, words))}); COMP_CWORD={len(words) - 1}; _citrus"
    said = subprocess.run(
        ["bash", "-c", f'{script}\n{ask}\nprintf "%s\\n" "${{COMPREPLY[@]}}"'],
        capture_output=True,
        text=True,
        check=True,
    )
    return said.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["citrus", "re"], ["report", "records"]),
        (["citrus", "run", "low"], ["lowdata"]),
        (["citrus", "run", "lowdata", "--dr"], ["--dry-run"]),
        (["citrus", "top", "quick"], ["quickstart"]),
        (["citrus", "store", "ver"], ["verify"]),
        (["citrus", "store", "prune", "--mi"], ["--min-age"]),
        (["citrus", "completion", ""], ["bash", "zsh", "fish", "--help"]),
        (["citrus", "run", "--out", "low"], []),  # a file of the shell's
    ],
)
def test_bash_completes_commands_names_and_flags(words, offered):
    assert completed(*words) == offered


@pytest.mark.parametrize("shell", list(completion.SHELLS))
def test_completion_knows_every_command_and_flag_that_a_parser_has(shell, capsys):
    assert main(["completion", shell]) == 0
    said = capsys.readouterr().out
    words = [word for of in completion.known() for word in (*of.actions, *of.values, *of.flags)]
    bare = said.replace(" -l ", " --") if shell == "fish" else said
    assert len(words) > 150
    assert {"--page-only", "lowdata", "compact", "--no-ray"} <= set(words)
    assert not [word for word in words if word not in bare]
