"""Tables of labels: one meaning in every dialect, and no value under the name of another."""

import csv
import difflib
import io
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citrus_ray.data.faults import suggest
from citrus_ray.data.formats.labels import Stretch, match, read_labels

COLUMNS = ("file", "start_s", "stop_s", "label", "group")
Row = tuple[str, float, float, str, str]

words = st.text("abö ,;\t\"'.", min_size=1, max_size=6).map(str.strip).filter(bool)
times = st.integers(0, 40).map(lambda quarters: quarters / 4)
rows = st.builds(
    lambda file, start, length, label, group: (file, start, start + length + 0.25, label, group),
    words,
    times,
    times,
    words,
    words,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    folder: Path = tmp_path_factory.mktemp("labels")
    return folder / "labels.csv"


def read(path: Path, data: bytes) -> tuple[list[Stretch], list[str]]:
    path.write_bytes(data)
    found, problems = read_labels(path)
    return found, [str(problem) for problem in problems]


def values(found: list[Stretch]) -> list[Row]:
    return [(s.file, s.start_s, s.stop_s, s.label, s.group) for s in found]


def written(
    table: list[Row],
    columns: tuple[str, ...] = COLUMNS,
    delimiter: str = ",",
    decimal: str = ".",
    end: str = "\n",
    quoting: Any = csv.QUOTE_MINIMAL,
    blanks: int = 0,
) -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerow(columns)
    for row in table:
        text = [f"{v:g}".replace(".", decimal) if isinstance(v, float) else v for v in row]
        by_name = dict(zip(COLUMNS, text, strict=True))
        out.write(end * blanks)
        writer.writerow([by_name[name] for name in columns])
    if blanks:  # as spreadsheets leave them
        out.write(delimiter * (len(columns) - 1) + end)
    return out.getvalue()


@given(
    table=st.lists(rows, min_size=1, max_size=4),
    columns=st.permutations(COLUMNS).map(tuple),
    dialect=st.sampled_from([(",", "."), (";", "."), (";", ","), ("\t", "."), ("\t", ",")]),
    end=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    blanks=st.integers(0, 2),
)
def test_a_table_says_the_same_in_every_dialect(
    path, table, columns, dialect, end, encoding, quoting, blanks
):
    delimiter, decimal = dialect
    text = written(table, columns, delimiter, decimal, end, quoting, blanks)
    found, problems = read(path, text.encode(encoding))
    assert problems == []
    assert values(found) == table
    lines = [i for i, line in enumerate(text.split(end), 1) if line.strip(delimiter + " ")]
    assert [s.line for s in found] == lines[1:]


PLAIN = [("r1", 0.0, 1.5, "rest, eyes closed", "p1"), ("r2", 1.0, 2.0, "task", "p2")] * 2


@given(
    delimiter=st.sampled_from(",;\t"),
    change=st.sampled_from(["delete", ",", ";", "\t", '"', "\n", "\r"]),
    place=st.floats(0, 1, exclude_max=True),
)
def test_a_table_with_one_wrong_mark_says_what_it_said_or_names_the_line(
    path, delimiter, change, place
):
    text = written(PLAIN, delimiter=delimiter)
    if change == "delete":
        marks = [i for i, c in enumerate(text) if c in f'{delimiter}"\n']
        at = marks[int(place * len(marks))]
        text = text[:at] + text[at + 1 :]
    else:
        at = int(place * len(text))
        text = text[:at] + change + text[at:]
    found, problems = read(path, text.encode())
    assert all(re.match(rf"{re.escape(str(path))}:\d+: labels: .*; ", p) for p in problems)
    if not problems:
        # a mark inside a name is part of it, and moves no other value
        found_bare, plain = ([_bare(row) for row in of] for of in (values(found), PLAIN))
        assert found_bare == plain


def _bare(row: Row) -> list[str]:
    return [re.sub('[,;\t" ]', "", str(value)) for value in row]


@given(st.binary(max_size=80) | st.text('file,label;\t"\n\r0.5', max_size=80).map(str.encode))
def test_whatever_a_file_holds_the_answer_is_rows_or_words(path, data):
    for head in (b"", b"file,label,group\n"):
        found, problems = read(path, head + data)
        assert found or problems
        assert all(p.startswith(str(path)) for p in problems)


def test_what_10_000_wrong_names_were_meant_to_be_is_looked_for_where_it_is_shown(monkeypatch):
    compared = list[int]()
    search = difflib.get_close_matches

    def counted(word, among, **how):
        compared.append(len(among))
        return search(word, among, **how)

    monkeypatch.setattr(difflib, "get_close_matches", counted)
    files = [f"recordings/subject{i:05}.edf" for i in range(10_000)]
    wrong = [Stretch(f"subjct{i:05}", 0, 1, "k", "p", i + 2) for i in range(10_000)]
    found, problems = match(wrong, files, Path("l.csv"))
    assert found == {}
    said = [str(problem) for problem in problems]
    assert "did you mean `subject00000`?" in said[0]
    assert said[-1] == "l.csv: labels: and 9995 more like these"
    assert len(compared) == 5
    assert sum(compared) <= 5 * 300  # names, each worth 50 µs


@pytest.mark.parametrize("wrong", ["sub-7x21-rest", "sb-07721-rest", "Sub-07721-rst", "sub-07712"])
def test_among_many_names_one_as_near_as_any_is_found(wrong):
    known = [f"sub-{i:05}-{what}" for i in range(0, 10_000, 21) for what in ("rest", "task")]
    (meant,) = re.findall("did you mean `(.*)`", suggest(wrong, known))
    (nearest,) = difflib.get_close_matches(wrong.lower(), known, n=1)

    def ratio(name: str) -> float:
        return difflib.SequenceMatcher(None, name, wrong.lower()).ratio()

    assert ratio(meant) == ratio(nearest)
