"""Arms differ in what is compared: they are searched at the same points, and neither the order in
which trials end nor the place of a row in the YAML decides anything. No training, no cluster."""

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from citrus_ray import records
from citrus_ray.cli.results import ResultsFolder
from citrus_ray.evidence.evidence import read_evidence
from citrus_ray.evidence.gains import gain_caveats
from citrus_ray.evidence.outcomes import EARLIER, OTHER_POINTS
from citrus_ray.evidence.summary import summarise
from citrus_ray.evidence.trials import Result
from citrus_ray.experiment.labels import canonical
from citrus_ray.experiment.sweep import Sweep
from citrus_ray.records import Record
from citrus_ray.search.study import Job, Studies
from citrus_ray.search.together import merits
from tests.evidence.test_summary import TEST, VAL
from tests.small import record_of, sweep_of

LR, RATIO = "finetune.optim.lr", "pretrain.task.ratio"
TASKS: list[Any] = [None, {"kind": "masked"}, {"kind": "masked", "loss": "l1"}]
LABELS = [{"per_class": 2}, {"per_class": 4}]
SEARCH = {LR: {"loguniform": [1e-3, 1e-2]}, RATIO: {"choice": [0.3, 0.5, 0.7]}}
ONE_ARM: dict[str, Any] = {"compare": {"pretrain.task": TASKS[1:2]}, "claims": []}
CLAIM = {  # both losses are on its worse side, whose pairs come in the order of rows
    "says": "one loss is better than both",
    "better": {"pretrain.task": {"kind": "masked", "loss": "l1"}},
    "worse": {"pretrain.task": {"kind": "masked"}},
}


def sweep_with(turned: bool = False, **edits: Any) -> Sweep:
    """The same question, its rows and keys in one order or in the other."""
    step = -1 if turned else 1
    compare = {"pretrain.task": TASKS[::step], "finetune.labels": LABELS[::step]}
    asked: dict[str, Any] = {
        "compare": dict(list(compare.items())[::step]),
        "search": dict(list(SEARCH.items())[::step]),
        "repeat": {"seed": [0, 1]},
        "budget": {"trials": 5},
        "final": {"rounds": 3},
        "claims": [CLAIM],
    }
    return sweep_of(**asked | edits)


def rows_of(job: Job, number: int) -> list[Record]:
    """Scores that hang on what is run alone, of few values, so that trials tie; some fail."""
    fields: dict[str, Any] = {"trial": job.digest, "phase": job.phase, "params": job.params}
    fields |= {"seconds": 1.0, "asked_s": 0.0, "finished": f"2026-01-01T00:00:00.{number:06d}"}
    fields["encoder"] = job.cell.digest if job.cell.trial.pretraining else None
    made = []
    for repeat, trial in job.members:
        rng = np.random.default_rng(int(trial.digest(), 16))
        metrics: dict[str, float] = {VAL: 0.5 + 0.25 * int(rng.integers(3))}
        if job.phase == "final":
            metrics[TEST] = float(rng.normal(0.7, 0.05))
        fails = job.phase == "search" and int(job.digest, 16) % 7 == 0
        how = {"status": "failed", "reason": "out of memory"} if fails else {}
        made.append(record_of(job.cell, repeat, {} if fails else metrics, **fields | how))
    return made


def play(sweep: Sweep, folder: Path, seed: int, at_once: int = 5) -> Studies:
    """Run what is missing, several trials at once, which end in an order of chance."""
    rng, studies = random.Random(seed), Studies(sweep, folder)
    live: list[Job] = []
    number = 0
    while not studies.over:
        while len(live) < at_once and (job := studies.next_job()) is not None:
            live.append(job)
        if studies.over:  # rounds that were asked for last were recorded already
            break
        job = live.pop(rng.randrange(len(live)))
        rows = rows_of(job, number := number + 1)
        records.write(folder, job.digest, rows)
        studies.studies[job.cell.index].finish(job, rows)
    assert not live
    return studies


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("once") / "records"
    play(sweep_with(), folder, 0)
    return folder


