"""A claim that came after the records says so for ever, on every surface."""

import json
from pathlib import Path
from typing import Any

import pytest

from citrus_ray.cli.results import ResultsFolder
from citrus_ray.evidence.evidence import evidence_of, read_evidence
from citrus_ray.evidence.stamps import FILE, read_stamps
from citrus_ray.evidence.summary import summarise
from citrus_ray.evidence.tables import table
from citrus_ray.experiment.sweep import Sweep
from citrus_ray.report.files import write_report
from tests.evidence.test_summary import final, search_trial
from tests.small import sweep_of

CLAIM = {
    "says": "masked is better",
    "better": {"pretrain.task": {"kind": "masked"}},
    "worse": {"pretrain.task": None},
}
OTHER = CLAIM | {"says": "scratch is better", "better": CLAIM["worse"], "worse": CLAIM["better"]}


def run(out: Path, *claims: dict[str, Any], **edits: Any) -> dict[str, Any]:
    """A call of the command with these claims; from the second on its trials are there already."""
    sweep = sweep_of(claims=list(claims), **edits)
    folder = ResultsFolder(sweep, sweep.model_dump_json(by_alias=True), out)
    folder.make()
    folder.write_spec()
    if not folder.records.exists():
        record(sweep, folder.records)
    return summarise(sweep, folder.records, 0.0)


def record(sweep: Sweep, folder: Path) -> None:
    for cell in sweep.cells:
        search_trial(folder, cell, f"s{cell.index}", [0.5])
        scores: dict[int, float | None] = {
            1000 + i: 0.5 + 0.1 * cell.index + 0.01 * (i * (3 + cell.index) % 4) for i in range(8)
        }
        final(folder, cell, scores)


def late(found: dict[str, Any]) -> list[bool]:
    return [claim["after_the_records"] for claim in found["claims"]]


def test_claims_that_were_there_from_the_start_stay_so(tmp_path):
    assert late(run(tmp_path, CLAIM)) == [False]
    assert late(run(tmp_path, CLAIM)) == [False]


def test_a_claim_that_was_added_is_marked_on_every_surface(tmp_path):
    run(tmp_path, CLAIM)
    found = run(tmp_path, CLAIM, OTHER)
    assert late(found) == [False, True]
    assert late(run(tmp_path, CLAIM, OTHER)) == [False, True], "for ever"
    screen, page = table(found), write_report([tmp_path], publish=False).read_text()
    assert "claim: scratch is better (after the records)" in screen
    assert "claim: masked is better\n" in screen
    assert page.count("(after the records)") == 1
    assert "after_the_records" in (tmp_path / "tables" / "claims.csv").read_text()


@pytest.mark.parametrize("edit", [{"within": 0.05}, {"speaks_of": "the next target"}])
def test_a_claim_that_was_changed_is_another_one(tmp_path, edit):
    run(tmp_path, CLAIM)
    assert late(run(tmp_path, CLAIM | edit)) == [True]


@pytest.mark.parametrize("edit", [{"alpha": 0.2}, {"within": 0.2}])
def test_a_claim_that_is_asked_at_another_error_or_margin_is_another_one(tmp_path, edit):
    run(tmp_path, CLAIM)
    assert late(run(tmp_path, CLAIM, verdicts=edit)) == [True]


def test_a_claim_that_was_dropped_goes_on_to_count(tmp_path):
    alone = run(tmp_path / "alone", CLAIM)["claims"][0]
    run(tmp_path / "both", CLAIM, OTHER)
    (left,) = run(tmp_path / "both", CLAIM)["claims"]
    assert left["holm_p"] == pytest.approx(min(1.0, 2 * alone["holm_p"]))


def test_folders_on_one_page_bring_the_stamps_of_their_own_claims(tmp_path):
    run(tmp_path / "one", CLAIM)
    run(tmp_path / "two", OTHER)
    claims = read_evidence([tmp_path / "one", tmp_path / "two"]).claims
    assert [claim.is_late for claim in claims] == [False, False]


def test_other_words_and_another_guess_leave_it_what_it_was(tmp_path):
    run(tmp_path, CLAIM)
    same = CLAIM | {"says": "it helps", "expects": {"effect": 0.1, "sd": 0.1}}
    assert late(run(tmp_path, same)) == [False]


@pytest.mark.parametrize("text", [None, "", "[1", '{"a": 1}', "[3]"])
def test_without_stamps_that_can_be_read_all_claims_are_late(tmp_path, text):
    run(tmp_path, CLAIM)
    path = tmp_path / FILE
    path.unlink() if text is None else path.write_text(text)
    evidence = evidence_of(sweep_of(claims=[CLAIM]), tmp_path / "records")
    assert [claim.is_late for claim in evidence.claims] == [True]
    assert late(run(tmp_path, CLAIM)) == [True]
    assert read_stamps(tmp_path) is not None


def test_a_stamp_says_when_and_what(tmp_path):
    run(tmp_path, CLAIM)
    (stamp,) = json.loads((tmp_path / FILE).read_text())
    assert stamp["says"] == "masked is better"
    assert stamp["asked"].startswith("20")
