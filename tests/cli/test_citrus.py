"""The `citrus` command: one door to every other."""

import subprocess
import sys

import pytest

from citrus_ray.cli.citrus import COMMANDS, main
from citrus_ray.spec import locate


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert f"  {name} " in said
        assert command.about in said


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_is_there_and_has_help(name, capsys):
    assert callable(locate(COMMANDS[name].path))
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    assert "usage:" in capsys.readouterr().out


def test_an_unknown_command_is_named_with_those_there_are(capsys):
    assert main(["rnu"]) == 2
    assert "citrus rnu: no such command; there are run, " in capsys.readouterr().err


def test_python_m_is_the_same_door():
    said = subprocess.run(
        [sys.executable, "-m", "citrus_ray", "--help"], capture_output=True, text=True, check=True
    )
    assert said.stdout.startswith("usage: citrus COMMAND")
