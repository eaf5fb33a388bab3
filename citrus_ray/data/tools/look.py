"""Looking at a folder of recordings: formats, rates, channels, labels and people, as a source.

Nothing is guessed in silence: what was found is said in words, and so is what could not be told.
Only headers, tables and names are read here; whether the block works is asked of the source itself.
"""

import itertools
import math
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from citrus_ray.data.faults import noted, tidy
from citrus_ray.data.formats.bids import PEOPLE, beside, is_recording
from citrus_ray.data.formats.known import FORMATS, ending_of, format_of
from citrus_ray.data.formats.recordings import Header, read_annotations, read_column, read_header
from citrus_ray.data.formats.signals import FileLayout
from citrus_ray.data.formats.tables import Row, read_table
from citrus_ray.data.tools.tables_of_labels import LabelTable, label_table
from citrus_ray.spec import Problem, SpecError, refuse

MOST_FILES = 20_000  # in a folder
MOST_HEADERS = 500  # that are read, evenly spread; annotations and columns of fewer
MOST_MARKS = 40
MOST_LABELS = 30  # distinct ones; more are no classes
TABLES = (".csv", ".tsv", ".txt")  # recordings or labels
LEFT_OUT = {"derivatives", "sourcedata", "code", "__MACOSX"}
BIDS_SUFFIXES = ("eeg", "ieeg", "meg", "emg")
# of a first sweep: rates above which little is lost, and lengths of a window in s, by what the
# first channel measures
RATES = {"eeg": 128.0, "eog": 128.0, "ecg": 250.0, "emg": 500.0, "ppg": 64.0, "motion": 100.0}
SECONDS = {"eeg": 2.0, "eog": 2.0, "ecg": 4.0, "emg": 1.0, "ppg": 8.0, "motion": 2.5, "eda": 30.0}
SECONDS |= {"resp": 30.0, "temperature": 30.0, "fmri": 60.0}
N_TIMES = 256  # of a window where neither says
FEWEST_TIMES = 32
MOST_WINDOWS = 20_000
WORDS = r"sub|subj|subject|s|p|pt|pat|patient|participant|person|proband|user|id|volunteer|case"
PEOPLE_IN_NAMES = (
    r"(sub-[0-9A-Za-z]+)",
    rf"(?i)(?:^|[^a-z0-9])((?:{WORDS})[-_ ]?[0-9]+)",
    r"^([^/]+)/",
    r"^([^_/]+?)[_-]",
)
LABELLED = re.compile(
    r"label|class|target|activity|condition|stage|state|event|marker|trigger|stim(ulus)?|status|task",
    re.IGNORECASE,
)


@dataclass
class Found:
    """What a folder seems to hold: keys of a source, what was found, and what was not."""

    root: Path
    files: list[str]  # recordings, relative to root
    block: dict[str, Any] = field(default_factory=dict)
    facts: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    headers: dict[str, Header] = field(default_factory=dict)
    table: LabelTable | None = None  # of labels

    @property
    def labelled(self) -> bool:
        return "labels" in self.block

    @property
    def seconds(self) -> float:
        """Of all recordings, by those whose headers were read."""
        known = [max(c.n_times / c.sfreq for c in h.channels) for h in self.headers.values()]
        return float(np.mean(known)) * len(self.files) if known else 0.0


def look(root: Path, rate: float | None = None) -> Found:
    """A source block for the recordings of a folder. `rate` is that of tables which do not say
    it."""
    names = _names(root)
    suffix = next((s for s in BIDS_SUFFIXES if any(_is_bids(root / n, s) for n in names)), "")
    if suffix:
        found = _bids(root, names, suffix)
    else:
        found = _recordings(root, names, FileLayout(rate=rate))
        if rate:
            found.block["layout"] = {"rate": rate}
    _channels(found)
    if suffix:
        _labels_of_bids(found)
    else:
        _labels(found, names)
        _people(found)
    _windows(found)
    return found


# ---- recordings ----


