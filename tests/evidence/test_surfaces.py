"""Every surface says the same of the same records: winner, refit, mean, interval, verdict, counts,
to the last digit.

A made-up sweep is played through the real study: trials that tie, one that is pruned and one
that fails, a member that fails in a refit, several objectives, a budget that shrinks and grows,
two folders whose arms are called alike.
"""

import csv
import json
import re
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from citrus_ray import records
from citrus_ray.cli.results import ResultsFolder
from citrus_ray.cli.screen import last
from citrus_ray.evidence.comparison import compare, side
from citrus_ray.evidence.evidence import Evidence, evidence_of, read_evidence
from citrus_ray.evidence.intervals import INTERVAL
from citrus_ray.evidence.outcomes import Outcome
from citrus_ray.evidence.summary import summarise
from citrus_ray.evidence.tables import gain_lines, spread, table, top
from citrus_ray.evidence.verdicts import told
from citrus_ray.experiment.sweep import Sweep
from citrus_ray.records import Record
from citrus_ray.report.files import write_report
from citrus_ray.report.numbers import spread as on_page
from citrus_ray.search.optuna_bridge import export
from citrus_ray.search.study import Job, Studies, Study
from citrus_ray.spec import digest_of
from tests.small import record_of, sweep_of

VAL, TEST = "val/balanced_accuracy", "test/balanced_accuracy"
LR, LABELS = "finetune.optim.lr", "finetune.labels"
MASKED = {"kind": "masked"}
CLAIM = {
    "says": "masked pre-training helps",
    "better": {"pretrain.task": MASKED},
    "worse": {"pretrain.task": None},
}
ASKED: dict[str, Any] = {
    "budget": {"trials": 4},
    "final": {"rounds": 8},
    "search": {LR: {"choice": [0.001, 0.002, 0.004, 0.008, 0.016]}},
    "claims": [CLAIM],
}
SEVERAL = {
    "objective": {"metric": VAL, "mode": "max", "each": LABELS},
    "repeat": {LABELS: [{"per_class": 2}, {"per_class": 4}], "seed": [0, 1]},
}


def asked(**edits: Any) -> Sweep:
    return sweep_of(**ASKED | edits)


def play(sweep: Sweep, out: Path, with_val: bool = True) -> None:
    """Run what is missing, with made-up scores that hang on what is run alone."""
    folder = ResultsFolder(sweep, sweep.model_dump_json(by_alias=True), out)
    folder.make()
    folder.write_spec()
    studies = Studies(sweep, folder.records)
    for study in studies.studies:
        while (job := study.next_job()) is not None:
            rows = [row_of(study, job, repeat, n) for n, (repeat, _) in enumerate(job.members)]
            if not with_val:
                rows = [replace(row, metrics=without(VAL, row.metrics)) for row in rows]
            records.write(folder.records, job.digest, rows)
            study.finish(job, rows)
        assert study.over


def without(name: str, metrics: dict[str, float]) -> dict[str, float]:
    return {key: value for key, value in metrics.items() if key != name}


def row_of(study: Study, job: Job, repeat: dict[str, Any], n: int) -> Record:
    """Validation scores of few values, so that trials tie; the third rate fails, the fourth is
    pruned."""
    rng = np.random.default_rng(int(digest_of([job.digest, repeat]), 16) % 2**32)
    pretrained = study.cell.trial.pretraining is not None
    rate = job.params[LR]
    fields: dict[str, Any] = {"trial": job.digest, "phase": job.phase, "params": job.params}
    fields |= {"finished": f"2026-01-01T00:{n:02d}:{study.asked:02d}", "seconds": 1.0}
    fields |= {"encoder": "e" if pretrained else None, "asked_s": job.asked_s}
    if job.phase == "search":
        if rate == 0.004 and n == 1:
            return record_of(
                study.cell, repeat, {}, status="failed", reason="out of memory", **fields
            )
        status = "pruned" if rate == 0.008 else "ok"
        return record_of(study.cell, repeat, {VAL: 0.7}, status=status, **fields)
    if job.round == 2 and n == 0:
        return record_of(study.cell, repeat, {}, status="failed", reason="disk", **fields)
    score = 0.7 + 0.1 * pretrained + 0.005 * rng.standard_normal()
    baselines = {} if pretrained else {"majority": {TEST: 0.25}}
    return record_of(study.cell, repeat, {VAL: 0.7, TEST: score}, baselines=baselines, **fields)


