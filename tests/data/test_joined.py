"""`kind: joined`: recordings of one moment in several files are one window, at the same times."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from citrus_ray.data.sources.files import Files
from citrus_ray.data.sources.joined import Joined
from citrus_ray.data.windowing import cache
from citrus_ray.data.windows import Windows
from citrus_ray.models.sensors import sensors
from citrus_ray.spec import SpecError, validate
from tests.data.people import shared

HEAD = "file,start_s,stop_s,label,group\n"
RATES = {"phone": 100.0, "watch": 50.0}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("CITRUS_CACHE", str(tmp_path_factory.mktemp("cache")))


def write(
    root: Path, name: str, part: str, seconds: float = 10.0, at: float = 4.0, **extra: Any
) -> None:
    """Noise below 0.1 and a marker of 1 at a second."""
    rng = np.random.default_rng(len(name) + ord(part[0]))
    x = rng.uniform(-0.1, 0.1, (2, round(seconds * RATES[part]))).astype(np.float32)
    if 0 <= at < seconds:
        x[:, round(at * RATES[part])] = 1
    facts: dict[str, Any] = {"sfreq": RATES[part], "ch_names": ["ax", "gx"]}
    np.savez(root / f"{name}_{part}.npz", x=x, **(facts | {"modality": ["motion"] * 2} | extra))


def both(root: Path, *names: str) -> None:
    for name in names:
        for part in RATES:
            write(root, name, part)


def block(root: Path, part: str, **edits: Any) -> dict[str, Any]:
    of = {"kind": "files", "root": str(root), "pattern": f"*_{part}.npz", "seconds": 1.0}
    return of | {"sfreq": RATES[part], "normalize": "none"} | edits


def joined(root: Path, rows: str = "", rates: dict[str, Any] | None = None, **edits: Any) -> Joined:
    phone, watch = (block(root, p, sfreq=(rates or RATES)[p]) for p in RATES)
    if rows:
        (root / "l.csv").write_text(HEAD + rows)
        phone["labels"] = "l.csv"
    spec = {"kind": "joined", "of": {"watch": watch, "phone": phone}, "lead": "phone"}
    spec["moment"] = "^(.+)_"
    return validate(Joined, spec | edits)


def refusal(spec: Joined) -> str:
    with pytest.raises(SpecError) as caught:
        spec.check()
    return str(caught.value)


def markers(windows: Windows) -> list[list[tuple[int, float]]]:
    """Window, and second in it, of the marker, stream by stream."""
    return [
        [(int(i), float(t / s.sfreq)) for i, t in zip(*np.nonzero(s.x[:, 0] > 0.5), strict=True)]
        for s in windows.streams
    ]


def test_sensors_of_one_moment_are_one_window_each_at_its_rate(tmp_path):
    both(tmp_path, "a", "b")
    rows = "a_phone,0,6,walk,p1\nb_phone,2,10,rest,p2\na_watch,0,6,nonsense,p9\n"
    windows = joined(tmp_path, rows).prepare()
    assert [(s.name, s.x.shape, s.sfreq) for s in windows.streams] == [
        ("phone", (14, 2, 100), 100.0),
        ("watch", (14, 2, 50), 50.0),
    ]
    assert windows.class_counts() == {"rest": 8, "walk": 6}
    assert windows.groups == ("p1", "p2")
    assert windows.ch_names == ("phone:ax", "phone:gx")
    assert windows.streams[1].modalities == ("motion@watch",) * 2
    assert markers(windows) == [[(4, 0.0), (8, 0.0)]] * 2
    alone = validate(Files, block(tmp_path, "watch", labels="l.csv")).prepare()
    assert np.array_equal(windows.streams[1].x[:6], alone.x[:6])


def test_one_rate_for_all_is_one_array_that_any_model_reads(tmp_path):
    both(tmp_path, "a", "b")
    windows = joined(tmp_path, rates={"phone": 50.0, "watch": 50.0}).prepare()
    assert windows.streams == ()
    assert windows.x.shape == (20, 4, 50)
    assert windows.ch_names == ("phone:ax", "phone:gx", "watch:ax", "watch:gx")
    assert [s.name for s in sensors(windows.context, "modality")] == [
        "motion@phone",
        "motion@watch",
    ]


def test_names_and_kinds_that_no_two_parts_share_stay_as_they_are(tmp_path):
    both(tmp_path, "a")
    spec = joined(tmp_path).tree()
    spec["of"]["watch"] |= {"channels": ["gx"], "modality": {"g?": "gyroscope"}}
    spec["of"]["phone"] |= {"channels": ["ax"]}
    windows = validate(Joined, spec).prepare()
    assert [(s.ch_names, s.modalities) for s in windows.streams] == [
        (("ax",), ("motion",)),
        (("gx",), ("gyroscope",)),
    ]


@pytest.mark.parametrize("late", [0.5, -1.25])
def test_stated_starts_lay_recordings_side_by_side(tmp_path, late):
    write(tmp_path, "a", "phone", at=4.0, start=1_700_000_000.0)
    write(tmp_path, "a", "watch", at=4.0 - late, start=1_700_000_000.0 + late)
    found = markers(joined(tmp_path, clock="stated").prepare())
    assert len(found[0]) == len(found[1]) == 1
    begin = 0 if late < 0 else 1  # the first second is not whole where the watch began later
    assert found[0] == found[1] == [(4 - begin, 0.0)]


def test_starts_that_files_state_are_not_passed_over_in_silence(tmp_path):
    write(tmp_path, "a", "phone", start=1_700_000_000.0)
    write(tmp_path, "a", "watch", start=1_700_000_007.5)
    said = refusal(joined(tmp_path))
    assert "a_phone.npz: clock: moment `a`: files state starts 7.5 s apart" in said
    assert "say `clock: stated`" in said
    write(tmp_path, "a", "watch")
    said = refusal(joined(tmp_path, clock="stated"))
    assert "a_watch.npz: clock: states no start" in said
    write(tmp_path, "a", "watch", start=1_700_001_000.0)
    assert "has nothing of moment `a`: it is 1000.0 s later than phone" in refusal(
        joined(tmp_path, clock="stated")
    )


def test_late_moves_a_part_by_what_a_clock_is_off(tmp_path):
    write(tmp_path, "a", "phone", at=4.0)
    write(tmp_path, "a", "watch", at=3.5)
    found = markers(joined(tmp_path, late={"watch": 0.5}).prepare())
    assert found[0] == found[1]


def test_a_moment_that_one_part_lacks_is_refused_dropped_or_kept_without_it(tmp_path):
    both(tmp_path, "a", "b")
    write(tmp_path, "c", "phone")
    write(tmp_path, "d", "watch")
    said = refusal(joined(tmp_path))
    assert "absent: `c` was not recorded by watch; say `absent: keep` or `drop`" in said
    assert "absent: `d` was not recorded by phone" in said
    dropped = joined(tmp_path, absent="drop").prepare()
    assert (len(dropped), dropped.groups) == (20, ("a_phone", "b_phone"))
    assert "left out for the lack of watch: 1 of 3 moments: c" in dropped.caveats
    assert "left out, not recorded by phone: 1 moments: d" in dropped.caveats
    kept = joined(tmp_path, absent="keep").prepare()
    phone, watch = kept.streams
    assert len(kept) == 30
    assert np.isfinite(phone.x).all()
    assert np.isnan(watch.x[20:]).all()
    assert np.isfinite(watch.x[:20]).all()
    assert "absent from 10 of 30 windows: watch:ax, watch:gx" in kept.caveats


def test_a_part_that_ends_early_is_absent_from_there_on_and_labels_do_not_move(tmp_path):
    write(tmp_path, "a", "phone", at=8.0)
    write(tmp_path, "a", "watch", seconds=6.4, at=5.0)
    rows = "a_phone,0,3,rest,p\na_phone,5.2,9.2,walk,p\n"
    kept = joined(tmp_path, rows, absent="keep").prepare()
    assert kept.class_counts() == {"rest": 3, "walk": 4}
    absent = np.isnan(kept.streams[1].x[:, 0, 0]).tolist()
    assert absent == [False] * 4 + [True] * 3
    assert [(i, round(t, 2)) for i, t in markers(kept)[0]] == [(5, 0.8)]
    whole = joined(tmp_path, rows).prepare()
    assert whole.class_counts() == {"rest": 3, "walk": 1}
    alone = validate(Files, block(tmp_path, "phone", labels="l.csv")).prepare()
    assert np.array_equal(whole.x[3], alone.x[3])


def test_a_gap_takes_the_part_that_has_it_and_no_other(tmp_path):
    both(tmp_path, "a")
    with np.load(tmp_path / "a_watch.npz") as data:
        facts = dict(data)
    facts["x"][0, 120] = np.nan  # second 2.4
    np.savez(tmp_path / "a_watch.npz", allow_pickle=False, **facts)
    assert len(joined(tmp_path).prepare()) == 9
    kept = joined(tmp_path, absent="keep").prepare()
    assert np.flatnonzero(np.isnan(kept.streams[1].x).all(axis=(1, 2))).tolist() == [2]
    assert np.isfinite(kept.streams[1].x[[0, 1, 3]]).all()


def test_what_was_joined_is_stored_and_comes_back(tmp_path):
    both(tmp_path, "a", "b")
    spec = joined(tmp_path)
    made, found = spec.prepare(), cache.load(spec)
    for one, two in zip(made.streams, found.streams, strict=True):
        assert np.array_equal(one.x, two.x)
    before = spec.digest()
    write(tmp_path, "b", "watch", at=2.0)
    assert spec.digest() != before


def test_a_recording_of_either_part_is_known_again(tmp_path):
    """Or pre-training on the watches would see who is tested with both."""
    both(tmp_path, "a", "bb")
    for part in RATES:
        alone = cache.load(validate(Files, block(tmp_path, part)))
        found = shared(cache.load(joined(tmp_path)), alone)
        assert found == {(f"{name}_phone", f"{name}_{part}") for name in ("a", "bb")}
        one, two = joined(tmp_path), validate(Files, block(tmp_path, part))
        assert one.is_at(two)
        assert two.is_at(one)
        assert one.is_at(one)


def _twice(root: Path) -> dict[str, Any]:
    both(root, "a", "ab")
    return {"moment": "(a)"}


def _alone(root: Path) -> dict[str, Any]:
    both(root, "a")
    return {"moment": "(x)"}


BAD: dict[str, tuple[Any, str, str]] = {
    "two of one moment": (
        _twice,
        "ab_phone.npz: of.phone.moment: is of the moment `a`, as a_phone.npz is",
        "correct `moment`",
    ),
    "no moment": (_alone, "moment=(x) finds nothing in `a_phone`", "widen it"),
}


@pytest.mark.parametrize("case", BAD)
def test_names_that_do_not_tell_moments_are_refused(tmp_path, case):
    make, says, way = BAD[case]
    said = refusal(joined(tmp_path, **make(tmp_path)))
    assert says in said
    assert way in said


@pytest.mark.parametrize(
    ("edits", "says"),
    [
        ({"lead": "car"}, "lead=car is no part; name one of watch, phone"),
        ({"moment": "a"}, "moment=a must hold one (…) around what recordings have in common"),
        (
            {"late": {"phone": 1.0}},
            "late: names phone, but must name parts that do not lead: w",
        ),
        ({"late": {"wach": 1.0}}, "late: names wach, but must name parts that do not lead"),
    ],
)
def test_keys_that_mean_nothing_are_refused(tmp_path, edits, says):
    with pytest.raises(SpecError) as caught:
        joined(tmp_path, **edits)
    assert says in str(caught.value)


def test_parts_must_agree_on_what_a_window_is(tmp_path):
    both(tmp_path, "a")
    spec = joined(tmp_path).tree()
    spec["of"]["watch"]["seconds"] = 2.0
    with pytest.raises(SpecError, match="other `seconds`: watch 2, phone 1; make them equal"):
        validate(Joined, spec)
    spec["of"]["watch"] |= {"seconds": 1.0, "kind": "synthetic"}
    with pytest.raises(SpecError):
        validate(Joined, spec)
    rates = {"phone": 100.0, "watch": 33.3}
    assert "seconds=1 is 33.3 samples of watch at 33.3 Hz" in refusal(joined(tmp_path, rates=rates))


def test_a_pattern_of_names_that_fits_no_channel_is_refused(tmp_path):
    both(tmp_path, "a")
    spec = joined(tmp_path).tree()
    spec["of"]["watch"]["modality"] = {"acc*": "accelerometer"}
    said = refusal(validate(Joined, spec))
    assert "of.watch.modality: `acc*` fits no channel" in said
