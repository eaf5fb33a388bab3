"""Completion of `citrus` in a shell, made from the commands' own parsers: put
`eval "$(citrus completion bash)"` into ~/.bashrc, the same with zsh into ~/.zshrc, or
`citrus completion fish | source` into ~/.config/fish/config.fish."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from shlex import quote

from citrus_ray.experiment.sweep_files import by_name, question_of, shipped
from citrus_ray.spec import locate


@dataclass(frozen=True)
class Words:
    """What may follow the words of `path`, each with a line about it."""

    path: str
    actions: dict[str, str]  # commands of the next level
    flags: dict[str, str]
    valued: frozenset[str]  # flags that a value follows
    values: dict[str, str]  # of the positional arguments; files may follow as well


def main(argv: Sequence[str], prog: str = "citrus completion") -> int:
    print(SHELLS[parser(prog).parse_args(argv).shell](list(known())))
    return 0


def parser(prog: str) -> argparse.ArgumentParser:
    cli = argparse.ArgumentParser(prog=prog, description=__doc__)
    cli.add_argument("shell", choices=("bash", "zsh", "fish"), help="which it is for")
    return cli


def known() -> Iterator[Words]:
    """Every command, from its parser."""
    from citrus_ray.cli.citrus import COMMANDS

    about = {name: command.about for name, command in COMMANDS.items()}
    flags = {"--help": "the commands", "--version": "which version this is"}
    yield Words("citrus", about, flags, frozenset(), {})
    for name, command in COMMANDS.items():
        path = f"citrus {name}"
        yield from _of(path, locate(command.parser)(path))


def _of(path: str, cli: argparse.ArgumentParser) -> Iterator[Words]:
    actions, flags, values = dict[str, str](), dict[str, str](), dict[str, str]()
    valued = set[str]()
    below = dict[str, argparse.ArgumentParser]()
    for action in cli._actions:
        if isinstance(action, argparse._SubParsersAction):
            below = dict(action.choices)
            actions |= {one.dest: one.help or "" for one in action._choices_actions}
        elif action.option_strings:
            names = [name for name in action.option_strings if name.startswith("--")]
            flags |= dict.fromkeys(names or action.option_strings, action.help or "")
            valued |= set(action.option_strings) if action.nargs != 0 else set()
        elif action.metavar == "SPEC":
            files = by_name(shipped("sweeps"))
            values |= {n: question_of(file.read_text("utf-8")) or "" for n, file in files.items()}
        else:
            values |= dict.fromkeys(action.choices or (), "")
    yield Words(path, actions, flags, frozenset(valued), values)
    for name, inner in below.items():
        yield from _of(f"{path} {name}", inner)


def bash(known: Sequence[Words]) -> str:
    def listed(of: Words) -> str:
        return quote(" ".join([*of.actions, *of.values, *of.flags]))

    cases = [f"        {quote(of.path)}) known={listed(of)} ;;" for of in known]
    return f"""\
_citrus() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}}
    local at=citrus word known=
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case "$at $word" in {_levels(known)}) at="$at $word" ;; esac
    done
    case "$at $before" in {_with_value(known)}) return ;; esac
    case "$at" in
{_joined(cases)}
    esac
    COMPREPLY=($(compgen -W "$known" -- "$cur"))
}}
complete -o default -F _citrus citrus"""


def zsh(known: Sequence[Words]) -> str:
    def listed(of: Words) -> str:
        pairs = {**of.actions, **of.values, **of.flags}.items()
        return " ".join(quote(f"{word}:{_plain(about)}") for word, about in pairs)

    cases = [f"        ({quote(of.path)}) known=({listed(of)}) ;;" for of in known]
    return f"""\
#compdef citrus
_citrus() {{
    local at=citrus word before=${{words[CURRENT-1]}}
    local -a known
    for word in "${{(@)words[2,CURRENT-1]}}"; do
        case "$at $word" in ({_levels(known)}) at="$at $word" ;; esac
    done
    case "$at $before" in ({_with_value(known)}) _files; return ;; esac
    case "$at" in
{_joined(cases)}
    esac
    _describe -o 'citrus' known
    [[ "$at" == citrus ]] || _files
}}
compdef _citrus citrus"""


def fish(known: Sequence[Words]) -> str:
    lines = ["complete -c citrus -f -n __fish_use_subcommand"]
    for of in known:
        _, *above = of.path.split()
        seen = [f"__fish_seen_subcommand_from {name}" for name in above]
        if of.actions and above:
            seen.append(f"not __fish_seen_subcommand_from {' '.join(of.actions)}")
        when = quote("; and ".join(seen) or "__fish_use_subcommand")
        for word, about in {**of.actions, **of.values}.items():
            lines.append(f"complete -c citrus -n {when} -a {word} -d {quote(_plain(about))}")
        for flag, about in of.flags.items():
            name = f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}"
            value = " -r" if flag in of.valued else ""
            lines.append(f"complete -c citrus -n {when} {name}{value} -d {quote(_plain(about))}")
    return _joined(lines)


SHELLS = {"bash": bash, "zsh": zsh, "fish": fish}


def _levels(known: Sequence[Words]) -> str:
    """Patterns of a shell's `case`: what leads one level down."""
    return "|".join(quote(of.path) for of in known if of.path != "citrus")


def _with_value(known: Sequence[Words]) -> str:
    """Patterns of a shell's `case`: a flag that a value follows."""
    return "|".join(quote(f"{of.path} {flag}") for of in known for flag in sorted(of.valued))


def _joined(lines: Sequence[str]) -> str:
    return "\n".join(lines)


def _plain(about: str) -> str:
    return about.replace(":", r"\:").replace("%%", "%")