@pytest.fixture
def played(once, tmp_path):
    """Records of the sweep as it is."""
    return Path(shutil.copytree(once, tmp_path / "small" / "records"))


def said(sweep: Sweep, folder: Path) -> str:
    """The summary by what cells are. The digest of a spec knows the order of its rows, and what
    was under way when patience ended is part of the cost."""
    found = summarise(sweep, folder, 0.0)
    cells = {canonical(cell["axes"]): cell for cell in found.pop("cells")}
    for part in (found, *cells.values()):
        del part["cost"]
    del found["spec_digest"], found["compute_seconds"]
    found.get("pooled", []).sort(key=lambda one: str(one["arm"]))
    for claim in found["claims"]:
        claim["places"].sort(key=lambda place: str(place["place"]))
    return json.dumps([cells, found], sort_keys=True)


@pytest.mark.parametrize(
    "edits",
    [{}, pytest.param({"budget": {"trials": 12, "patience": 3}}, marks=pytest.mark.slow)],
    ids=str,
)
def test_neither_the_order_of_ends_nor_that_of_rows_changes_the_summary(edits, tmp_path):
    summaries = set()
    for seed, turned in enumerate([False, True, True]):
        sweep, folder = sweep_with(turned, **edits), tmp_path / str(seed) / "records"
        play(sweep, folder, seed, at_once=1 + 5 * seed)
        summaries.add(said(sweep, folder))
    assert len(summaries) == 1
    cells = list(json.loads(summaries.pop())[0].values())
    assert {cell["stopped"] for cell in cells} == {"patience" if edits else None}
    assert all(cell["gain"] for cell in cells if cell["axes"]["pretrain.task"])
    assert not any(OTHER_POINTS in cell["caveats"] for cell in cells)
    assert any(cell["n_failed"] for cell in cells)


def tried(folder: Path) -> dict[str, set[float]]:
    """Learning rates that each cell was searched at."""
    found: dict[str, set[float]] = {}
    for first, *_ in records.read_all(folder):
        if first.phase == "search":
            found.setdefault(canonical(first.axes), set()).add(first.params[LR])
    return found


def test_all_rows_try_the_same_learning_rates_wherever_they_stand(played, tmp_path):
    play(sweep_with(turned=True), tmp_path / "turned", 0)
    one, other = tried(played), tried(tmp_path / "turned")
    assert one == other
    assert len(one) == 6
    assert len(set(map(frozenset, one.values()))) == 1


def test_patience_ends_the_search_of_all_cells_at_one_point(tmp_path):
    sweep = sweep_with(budget={"trials": 12, "patience": 3})
    play(sweep, tmp_path / "records", 0)
    found = summarise(sweep, tmp_path / "records", 0.0)["cells"]
    (n,) = {cell["n_trials"] for cell in found}
    assert 3 < n < 12
    assert max(len(rates) for rates in tried(tmp_path / "records").values()) > n, (
        "trials beyond that point were under way, and do not count"
    )


def test_going_on_with_an_axis_more_searches_all_arms_anew_at_common_points(tmp_path):
    """Cells that lack the axis are the same cells, with records at the points of before."""
    few, folder = sweep_with(search={LR: SEARCH[LR]}), tmp_path / "records"
    play(few, folder, 0)
    more = sweep_with()
    studies = Studies(more, folder)
    scratch = {study.cell.digest for study in studies.studies if not study.cell.trial.pretraining}
    assert scratch < {cell.digest for cell in few.cells}
    play(more, folder, 0)
    found = summarise(more, folder, 0.0)["cells"]
    assert {cell["n_trials"] for cell in found} == {5}
    assert not any(OTHER_POINTS in cell["caveats"] for cell in found)
    assert min(map(len, tried(folder).values())) > 5, "the records of before are still there"


