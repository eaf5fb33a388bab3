"""Complaints about files, keys and names: gathered, counted and worded alike."""

import bisect
import difflib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from citrus_ray.spec import Problem, SpecError, refuse

A = TypeVar("A")
B = TypeVar("B")
AGAIN = "copy or download it again"


def broken(path: Path, message: str, field: str = "", line: int | None = None) -> SpecError:
    """A single-problem error about a file, for `raise broken(…)`."""
    return SpecError([Problem(field, message, str(path), line)])


def unreadable(path: Path, what: str, err: Exception) -> SpecError:
    """An error about a file on which a library gave up, in the first line of its words."""
    said = str(err).strip().partition("\n")[0] or type(err).__name__
    said = "".join(c if c.isprintable() else "?" for c in said)  # a broken file may say anything
    return broken(path, f"cannot be read{what}: {said}; {AGAIN}")


def nothing_found(rule: str, folder: Path, field: str, way: str = "") -> SpecError:
    """An error about a folder in which nothing fits, with what is there instead."""
    there = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
    return refuse(f"{rule}{there}{way}", field)


@contextmanager
def noted(problems: list[Problem]) -> Iterator[None]:
    """Problems that are raised inside join `problems`, and what comes after goes on."""
    try:
        yield
    except SpecError as err:
        problems.extend(err.problems)


def each(things: Iterable[A], step: Callable[[A], B]) -> list[B]:
    """Results of `step` for every thing, or everything that they complain of."""
    out, problems = list[B](), list[Problem]()
    for thing in things:
        with noted(problems):
            out.append(step(thing))
    if problems:
        raise SpecError(tidy(problems))
    return out


def capped(problems: Sequence[Problem], limit: int = 5) -> list[Problem]:
    """The first breaches of one rule and the number of others: 25,000 equal lines help no one."""
    more = len(problems) - limit
    if more <= 0:
        return list(problems)
    first = problems[0]
    file = first.file if all(problem.file == first.file for problem in problems) else None
    return [*problems[:limit], Problem(first.path, f"and {more} more like these", file)]


def first_of(things: Sequence[A], say: Callable[[A], Problem], limit: int = 5) -> list[Problem]:
    """Problems of the first things and the number of others, of which none is worded: a search for
    what each of 10,000 names was meant to be takes minutes."""
    problems, more = [say(thing) for thing in things[:limit]], len(things) - limit
    if more > 0:
        first = problems[0]
        problems.append(Problem(first.path, f"and {more} more like these", first.file))
    return problems


def tidy(problems: Iterable[Problem]) -> list[Problem]:
    """Problems of which the same complaint about many files is said of the first of them."""
    alike = defaultdict[tuple[str, str], list[Problem]](list)
    for problem in problems:
        alike[problem.path, problem.message].append(problem)
    return [problem for same in alike.values() for problem in capped(same)]


def unknown(field: str, name: str, known: Iterable[str], file: Path | None = None) -> Problem:
    """A name that is not among those known, perhaps a typo."""
    rule = f"`{name}` is not there; {suggest(name, known)}"
    return Problem(field, rule, str(file) if file else None)


def refuse_unknown(
    field: str, names: Iterable[str], known: Iterable[str], file: Path | None = None
) -> None:
    """Refuse every name that is not among those known."""
    known = list(known)
    wrong = [unknown(field, name, known, file) for name in names if name not in known]
    if wrong:
        raise SpecError(wrong)


def suggest(name: str, known: Iterable[str], limit: int = 30) -> str:
    """The nearest of the names that are known, and a list of them."""
    names = sorted(known)
    lower = {known_name.lower(): known_name for known_name in names}
    likely = _likely(name.lower(), lower)
    near = [lower[match] for match in difflib.get_close_matches(name.lower(), likely, n=1)]
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    listed = ", ".join(names[:limit]) + more
    return (f"did you mean `{near[0]}`? " if near else "") + f"there are {listed or 'none'}"


def _likely(name: str, known: Iterable[str], limit: int = 300) -> list[str]:
    """Names next to one in alphabetical order, read from either end: difflib takes seconds for
    thousands."""
    likely = list(known)
    if len(likely) <= limit:
        return likely
    near = set[str]()
    for way in (slice(None), slice(None, None, -1)):
        names = sorted(other[way] for other in likely)
        place = bisect.bisect(names, name[way])
        near |= {other[way] for other in names[max(place - limit // 4, 0) : place + limit // 4]}
    return sorted(near)
