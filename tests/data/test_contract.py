"""Every source in the registry keeps the contract; one without usable defaults has an example
here."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from citrus_ray.data.kinds import KINDS as SOURCES
from citrus_ray.data.source import Source
from citrus_ray.data.sources.bidmc import Bidmc
from citrus_ray.data.sources.bids import Bids
from citrus_ray.data.sources.bonn import Bonn
from citrus_ray.data.sources.emgdb import EmgDb
from citrus_ray.data.sources.files import Files
from citrus_ray.data.sources.fmri import Fmri
from citrus_ray.data.sources.joined import Joined
from citrus_ray.data.sources.mitbih import MitBih
from citrus_ray.data.sources.pairs import Pairs
from citrus_ray.data.sources.ptb import Ptb
from citrus_ray.data.sources.sleep_edf import SleepEdf
from citrus_ray.data.sources.synthetic_fmri import SyntheticFmri
from citrus_ray.data.sources.uci_har import UciHar
from citrus_ray.data.sources.uwave import UWave
from citrus_ray.data.windowing import cache
from citrus_ray.spec import validate
from citrus_ray.testing import SourceContract
from tests.data import layouts, originals, test_bids
from tests.data.people import shared
from tests.small import registered


def _files(root: Path) -> Files:
    rng = np.random.default_rng(0)
    rows = ["file,start_s,stop_s,label,group"]
    for person in range(3):
        x = rng.normal(size=(2, 1200)).astype(np.float32)
        np.savez(
            root / f"p{person}.npz", x=x, sfreq=100.0, ch_names=["a", "b"], modality=["eeg", "eeg"]
        )
        rows += [f"p{person},0,6,rest,p{person}", f"p{person},6,12,move,p{person}"]
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    where: dict[str, Any] = {"root": str(root), "pattern": "*.npz", "labels": "labels.csv"}
    return Files(**where, seconds=1.0, sfreq=100.0, normalize="window")


def _joined(root: Path) -> Joined:
    """Two rates, of the same people as `_files`."""
    first = _files(root)
    rng = np.random.default_rng(1)
    (root / "heart").mkdir()
    for person in range(3):
        x = rng.normal(size=(1, 600)).astype(np.float32)
        np.savez(root / "heart" / f"p{person}.npz", x=x, sfreq=50.0, ch_names=["ECG"])
    heart = first.model_copy(update={"pattern": "heart/*.npz", "sfreq": 50.0, "labels": None})
    window = {"normalize": "window"}
    return Joined(lead="brain", of={"brain": first.at(window), "heart": heart.at(window)})


def _series(root: Path, **edits: Any) -> SyntheticFmri:
    sizes: dict[str, Any] = {
        "n_subjects": 2,
        "n_runs": 2,
        "n_blocks": 4,
        "block": 6,
        "n_voxels": 5,
        "volumes": 3,
    }
    return SyntheticFmri(**(sizes | {"labelled": False, "group_by": "run"} | edits))


def _bids(root: Path) -> Bids:
    how = {"root": str(test_bids.folder(root)), "labels": "events.tsv", "normalize": "window"}
    return validate(Bids, how | {"seconds": 1.0, "sfreq": 100.0})


EXAMPLES: dict[type[Source], Callable[[Path], Source]] = {
    Bidmc: layouts.bidmc,
    Bids: _bids,
    Bonn: originals.bonn,
    EmgDb: originals.emgdb,
    Files: _files,
    Fmri: layouts.attributes,
    Joined: _joined,
    MitBih: originals.mitbih,
    Pairs: lambda root: Pairs(of=_series(root, group_by="subject")),
    Ptb: originals.ptb,
    SleepEdf: originals.sleep_edf,
    SyntheticFmri: _series,
    UciHar: layouts.uci_har,
    UWave: layouts.uwave,
}


@pytest.fixture(scope="module", params=registered(SOURCES), ids=lambda kind: kind.__name__)
def example(request: Any, tmp_path_factory: Any) -> Source:
    kind: type[Source] = request.param
    known = EXAMPLES.get(kind)
    return known(tmp_path_factory.mktemp("source")) if known else validate(kind, {})


class TestSources(SourceContract):
    @pytest.fixture
    def source(self, example: Source) -> Source:
        return example


def test_normalised_windows_have_no_mean_and_unit_spread(example):
    if isinstance(example, Pairs | Joined):
        pytest.skip("they are as their source made them")
    found = example.prepare()
    x = found.x
    if isinstance(example, Fmri | SyntheticFmri):
        # a window may be one volume, so it is runs that are normalised
        runs = (x[found.group == run] for run in np.unique(found.group))
        x = np.stack([run.swapaxes(0, 1).reshape(x.shape[1], -1) for run in runs])
    else:
        assert example.normalize == "window"
    assert np.abs(x.mean(axis=-1)).max() < 1e-4
    assert x.std(axis=-1) == pytest.approx(1, abs=1e-3)


def test_recordings_are_the_same_however_they_are_normalised(example):
    """Or pre-training would not know that it reads what the target tests on."""
    field = "normalize_by" if isinstance(example, Fmri | SyntheticFmri) else "normalize"
    field = "of.normalize_by" if isinstance(example, Pairs) else field
    parts = example.of if isinstance(example, Joined) else {}
    fields = [f"of.{part}.normalize" for part in parts] or [field]
    other = example.at(dict.fromkeys(fields, "none"))
    assert other.digest() != example.digest()
    assert other.recordings() == example.recordings()
    one, two = cache.load(example), cache.load(other)
    found = shared(one, two)
    if isinstance(example, UciHar):  # the made-up folders train and test share their noise
        found = {(a, b) for a, b in found if a == b}
    assert found == {(name, name) for name in one.groups}
