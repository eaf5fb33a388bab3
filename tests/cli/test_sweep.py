"""The command line up to the point where Ray would start."""

import errno
import json
import os
import re
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import yaml

from citrus_ray import records
from citrus_ray.cli import main as cli
from citrus_ray.cli import sweep as command
from citrus_ray.cli.main import parser
from citrus_ray.experiment.forecast import LIVE
from citrus_ray.experiment.sweep import load_sweep
from tests.evidence.test_summary import LR, final, search_trial
from tests.small import SWEEP, sweep_of

ROOT = Path(__file__).resolve().parents[2]
SWEEPS = ROOT / "sweeps"
main, find = partial(cli.main, sweeps=SWEEPS), partial(cli.find, sweeps=SWEEPS)


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SWEEP)
    return path


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)  # importing it is an error
    monkeypatch.chdir(tmp_path)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    return out + err


@pytest.mark.parametrize("flags", [["--out", "s3://bucket/small"], []], ids=["flag", "variable"])
def test_results_behind_a_uri_are_refused_and_no_folder_of_that_name_is_made(
    spec, flags, monkeypatch, capsys
):
    monkeypatch.setenv("CITRUS_RESULTS", "s3://bucket")
    assert main([str(spec), *flags]) == 2
    text = said(capsys)
    assert ("--out" if flags else "$CITRUS_RESULTS") in text
    assert "results need a folder, and this is a URI; mount the storage" in text
    assert os.listdir(spec.parent) == ["small.yaml"]


def test_help_tells_every_option_and_every_exit_code(capsys):
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    text = " ".join(said(capsys).split())
    for flag in (
        "--address",
        "--dry-run",
        "--status",
        "--top N",
        "--fresh",
        "--set PATH=VALUE",
        "--out DIR",
        "--verbose",
        "SPEC",
    ):
        assert flag in text
    assert (
        "0 done, 1 too much of the sweep failed, 2 the spec or the data is wrong, 3 Ray did not"
        in text
    )


@pytest.mark.parametrize("argv", [[], ["--nonsense", "x"], ["x", "--set"]])
def test_a_call_that_makes_no_sense_exits_with_2(argv, capsys):
    with pytest.raises(SystemExit) as left:
        main(argv)
    assert left.value.code == 2
    assert "usage:" in said(capsys)


