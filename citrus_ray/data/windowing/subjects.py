"""Windows by subject, as groups of a split are called: of whom there are enough to know them by."""

import numpy as np

from citrus_ray.data.windowing.splits import Parts
from citrus_ray.data.windows import Index, Windows
from citrus_ray.spec import refuse

FEWEST = 2  # windows of a subject whose mean is told from what is in one window


def by_subject(windows: Windows, index: Index, most: int) -> Index:
    """At most `most` of the windows, as many of each subject and evenly spaced, of each at least
    two. A subject of fewer is left out, as are subjects beyond `most / 2`."""
    group = windows.group[index]
    names, counts = np.unique(group, return_counts=True)
    known = names[counts >= FEWEST]
    known = known[evenly(len(known), most // FEWEST)]
    n = max(FEWEST, most // max(len(known), 1))
    each = [index[group == g] for g in known]
    chosen = [of_one[evenly(len(of_one), n)] for of_one in each]
    return np.sort(np.concatenate([index[:0], *chosen]))


def evenly(n: int, most: int) -> Index:
    """Places of at most `most` of `n`, evenly spaced."""
    return np.linspace(0, n - 1, min(n, most)).astype(np.int64)


def check_subjects(windows: Windows, parts: Parts, how: str) -> None:
    """Refuse to take away who a window is of where that cannot be known, or is the class."""
    way = "give `subjects: keep`"
    _, counts = np.unique(windows.group[parts.train], return_counts=True)
    if (n := int((counts >= FEWEST).sum())) < 2:
        rule = f"takes 2 training subjects of {FEWEST} windows each to know them by, and there"
        raise refuse(f"subjects={how}: {rule} are {n} of {len(counts)}; {way}", "subjects")
    if windows.target != "classes":
        return
    y, group = windows.labels, windows.group
    if len(np.unique(np.stack([group, y]), axis=1).T) == len(np.unique(group)):
        rule = "every subject has windows of one class alone, which would go with who it is"
        raise refuse(f"subjects={how}: {rule}; {way}", "subjects")
