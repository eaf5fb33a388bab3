"""Labels that stand in a recording itself: a column with one for every sample."""

import itertools
from pathlib import Path

import numpy as np

from citrus_ray.data.faults import broken
from citrus_ray.data.formats.labels import Stretch
from citrus_ray.data.formats.recordings import Header, read_column
from citrus_ray.data.formats.signals import Values

MOST = 200  # labels; a column of more is a signal


def stretches_of(header: Header, column: str, group: str | None, file: str) -> list[Stretch]:
    """Stretches of one label, and of one group where a column says it. Empty: none."""
    path, said = header.path, read_column(header, column)
    _check(path, column, said)
    labels, groups = said.texts, np.zeros(len(said.texts), "U1")
    if group is not None:
        other = read_column(header, group)
        if len(other.texts) != len(labels):
            rule = f"`{group}` has {len(other.texts)} samples, but `{column}` {len(labels)}"
            raise broken(path, f"{rule}; name columns of one rate", "labels.group")
        groups = other.texts
        bare = np.flatnonzero((labels != "") & (groups == ""))
        if len(bare):
            rule = f"`{group}` is empty at {bare[0] / said.sfreq:g} s, where `{column}` is"
            raise broken(path, f"{rule} {labels[bare[0]]}; fill it in", "labels.group")
    new = np.flatnonzero((labels[1:] != labels[:-1]) | (groups[1:] != groups[:-1])) + 1
    edges = [0, *new.tolist(), len(labels)]
    return [
        Stretch(
            file, a / said.sfreq, b / said.sfreq, str(labels[a]), str(groups[a]), table=str(path)
        )
        for a, b in itertools.pairwise(edges)
        if labels[a]
    ]


def _check(path: Path, column: str, said: Values) -> None:
    n = len(np.unique(said.texts))
    if n > MOST:
        rule = f"`{column}` has {n} values, so it is a signal, not labels of at most {MOST}"
        raise broken(path, f"{rule}; name another column", "labels.column")
