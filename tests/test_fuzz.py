"""A few of the attacks of tests/fuzz, which `python -m tests.fuzz` makes by the thousand: nothing
is silent, no exception is another's, and all of it ends."""

import pytest

from tests.fuzz import faults, recordings, records, specs, store
from tests.fuzz.attack import Attack, table


def none_is_bad(found: list[Attack]) -> None:
    bad = [attack for attack in found if attack.is_bad]
    assert not bad, table(found)


@pytest.fixture(autouse=True)
def _no_disk_is_waited_for(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda handle: None)


def test_damaged_record_folders_are_named_and_computed_again():
    none_is_bad(list(records.attacks(12, seed=12)))


def test_broken_and_hostile_specs_are_refused_at_once():
    none_is_bad(list(specs.attacks(64)))


@pytest.mark.slow
def test_damaged_stores_and_prepared_windows_are_named_and_made_again():
    none_is_bad(list(store.attacks(60)))


@pytest.mark.slow
def test_no_damaged_recording_gives_other_samples():
    none_is_bad(list(recordings.attacks(112)))


@pytest.mark.slow
def test_many_specs_are():
    none_is_bad(list(specs.attacks(300, seed=1000)))


@pytest.mark.slow
def test_every_kind_of_damaged_record_folder_is():
    none_is_bad(list(records.attacks(2 * len(records.HARMS), seed=1)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["folder turns read-only", "folder answers late", "disk full"])
def test_a_results_folder_that_fails_in_the_middle_loses_nothing(tmp_path, name):
    found = list(faults.attacks(1, faults.CASES.index((name, faults.FAULTS[name].after[-1]))))
    none_is_bad(found)