def test_an_earlier_search_is_shown_as_such_until_the_next_run(played):
    other = sweep_with(seed=1)
    found = summarise(other, played, 0.0)["cells"]
    assert all(cell["earlier_search"] and EARLIER in cell["caveats"] for cell in found)
    play(other, played, 0)
    found = summarise(other, played, 0.0)["cells"]
    assert {(cell["n_trials"], cell["earlier_search"]) for cell in found} == {(5, False)}
    assert not any(EARLIER in cell["caveats"] for cell in found)


# ---- a sampler that learns, from all arms together ----

LEARNS: dict[str, Any] = {
    "sampler": "tpe",
    "search": {LR: SEARCH[LR], RATIO: {"uniform": [0.2, 0.8]}},
    "budget": {"trials": 17},
    "compare": {"pretrain.task": TASKS[:2]},
    "claims": [],
}


def test_where_results_lead_arms_still_try_the_same_points_whatever_order_trials_end_in(tmp_path):
    found = []
    for seed, turned in enumerate([False, True]):
        edits = LEARNS | {"compare": {"pretrain.task": TASKS[:2][:: -1 if turned else 1]}}
        play(sweep_of(**edits), tmp_path / str(seed) / "records", seed, at_once=1 + 4 * seed)
        found.append(tried(tmp_path / str(seed) / "records"))
    one, other = found
    assert one == other
    assert {len(rates) for rates in one.values()} == {17}
    assert len(set(map(frozenset, one.values()))) == 1
    plain = sweep_of(**LEARNS | {"sampler": "qmc"})
    (rates, _) = one.values()
    known = [point[LR] for point in plain.points or ()]
    assert [rate in rates for rate in known] == [True] * 10 + [False] * 7, "then it follows results"


def test_a_search_that_all_arms_lead_goes_on_with_the_points_that_were_tried(tmp_path):
    """Though a trial that was lost with its worker ends otherwise the second time."""
    sweep, folder = sweep_of(**LEARNS | {"budget": {"trials": 15}}), tmp_path / "records"
    studies = play(sweep, folder, 0)
    (points,) = {canonical(studies.points)}
    lost = next(rows for rows in records.read_all(folder) if rows[0].phase == "search")
    records.write(folder, lost[0].trial, [replace(row, crashed=True) for row in lost])
    again = Studies(sweep_of(**LEARNS), folder)
    assert canonical(again.points) == points
    more = play(sweep_of(**LEARNS), folder, 1)
    assert canonical((more.points or ())[:15]) == points
    assert len(more.points or ()) == 17
    assert Studies(sweep_of(**LEARNS), folder).over
    summary = summarise(sweep_of(**LEARNS), folder, 0.0)["cells"]
    assert {(cell["n_trials"], cell["stopped"]) for cell in summary} == {(17, None)}
    assert not any("depends on the order" in text for c in summary for text in c["caveats"])
    assert not any(OTHER_POINTS in text for c in summary for text in c["caveats"])


def test_points_follow_what_all_arms_found_and_no_arm_more_than_another():
    def result(value: float | None) -> Result:
        scores = () if value is None else (value,)
        status: Any = "failed" if value is None else "ok"
        return Result("d", {}, status, value, 1.0, scores=scores)

    one, other = [0.2, 0.3, 0.9, None], [80.0, 50.0, 20.0, None]
    found = merits([[result(a), result(b)] for a, b in zip(one, other, strict=True)])
    assert found[0] == found[1] == found[2] == pytest.approx((0.625,))
    assert found[3] is None


def test_a_finite_space_that_all_arms_lead_is_tried_whole(tmp_path):
    sweep = sweep_of(
        **LEARNS | {"search": {LR: {"choice": [1e-3, 2e-3, 4e-3]}, RATIO: SEARCH[RATIO]}}
    )
    studies = play(sweep, tmp_path / "records", 0)
    assert [len(study.results) for study in studies.studies] == [3, 9]
    assert Studies(sweep, tmp_path / "records").over


