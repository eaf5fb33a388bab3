"""What may be deleted: only what no record refers to, nobody is at, and a store has made."""

import json
from collections import Counter
from pathlib import Path

import pytest

from citrus_ray.spec import SpecError
from citrus_ray.store import Storage, entries
from citrus_ray.store.leases import Lease
from citrus_ray.store.usage import HOUR, count_uses, delete, prunable

LATER = 2 * HOUR


def now_of(store: Storage) -> float:
    return max((file.modified for file in store.list()), default=0.0)


def doomed(
    store: Storage, *used: str, after: float = LATER, min_age: float = HOUR
) -> dict[str, str]:
    """Folder -> why."""
    items = prunable(store, Counter(used), min_age, now_of(store) + after)
    return {item.folder: item.why for item in items}


def recorded(folder: Path, *encoders: str | None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [json.dumps({"trial": "t", "encoder": encoder}) for encoder in encoders]
    (folder / f"{len(list(folder.iterdir()))}.jsonl").write_text("\n".join(rows) + "\n")
    return folder


def test_records_are_counted_at_any_depth_once(tmp_path):
    recorded(tmp_path / "results" / "one" / "records", "a", "a", None)
    recorded(tmp_path / "results" / "deep" / "two" / "records", "a", "b")
    recorded(tmp_path / "results" / "notes", "c")
    assert count_uses([tmp_path / "results", tmp_path / "results" / "one"]) == {"a": 3, "b": 1}
    assert count_uses([tmp_path / "nowhere"]) == {}


@pytest.mark.parametrize("text", ["{", "[]", "\xff"])
def test_records_that_cannot_be_read_are_an_error_because_they_may_refer_to_anything(
    tmp_path, text
):
    recorded(tmp_path / "records", "a")
    (tmp_path / "records" / "bad.jsonl").write_bytes(text.encode("latin-1"))
    with pytest.raises(SpecError, match=r"bad.jsonl: must be readable records"):
        count_uses([tmp_path])


def test_what_a_record_refers_to_stays_and_the_rest_may_go(store):
    for digest in ("a", "b", "c"):
        entries.write(store, digest, digest.encode(), {})
    assert doomed(store, "a", "c") == {"b": "no record refers to it"}


def test_a_young_entry_stays_because_its_trials_may_not_be_recorded_yet(store):
    entries.write(store, "a", b"", {})
    assert doomed(store, after=HOUR - 60) == {}
    assert set(doomed(store, after=HOUR + 60)) == {"a"}
    assert set(doomed(store, after=60, min_age=0)) == {"a"}


def test_what_a_running_pretraining_holds_stays_however_old_the_rest_of_it_is(tmp_path):
    store = entries_of(tmp_path, "a")
    Lease(store, "a", 10.0).beat()
    Lease(store, "b", 10.0).beat()
    store.write("b/state.bin", b"half")
    assert doomed(store, after=60, min_age=0) == {}
    assert set(doomed(store, min_age=0)) == {"a", "b"}


def entries_of(folder: Path, *digests: str) -> Storage:
    from citrus_ray.store import open_storage

    for digest in digests:
        entries.write(open_storage(folder), digest, digest.encode(), {})
    return open_storage(folder)


def test_half_written_leftovers_go_after_an_hour(store):
    store.write("weights-only/encoder-0123456789abcdef.safetensors", b"x")
    store.write("interrupted/state.bin", b"x")
    store.write(".0123-x9_z/encoder.safetensors", b"x")  # how they were written before
    store.write(".probe-12", b"")
    assert doomed(store, after=HOUR - 60) == {}
    assert doomed(store) == {
        "weights-only": "half-written",
        "interrupted": "interrupted, could be gone on from",
        ".0123-x9_z": "half-written",
        "": "left behind",
    }


def test_leftovers_inside_a_used_entry_go_and_the_entry_stays(store):
    entries.write(store, "a", b"weights", {})
    store.write("a/state.bin.aside", b"x")
    store.write("a/encoder-ffffffffffffffff.safetensors", b"of the loser of a race")
    (item,) = prunable(store, Counter("a"), 0.0, now_of(store) + LATER)
    assert delete(store, item)
    entries.verify(store, "a")
    assert len(store.list()) == 2


def test_folders_that_are_not_of_a_stores_making_are_never_touched(store):
    """`--store results` instead of `--store results/store` must not cost the results."""
    store.write("lowdata/records/0123.jsonl", b"x")
    store.write("lowdata/spec.yaml", b"x")
    store.write("windows/meta.json", b"{}")
    store.write("windows/x.npy", b"x")
    store.write("notes.txt", b"x")
    assert doomed(store, min_age=0) == {}


def test_an_entry_that_changed_since_it_was_judged_is_kept(store):
    entries.write(store, "a", b"weights", {})
    (item,) = prunable(store, Counter(), 0.0, now_of(store))
    Lease(store, "a", 10.0).beat()
    assert not delete(store, item)
    entries.verify(store, "a")


def test_what_is_deleted_is_gone_as_a_whole(store):
    entries.write(store, "a", b"weights", {})
    (item,) = prunable(store, Counter(), 0.0, now_of(store))
    assert delete(store, item)
    assert store.list() == []