def test_the_script_runs_from_any_folder(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "sweeps" / "run.py", "no-such-sweep"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "no such sweep; give a YAML file, or one of: " in done.stderr
    assert "quickstart" in done.stderr
    assert "1 problem; nothing was started" in done.stderr
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == []


# ---- finding ----


def test_a_bare_name_is_looked_up_among_the_sweeps(spec):
    assert find("quickstart") == find("quickstart.yaml") == SWEEPS / "quickstart.yaml"
    assert find(str(spec)) == spec


def test_a_file_here_goes_before_one_of_the_same_name_there(tmp_path):
    (tmp_path / "quickstart.yaml").write_text(SWEEP)
    assert load_sweep(find("quickstart.yaml")).name == "small"


# ---- dry run ----


def test_a_dry_run_prints_the_plan_and_leaves_nothing(spec, tmp_path, capsys):
    assert main([str(spec), "--dry-run", "--out", "here"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("small: 2 cells, 8 trials to search, ")
    assert out.splitlines()[-1] == f"results: {tmp_path / 'here'}"
    assert err == ""
    assert os.listdir(tmp_path) == ["small.yaml"]


def test_a_dry_run_says_what_is_recorded_already(spec, tmp_path, capsys):
    recorded(tmp_path / "out" / "records", test=False)
    cell = sweep_of().cells[0]
    params = cell.points[3]
    final(tmp_path / "out" / "records", cell, {1000: 0.6, 1001: 0.8}, params=params)
    assert main([str(spec), "--dry-run", "--out", "out"]) == 0
    text = "recorded already: 8 of 8 search trials and 5 of 10 refits; about "
    assert said(capsys).splitlines()[-2].startswith(text)


def test_results_go_to_a_folder_of_the_sweeps_name(spec, tmp_path, capsys):
    assert main([str(spec), "--dry-run"]) == 0
    assert f"results: {tmp_path / 'results' / 'small'}" in said(capsys)


# ---- edits ----


def test_an_edit_changes_the_plan(spec, capsys):
    assert main([str(spec), "--dry-run", "--set", "budget.trials=2", "--set", "name=other"]) == 0
    assert said(capsys).startswith("other: 2 cells, 4 trials to search")


def test_an_edit_is_read_as_yaml(spec, capsys):
    edits = [
        "--set",
        "compare={finetune.labels: [{per_class: 2}, {fraction: 1}]}",
        "--set",
        "search={}",
    ]
    assert main([str(spec), "--dry-run", *edits]) == 0
    assert "labels 2 per class: " in said(capsys)
    assert main([str(spec), "--dry-run", "--set", "trial.finetune.optim={lr: 1e-3}"]) == 0


def test_a_block_that_the_file_leaves_to_its_defaults_is_edited_too(spec, capsys):
    text = spec.read_text().replace("final: {rounds: 5}\n", "")
    spec.write_text(text)
    edits = ["--set", "final.rounds=3", "--set", "trial.finetune.optim.weight_decay=0.1"]
    assert main([str(spec), "--dry-run", *edits]) == 0
    assert "3 rounds of 1" in said(capsys)
    loaded = load_sweep(spec, {"trial.finetune.optim.weight_decay": 0.1})
    assert loaded.cells[0].trial.finetune.optim.weight_decay == 0.1
    assert loaded.cells[0].trial.finetune.optim.batch_size == 32
    assert main([str(spec), "--dry-run", "--set", "final.runds=3"]) == 2
    assert "did you mean `rounds`?" in said(capsys)


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        ("budget.trials", "must read PATH=VALUE, for example budget.trials=8"),
        ("=3", "must read PATH=VALUE"),
        ("budget.trails=3", "did you mean `trials`?"),
        ("bugdet.trials=3", "there is no `bugdet` to set it in"),
        ('budget.trials="3"', 'trials="3": must be a valid integer'),
        ("budget.trials=[3", "is not YAML"),
    ],
)
def test_an_edit_that_is_wrong_exits_with_2(spec, capsys, edit, says):
    assert main([str(spec), "--dry-run", "--set", edit]) == 2
    text = said(capsys)
    assert says in text
    assert "1 problem; nothing was started" in text


def test_what_is_kept_beside_the_results_is_the_spec_as_it_ran(spec, monkeypatch, capsys):
    monkeypatch.setattr(command.SweepCommand, "_launch", lambda self: self.results.write_spec())
    assert main([str(spec), "--out", "plain"]) == 1  # nothing was recorded, so there is no score
    assert Path("plain/spec.yaml").read_text() == SWEEP
    assert main([str(spec), "--out", "edited", "--set", "budget.trials=2"]) == 1
    kept = Path("edited/spec.yaml")
    assert load_sweep(kept) == sweep_of(SWEEP, budget={"trials": 2})
    assert yaml.safe_load(kept.read_text())["budget"] == {"trials": 2}


def test_the_cells_of_a_spec_are_kept_so_that_an_older_one_can_be_told_apart(
    spec, monkeypatch, capsys
):
    monkeypatch.setattr(
        command.SweepCommand, "_launch", lambda self: self.results.write_spec() or False
    )
    main([str(spec), "--out", "here"])
    kept, sweep = json.loads(Path("here/plan.json").read_text()), load_sweep(spec)
    assert kept["spec_digest"] == sweep.digest()
    assert kept["cells"] == [
        {"digest": cell.digest, "axes": cell.axes, "n_trials": cell.n_trials}
        for cell in sweep.cells
    ]
    assert kept["final"] == sweep.final.tree()


# ---- what is wrong ----


def test_all_errors_are_shown_at_once_each_with_its_line(spec, capsys):
    text = (
        SWEEP.replace("dim: 8", "dims: 8")
        .replace("trials: 4", "trials: none")
        .replace("rounds: 5", "rounds: 1")
    )
    spec.write_text(text)
    assert main([str(spec), "--dry-run"]) == 2
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert [line.split(": ")[:2] for line in lines[:3]] == [
        [f"{spec}:4", "trial.model.dims"],
        [f"{spec}:21", "budget.trials"],
        [f"{spec}:22", "final.rounds"],
    ]
    assert lines[-1] == "3 problems; nothing was started"


def test_data_that_cannot_be_used_exits_with_2_and_starts_nothing(spec, tmp_path, capsys):
    spec.write_text(SWEEP.replace("per_class: 4", "per_class: 400"))
    assert main([str(spec)]) == 2
    assert "labels.per_class=400: class '5 Hz' has only" in said(capsys)
    assert os.listdir(tmp_path) == ["small.yaml"]


@pytest.mark.parametrize("text", ["", "- 1", "a: [", "name: x\nname: y\n"])
def test_a_file_that_is_no_spec_exits_with_2_and_no_traceback(spec, capsys, text):
    spec.write_text(text)
    assert main([str(spec)]) == 2
    assert str(spec) in said(capsys)


def test_a_full_disk_is_one_line_and_exits_with_1(spec, monkeypatch, capsys):
    def full(self: object) -> bool:
        raise OSError(errno.ENOSPC, "No space left on device", "out/summary.json")

    monkeypatch.setattr(command.SweepCommand, "_launch", full)
    assert main([str(spec), "--out", "out"]) == 1
    says = "out/summary.json: no space left on device; make room; what was finished is recorded, "
    assert capsys.readouterr().err.splitlines()[-1] == says + "run the same command to go on"


def test_ctrl_c_exits_with_130(spec, monkeypatch):
    def interrupted(self: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(command.SweepCommand, "_launch", interrupted)
    assert main([str(spec), "--out", "out"]) == 130


# ---- status, fresh, exit codes ----


def recorded(folder: Path, n_failed: int = 0, test: bool = True) -> None:
    for cell in sweep_of().cells:
        for i in range(4):
            bad = {"status": "failed", "reason": "OSError: gone"} if i < n_failed else {}
            search_trial(folder, cell, f"s{cell.index}{i}", [0.5] * 3, params=cell.points[i], **bad)
        if test:  # of equal trials the last by name
            scores: dict[int, float | None] = {1000 + i: 0.6 + 0.05 * i for i in range(5)}
            final(folder, cell, scores, params=cell.points[3])


def test_status_says_what_is_recorded_and_starts_nothing(spec, tmp_path, capsys):
    assert main([str(spec), "--status", "--out", "out"]) == 0
    assert "small: 0 of 8 search trials and 0 of 10 refits recorded" in (text := said(capsys))
    assert "not running; --dry-run says how long it takes" in text
    recorded(tmp_path / "out" / "records")
    before = sorted(path.name for path in (tmp_path / "out").rglob("*"))
    assert main([str(spec), "--status", "--out", "out"]) == 0
    text = said(capsys)
    assert "small: 8 of 8 search trials and 10 of 10 refits recorded" in text
    assert "not running; nothing is left" in text
    assert "0.700 [" in text
    assert sorted(path.name for path in (tmp_path / "out").rglob("*")) == before


@pytest.mark.parametrize("gone", ["", "process", "word"])
def test_status_says_what_runs_as_long_as_it_does(spec, tmp_path, capsys, gone):
    told = {"at": time.time() - 4, "pid": os.getpid(), "host": records.host(), "running": 2}
    told |= {"pretraining": 1, "waiting": 3, "elsewhere": 0, "left_s": 480.0}
    told |= {"pid": 2**22 + 1} if gone == "process" else {}
    told |= {"at": time.time() - 3600} if gone == "word" else {}
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / LIVE).write_text(json.dumps(told))
    assert main([str(spec), "--status", "--out", "out"]) == 0
    line = said(capsys).splitlines()[1]
    if gone:
        assert line.startswith("not running")
    else:
        text = "running: 2 trials, 1 pre-training (3 trials wait); about 8 min left (as of "
        assert re.sub(r"\d+ s ago", "", line) == f"{text})"


def test_the_best_trials_of_each_cell_are_listed_with_their_parameters(spec, tmp_path, capsys):
    scratch = sweep_of().cells[0]
    for i, value in enumerate((0.5, 0.9, 0.7)):
        search_trial(
            tmp_path / "out" / "records", scratch, f"s{i}", [value], params={LR: 0.001 * (i + 1)}
        )
    search_trial(tmp_path / "out" / "records", scratch, "bad", [0.99], status="failed")
    assert main([str(spec), "--top", "2", "--out", "out"]) == 0
    lines = said(capsys).splitlines()
    assert lines[0] == "from scratch: 3 full trials of 4 recorded"
    assert [line.split()[:3] for line in lines[3:5]] == [
        ["1", "0.9000", "0.002"],
        ["2", "0.7000", "0.003"],
    ]
    assert lines[5] == ""
    assert lines[6:8] == ["masked: 0 full trials of 0 recorded", "  none"]


@pytest.mark.parametrize("n", ["0", "-1", "many"])
def test_a_list_of_no_length_is_refused(spec, n, capsys):
    with pytest.raises(SystemExit) as left:
        main([str(spec), "--top", n])
    assert left.value.code == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n_failed", "test", "code"), [(0, True, 0), (2, True, 0), (3, True, 1), (0, False, 1)]
)
def test_the_exit_code_says_whether_too_much_failed(
    spec, tmp_path, monkeypatch, capsys, n_failed, test, code
):
    monkeypatch.setattr(command.SweepCommand, "_launch", lambda self: None)
    if n_failed or not test:  # the page takes seconds to draw: once is enough
        monkeypatch.setattr(command.SweepCommand, "_report", lambda self: self.out / "report.html")
    recorded(tmp_path / "out" / "records", n_failed, test)
    assert main([str(spec), "--out", "out"]) == code
    found = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [cell["n_failed"] for cell in found["cells"]] == [n_failed, n_failed]
    text = said(capsys)
    assert ("failed: OSError: gone" in text) == (n_failed > 0)
    assert "tensorboard --logdir" in text