def test_patience_ends_a_search_that_all_arms_lead_at_one_point(tmp_path):
    sweep = sweep_of(**LEARNS | {"budget": {"trials": 40, "patience": 6}})
    play(sweep, tmp_path / "records", 0)
    found = summarise(sweep, tmp_path / "records", 0.0)["cells"]
    assert len({cell["n_trials"] for cell in found}) == 1
    assert {cell["stopped"] for cell in found} == {"patience"}


# ---- caveats ----


def test_the_search_is_said_to_be_noise_that_no_interval_holds(played, tmp_path):
    for cell in summarise(sweep_with(), played, 0.0)["cells"]:
        n = cell["n_trials"] - cell["n_failed"]
        text = f"the winner was chosen once, among {n} trials by 2 members each"
        assert sum(caveat.startswith(text) for caveat in cell["caveats"]) == 1
    alone = sweep_with(search={})
    play(alone, tmp_path / "alone", 0)
    for cell in summarise(alone, tmp_path / "alone", 0.0)["cells"]:
        assert not any("the winner was chosen" in caveat for caveat in cell["caveats"])


def test_records_that_were_searched_at_other_points_carry_a_caveat_on_every_gain(played):
    """As those of a version whose arms drew points of their own, which its folder does not name."""
    sweep, out = sweep_with(), played.parent
    folder = ResultsFolder(sweep, json.dumps(sweep.tree()), out)
    folder.write_spec()
    assert [list(gain_caveats(gain)) for gain in read_evidence([out]).gains] == [[]] * 4
    plan = json.loads((out / "plan.json").read_text())
    (out / "plan.json").write_text(json.dumps(plan | {"points": None}))
    for rows in list(records.read_all(folder.records)):
        if rows[0].axes["pretrain.task"] is None:
            moved = [replace(r, params={LR: r.params[LR] * 1.01}) for r in rows]
            records.write(folder.records, rows[0].trial, moved)
    found = read_evidence([out])
    assert len(found.gains) == 4
    assert all(OTHER_POINTS in list(gain_caveats(gain)) for gain in found.gains)
    assert all(OTHER_POINTS in cell.caveats() for cell in found.cells)


def test_a_search_that_hours_ended_at_different_points_says_so(played):
    sweep = sweep_with(budget={"trials": 5, "hours": 1.0})
    scratch = [
        study for study in Studies(sweep, played).studies if not study.cell.trial.pretraining
    ]
    for result in list(scratch[0].results.values())[:2]:
        (played / f"{result.digest}.jsonl").unlink()
    last = next(rows for rows in records.read_all(played) if rows[0].phase == "final")
    records.write(played, last[0].trial, [replace(row, asked_s=3600.0) for row in last])
    found = {cell["label"]: cell for cell in summarise(sweep, played, 0.0)["cells"]}
    short = found.pop("from scratch, labels 2 per class")
    assert (short["n_trials"], short["stopped"]) == (3, "hours")
    assert all(OTHER_POINTS in cell["caveats"] for cell in found.values())


@pytest.mark.parametrize(
    ("edits", "says"),
    [
        ({"asha": {}}, "asha stops a trial by those that came as far before it"),
        ({"race": {}, "repeat": {"seed": [0, 1, 2]}}, "race stops a trial by the best that had"),
        (ONE_ARM | {"sampler": "tpe"}, "tpe follows the results that it has"),
    ],
)
def test_what_hangs_on_the_order_of_ends_is_said_and_nothing_else_is(edits, says, tmp_path):
    found = summarise(sweep_with(**edits), tmp_path, 0.0)["cells"]
    assert all(any(text.startswith(says) for text in cell["caveats"]) for cell in found)
    plain = summarise(sweep_with(), tmp_path, 0.0)["cells"]
    assert not any("depends on the order" in text for cell in plain for text in cell["caveats"])
