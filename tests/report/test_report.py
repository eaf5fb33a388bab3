"""What the page promises: complete, honest about what is missing, and readable everywhere."""

import base64
import csv
import hashlib
import json
import re
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from markupsafe import escape

from citrus_ray.cli.reports import report as main
from citrus_ray.evidence.evidence import read_evidence
from citrus_ray.experiment.sweep import load_sweep
from citrus_ray.records import Record
from citrus_ray.report.figures import forest, ink, results, search
from citrus_ray.report.files import write_report
from citrus_ray.report.results import Results
from citrus_ray.spec import SpecError, digest_of
from tests.evidence.synthetic import MASKED, MadeUp, change, spoil
from tests.evidence.test_predicted import with_predictions
from tests.evidence.test_responses import searched

ROOT = Path(__file__).resolve().parents[2]
FIGURES = ["figure-gain", "figure-scores", "figure-cost", "figure-search"]


def page_of(*folders: Path) -> str:
    return write_report(folders, publish=False).read_text()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a sweep as `MadeUp` makes it."""
    return page_of(MadeUp().write(tmp_path_factory.mktemp("page")))


def test_the_page_opens_with_the_question_and_the_verdict(page: str):
    assert "<h1>Does it help?</h1>" in page
    assert "▲ supported" in page
    assert "Pre-training (masked) raises test balanced accuracy at labels 8 per class by" in page
    assert "For these targets (12 rounds): 95 % interval" in page


def test_every_figure_has_its_sentence_and_its_table(page: str):
    for name in FIGURES:
        figure = re.search(rf'<figure id="{name}">.*?</figure>', page, re.DOTALL)
        assert figure, name
        assert 'class="shows"' in figure[0]
        assert "<details>" in figure[0]
        assert "<table>" in figure[0]


def test_the_page_needs_no_network_and_runs_its_own_script_alone(page: str):
    assert not re.search(r"https?://|@import|url\((?!#)", page)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert page.count("<script") == 1
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert f"{policy}; script-src 'sha256-{digest}'" in page


def test_text_from_records_is_shown_as_text(tmp_path: Path):
    folder = MadeUp().write(tmp_path)
    spoil(folder, 0, "failed", "<img src=x onerror=alert(1)> & more")
    page = page_of(folder)
    assert "<img" not in page
    assert "&lt;img src=x onerror=alert(1)&gt; &amp; more" in page


def test_failures_are_counted_with_their_reasons(tmp_path: Path):
    folder = MadeUp(n_trials=6).write(tmp_path)
    searches = [
        i
        for i, path in enumerate(sorted((folder / "records").glob("*.jsonl")))
        if '"search"' in path.read_text()
    ]
    spoil(folder, searches[0], "failed", "out of memory")
    spoil(folder, searches[1], "pruned")
    page = page_of(folder)
    assert "of which 3 failed and 3 were stopped early" in page
    assert "out of memory" in page


def test_an_unfinished_sweep_says_what_is_missing(tmp_path: Path):
    made = MadeUp(tasks=(None, MASKED, {"kind": "spectral"}, {"kind": "next"}))
    folder = made.write(tmp_path)
    for path in (folder / "records").glob("*.jsonl"):
        row = json.loads(path.read_text().splitlines()[0])
        task = (row["axes"]["pretrain.task"] or {}).get("kind")
        if task == "next" or (task == "spectral" and row["phase"] == "final"):
            path.unlink()
    page = page_of(folder)
    assert "1 compared cell without any record: next, labels 8 per class" in page
    assert (
        "1 cell not yet scored on test data: spectral, labels 8 per class (4 of at most 4 "
        "trials searched)" in page
    )
    assert "▲ supported" in page


def test_a_finished_sweep_has_no_such_notice(page: str):
    assert 'id="incomplete"' not in page


def test_a_spec_edited_on_the_command_line_names_the_sweep_instead(tmp_path: Path):
    folder = MadeUp().write(tmp_path)
    text = (folder / "spec.yaml").read_text().splitlines()[1:]
    (folder / "spec.yaml").write_text("\n".join(["# written by sweeps/run.py with --set", *text]))
    assert "<h1>made-up: what does pre-training gain?</h1>" in page_of(folder)


def test_an_empty_folder_still_gives_a_page(tmp_path: Path):
    page = page_of(tmp_path)
    assert "No verdict yet" in page
    assert "spec.yaml cannot be read" in page


def test_caveats_stand_beside_the_numbers(tmp_path: Path):
    folder = MadeUp(targets=("synthetic",)).write(tmp_path)
    page = page_of(folder)
    assert "One pre-trained encoder serves all rounds" in page
    assert "The same test subjects in every round" in page
    assert "The winner was chosen once" in page
    assert "says nothing of real recordings" in page
    assert page.count('href="#note-1"') >= 4  # the verdict, the gain, both scores


def test_source_caveats_come_from_the_summary(tmp_path: Path):
    made = MadeUp()
    folder = made.write(tmp_path)
    said = {"signals": {"finetune.target": "eeg: at 100 Hz, notch 50 Hz"}}
    cells = [
        {"axes": axes, "caveats": ["three people, split by time"]} | said for axes in made.cells()
    ]
    (folder / "summary.json").write_text(
        json.dumps({"cells": cells, "spec_digest": "b376117ac9b40013"})
    )
    page = page_of(folder)
    assert "Three people, split by time." in page
    assert page.count("Signals: finetune.target eeg: at 100 Hz, notch 50 Hz.") == 1
    assert "b376117ac9b40013" in page


def test_baselines_of_the_scratch_arm_stand_beside_both_arms(tmp_path: Path):
    folder = MadeUp(baselines=("majority",)).write(tmp_path)
    page = page_of(folder)
    assert "baseline: majority" in page
    assert "No dumb baselines" not in page
    with (folder / "cells.csv").open() as file:
        assert [cell["baseline.majority"] for cell in csv.DictReader(file)] == ["0.6", "0.6"]
    assert "majority 0.600" in page  # beside the gain


def test_records_of_an_older_spec_of_the_same_name_are_left_out(tmp_path: Path):
    made = MadeUp()
    folder = made.write(tmp_path)
    old = MadeUp(labels=({"per_class": 5},))
    for axes in old.cells():
        old.write_cell(folder, axes)
    assert "5 per class" in page_of(folder)  # without plan.json it cannot tell
    cells = [{"digest": digest_of([axes, made.targets]), "axes": axes} for axes in made.cells()]
    (folder / "plan.json").write_text(
        json.dumps({"spec_digest": "b376117ac9b40013", "cells": cells})
    )
    page = page_of(folder)
    assert "5 per class" not in page
    assert "48 records of another spec of the same name lie in the folder and are left out" in page
    assert "b376117ac9b40013" in page


def test_the_page_says_how_test_people_were_varied(tmp_path: Path, page: str):
    assert "Test people: emgdb on one fixed set of test groups in every round." in page
    varied = page_of(MadeUp(n_parts=3).write(tmp_path))
    assert "Test people: emgdb on 3 different test parts." in varied
    assert "the same test subjects" not in varied


@pytest.mark.parametrize(
    ("root", "flag"), [("$CITRUS_DATA/bonn", True), (None, True), ("~/study", False)]
)
def test_the_command_to_make_it_again_asks_for_data_where_it_needs_them(
    tmp_path: Path, root: str | None, flag: bool
):
    folder = MadeUp().write(tmp_path)
    change(folder, lambda row: replace(row, config=row.config | {"finetune.target.root": root}))
    assert ("--out again/made-up --data DATA" in page_of(folder)) == flag


def test_one_row_can_be_made_again_alone(tmp_path: Path):
    page = page_of(MadeUp().write(tmp_path))
    compare = {"pretrain.task": [MASKED], "finetune.labels": [{"per_class": 8}]}
    (cell,) = [c for c in read_evidence([tmp_path]).cells if not c.is_scratch]
    assert cell.best is not None
    settings = {path: [value] for path, value in cell.best.params.items()}
    assert str(escape("'compare=" + json.dumps(compare | settings, sort_keys=True) + "'")) in page


def test_a_row_made_again_alone_computes_the_very_same_members():
    """The digests of its refits, by the sweep's own code, whatever the sweep claims."""
    path = ROOT / "sweeps" / "quickstart.yaml"
    claims = [
        {"says": "it helps", "better": {"pretrain.task": MASKED}, "worse": {"pretrain.task": None}}
    ]
    cell = load_sweep(path, {"claims": claims}).cells[1]
    params = {"finetune.optim.lr": 0.002, "pretrain.task.ratio": 0.6}
    edits = {"compare": {p: [value] for p, value in {**cell.axes, **params}.items()}, "search": {}}
    with pytest.raises(SpecError, match="no compared cell is so"):
        load_sweep(path, {**edits, "claims": claims})
    (alone,) = load_sweep(path, {**edits, "claims": [], "decide": None}).cells
    wanted = [member.digest() for _, member in cell.members(params, 0)]
    assert [member.digest() for _, member in alone.members({}, 0)] == wanted


