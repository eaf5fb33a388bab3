"""Names and tables of a BIDS folder: entities, files that go with a recording, people, channels.

A file beside a recording, or in a folder above it, goes with it where it has no entity that the
recording has not: `task-rest_events.tsv` at the top goes with all recordings of rest.
"""

import re
from dataclasses import replace
from pathlib import Path

from citrus_ray.data.faults import broken, refuse_unknown
from citrus_ray.data.formats.recordings import Header
from citrus_ray.data.formats.tables import read_table
from citrus_ray.spec import Problem, SpecError

# Recordings as the standard has them; the signals of a .vhdr stand in the .eeg beside it.
ENDINGS = (".edf", ".bdf", ".vhdr", ".set", ".fif", ".fif.gz", ".ds", ".sqd", ".con", ".mefd")
ENTITY = re.compile(r"([a-zA-Z]+)-([a-zA-Z0-9+]+)")
PEOPLE = "participants.tsv"
# what the standard calls a channel's type, in our words; of others the name tells
MODALITY_OF = {
    "eeg": "eeg",
    "eog": "eog",
    "heog": "eog",
    "veog": "eog",
    "emg": "emg",
    "ecg": "ecg",
    "trig": "stim",
    "gsr": "eda",
    "ppg": "ppg",
    "resp": "resp",
    "temp": "temperature",
    "acc": "motion",
    "accel": "motion",
    "gyro": "motion",
    "magn": "motion",
    "seeg": "ieeg",
    "ecog": "ieeg",
    "megmag": "meg",
    "meggradaxial": "meg",
    "meggradplanar": "meg",
}
UNKNOWN = ("", "n/a")  # a value that is not there


def entities(name: str) -> dict[str, str]:
    """`sub-01_task-rest_eeg.edf` -> {sub: 01, task: rest}."""
    found = map(ENTITY.fullmatch, name.split("_"))
    return {entity[1]: entity[2] for entity in found if entity}


def is_recording(path: Path, suffix: str) -> bool:
    """Whether a file is one of the recordings that end in `_suffix`, of raw data."""
    stem, _, ending = path.name.partition(".")
    return stem.endswith(f"_{suffix}") and f".{ending.lower()}" in ENDINGS


def beside(path: Path, root: Path, name: str) -> Path | None:
    """The nearest file `…_name` that goes with a recording: beside it, else in a folder above."""
    own = entities(path.name).items()
    for folder in (path.parent, *path.parent.parents):
        fits = [
            other
            for other in sorted(folder.glob(f"*{name}"))
            if other.name == name or other.name.endswith(f"_{name}")
            if entities(other.name).items() <= own
        ]
        if fits:
            return max(fits, key=lambda other: len(entities(other.name)))
        if folder == root:
            break
    return None


def people(path: Path, column: str) -> dict[str, tuple[str, int]]:
    """A value of each person and its line; people without one are left out."""
    if not path.is_file():
        rule = "there is no such file; add it, or take labels from events.tsv"
        raise broken(path, rule, "labels")
    table = read_table(path, ("participant_id", column), "labels")
    if table.problems:
        raise SpecError(list(table.problems))
    refuse_unknown("labels", ["participant_id"], table.head, path)
    refuse_unknown("column", [column], set(table.head) - {"participant_id"}, path)
    found = dict[str, tuple[str, int]]()
    for row in table.rows:
        name = row.values["participant_id"]
        if name in found:
            rule = f"{name} stands here and on line {found[name][1]}; keep one row for each"
            raise broken(path, rule, "labels", row.line)
        found[name] = row.values[column], row.line
    return {name: of for name, of in found.items() if of[0] not in UNKNOWN}


def typed(header: Header, table: Path | None) -> tuple[Header, list[str]]:
    """A header whose channels are of the types that channels.tsv states, and those called bad."""
    if table is None:
        return header, []
    read = read_table(table, ("name", "type"), "channels")
    missing = [name for name in ("name", "type") if name not in read.head]
    if missing or read.problems:
        said = Problem("channels", f"has no column {', '.join(missing)}", str(table), read.line)
        raise SpecError(list(read.problems) or [said])
    rows = {row.values["name"]: row.values for row in read.rows}
    channels = [
        replace(c, modality=MODALITY_OF.get(rows[c.name]["type"].lower(), c.modality))
        if c.name in rows
        else c
        for c in header.channels
    ]
    bad = [name for name, row in rows.items() if row.get("status", "") == "bad"]
    return replace(header, channels=tuple(channels)), bad