def test_starting_over_moves_results_aside_and_deletes_none(spec, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command.SweepCommand, "_launch", lambda self: None)
    recorded(tmp_path / "out" / "records")
    assert main([str(spec), "--out", "out", "--fresh"]) == 1
    (aside,) = tmp_path.glob("out.*")
    assert len(list(records.read_all(aside / "records"))) == 10
    assert list(records.read_all(tmp_path / "out" / "records")) == []
    assert "earlier results moved to" in said(capsys)


def test_a_results_folder_that_cannot_be_written_is_one_error(spec, tmp_path, capsys):
    (tmp_path / "taken").write_text("a file")
    assert main([str(spec), "--out", str(tmp_path / "taken")]) == 2
    assert "cannot hold results" in capsys.readouterr().err


@pytest.mark.parametrize("store", ["taken/store", "nonsense://bucket/store"])
def test_a_store_that_cannot_be_written_is_one_error_and_nothing_is_started(
    spec, tmp_path, monkeypatch, capsys, store
):
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setenv("CITRUS_STORE", store)
    assert main([str(spec), "--out", "out"]) == 2
    text = said(capsys)
    assert "set $CITRUS_STORE to" in text
    assert "1 problem; nothing was started" in text


def test_a_sweep_without_pretraining_needs_no_store(spec, tmp_path, monkeypatch):
    text = SWEEP.replace("compare:\n  pretrain.task: [null, {kind: masked}]", "")
    spec.write_text(text.replace("  pretrain.task.ratio: {choice: [0.4, 0.6]}\n", ""))
    monkeypatch.setenv("CITRUS_STORE", "nonsense://bucket/store")
    monkeypatch.setattr(
        command, "open_storage", lambda *args: pytest.fail("the store was looked at")
    )
    sweep = command.SweepCommand.from_args(spec, parser().parse_args([str(spec)]))
    assert sweep._store() == "nonsense://bucket/store"


