"""Prepared windows on disk: made once, whole or not there, shared by all."""

import contextlib
import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from citrus_ray.data.root import cache_root
from citrus_ray.data.sources.synthetic import Synthetic
from citrus_ray.data.windowing import cache
from citrus_ray.data.windowing.align import (
    Align,
    Interpolate,
    Native,
    Pad,
    Resample,
    Truncate,
)
from citrus_ray.data.windowing.disk import on_disk
from citrus_ray.data.windows import Windows
from citrus_ray.spec import MachineError, SpecError
from tests.small import SOURCE


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CITRUS_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which sources were really prepared."""
    calls: list[str] = []
    real = Synthetic.prepare

    def prepare(self: Synthetic) -> Windows:
        calls.append(self.digest())
        return real(self)

    monkeypatch.setattr(Synthetic, "prepare", prepare)
    return calls


def test_a_source_is_prepared_once(prepared):
    first, again = cache.load(SOURCE), cache.load(SOURCE)
    cache.load(SOURCE.model_copy(update={"seed": 7}))
    assert prepared == [SOURCE.digest(), SOURCE.model_copy(update={"seed": 7}).digest()]
    assert np.array_equal(first.x, again.x)


def test_signals_are_memory_mapped_and_cannot_be_written():
    found = cache.load(SOURCE)
    assert isinstance(found.x, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        found.x[0, 0, 0] = 1


def test_an_unlabelled_set_stays_unlabelled(monkeypatch):
    real = Synthetic.prepare
    monkeypatch.setattr(
        Synthetic,
        "prepare",
        lambda self: replace(real(self), y=None, classes=(), caveats=("no labels",)),
    )
    for _ in range(2):
        found = cache.load(SOURCE)
        assert found.y is None
        assert (found.classes, found.caveats) == ((), ("no labels",))


def test_a_write_that_fails_leaves_nothing(root, monkeypatch, prepared):
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", full)
        with pytest.raises(
            SpecError, match=r"cache folder .* cannot be written: No space left on device"
        ):
            cache.load(SOURCE)
    assert list((root / cache.FOLDER).iterdir()) == []
    assert len(cache.load(SOURCE)) == 64
    assert len(prepared) == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("n", [1, 5000], ids=["noticed at the end", "noticed on the way"])
def test_a_disk_that_is_full_while_windows_are_stacked_is_the_machines_fault(monkeypatch, n):
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda dir: open("/dev/full", "w+b"))  # noqa: SIM115
    with pytest.raises(
        MachineError, match=r"cannot be written: No space left on device; set \$CITRUS_CACHE"
    ):
        on_disk([np.ones((n, 2, 4), np.float32)], (2, 4))


def test_where_files_cannot_be_locked_a_process_that_is_overtaken_uses_what_the_other_made(
    root, monkeypatch
):
    def no_locks(*args: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    real = Path.rename

    def overtaken(self: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "rename", real)
        cache.load(SOURCE)
        return real(self, target)

    monkeypatch.setattr(Path, "rename", overtaken)
    assert np.array_equal(cache.load(SOURCE).x, SOURCE.prepare().x)
    assert [path.name for path in (root / cache.FOLDER).iterdir()] == [SOURCE.digest()]


ONE_OF_SEVERAL = """
import sys
import tempfile
from citrus_ray.data.windowing import cache
from tests.small import SOURCE
real = type(SOURCE).prepare
def prepare(self):
    print("prepared", flush=True)
    return real(self)