def agree(sweep: Sweep, out: Path) -> Evidence:
    """Hold every surface against what the evidence says; the page's reading, for more."""
    folder = out / "records"
    live, read = evidence_of(sweep, folder), read_evidence([out])
    summary = summarise(sweep, folder, 0.0)
    (out / "summary.json").write_text(json.dumps(summary))
    screen, best = table(summary), "\n".join(top(sweep, live, 1))
    page = write_report([out], publish=False).read_text()
    with (out / "cells.csv").open() as file:
        cells = {row["digest"]: row for row in csv.DictReader(file)}
    storage = JournalStorage(JournalFileBackend(str(export(sweep, live, out / "optuna.log"))))
    studies = Studies(sweep, folder).studies
    said = "\n".join(gain_lines(read.gains))
    ended = last(sweep, out, summary, out / "report.html")
    assert summary["interval"] == INTERVAL
    assert INTERVAL in ended
    assert INTERVAL in page
    assert {row["interval"] for row in cells.values()} == {INTERVAL}
    for i, cell in enumerate(sweep.cells):
        one, other = live.cells[i], read.cells[i]
        assert_same_outcome(one, other)
        assert one.best is not None
        assert studies[i].best == one.best
        found = {row.digest for rows in studies[i].rounds.values() for row in rows}
        assert found == {row.digest for row in one.final}
        journal = optuna.load_study(storage=storage, study_name=one.label)
        chosen = journal.trials[journal.user_attrs["chosen trial"]]
        assert chosen.user_attrs["trial"] == journal.user_attrs["chosen"] == one.best.digest
        assert len(journal.trials) == len(one.searched) == summary["cells"][i]["n_trials"]
        assert one.best.digest in best
        assert summary["cells"][i]["best"] == one.best.params
        row = cells[cell.digest]
        assert float(row[f"best.{LR}"]) == one.best.params[LR]
        counts = ("n_trials", "n_failed", "n_pruned")
        assert [int(row[name]) for name in counts] == [summary["cells"][i][name] for name in counts]
        assert_same_numbers(summary["cells"][i], one, row, screen, page)
        gain = live.gain_of.get(cell.digest)
        if gain is not None:
            assert row["verdict"] == summary["cells"][i]["gain"]["verdict"] == gain.verdict
            assert f"{gain.effect.mean:+.3f}" in said
            assert f"[{gain.effect.low:+.3f}, {gain.effect.high:+.3f}]" in said
            assert spread(summary["cells"][i]["gain"], "+") in screen
            assert on_page(gain.effect, sign=True) in page
            assert float(row["gain_low"]) == gain.effect.low == summary["cells"][i]["gain"]["low"]
            assert float(row["holm_p"]) == summary["cells"][i]["gain"]["holm_p"]
            (claim,) = summary["claims"]
            assert claim["verdict"] == gain.verdict
            assert (claim["effect"], claim["low"]) == (gain.effect.mean, gain.effect.low)
            assert told(claim) in screen
            assert escape(told(claim)) in page
    return read


def assert_same_outcome(one: Outcome, other: Outcome) -> None:
    assert one.label == other.label
    assert one.best == other.best
    assert [row.digest for row in one.final] == [row.digest for row in other.final]
    assert one.test == other.test


def assert_same_numbers(
    found: dict[str, Any], cell: Outcome, row: dict[str, str], screen: str, page: str
) -> None:
    assert cell.test is not None
    assert found["test"] == cell.test.tree() | {"counts": "round"}
    assert float(row["test_mean"]) == cell.test.mean
    assert (float(row["test_low"]), float(row["test_high"])) == (cell.test.low, cell.test.high)
    assert spread(found["test"]) in screen
    assert on_page(cell.test) in page
    assert found["label"] in screen


@pytest.mark.parametrize("several", [False, True], ids=["one objective", "several"])
def test_all_surfaces_agree_on_ties_failures_and_pruned_trials(several, tmp_path):
    sweep = asked(**SEVERAL if several else {})
    play(sweep, tmp_path / "small")
    found = agree(sweep, tmp_path / "small")
    assert {len(cell.scored) for cell in found.cells} == {(16 if several else 8) - 1}
    full = [trial for cell in found.cells for trial in cell.searched if trial.is_full]
    assert len({trial.value for trial in full}) == 1 < len(full), "the scores were meant to tie"


def test_all_surfaces_agree_after_the_budget_shrank_and_grew(tmp_path):
    out = tmp_path / "small"
    for n_trials in (4, 3, 5):
        sweep = asked(budget={"trials": n_trials})
        play(sweep, out)
        found = agree(sweep, out)
        assert {len(cell.searched) for cell in found.cells} == {n_trials}
    assert {cell.n_recorded for cell in found.cells} == {5}


def test_all_surfaces_agree_after_rounds_were_added_and_fewer_were_asked_for(tmp_path):
    """What was scored counts: a verdict may be looked at after any number of rounds."""
    out = tmp_path / "small"
    play(asked(final={"rounds": 4}), out)
    play(asked(), out)
    sweep = asked(final={"rounds": 3})
    play(sweep, out)
    found = agree(sweep, out)
    assert {len(cell.final) for cell in found.cells} == {8}


