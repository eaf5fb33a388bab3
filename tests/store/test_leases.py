"""One at a time: of any number of processes that want the same encoder, one computes it."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from citrus_ray.store import Storage, open_storage
from citrus_ray.store import leases as claims
from citrus_ray.store.entries import CLAIM
from citrus_ray.store.leases import Leases, _here

ROOT = Path(__file__).resolve().parents[2]


def stranger(store: Storage, n_beats: int = 1) -> str:
    """A claim from a machine whose processes cannot be looked at."""
    path = "d/claim-00ff.json"
    store.write(
        path, json.dumps({"host": "far away", "pid": 1, "since": "noon", "beat": n_beats}).encode()
    )
    return path


def test_a_claim_is_held_by_one_and_free_afterwards(store):
    claim = Leases(store).take("d")
    assert claim is not None
    with claim:
        other = Leases(store)
        assert other.take("d") is None
        assert f"process {os.getpid()} on " in str(other.holder("d"))
        free = other.take("another")
        assert free is not None
        free.withdraw()
    assert Leases(store).holder("d") is None
    assert store.list() == []


def test_a_claim_is_given_up_when_the_work_fails(store):
    claim = Leases(store).take("d")
    assert claim is not None
    with pytest.raises(ZeroDivisionError), claim:
        raise ZeroDivisionError
    assert store.list() == []


def test_of_two_that_come_at_the_same_moment_never_both_go_on(store):
    """Both have written before either looks."""
    one, two = (claims.Lease(store, "d", 10.0) for _ in range(2))
    one.beat()
    two.beat()
    assert Leases(store)._other("d", one.path)
    assert Leases(store)._other("d", two.path)


def test_many_threads_get_it_one_after_another(store):
    inside, most, done = [0], [0], []

    def work(i: int) -> None:
        claim = Leases(store, beat_s=0.02).take_unless("d", lambda: False)
        assert claim is not None
        with claim:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.005)
            inside[0] -= 1
        done.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(done) == list(range(6))
    assert most == [1]


def test_waiting_ends_when_another_has_done_it(store):
    looks = iter([False, False, True])
    stranger(store)
    assert Leases(store, beat_s=0.01).take_unless("d", lambda: next(looks)) is None


def test_the_claim_of_a_far_process_expires_when_it_stops_beating(store):
    watch = Leases(store, expire_s=0.1)
    stranger(store)
    assert watch.holder("d") == "process 1 on far since noon"
    time.sleep(0.15)
    stranger(store, n_beats=2)
    assert watch.holder("d")
    time.sleep(0.15)
    assert watch.holder("d") is None
    assert store.list() == []


@pytest.mark.slow
@pytest.mark.parametrize("store", ["folder", "object store"], indirect=True)  # it waits for seconds
def test_a_claim_that_beats_never_expires(store):
    claim = Leases(store, beat_s=0.02).take("d")
    assert claim is not None
    watch = Leases(store, expire_s=1.5)  # far above the beat: a busy machine may let a thread wait
    with claim:
        for _ in range(5):
            assert watch.holder("d")
            time.sleep(0.5)


def test_the_claim_of_a_process_that_died_here_is_gone_at_once(tmp_path):
    code = f"""
from citrus_ray.store import open_storage
from citrus_ray.store.entries import CLAIM
from citrus_ray.store.leases import Leases, _here
import os
Leases(open_storage({str(tmp_path)!r})).take("d")
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT)
    store = open_storage(tmp_path)
    assert len(store.list()) == 1
    claim = Leases(store).take("d")
    assert claim is not None
    assert len(store.list()) == 1


def test_storage_that_is_away_for_a_beat_costs_no_claim(store, monkeypatch):
    claim = Leases(store, beat_s=0.01).take("d")
    assert claim is not None
    real, failed = store.write, threading.Event()

    def away(path: str, content: bytes) -> None:
        if not failed.is_set():
            failed.set()
            raise OSError("away")
        real(path, content)

    monkeypatch.setattr(store, "write", away)
    with claim:
        assert failed.wait(10)
        before = store.read(claim.path)
        until = time.monotonic() + 10
        while store.read(claim.path) == before and time.monotonic() < until:
            time.sleep(0.01)
        assert store.read(claim.path) != before


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"3", b"[" * 50_000, b'{"host": HERE}', b'{"host": HERE, "pid": "x"}']
)
def test_a_damaged_lease_expires_as_any_other(tmp_path, text):
    storage = open_storage(tmp_path)
    path = tmp_path / "d" / f"{CLAIM}0a.json"
    path.parent.mkdir()
    path.write_bytes(text.replace(b"HERE", json.dumps(_here()).encode()))
    leases = Leases(storage, expire_s=0.0)
    assert leases.holder("d")
    assert leases.holder("d") is None
    assert not path.exists()