def _names(root: Path) -> list[str]:
    """Files and recordings that are folders, relative to root; hidden ones are not looked at."""
    if not root.is_dir():
        raise refuse(f"there is no folder {root}; correct the path")
    out = list[str]()
    for at, folders, files in os.walk(root):
        whole = [f for f in folders if ending_of(Path(f)) and format_of(Path(f)).folder]
        folders[:] = sorted({f for f in folders if f[0] != "." and f not in LEFT_OUT} - {*whole})
        here = PurePosixPath(Path(at).relative_to(root).as_posix())
        out += [str(here / name) for name in [*files, *whole] if name[0] != "."]
        if len(out) > MOST_FILES:
            rule = f"{root} holds more than {MOST_FILES} files"
            raise refuse(f"{rule}; point to the folder of one set, or write the block by hand")
    if not out:
        raise refuse(f"{root} is empty; point to the folder of the recordings")
    return sorted(out)


def _is_bids(path: Path, suffix: str) -> bool:
    return path.name.startswith("sub-") and is_recording(path, suffix)


def _bids(root: Path, names: Sequence[str], suffix: str) -> Found:
    files = [name for name in names if _is_bids(root / name, suffix)]
    found = Found(root, files, {"kind": "bids", "root": str(root)})
    if suffix != "eeg":
        found.block["suffix"] = suffix
    found.facts.append(f"a BIDS folder with {len(files)} recordings of {suffix}")
    _read_headers(found, files, FileLayout())
    return found


def _recordings(root: Path, names: Sequence[str], layout: FileLayout) -> Found:
    """The recordings of the format that most files are of; tables are asked last."""
    of = defaultdict[str, list[str]](list)
    for name in names:
        of[ending_of(Path(name))].append(name)
    of.pop("", None)
    _without_parts(root, of)
    if not of:
        known = ", ".join(sorted({Path(n).suffix or n for n in names})[:8])
        rule = f"{root} holds no recording of a known format, only {known}"
        raise refuse(f"{rule}; docs/formats.md says which there are")
    order = sorted(of, key=lambda end: (end in TABLES, -len(of[end]), list(FORMATS).index(end)))
    problems = list[Problem]()
    for ending in order:
        found = Found(root, of[ending], {"kind": "files", "root": str(root)})
        problems += _read_headers(found, of[ending], layout)
        if found.headers:
            break
    else:
        if any(problem.path == "layout" for problem in problems) and layout.rate is None:
            way = "say `--rate HZ` where its rows are at a rate"
            problems = [replace(p, message=f"{p.message}; {way}") for p in problems[:1]]
        raise SpecError(tidy(problems[:5]))
    others = [f"{len(of[end])} {end}" for end in order if end != ending and end not in TABLES]
    if others:
        found.unknown.append(f"whether {', '.join(others)} are recordings, too: they are left out")
    found.block["pattern"] = _pattern(
        root, found.files, [n for n in of[ending] if n not in found.files]
    )
    found.facts.insert(0, f"{len(found.files)} recordings ({ending})")
    return found


def _without_parts(root: Path, of: dict[str, list[str]]) -> None:
    """Leave out files that only hold the samples of a header beside them."""
    parts = set[str]()
    for ending in (".hea", ".vhdr", ".ahdr", ".set"):
        for name in of.get(ending, ()):
            parts.update(
                str(PurePosixPath(name).with_suffix(end)) for end in (".eeg", ".dat", ".mat")
            )
    for ending in list(of):
        of[ending] = [name for name in of[ending] if name not in parts]
        if not of[ending]:
            del of[ending]


def _read_headers(found: Found, files: Sequence[str], layout: FileLayout) -> list[Problem]:
    """Headers of evenly spaced files; those that cannot be read are none of the set."""
    some = _spread(files, MOST_HEADERS)
    problems, bad = list[Problem](), list[str]()
    for name in some:
        n = len(problems)
        with noted(problems):
            header = read_header(found.root / name, layout)
            if any(c.n_times < FEWEST_TIMES for c in header.channels):
                raise refuse(f"{name} has less than {FEWEST_TIMES} samples")
            found.headers[name] = header
        if len(problems) > n:
            bad.append(name)
    found.files = [name for name in files if name not in bad]
    if found.headers and bad:
        why = str(problems[0]).removeprefix(f"{found.root}/")
        found.unknown.append(f"how to read {len(bad)} of {len(files)} files, the first: {why}")
    if len(some) < len(files):
        found.facts.append(f"headers of {len(some)} recordings were looked at")
    return problems


def _spread(items: Sequence[str], most: int) -> list[str]:
    if len(items) <= most:
        return list(items)
    return [items[i] for i in np.linspace(0, len(items) - 1, most).astype(int)]