def test_encoders_lie_beside_the_results_where_nothing_else_is_said(spec, tmp_path, monkeypatch):
    monkeypatch.delenv("CITRUS_STORE")
    sweep = command.SweepCommand.from_args(
        spec, parser().parse_args([str(spec), "--out", "results/mine"])
    )
    assert sweep._store() == str(tmp_path / "results" / "store")


def test_a_reader_that_has_seen_enough_is_no_error(spec, tmp_path):
    call = [sys.executable, str(ROOT / "sweeps" / "run.py"), str(spec), "--dry-run"]
    env = os.environ | {
        "CITRUS_CACHE": str(tmp_path / "new")
    }  # its models are new, so their cost takes a second
    plan = subprocess.Popen(
        call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    )
    assert plan.stdout
    assert plan.stderr
    assert "2 cells" in plan.stdout.readline()
    plan.stdout.close()
    assert plan.stderr.read() == ""
    assert plan.wait(60) == 141


@pytest.mark.parametrize("workers", [1, 2])
def test_ray_train_is_reckoned_with_where_workers_share_an_encoder(spec, workers):
    edit = ["--set", f"trial.pretrain.workers={workers}"]
    sweep = command.SweepCommand.from_args(spec, parser().parse_args([str(spec), *edit]))
    assert sweep._shares_pretrainings == (workers == 2)
    alone = [*edit, "--set", "compare={pretrain.task: [null]}", "--set", "search={}"]
    assert not command.SweepCommand.from_args(
        spec, parser().parse_args([str(spec), *alone])
    )._shares_pretrainings


def test_what_is_wrong_with_the_data_has_the_line_of_the_spec(spec, capsys):
    spec.write_text(SWEEP.replace("per_class: 4", "per_class: 4000"))
    assert main([str(spec), "--dry-run"]) == 2
    assert capsys.readouterr().err.startswith(f"{spec}:9: trial.finetune: labels.per_class=4000: ")


@pytest.mark.slow
def test_what_another_sweep_has_computed_is_taken_over(capsys, tmp_path, monkeypatch):
    """Another name, the same studies: their trials are copied before anything would start."""
    monkeypatch.setattr(command.SweepCommand, "_launch", lambda self: False)
    other = tmp_path / "other"
    for cell in sweep_of().cells:
        search_trial(other / "records", cell, f"s{cell.index}", [0.5])
        final(other / "records", cell, {1000: 0.6, 1001: 0.8})
    spec = tmp_path / "again.yaml"
    spec.write_text(SWEEP.replace("name: small", "name: again"))
    assert main([str(spec), "--reuse", str(other)]) == 0
    assert f"again: 4 trials taken over from {other}" in said(capsys)
    copied = tmp_path / "results" / "again" / "records"
    assert sorted(p.name for p in copied.iterdir()) == sorted(
        p.name for p in (other / "records").iterdir()
    )


def test_a_folder_without_records_cannot_be_taken_over(spec, capsys, tmp_path):
    assert main([str(spec), "--reuse", str(tmp_path)]) == 2
    assert "holds no records/" in said(capsys)