WIDE = MadeUp(
    level=0.35,
    tasks=(None, MASKED, {"kind": "spectral"}),
    labels=tuple({"per_class": n} for n in (3, 8, 20)),
    targets=("emgdb", "bonn", "mitbih"),
    label_slope=0.05,
    bands=([0.5, 4], [4, 12]),
    n_trials=8,
    n_final_seeds=3,
    baselines=("majority",),
)
OF_WIDE = ["pooled", "curves", "map", "ranks", "settings", "surface", "parallel", "cost"]


@pytest.mark.slow
def test_every_table_and_figure_is_written_for_others_to_use(tmp_path: Path):
    folder = WIDE.write(tmp_path)
    write_report([folder])
    for name in ["gain", "scores", "search", *OF_WIDE]:
        for kind, start in (("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")):
            assert (folder / "figures" / f"{name}.{kind}").read_bytes().startswith(start)
    for name in OF_WIDE:
        assert (folder / "tables" / f"{name}.csv").read_text().count("\n") > 1
    found = pyarrow.parquet.read_table(folder / "members.parquet")
    with (folder / "members.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert found.num_rows == len(rows)
    assert found.column("test/balanced_accuracy").null_count == sum(
        not row["test/balanced_accuracy"] for row in rows
    )
    assert found.column("seed").to_pylist() == [int(row["seed"]) for row in rows]


@pytest.mark.slow
def test_numbers_that_were_searched_are_curves_with_an_interval(tmp_path: Path):
    folder = searched(tmp_path / "known", lambda ratio, *_: 0.7 - 0.4 * (ratio - 0.4) ** 2)
    page = page_of(folder)
    figure = re.search(r'<figure id="figure-response">.*?</figure>', page, re.DOTALL)
    assert figure
    assert "Ratio is best near 0." in figure[0]
    assert "over lr nothing is told apart" in figure[0]
    assert "Validation scores of searched trials alone" in figure[0]
    assert "24 points in 2 cells; trials of one draw" in figure[0]
    assert "Over center and width together nothing is told apart." in page
    # what has a curve is not drawn a second time by the forest
    assert page.count(">lr</text>") == 2 * 2  # wide and narrow, there and among all trials
    assert len(Results(folder).figure("response").axes) == 4


def test_figures_are_the_same_for_the_same_records(tmp_path: Path):
    findings = read_evidence([MadeUp().write(tmp_path / "made-up")])
    for name in ("one", "other"):
        ink.Picture("gain", lambda: results.gain_forest(findings.gains)).publish(tmp_path / name)
    one, other = (
        {p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("one", "other")
    )
    assert one == other
    assert len(one) == 3


def test_the_same_records_give_the_same_page(tmp_path: Path):
    folder = MadeUp().write(tmp_path)
    assert page_of(folder) == page_of(folder)


def test_the_page_names_no_place_of_the_machine(tmp_path: Path):
    folder = MadeUp().write(tmp_path / "results" / "made-up")
    page = page_of(folder)
    assert str(tmp_path) not in page
    assert "python sweeps/run.py results/made-up/spec.yaml --out again/made-up" in page


@pytest.mark.slow
def test_the_tables_hold_every_cell_and_every_member(tmp_path: Path):
    folder = MadeUp().write(tmp_path)
    write_report([folder])
    with (folder / "cells.csv").open() as file:
        cells = list(csv.DictReader(file))
    with (folder / "members.csv").open() as file:
        members = list(csv.DictReader(file))
    assert [cell["verdict"] for cell in cells] == ["", "supported"]
    assert float(cells[1]["gain_mean"]) == pytest.approx(0.1, abs=0.03)
    assert len(members) == 2 * (4 * 3 + 12)


@pytest.mark.slow
def test_several_folders_are_reported_in_the_first(tmp_path: Path):
    made = MadeUp()
    for name, axes in zip(("here", "there"), made.cells(), strict=True):
        made.write_cell(tmp_path / name, axes)
    path = write_report([tmp_path / "here", tmp_path / "there"])
    assert path == tmp_path / "here" / "report.html"
    assert "▲ supported" in path.read_text()
    assert not (tmp_path / "there" / "report.html").exists()


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main([str(tmp_path / "nothing")]) == 2
    assert "no such folder" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_runs_from_anywhere_without_torch_or_ray(tmp_path: Path):
    folder = MadeUp().write(tmp_path)
    script = str(ROOT / "analysis" / "report.py")
    code = (
        "import runpy, sys; sys.argv = sys.argv[1:]\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as done: assert done.code == 0\n"
        "assert not {'torch', 'ray'} & set(sys.modules)"
    )
    subprocess.run(
        [sys.executable, "-c", code, script, str(folder)], cwd=tmp_path, check=True, timeout=60
    )
    assert (folder / "report.html").exists()


@pytest.mark.slow
def test_a_label_that_looks_like_markup_or_tex_is_a_label(tmp_path: Path):
    labels = ({"per_class": 8}, {"note": r"$\frac{$ <b>&"})
    folder = MadeUp(labels=labels).write(tmp_path)
    write_report([folder])
    page = (folder / "report.html").read_text()
    assert "<b>" not in page
    assert r"$\frac{$ &lt;b&gt;&amp;" in page
    assert (folder / "figures" / "gain.pdf").exists()


def test_a_failed_trial_stands_on_the_axis_and_moves_no_scale(tmp_path: Path):
    folder = MadeUp(n_trials=6).write(tmp_path)
    for i, path in enumerate(sorted((folder / "records").glob("*.jsonl"))):
        row = json.loads(path.read_text().splitlines()[0])
        if row["phase"] == "search" and row["axes"]["pretrain.task"]:
            spoil(folder, i, "failed", "out of memory")
    cells = read_evidence([folder]).cells
    values = [t.value for cell in cells for t in cell.searched if t.value is not None]
    scratch, masked = search.histories(cells).axes
    assert scratch.get_ylim() == masked.get_ylim()
    reach = max(values) - min(values)
    assert min(values) - reach < scratch.get_ylim()[0] < min(values)
    assert max(values) < scratch.get_ylim()[1] < max(values) + reach
    crossed = [line for line in masked.lines if line.get_marker() == "x"]
    assert [np.size(line.get_xdata()) for line in crossed] == [6]
    assert crossed[0].get_transform() == masked.get_xaxis_transform()


def test_arms_that_differ_late_in_their_names_are_told_apart_in_figures():
    names = [f"masked (decoder a_rather_long_name_{i}, ratio 0.5), conv" for i in (1, 2)]
    assert len(set(forest.shorts(names))) == 2
    assert forest.shorts(["short", "short"]) == ["short", "short"]
    assert all(len(name) <= forest.NAMES for name in forest.shorts([names[0], "another"]))


def test_the_page_says_where_not_everything_is_drawn(
    tmp_path: Path, page: str, monkeypatch: pytest.MonkeyPatch
):
    assert "every second or third" not in page
    monkeypatch.setattr(search, "MAX_TRIALS", 3)
    monkeypatch.setattr(forest, "MAX_TICKS", 5)
    thinned = page_of(MadeUp().write(tmp_path))
    for most in ("3 trials", "5 pairs", "5 refits"):
        assert f"Of more than {most} every second or third and so on is drawn." in thinned


@pytest.mark.slow
def test_long_names_of_regimes_leave_room_for_the_map(tmp_path: Path):
    folder = MadeUp(labels=({"per_class": 8}, {"per_class": 20})).write(tmp_path)
    long = "a network that is fine-tuned as nobody did before"
    change(folder, lambda row: replace(row, axes={**row.axes, "arm": long}))
    (folder / "spec.yaml").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        write_report([folder])
    assert (folder / "figures" / "map.svg").is_file()


def test_what_a_view_adds_has_a_table_where_there_are_several(tmp_path: Path, page: str):
    assert 'id="worth"' not in page
    folder = MadeUp().write(tmp_path)

    def without_bands(row: Record) -> Record:
        if row.phase != "final":
            return row
        score = row.metrics["test/balanced_accuracy"]
        lost = {"without:bands/balanced_accuracy": score - 0.123 - 0.001 * (row.seed % 3)}
        return replace(row, metrics=row.metrics | lost)

    change(folder, without_bands)
    found = page_of(folder)
    assert '<th scope="col">bands</th>' in found
    assert re.search(r"\+0\.124 \[\+0\.12\d, \+0\.12\d\]", found)


def test_what_is_missing_at_test_has_a_table_where_it_was_scored(tmp_path: Path, page: str):
    assert 'id="missing"' not in page
    folder = MadeUp().write(tmp_path)
    scored = {"missing:ecg/balanced_accuracy": 0.123}
    change(
        folder,
        lambda row: replace(row, metrics=row.metrics | (scored if row.phase == "final" else {})),
    )
    found = page_of(folder)
    assert 'id="missing"' in found
    assert '<th scope="col">ecg</th>' in found
    assert "0.123" in found


def test_how_much_of_an_embedding_is_the_subject_has_a_table_where_it_was_measured(
    tmp_path: Path, page: str
):
    assert 'id="identity"' not in page
    folder = MadeUp().write(tmp_path)
    measured = {"identity/start": 0.321, "identity/untrained": 0.123}
    change(
        folder,
        lambda row: replace(row, metrics=row.metrics | (measured if row.phase == "final" else {})),
    )
    found = page_of(folder)
    assert 'id="identity"' in found
    assert found.index("0.123") < found.index("0.321")


@pytest.mark.slow
def test_what_refits_predicted_stands_on_the_page_and_in_parquet(tmp_path: Path):
    folder = with_predictions(tmp_path, (0, 1, 0, 1), (0, 1, 0, 0), (1, 1, 0, 0))
    page = write_report([folder]).read_text()
    assert (
        "Most often task is taken for rest (from scratch, labels 8 per class): 33% of its windows."
        in page
    )
    assert "How far probabilities can be believed" in page
    found = pyarrow.parquet.read_table(folder / "predictions.parquet").to_pylist()
    assert len(found) == 2 * 3 * 4
    assert found[3] | {"cell": "", "trial": "", "member": "", "target": ""} == {
        "cell": "",
        "trial": "",
        "member": "",
        "target": "",
        "label": found[0]["label"],
        "round": 0,
        "window": 3,
        "subject": "bob",
        "start_s": 7.5,
        "stop_s": 10.0,
        "true": "task",
        "predicted": "task",
        "true_value": None,  # of sets whose target is a number
        "predicted_value": None,
        "probabilities": pytest.approx([0.25, 0.75]),
        "classes": ["rest", "task"],
    }
    for name in ("confusion", "calibration"):
        assert (folder / "tables" / f"{name}.csv").exists()
        assert (folder / "figures" / f"{name}.svg").exists()
    for path in (folder / "predictions").iterdir():
        path.unlink()
    assert "What was taken for what" not in write_report([folder]).read_text()
    assert not (folder / "predictions.parquet").exists()