def _pattern(root: Path, files: Sequence[str], others: Sequence[str]) -> str:
    """The plainest glob that matches these recordings and not the other files."""
    paths = [PurePosixPath(name) for name in files]
    ends = {path.suffix for path in paths}
    end = ends.pop() if len(ends) == 1 else ".*"
    stems = [path.name for path in paths]
    prefix = _prefix(stems)
    tries = [f"*{end}"]
    tries += [f"{prefix}*{end}"] if prefix and not prefix.endswith(end) else []
    folders = {str(path.parent) for path in paths}
    depths = {len(path.parts) for path in paths}
    if folders == {"."}:
        heads = [""]
    elif len(folders) == 1:
        heads = [f"{folders.pop()}/"]
    else:
        top = {path.parts[0] for path in paths}
        same = f"{top.pop()}/" if len(top) == 1 else ""
        deep = "*/" * (depths.pop() - 1 - bool(same)) if len(depths) == 1 else "**/"
        heads = [same + deep]
    wanted = set(files)
    for head, name in itertools.product(heads, tries):
        matched = {p.relative_to(root).as_posix() for p in root.glob(head + name)}
        if wanted <= matched and not matched & {*others}:
            return head + name
    return heads[0] + tries[0]


def _prefix(names: Sequence[str]) -> str:
    """What all names begin with."""
    low, high = min(names), max(names)
    return low[: next((i for i, c in enumerate(low) if high[i : i + 1] != c), len(low))]


# ---- channels ----


def _channels(found: Found) -> None:
    """Rate, and the channels that all recordings have, in the order of the first."""
    headers = list(found.headers.values())
    first, block = headers[0], found.block
    streams = first.streams
    if streams:
        block["streams"] = [s for s in streams if all(s in h.streams for h in headers)]
        found.facts.append(f"streams of several rates: {', '.join(block['streams'])}")
    usable = [[c for c in h.channels if c.modality != "stim" and not c.fault] for h in headers]
    counts = Counter(c.name for of in usable for c in of)
    common = [c for c in usable[0] if counts[c.name] == len(headers)]
    if not common:
        rule = "which channels to use: no channel is in all recordings, so what is absent is marked"
        found.unknown.append(f"{rule} (`absent: keep`)")
        block["absent"] = "keep"
        common = list({c.name: c for of in usable for c in of}.values())
        block["channels"] = [c.name for c in common]
    elif any(len(of) != len(common) for of in usable) and not streams:
        block["channels"] = [c.name for c in common]
        lost = [name for name, n in counts.items() if n < len(headers)]
        found.facts.append(f"left out, as not in all recordings: {_some(lost)}")
    elif any([c.name for c in of] != [c.name for c in usable[0]] for of in usable) or any(
        c.fault for h in headers for c in h.channels
    ):
        block["channels"] = [c.name for c in common]
    kinds = list(dict.fromkeys(c.modality for c in common))
    rates = sorted({c.sfreq for of in usable for c in of})
    said = " and ".join(f"{rate:g}" for rate in rates[:4]) + (", …" if len(rates) > 4 else "")
    names = _some([c.name for c in common], 6)
    found.facts.append(f"{len(common)} channels ({', '.join(kinds)}) at {said} Hz: {names}")
    if "unknown" in kinds:
        odd = [c.name for c in common if c.modality == "unknown"]
        found.unknown.append(f"what {_some(odd)} measure: say so in `modality`")
    top = min(max(rates), RATES.get(kinds[0], max(rates)))
    block["sfreq"] = round(top, 3)
    if top < max(rates):
        found.facts.append(f"resampled to {top:g} Hz for a first sweep")


def _some(names: Iterable[str], most: int = 8) -> str:
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


# ---- labels ----


def _labels(found: Found, names: Sequence[str]) -> None:
    """Labels from the first of: a table, the recordings themselves, their names."""
    tables = [n for n in names if ending_of(Path(n)) in TABLES and n not in found.headers]
    if not (_in_table(found, tables) or _in_recordings(found) or _in_names(found)):
        rule = "labels: there is no table that names the recordings, no annotation, no column of"
        rule += " labels and no word in their names; write file,start_s,stop_s,label,group"
        found.unknown.append(rule)


