"""`kind: bids`: a folder made by the standard, read without a table of one's own, to a finished
sweep."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from citrus_ray.data.formats.bids import beside, entities
from citrus_ray.data.sources.bids import Bids
from citrus_ray.data.tools.export import write
from citrus_ray.data.windows import Windows
from citrus_ray.spec import SpecError, validate
from tests.small import SCRATCH

SFREQ, SECONDS = 100.0, 24
NAMES, TYPES = ["Fz", "Cz", "chin", "marks"], ["EEG", "EEG", "EMG", "TRIG"]
PEOPLE = ("01", "02", "03", "04", "05", "06", "07", "08")


def tsv(path: Path, *rows: str) -> None:
    """A table of words parted by spaces."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join("\t".join(row.split()) + "\n" for row in rows))


def folder(root: Path) -> Path:
    """Eight people at rest and moving, 6 s each, twice; moving is 20 Hz, and the sick are loud."""
    t = np.arange(round(SFREQ * SECONDS)) / SFREQ
    for i, person in enumerate(PEOPLE):
        name = f"sub-{person}/eeg/sub-{person}_task-move_"
        rng = np.random.default_rng(i)
        x = rng.normal(size=(4, len(t))) * (3 if i % 2 else 1)
        x += 3 * np.sin(2 * np.pi * 20 * t) * (t // 6 % 2)
        (root / name).parent.mkdir(parents=True)
        write(root / f"{name}eeg.edf", x.astype(np.float32), SFREQ, NAMES, ["eeg"] * 4)
        rows = [f"{6 * k} 6 {('rest', 'move')[k % 2]}" for k in range(4)]
        tsv(root / f"{name}events.tsv", "onset duration trial_type", *rows)
        rows = [f"{n} {kind} uV" for n, kind in zip(NAMES, TYPES, strict=True)]
        tsv(root / f"{name}channels.tsv", "name type units", *rows)
    rows = [f"sub-{p} {20 + i} {('well', 'sick')[i % 2]}" for i, p in enumerate(PEOPLE)]
    tsv(root / "participants.tsv", "participant_id age group", *rows)
    (root / "dataset_description.json").write_text('{"Name": "made", "BIDSVersion": "1.9.0"}')
    return root


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("CITRUS_CACHE", str(tmp_path / "cache"))
    return folder(tmp_path / "ds")


def bids(root: Path, **edits: Any) -> Bids:
    known = {"root": str(root), "seconds": 1.0, "sfreq": SFREQ, "labels": "events.tsv"}
    return validate(Bids, known | edits)


def read(root: Path, **edits: Any) -> Windows:
    source = bids(root, **edits)
    source.check()
    return source.prepare()


def said(step: Callable[[], Any]) -> str:
    with pytest.raises(SpecError) as caught:
        step()
    return str(caught.value)


def test_events_are_labels_people_are_groups_and_channels_are_of_their_types(root):
    found = read(root)
    assert found.groups == tuple(f"sub-{person}" for person in PEOPLE)
    assert found.class_counts() == {"move": 96, "rest": 96}
    assert found.ch_names == ("Fz", "Cz", "chin")  # triggers are no signal
    assert found.modalities == ("eeg", "eeg", "emg")
    power = np.abs(np.fft.rfft(found.x[:, 0]))[:, 20]
    assert power[found.labels == 0].min() > power[found.labels == 1].max()


def test_a_trait_of_people_labels_all_that_they_recorded(root):
    found = read(root, labels="participants.tsv", column="group", normalize="none")
    assert found.class_counts() == {"sick": 96, "well": 96}
    sick = {found.groups[g] for g in found.group[found.labels == 0]}
    assert sick == {"sub-02", "sub-04", "sub-06", "sub-08"}


def test_people_without_the_trait_are_left_out_and_a_caveat_says_so(root):
    table = root / "participants.tsv"
    table.write_text(table.read_text().replace("20\twell", "20\tn/a"))
    found = read(root, labels="participants.tsv", column="group")
    assert "sub-01" not in found.groups
    assert "1 people are left out without group: sub-01" in found.caveats


def test_a_table_above_goes_with_all_that_lack_their_own(root):
    own = root / "sub-01/eeg/sub-01_task-move_events.tsv"
    own.unlink()
    assert "has no events.tsv beside or above it" in said(bids(root).check)
    tsv(root / "task-rest_events.tsv", "onset duration trial_type", "0 24 wrong")
    assert "has no events.tsv" in said(bids(root).check)
    tsv(root / "task-move_events.tsv", "onset duration trial_type", "0 12 rest")
    found = read(root)
    assert found.class_counts() == {"move": 84, "rest": 96}
    before = bids(root).digest()
    tsv(root / "task-move_events.tsv", "onset duration trial_type", "0 12 move")
    assert bids(root).digest() != before


def test_the_nearest_table_with_no_entity_of_its_own_is_found(tmp_path):
    path = tmp_path / "sub-1" / "eeg" / "sub-1_task-a_run-2_eeg.edf"
    path.parent.mkdir(parents=True)
    assert entities(path.name) == {"sub": "1", "task": "a", "run": "2"}
    for name in ("task-a_events.tsv", "sub-1/sub-1_events.tsv", "sub-1/eeg/sub-1_run-1_events.tsv"):
        (tmp_path / name).touch()
    assert beside(path, tmp_path, "events.tsv") == tmp_path / "sub-1" / "sub-1_events.tsv"
    (tmp_path / "sub-1/sub-1_events.tsv").unlink()
    assert beside(path, tmp_path, "events.tsv") == tmp_path / "task-a_events.tsv"
    assert beside(path, path.parent, "events.tsv") is None


def test_recordings_may_be_chosen_by_entities_and_derivatives_are_none(root):
    one = root / "sub-01/eeg/sub-01_task-move_eeg.edf"
    copy = root / "derivatives/clean/sub-01/eeg" / one.name
    copy.parent.mkdir(parents=True)
    copy.write_bytes(b"not read")
    rest = one.with_name("sub-01_task-rest_eeg.edf")
    rest.write_bytes(one.read_bytes())
    channels = one.with_name("sub-01_task-move_channels.tsv")
    channels.rename(root / "channels.tsv")  # of every recording that has none nearer
    assert len(read(root, labels=None)) == 9 * SECONDS
    assert len(read(root, labels=None, entities={"task": "rest"})) == SECONDS
    message = said(bids(root, entities={"task": "sleep"}).check)
    assert "no recording under" in message
    assert "ends in _eeg, task-sleep; correct `suffix` or `entities`" in message


def test_bad_channels_and_events_by_another_column_are_said_and_read(root):
    table = root / "sub-01/eeg/sub-01_task-move_channels.tsv"
    tsv(table, "name type status", "Fz EEG bad", "Cz EEG good", "chin EMG good", "marks TRIG n/a")
    assert any("calls bad are read like others: Fz in 1" in c for c in read(root).caveats)
    for path in root.glob("sub-*/eeg/*events.tsv"):
        tsv(path, "onset duration value", "0 n/a 7", "6 0 9")
    found = read(root, column="value")
    assert found.class_counts() == {"7": 8, "9": 8}  # the second that begins with each


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ({"labels": "participants.tsv"}, "labels=participants.tsv needs `column`"),
        ({"labels": None, "column": "sex"}, "column=sex is of events.tsv or participants.tsv"),
        ({"labels": "participants.tsv", "column": "groop"}, "did you mean `group`?"),
        ({"column": "kind"}, "has no column kind, but onset, duration, trial_type"),
        ({"suffix": "meg"}, "ends in _meg; correct `suffix` or `entities`"),
        ({"classes": ["mov"]}, "did you mean `move`?"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(root, edits, message):
    assert message in said(lambda: bids(root, **edits).check())


def test_a_person_twice_in_the_table_is_refused_with_the_line(root):
    with (root / "participants.tsv").open("a") as table:
        table.write("sub-01\t30\tsick\n")
    message = said(bids(root, labels="participants.tsv", column="group").check)
    assert "participants.tsv:10: labels: sub-01 stands here and on line 2" in message


def test_a_trial_runs_on_it_without_code(root):
    target = bids(root).tree()
    trial = SCRATCH.at({"finetune.target": target, "model": "band_power"})
    assert trial.run()["val/balanced_accuracy"] > 0.9


@pytest.mark.slow
@pytest.mark.usefixtures("small_portfolio")
def test_a_sweep_on_it_runs_to_its_end(root, tmp_path):
    from citrus_ray.cli.main import main

    block = f"{{kind: bids, root: {root}, seconds: 1.0, sfreq: 100, labels: events.tsv}}"
    (tmp_path / "s.yaml").write_text(
        f"""# Is moving told from rest?
name: s
trial:
  model: {{kind: conv, dim: 8, strides: [2, 2]}}
  finetune: {{target: {block}, labels: {{per_class: 10}}, steps: 10, rounds: 2}}
compare: {{model: [{{kind: conv, dim: 8, strides: [2, 2]}}, band_power]}}
budget: {{trials: 1}}
final: {{rounds: 2}}
"""
    )
    assert main([str(tmp_path / "s.yaml"), "--no-ray", "--out", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Signals: finetune.target ds: at 100 Hz, each recording z-scored." in page
