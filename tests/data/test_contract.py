"""What every source in the registry promises. A new entry in the union is tested without another line, if its
defaults mean something; else it needs an example here."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from citrus_ray.data import AnySource
from citrus_ray.data.source import Source
from citrus_ray.data.sources.bidmc import Bidmc
from citrus_ray.data.sources.bonn import Bonn
from citrus_ray.data.sources.emgdb import EmgDb
from citrus_ray.data.sources.files import Files
from citrus_ray.data.sources.fmri import Fmri
from citrus_ray.data.sources.mitbih import MitBih
from citrus_ray.data.sources.pairs import Pairs
from citrus_ray.data.sources.ptb import Ptb
from citrus_ray.data.sources.sleep_edf import SleepEdf
from citrus_ray.data.sources.synthetic import Synthetic
from citrus_ray.data.sources.synthetic_fmri import SyntheticFmri
from citrus_ray.data.sources.uci_har import UciHar
from citrus_ray.data.sources.uwave import UWave
from citrus_ray.data.windowing import cache
from citrus_ray.data.windows import Windows
from citrus_ray.spec import validate
from tests.data import layouts, originals
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
    return Files(root=str(root), pattern="*.npz", seconds=1.0, sfreq=100.0, labels="labels.csv")


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


EXAMPLES: dict[type[Source], Callable[[Path], Source]] = {
    Bidmc: layouts.bidmc,
    Bonn: originals.bonn,
    EmgDb: originals.emgdb,
    Files: _files,
    Fmri: layouts.attributes,
    MitBih: originals.mitbih,
    Pairs: lambda root: Pairs(of=_series(root, group_by="subject")),
    Ptb: originals.ptb,
    SleepEdf: originals.sleep_edf,
    SyntheticFmri: _series,
    UciHar: layouts.uci_har,
    UWave: layouts.uwave,
}
KINDS = registered(AnySource)
pytestmark = pytest.mark.parametrize("source", KINDS, ids=lambda kind: kind.__name__, indirect=True)


@pytest.fixture(scope="module")
def source(request: Any, tmp_path_factory: Any) -> Source:
    kind: type[Source] = request.param
    return EXAMPLES[kind](tmp_path_factory.mktemp("source")) if kind in EXAMPLES else kind()


def same(one: Windows, other: Windows) -> bool:
    arrays = all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in ("x", "y", "group")
    )
    names = ("sfreq", "ch_names", "modalities", "groups", "classes", "caveats", "digest")
    places = [
        None if w.origins is None else np.stack(list(vars(w.origins).values())).tolist()
        for w in (one, other)
    ]
    return (
        arrays
        and places[0] == places[1]
        and all(getattr(one, name) == getattr(other, name) for name in names)
    )


def test_a_spec_survives_its_tree_and_names_itself(source):
    assert validate(type(source), source.tree()) == source
    assert source.tree()["kind"] == source.kind


def test_windows_are_finite_and_every_name_is_used(source):
    source.check()
    found = source.prepare()
    assert found.x.dtype == np.float32
    assert np.isfinite(found.x).all()
    assert found.group.dtype == np.int64
    assert np.unique(found.group).tolist() == list(range(len(found.groups)))
    if found.y is None:  # a set to pre-train on
        assert found.classes == ()
    else:
        assert found.y.dtype == np.int64
        assert np.unique(found.y).tolist() == list(range(len(found.classes)))
    assert len(set(found.groups)) == len(found.groups)
    assert len(set(found.classes)) == len(found.classes)
    assert found.digest == source.digest()


def test_normalised_windows_have_no_mean_and_unit_spread(source):
    if isinstance(source, Pairs):
        pytest.skip("they are as their source made them")
    found = source.prepare()
    x = found.x
    if isinstance(
        source, Fmri | SyntheticFmri
    ):  # a window may be one volume, so it is runs that are normalised
        x = np.stack(
            [
                x[found.group == run].swapaxes(0, 1).reshape(x.shape[1], -1)
                for run in np.unique(found.group)
            ]
        )
    else:
        assert source.normalize == "window"
    assert np.abs(x.mean(axis=-1)).max() < 1e-4
    assert x.std(axis=-1) == pytest.approx(1, abs=1e-3)


def test_the_same_spec_makes_the_same_windows(source):
    assert same(source.prepare(), source.prepare())


def test_the_cache_gives_back_what_was_prepared(source):
    assert same(cache.load(source), source.prepare())


def test_recordings_are_the_same_however_they_are_normalised(source):
    """Or pre-training would not know that it reads what the target tests on."""
    if isinstance(source, Synthetic):
        pytest.skip("made from a seed")
    field = "normalize_by" if isinstance(source, Fmri | SyntheticFmri) else "normalize"
    field = "of.normalize_by" if isinstance(source, Pairs) else field
    other = source.at({field: "none"})
    assert other.digest() != source.digest()
    assert other.recordings() == source.recordings()
