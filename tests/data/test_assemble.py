"""Groups cut by time, where nothing else can be split."""

import math
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from citrus_ray.data.fingerprints import Fingerprints, fingerprints_of
from citrus_ray.data.formats.labels import Stretch
from citrus_ray.data.formats.signals import Channel
from citrus_ray.data.formats.tracks import Track
from citrus_ray.data.sources.files import Files
from citrus_ray.data.windowing.assemble import _blocks, gather
from citrus_ray.data.windowing.cutting import Cutter, RecordingWindows
from citrus_ray.spec import SpecError

SFREQ = 100.0
HEAD = "file,start_s,stop_s,label,group\n"


def counting(path: Path, seconds: float) -> None:
    """A recording whose samples say when they are."""
    np.savez(path, x=np.arange(round(seconds * SFREQ), dtype=np.float32)[None], sfreq=SFREQ)


def files(root: Path, rows: str | None = None, **edits: Any) -> Files:
    if rows is not None:
        (root / "l.csv").write_text(HEAD + rows)
        edits |= {"labels": "l.csv"}
    fields: dict[str, Any] = {"root": str(root), "pattern": "*.npz", "seconds": 1.0, "sfreq": SFREQ}
    return Files(**(fields | {"normalize": "none", "group_blocks": 3} | edits))


def starts(spec: Files) -> dict[str, list[int]]:
    """First seconds of the windows, by group."""
    windows = spec.prepare()
    assert np.unique(windows.group).tolist() == list(range(len(windows.groups)))
    return {
        name: sorted((windows.x[windows.group == g, 0, 0] / SFREQ).round(2).tolist())
        for g, name in enumerate(windows.groups)
    }


def test_a_group_becomes_consecutive_blocks_with_a_window_left_out_between(tmp_path):
    counting(tmp_path / "a.npz", 12)
    found = starts(files(tmp_path))
    assert found == {"a 1/3": [0, 1, 2, 3], "a 2/3": [5, 6, 7], "a 3/3": [9, 10, 11]}
    caveats = files(tmp_path).prepare().caveats
    assert caveats[0].startswith("split by time, not by person: every group is cut into 3 blocks")
    assert caveats[0].endswith("2 of 12 windows")


def test_recordings_of_which_some_are_unknown_are_known_by_their_windows():
    cut, whole = Cutter(SFREQ, 100, 100, "none", "drop"), Stretch("a", 0.0, math.inf, "", "a")
    x = np.random.default_rng(0).normal(size=(1, 500)).astype(np.float32)
    track, known = (
        Track((Channel("a", SFREQ, 500, "eeg"),), SFREQ, 100),
        fingerprints_of(x, [SFREQ]),
    )

    def gathered(*fingerprints: Fingerprints | None) -> Fingerprints | None:
        parts = (replace(cut(x, [whole]), fingerprints=of) for of in fingerprints)
        return gather(parts, [track]).fingerprints

    both = gathered(known, known)
    assert both is not None
    assert both["run"].tolist() == np.repeat([0, 1], len(known)).tolist()
    assert gathered(known, None) is gathered(None, None) is None


def test_overlapping_windows_keep_the_same_distance_between_blocks(tmp_path):
    counting(tmp_path / "a.npz", 20)
    found = starts(files(tmp_path, stride_s=0.5))
    for before, after in (("a 1/3", "a 2/3"), ("a 2/3", "a 3/3")):
        assert min(found[after]) - max(found[before]) >= 2


def test_blocks_follow_time_and_not_the_rows_of_the_table(tmp_path):
    counting(tmp_path / "a.npz", 12)
    found = starts(files(tmp_path, "a,6,12,k,p\na,0,6,k,p\n"))
    assert found == {"p 1/3": [0, 1, 2, 3], "p 2/3": [5, 6, 7], "p 3/3": [9, 10, 11]}


def test_between_two_recordings_no_gap_is_needed(tmp_path):
    for name in ("a", "b"):
        counting(tmp_path / f"{name}.npz", 6)
    found = starts(files(tmp_path, "a,0,6,k,p\nb,0,6,k,p\n", group_blocks=2))
    assert found == {"p 1/2": [0, 1, 2, 3, 4, 5], "p 2/2": [0, 1, 2, 3, 4, 5]}


def test_every_group_is_cut_and_keeps_its_class(tmp_path):
    for name, seconds in (("a", 9), ("b", 15)):
        counting(tmp_path / f"{name}.npz", seconds)
    windows = files(tmp_path, "a,0,9,ill,a\nb,0,15,well,b\n").prepare()
    assert windows.groups == ("a 1/3", "a 2/3", "a 3/3", "b 1/3", "b 2/3", "b 3/3")
    labels = [np.unique(windows.labels[windows.group == g]).tolist() for g in range(6)]
    assert labels == [[0]] * 3 + [[1]] * 3
    assert (
        "ill, well: all windows are from one group, so class and group cannot be told apart"
        in windows.caveats
    )


def test_a_group_of_too_few_windows_is_refused(tmp_path):
    counting(tmp_path / "a.npz", 9)
    rule = "group_blocks=6: a has 9 windows, too few for so many blocks with gaps of a window "
    rule += "between; lower it"
    with pytest.raises(SpecError, match=rule):
        files(tmp_path, group_blocks=6).prepare()


def test_without_blocks_nothing_changes(tmp_path):
    counting(tmp_path / "a.npz", 12)
    plain = files(tmp_path, group_blocks=None)
    assert plain.prepare().groups == ("a",)
    assert plain.prepare().caveats == ()
    assert plain.digest() != files(tmp_path).digest()


def test_what_the_spec_says_of_a_set_comes_first(tmp_path):
    counting(tmp_path / "a.npz", 12)
    said = (
        files(tmp_path, caveats=("one person",), stride_s=0.5, group_blocks=None).prepare().caveats
    )
    assert said[0] == "one person"
    assert said[1].startswith("overlapping")


def test_no_more_than_one_recording_is_in_memory():
    alive = list[weakref.ref[np.ndarray]]()
    cut = Cutter(SFREQ, 100, 50, "none", "drop")

    def parts() -> Iterator[RecordingWindows]:
        for _ in range(5):
            assert not any(ref() is not None for ref in alive)
            x = np.random.default_rng(0).normal(size=(2, 1000)).astype(np.float32)
            alive.append(weakref.ref(x))
            pieces = cut(x, [Stretch("a", 0.0, math.inf, "", "a")])
            del x
            yield pieces

    channels = tuple(Channel(name, SFREQ, 1000, "eeg") for name in "ab")
    gathered = gather(parts(), [Track(channels, SFREQ, 100)])
    assert isinstance(gathered.streams[0].x, np.memmap)
    assert gathered.streams[0].x.shape == (5 * 19, 2, 100)
    assert gathered.recording.tolist() == np.repeat(np.arange(5), 19).tolist()


@given(
    st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=30), min_size=1, max_size=3),
    st.integers(2, 6),
)
def test_windows_of_two_blocks_are_never_nearer_than_a_window(steps, n_blocks):
    n_times = 20
    first = np.concatenate([np.cumsum(of) for of in steps])
    recording = np.repeat(np.arange(len(steps)), [len(of) for of in steps])
    block = _blocks(recording, first, n_times, n_blocks)
    assert (np.diff(block[block >= 0]) >= 0).all()
    for r in range(len(steps)):
        inside = (recording == r) & (block >= 0)
        a, b = first[inside], block[inside]
        apart = np.abs(a[:, None] - a)[b[:, None] != b]
        assert (apart >= 2 * n_times).all()