type(SOURCE).prepare = prepare
print("ready", flush=True)
sys.stdin.readline()
cache.load(SOURCE)
"""


@pytest.mark.slow
def test_of_several_processes_that_come_at_once_one_prepares(root):
    call = [sys.executable, "-c", ONE_OF_SEVERAL]
    several = [
        subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    with contextlib.ExitStack() as stack:
        for process in several:
            stack.enter_context(process)
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        said = [process.communicate("go\n")[0] for process in several]
    assert sorted(said) == ["", "", "prepared\n"]
    assert list((root / "locks").iterdir()) == []


def test_others_may_read_the_cache(root):
    cache.load(SOURCE)
    assert (root / cache.FOLDER / SOURCE.digest()).stat().st_mode & 0o777 == 0o755


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.delenv("CITRUS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root() == tmp_path / "xdg" / "citrus_ray"


PREPARE = """
from citrus_ray.data.sources.synthetic import Synthetic
from citrus_ray.data.windowing import cache
print("ready", flush=True)
cache.load(Synthetic(seed=41, n_subjects=40, windows_per_subject=100))
"""


@pytest.mark.slow
def test_a_preparation_killed_at_any_moment_leaves_nothing_half_done(tmp_path, monkeypatch):
    monkeypatch.setenv("CITRUS_CACHE", str(tmp_path))
    source = Synthetic(seed=41, n_subjects=40, windows_per_subject=100)
    n_killed = 0
    # early first: once it is prepared, there is nothing left to kill
    for wait_s in (0.0, 0.1, 0.2, 0.35, 0.5):
        process = subprocess.Popen([sys.executable, "-c", PREPARE], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(wait_s)  # preparing takes about 0.7 s
        process.kill()
        n_killed += process.wait() == -signal.SIGKILL
        process.stdout.close()
        folder = tmp_path / cache.FOLDER / source.digest()
        assert not folder.exists() or (folder / "meta.json").exists()
    assert n_killed > 0
    found = cache.load(source)
    assert np.array_equal(found.x, source.prepare().x)
    assert [path.name for path in (tmp_path / cache.FOLDER).iterdir()] == [source.digest()]


ALIGNED: list[Align] = [
    Truncate(n_times=32),
    Truncate(n_times=16),
    Truncate(n_times=32, channels="keep"),
    Truncate(n_times=32, channels=("syn1",)),
    Pad(n_times=96),
    Pad(n_times=128),
    Pad(n_times=128, channels="first"),
    Interpolate(n_times=32),
    Interpolate(n_times=96),
    Interpolate(n_times=96, channels="average"),
    Resample(sfreq=25.0, n_times=32),
    Resample(sfreq=20.0, n_times=32),
    Resample(sfreq=25.0, n_times=16),
    Resample(sfreq=25.0, n_times=16, channels="first"),
    Native(channels="average"),
]


def test_every_setting_of_an_alignment_has_windows_of_its_own():
    """Two that shared a key would hand one arm the windows of the other."""
    folders = {cache.load(SOURCE, align).x.filename for align in (Native(), *ALIGNED)}  # type: ignore[attr-defined]
    assert len(folders) == 1 + len(ALIGNED)


def test_the_alignments_of_that_test_differ_in_every_key():
    """So that a key that is added here is added there."""
    by_kind: dict[type[Align], list[dict[str, object]]] = {}
    for align in (Native(), *ALIGNED):
        by_kind.setdefault(type(align), []).append(align.tree())
    for kind, trees in by_kind.items():
        for name in set(kind.model_fields) - {"kind"}:
            assert len({str(tree[name]) for tree in trees}) > 1, f"{kind.__name__}.{name}"


# ---- checksums ----


def folder_of(root: Path) -> Path:
    return root / cache.FOLDER / SOURCE.digest()


@pytest.mark.parametrize("name", ["x.npy", "y.npy", "group.npy", "fingerprints.npy", "meta.json"])
def test_an_array_that_is_not_what_was_written_is_set_aside_and_prepared_again(
    root, prepared, name
):
    x = np.array(cache.load(SOURCE).x)
    path = folder_of(root) / name
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)
    with pytest.warns(UserWarning, match=r"prepared again") as said:
        assert np.array_equal(cache.load(SOURCE).x, x)
    assert "not what was written" in str(said[0].message) or "cannot be read" in str(
        said[0].message
    )
    assert len(prepared) == 2
    (aside,) = (root / cache.FOLDER / cache.ASIDE).iterdir()
    assert (aside / name).read_bytes() == bytes(content)


def test_an_array_that_is_gone_is_prepared_again(root, prepared):
    cache.load(SOURCE)
    (folder_of(root) / "group.npy").unlink()
    with pytest.warns(UserWarning, match="prepared again"):
        cache.load(SOURCE)
    assert len(prepared) == 2


def test_sums_are_compared_once_an_hour_and_when_a_file_has_changed(root, monkeypatch):
    summed: list[str] = []
    real = cache._sum_of
    cache.load(SOURCE)

    def noted(path: Path) -> str:
        summed.append(path.name)
        return real(path)

    monkeypatch.setattr(cache, "_sum_of", noted)
    for _ in range(3):
        cache.load(SOURCE)
    once = len(summed)
    assert "x.npy" in summed
    assert len(set(summed)) == once
    os.utime(folder_of(root) / cache.CHECKED, (0, 0))
    cache.load(SOURCE)
    assert len(summed) == 2 * once
    os.utime(folder_of(root) / "x.npy", (0, 0))
    cache.load(SOURCE)
    assert len(summed) == 3 * once


def test_windows_from_before_there_were_sums_are_used(root, prepared):
    cache.load(SOURCE)
    meta = json.loads((folder_of(root) / "meta.json").read_text())
    del meta["seal"], meta["sums"]
    (folder_of(root) / "meta.json").write_text(json.dumps(meta))
    cache.load(SOURCE)
    assert len(prepared) == 1
