"""What every source promises."""

from typing import Any

import numpy as np
import pytest

from citrus_ray.data.kinds import KINDS
from citrus_ray.data.source import Source
from citrus_ray.data.windowing import cache
from citrus_ray.data.windows import Windows
from citrus_ray.spec import validate


def same(one: Windows, other: Windows) -> bool:
    """Whether two sets hold the same windows and say the same of them."""
    arrays = ("x", "y", "group")
    names = ("sfreq", "ch_names", "modalities", "groups", "classes", "caveats", "digest")
    places = [
        None if w.origins is None else np.stack(list(vars(w.origins).values())).tolist()
        for w in (one, other)
    ]
    return (
        all(np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays)
        and places[0] == places[1]
        and all(getattr(one, name) == getattr(other, name) for name in names)
    )


class SourceContract:
    """Finite windows, names that are all used, and the same windows every time."""

    block: Any  # as `finetune.target:` in a sweep

    @pytest.fixture
    def source(self) -> Source:
        found: Source = KINDS(self.block)
        return found

    def test_a_spec_survives_its_tree_and_names_itself(self, source: Source) -> None:
        assert validate(type(source), source.tree()) == source
        assert source.tree()["kind"] == source.kind

    def test_windows_are_finite_and_every_name_is_used(self, source: Source) -> None:
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

    def test_the_same_spec_makes_the_same_windows(self, source: Source) -> None:
        assert same(source.prepare(), source.prepare())

    def test_the_cache_gives_back_what_was_prepared(self, source: Source) -> None:
        assert same(cache.load(source), source.prepare())