def _in_table(found: Found, tables: Sequence[str]) -> bool:
    known = [table for name in tables if (table := label_table(found.root, name, found.files))]
    if not known:
        return False
    known.sort(key=lambda table: (-table.matched, len(table.name)))
    best, *others = known
    found.table = best
    found.block["labels"] = best.name
    under = f", under other names: {best.said}" if best.text else ""
    found.facts.append(f"labels from {best.name} ({_some(best.counts)}){under}")
    if best.grouped:
        found.facts.append(f"{best.n_groups} groups from its column {best.grouped}")
    if others:
        tried = ", ".join(table.name for table in others)
        found.unknown.append(f"whether {tried} would be the better labels")
    missing = len(found.files) - best.matched
    if missing:
        found.facts.append(f"{missing} recordings are not in {best.name}, so not labelled")
    return True


def _in_recordings(found: Found) -> bool:
    """Annotations, or a column that says something of every sample."""
    some = _spread(list(found.headers), MOST_MARKS)
    form = format_of(found.root / some[0])
    if form.marks:
        marks, n_marks = defaultdict[str, set[str]](set), 0
        with noted([]):
            for name in some:
                for *_, text in read_annotations(found.root / name):
                    marks[text].add(name)
                    n_marks += 1
        classes = [text for text, of in marks.items() if len(of) >= max(2, len(some) / 3)]
        # one or none in each is a remark on the recording, not what was done in it
        classes = classes if n_marks >= 2 * len(some) else []
        if 2 <= len(classes) <= MOST_LABELS:
            found.block["labels"] = "annotations"
            if len(classes) < len(marks):
                found.block["classes"] = sorted(classes)
            found.facts.append(f"labels from annotations: {_some(sorted(classes))}")
            return True
    header = found.headers[some[0]]
    numbers = [c.name for c in header.channels if LABELLED.search(c.name)]
    texts = form.texts(header.path, header.layout)
    for column in [*texts, *numbers]:
        said = _values_of(found, some, column)
        if said and 2 <= len(said) <= MOST_LABELS:
            found.block["labels"] = {"column": column}
            found.facts.append(f"labels from the column {column}: {_some(sorted(said))}")
            if column in numbers:  # as a channel it would give the answer away
                kept = found.block.get("channels") or [c.name for c in header.channels]
                found.block["channels"] = [name for name in kept if name != column]
            return True
    return False


def _values_of(found: Found, some: Sequence[str], column: str) -> set[str]:
    said = set[str]()
    problems = list[Problem]()
    with noted(problems):
        for name in some:
            said |= {*np.unique(read_column(found.headers[name], column).texts).tolist()} - {""}
            if len(said) > MOST_LABELS:
                break
    return set() if problems else said


def _in_names(found: Found) -> bool:
    """A folder for each class, or a word of the name: few, each of several recordings, and of
    several people where these are known."""
    bare = [str(PurePosixPath(name).with_suffix("")) for name in found.files]
    depth = {path.count("/") for path in bare}
    tries = ["^" + "[^/]+/" * d + "([^/]+)/" for d in range(min(depth))]
    tries += [
        r"[_-]([A-Za-z0-9]+)$",
        r"^([A-Za-z]+)[_-]",
        r"[_-]([A-Za-z]+)[_-]",
        r"^([A-Za-z]+)[0-9]+$",
    ]
    for pattern in tries:
        said = [_word(pattern, name) for name in bare]
        if None in said:
            continue
        counts = Counter(map(str, said))
        few = 2 <= len(counts) <= 12 and min(counts.values()) >= 3
        if few and not all(_is_person(word) for word in counts):
            found.block |= {"labels": "names", "label_pattern": pattern}
            found.facts.append(f"labels from names, by {pattern}: {_some(sorted(counts))}")
            found.unknown.append(
                f"whether these words are what is to be predicted: {_some(sorted(counts))}"
            )
            return True
    return False


def _word(pattern: str, bare: str) -> str | None:
    """As `kind: files` looks for it: in the stem, then in the path."""
    for text in (PurePosixPath(bare).name, bare):
        if said := re.search(pattern, text):
            return said[1]
    return None


def _is_person(word: str) -> bool:
    return bool(re.fullmatch(rf"(?i)({WORDS})?[-_ ]?[0-9]+", word))