def test_arms_that_are_called_alike_stay_apart_and_are_told_apart(tmp_path):
    """One helps and the other harms; merged they would be undecided."""
    folders = []
    for name, ratio, gain in (("a", 0.3, 0.1), ("b", 0.7, -0.1)):
        task = MASKED | {"ratio": ratio}
        sweep = asked(compare={"pretrain.task": [None, task]}, claims=[])
        out = tmp_path / name
        play(sweep, out)
        for path in (out / "records").glob("*.jsonl"):
            rows = records.read_trial(out / "records", path.stem)
            moved = [shifted(row, gain - 0.1) for row in rows]
            records.write(out / "records", path.stem, moved)
        folders.append(out)
    found = read_evidence(folders)
    assert sorted(gain.verdict for gain in found.gains) == ["contradicted", "supported"]
    arms = {gain.cell.arm for gain in found.gains}
    labels = {gain.cell.arm_label for gain in found.gains}
    assert len(arms) == len(labels) == 2
    page = write_report(folders, publish=False).read_text()
    assert all(label in page for label in labels)
    assert len(re.findall(r'class="verdict (supported|contradicted)"', page)) == 2


def shifted(row: Record, by: float) -> Record:
    if row.encoder is None or TEST not in row.metrics:
        return row
    return replace(row, metrics=row.metrics | {TEST: row.metrics[TEST] + by})


def test_two_equal_folders_compare_as_identical(tmp_path):
    for name in "ab":
        play(asked(), tmp_path / name)
    rows = compare(side(str(tmp_path / "a")), side(str(tmp_path / "b")))
    assert {row.change for row in rows} == {"identical"}


# ---- what was chosen by ----

VALIDATION = "trial.finetune.validation"


def counted(out: Path, **labelled: int) -> None:
    """Give every record the windows that showed it their label."""
    for path in (out / "records").glob("*.jsonl"):
        rows = records.read_trial(out / "records", path.stem)
        records.write(out / "records", path.stem, [replace(r, labelled=labelled) for r in rows])


def everywhere(sweep: Sweep, out: Path) -> tuple[str, ...]:
    """The last screen, summary.json, the page and its tables."""
    summary = summarise(sweep, out / "records", 0.0)
    (out / "summary.json").write_text(json.dumps(summary))
    page = write_report([out], publish=False).read_text()
    tables = (out / "cells.csv").read_text()
    return last(sweep, out, summary, out), json.dumps(summary), page, tables


def test_a_fully_labelled_validation_part_is_named_beside_every_number(tmp_path):
    sweep = asked(**{VALIDATION: "full"})
    play(sweep, tmp_path)
    said = "hosen with a fully labelled validation part"  # on the page with a capital
    assert all(said in text for text in everywhere(sweep, tmp_path)), "of records without counts"
    counted(tmp_path, learnt=8, chosen_by=1600)
    assert all(f"{said} of 1,600 windows" in text for text in everywhere(sweep, tmp_path))
    summary = json.loads((tmp_path / "summary.json").read_text())
    labels = summary["cells"][0]["labels"]
    of_each = {"learnt": 8, "chosen_by": 1600}
    assert labels == {"validation": "full", "search": of_each, "final": of_each}
    with (tmp_path / "cells.csv").open() as file:
        row = next(csv.DictReader(file))
    assert (row["validation"], row["labels.search.chosen_by"]) == ("full", "1600")


def test_where_labels_are_all_there_is_no_such_caveat_stands(tmp_path):
    sweep = asked()
    play(sweep, tmp_path)
    assert not any("hosen with" in text for text in everywhere(sweep, tmp_path))
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["cells"][0]["labels"]["validation"] == "labels"


def test_a_single_point_that_nothing_scores_wins_and_is_refitted(tmp_path):
    """Its validation score is a dash wherever one would stand."""
    sweep = asked(**{VALIDATION: "none", "search": {LR: {"choice": [0.001]}}, "claims": []})
    play(sweep, tmp_path, with_val=False)
    found = evidence_of(sweep, tmp_path / "records")
    assert all(cell.best and cell.best.value is None for cell in found.cells)
    assert all(cell.scored for cell in found.cells)
    assert all(everywhere(sweep, tmp_path))
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [cell["val"] for cell in summary["cells"]] == [None, None]
    first = [line.split() for text in top(sweep, found, 1) for line in text.splitlines()]
    assert [line[:3] for line in first if line[:1] == ["1"]] == [["1", "-", "0.001"]] * 2
    storage = JournalStorage(JournalFileBackend(str(export(sweep, found, tmp_path / "log"))))
    studies = [optuna.load_study(storage=storage, study_name=c.label) for c in found.cells]
    assert [len(study.trials) for study in studies] == [1, 1]
