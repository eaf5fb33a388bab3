"""Pages that are followed once, whoever asks for what they said."""

import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest

from citrus_ray.data.sources.synthetic import Synthetic
from citrus_ray.data.tools.export import write_edf, write_recordings
from citrus_ray.experiment.sweep import Sweep
from citrus_ray.models.specs import Bag, MiniRocket
from tests.docs.pages import ROOT, Reader
from tests.small import PRETRAINED

Follow = Callable[[str], Reader]


def take_home(folder: Path) -> None:
    """A study, and two recordings of strangers: at another rate, with channels in another order
    and one more."""
    source = Synthetic(seed=3, n_subjects=8, windows_per_subject=24, normalize="none")
    write_recordings(source, folder / "study", "edf")
    rng = np.random.default_rng(5)
    for name, rate in (("visit1", 200.0), ("visit2", 256.0)):
        x = rng.normal(size=(5, int(30 * rate))).astype(np.float32)
        write_edf(folder / f"{name}.edf", x, rate, ("syn3", "extra", "syn1", "syn0", "syn2"))


def results(folder: Path) -> None:
    """A sweep that has pre-trained."""
    sweep = {
        "name": "before",
        "trial": PRETRAINED.tree(),
        "budget": {"trials": 1},
        "final": {"rounds": 2},
    }
    Sweep.of(sweep).run(progress=False, out=folder / "results" / "before")


def formats(folder: Path) -> None:
    """Recordings in a folder, and tables without a rate."""
    write_recordings(Synthetic(n_subjects=2, windows_per_subject=2), folder, "edf")
    for name in ("a", "b"):
        rows = "\n".join(f"{i % 7},{i % 5}" for i in range(200))
        (folder / f"{name}.csv").write_text(f"ecg,acc_x\n{rows}\n")


# what pages take for granted
GIVEN = {"docs/take-home.md": take_home, "docs/results.md": results, "docs/formats.md": formats}


@pytest.fixture(scope="session")
def followed(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Follow:
    """Follows a page and gives what it said, once in a session."""

    @cache
    def follow(page: str) -> Reader:
        folder = tmp_path_factory.mktemp(Path(page).stem)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CITRUS_CACHE", str(shared_cache))
            _fewer(patch)
            reader = Reader(folder, patch)
            GIVEN.get(page, lambda _: None)(folder)
            reader.follow(ROOT / page)
            for name, module in list(sys.modules.items()):  # another page's may be called so
                if str(getattr(module, "__file__", None)).startswith(str(folder)):
                    patch.delitem(sys.modules, name)
        return reader

    return follow


def _fewer(patch: pytest.MonkeyPatch) -> None:
    """Baselines of fewer kernels and trees: what they score is no page's business."""
    from citrus_ray.training.baselines import BASELINES
    from citrus_ray.training.methods import solve

    for name, spec in {"minirocket": MiniRocket(n_kernels=168), "bag": Bag(trees=10)}.items():
        patch.setitem(BASELINES, name, partial(solve, spec=spec))