def _labels_of_bids(found: Found) -> None:
    root = found.root
    tables = {path for n in found.files if (path := beside(root / n, root, "events.tsv"))}
    rows = [row for path in sorted(tables)[:MOST_MARKS] for row in _rows(path)]
    for column in ("trial_type", "value", "stim_type", "condition"):
        labels = {row.values[column] for row in rows if row.values.get(column, "n/a") != "n/a"}
        if 2 <= len(labels) <= MOST_LABELS:
            found.block["labels"] = "events.tsv"
            if column != "trial_type":
                found.block["column"] = column
            found.facts.append(f"labels from {column} of events.tsv: {_some(sorted(labels))}")
            break
    traits = _traits(_rows(root / PEOPLE)) if (root / PEOPLE).is_file() else {}
    if not found.labelled and traits:
        column, values = next(iter(traits.items()))
        found.block |= {"labels": PEOPLE, "column": column}
        found.facts.append(f"labels from {column} of participants.tsv: {_some(values)}")
        traits.pop(column)
    if traits:
        said = "; ".join(f"{column} ({_some(values, 3)})" for column, values in traits.items())
        found.facts.append(f"other traits in participants.tsv: {said}")
    if not found.labelled:
        found.unknown.append("labels: neither events.tsv nor participants.tsv has classes")
    people = {name.split("/")[0] for name in found.files}
    found.facts.append(f"{len(people)} people, by `sub-`")


def _rows(path: Path) -> Sequence[Row]:
    with noted([]):
        return read_table(path, ("participant_id", "onset"), "labels").rows
    return ()


def _traits(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Columns of few values that several people share, diagnoses first."""
    found = dict[str, list[str]]()
    for column in rows[0].values if rows else ():
        counts = Counter(
            row.values[column] for row in rows if row.values[column] not in ("", "n/a")
        )
        if column != "participant_id" and 2 <= len(counts) <= 6 and min(counts.values()) >= 3:
            found[column] = sorted(counts)
    last = ("sex", "gender", "hand", "handedness")
    return dict(sorted(found.items(), key=lambda item: item[0].lower() in last))


# ---- people ----


def _people(found: Found) -> None:
    """Who a recording is of: the table says, or the names do, or nothing does."""
    if found.table is not None and found.table.grouped:
        return
    bare = [str(PurePosixPath(name).with_suffix("")) for name in found.files]
    label = found.block.get("label_pattern")
    for pattern in PEOPLE_IN_NAMES:
        words = [_word(pattern, name) for name in bare]
        groups = {word for word in words if word}
        if None in words or not 3 <= len(groups) < len(bare) or pattern == label:
            continue
        if label and groups == {_word(label, name) for name in bare}:
            continue
        pattern = _simpler(pattern, bare)
        found.block["group_pattern"] = pattern
        found.facts.append(
            f"{len(groups)} groups by {pattern} in names: {_some(sorted(groups), 4)}"
        )
        found.unknown.append("whether these groups are people: no split cuts one")
        return
    found.unknown.append("who a recording is of: each is taken for a person of its own")
    if found.table is not None:  # without a column of groups it needs to be told
        found.block["group_pattern"] = "(.+)"


def _simpler(pattern: str, bare: Sequence[str]) -> str:
    """The pattern with the word that people have in common, where it finds the same."""
    words = [_word(pattern, name) or "" for name in bare]
    start = re.match(r"[A-Za-z]*[-_]?", _prefix(words))
    plain = f"({start[0] if start else ''}[0-9]+)"
    return plain if [_word(plain, name) for name in bare] == words else pattern


# ---- windows ----


def _windows(found: Found) -> None:
    """Length of a window: what its kind of signal asks for, and what labelled stretches allow."""
    first = next(iter(found.headers.values()))
    kind = first.channels[0].modality
    rate = float(found.block["sfreq"])
    seconds = SECONDS.get(kind, N_TIMES / rate)
    shortest = found.table.shortest if found.table else math.inf
    length = min(c.n_times / c.sfreq for h in found.headers.values() for c in h.channels)
    seconds = min(max(seconds, FEWEST_TIMES / rate), shortest, length)
    found.block["seconds"] = _plain(seconds, rate)
    n = found.seconds / found.block["seconds"]
    if n > MOST_WINDOWS:
        most = math.ceil(MOST_WINDOWS / len(found.files))
        found.block["max_windows_per_recording"] = most
        found.facts.append(f"{most} windows of each recording at most, for a first sweep")


def _plain(seconds: float, rate: float) -> float:
    """Seconds of few digits that are whole samples, rounded down."""
    for digits in (0, 1, 2, 3):
        value = math.floor(seconds * 10**digits + 1e-9) / 10**digits
        if value >= 0.75 * seconds and abs(value * rate - round(value * rate)) < 1e-6:
            return value
    return round(math.floor(seconds * rate + 1e-6) / rate, 6)
