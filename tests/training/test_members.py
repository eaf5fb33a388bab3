"""Many fine-tunes at once: the numbers of one at a time, failures that stay alone, test data scored
once."""

import ast
from pathlib import Path

import pytest

import citrus_ray
from citrus_ray.experiment.trial import Trial
from citrus_ray.metrics import mean_metrics
from citrus_ray.spec import MachineError, Problem
from citrus_ray.training.members import Population
from citrus_ray.training.pretraining import ensure_encoder
from tests.small import FULL, PRETRAINED, SCRATCH

METRIC = "val/balanced_accuracy"
PACKAGE = Path(citrus_ray.__file__).parent


def seeds(trial: Trial, n: int = 3) -> list[Trial]:
    return [trial.at({"seed": seed}) for seed in range(n)]


def population(trials: list[Trial]) -> Population:
    return Population(trials, [ensure_encoder(trial) for trial in trials], METRIC)


def finished(trials: list[Trial]) -> Population:
    found = population(trials)
    while found.advance() is not None:
        pass
    return found


@pytest.mark.parametrize(
    "trial",
    [SCRATCH, PRETRAINED, SCRATCH.at({"model.dropout": 0.3})],
    ids=["scratch", "pretrained", "dropout"],
)
def test_members_get_the_numbers_that_they_get_alone(trial):
    trials = seeds(trial)
    together = finished(trials)
    assert [state.metrics for state in together.states] == [alone.run() for alone in trials]
    assert len({state.metrics["train/loss"] for state in together.states}) == 3


def test_the_value_of_a_trial_is_the_mean_over_its_members():
    found = finished(seeds(SCRATCH))
    assert found.status == "ok"
    assert found.value == pytest.approx(sum(state.metrics[METRIC] for state in found.states) / 3)


def test_every_round_reports_the_mean_of_the_best_so_far(monkeypatch):
    found = population(seeds(FULL, 2))
    for state, curve in zip(
        found.states, ([0.2, 0.6, 0.4, 0.1], [0.8, 0.2, 0.4, 0.9]), strict=True
    ):
        values = iter(curve)
        monkeypatch.setattr(state.member, "score_val", lambda values=values: {METRIC: next(values)})
    seen = list(iter(found.advance, None))
    assert [metrics[METRIC] for metrics in seen if metrics] == pytest.approx([0.5, 0.7, 0.7, 0.75])
    assert found.value == pytest.approx(0.75)


def test_curves_are_means_round_by_round():
    found = finished(seeds(SCRATCH))
    curves = found.curves()
    assert [row["round"] for row in curves] == [1, 2, 3, 4]
    assert curves[1]["train/loss"] == pytest.approx(
        sum(state.history[1]["train/loss"] for state in found.states) / 3
    )


def test_a_member_that_leaves_the_numbers_fails_alone_with_its_reason():
    good, bad = SCRATCH, SCRATCH.at({"finetune.optim.lr": 1e30, "seed": 1})
    found = finished([good, bad, good])
    assert [state.status for state in found.states] == ["ok", "failed", "ok"]
    assert found.states[0].metrics == found.states[2].metrics == good.run()
    reason = found.states[1].reason or ""
    assert reason.startswith("NonFiniteLossError: loss is ")
    assert "step " in reason
    assert "lr=" in reason
    assert found.states[0].reason is None
    assert found.states[1].seconds > 0


def test_a_trial_with_a_failed_member_has_no_value(monkeypatch):
    """A mean over the members that are left would reward settings that make the hard ones crash."""
    found = population(seeds(SCRATCH))
    found.advance()
    assert found.value is not None
    member = found.states[1].member
    assert member is not None
    monkeypatch.setattr(member, "advance", lambda: 1 / 0)
    found.advance()
    assert found.status == "failed"
    assert found.value is None
    assert "ZeroDivisionError" in (found.states[1].reason or "")


def test_a_member_that_cannot_be_built_fails_alone_too():
    bad = SCRATCH.at({"finetune.labels": {"per_class": 10_000}})
    found = finished([bad, SCRATCH])
    assert [state.status for state in found.states] == ["failed", "ok"]
    assert "labels.per_class=10000" in (found.states[0].reason or "")


def test_weights_that_do_not_fit_fail_their_member():
    weights = ensure_encoder(PRETRAINED)
    found = Population([PRETRAINED.at({"model.dim": 16}), PRETRAINED], [weights, weights], METRIC)
    assert [state.status for state in found.states] == ["failed", "ok"]
    assert "CheckpointError" in (found.states[0].reason or "")


@pytest.mark.parametrize(
    "err", [KeyboardInterrupt(), MachineError([Problem("", "its disk is full")])]
)
def test_an_interrupt_and_a_fault_of_the_machine_are_not_taken_for_a_failure(monkeypatch, err):
    found = population([SCRATCH])
    assert found.states[0].member is not None

    def interrupted() -> None:
        raise err

    monkeypatch.setattr(found.states[0].member, "advance", interrupted)
    with pytest.raises(type(err)):
        found.advance()
    assert found.status == "ok"


def test_scoring_test_data_adds_to_the_metrics_and_changes_none():
    found = finished(seeds(SCRATCH))
    before = [dict(state.metrics) for state in found.states]
    found.score_test()
    for state, old in zip(found.states, before, strict=True):
        assert {
            k: v for k, v in state.metrics.items() if not k.startswith(("test/", "identity/"))
        } == old
        assert "test/balanced_accuracy" in state.metrics


def test_a_failed_member_is_not_scored():
    found = finished([SCRATCH.at({"finetune.optim.lr": 1e30}), SCRATCH])
    found.score_test()
    assert found.states[0].status == "failed"
    assert "test/accuracy" not in found.states[0].metrics
    assert "test/accuracy" in found.states[1].metrics


def test_mean_metrics_are_of_what_all_rows_have():
    assert mean_metrics([{"a": 1.0, "b": 2.0}, {"a": 3.0}]) == {"a": 2.0}
    assert mean_metrics([]) == {}


# ---- test once, in the code itself ----


def uses(name: str) -> list[tuple[str, str]]:
    """(module, function) of every read of the attribute `name` in the code base."""
    found = []
    for path in sorted([*PACKAGE.rglob("*.py"), *(PACKAGE.parent / "sweeps").glob("*.py")]):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef):
                inside = [
                    n for n in ast.walk(function) if isinstance(n, ast.Attribute) and n.attr == name
                ]
                found += [(path.relative_to(PACKAGE.parent).as_posix(), function.name)] * len(
                    inside
                )
    return found


def test_test_data_is_scored_in_one_place():
    assert uses("score_test") == [
        ("citrus_ray/launch/runner.py", "_step"),  # the population's, for finals
        ("citrus_ray/training/members.py", "score_test"),  # the members', by the population
    ]


def test_test_data_is_scored_for_finals_only():
    tree = ast.parse((PACKAGE / "launch" / "runner.py").read_text())
    guards = [
        ast.unparse(node.test)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and any("score_test" in ast.unparse(line) for line in node.body)
    ]
    assert guards == ["self.job['phase'] == 'final'"]


def test_the_windows_of_the_test_part_are_read_in_one_place():
    found = {path.name: path.read_text().count("parts.test") for path in PACKAGE.rglob("*.py")}
    # to be scored, to say of what was scored whose it is and when, and how long that will take
    assert {name: n for name, n in found.items() if n} == {"learner.py": 2, "prices.py": 1}


# ---- where nothing is chosen ----


def test_members_that_nothing_scores_have_no_value_no_curve_and_a_test_score():
    found = finished(seeds(SCRATCH.at({"finetune.validation": "none"})))
    found.score_test()
    assert (found.status, found.value) == ("ok", None)
    for state in found.states:
        assert state.curve == []
        assert not any(name.startswith("val/") for name in state.metrics)
        assert "test/balanced_accuracy" in state.metrics
        assert state.outcome()["labelled"] == {"learnt": 8, "chosen_by": 0}
    assert [set(row) for row in found.curves()] == [{"round", "train/loss"}] * 4


def test_rounds_are_scored_as_they_are_and_the_last_by_what_is_kept():
    """So that a scheduler may stop a trial between rounds."""
    (state,) = finished([SCRATCH]).states
    assert state.member is not None
    assert len(state.curve) == 4
    assert state.curve[-1][0] == state.metrics[METRIC] == state.member.score_val()[METRIC]


def test_the_member_of_the_benchmarks_has_all_that_a_trial_asks_of_one(monkeypatch):
    """`tests.bench engine`, `growth` and `many` run it in place of a network."""
    from citrus_ray.launch.runner import row_of
    from citrus_ray.training import members
    from tests.bench import engine

    monkeypatch.setattr(members, "Member", engine.Nothing)
    monkeypatch.setattr(members, "baselines", lambda *_: {})
    found = finished([SCRATCH])
    found.score_test(with_baselines=True)
    assert found.status == "ok", found.states[0].reason
    job = {"digest": "d", "phase": "final", "params": {}, "concurrency": 1, "asked_s": 0.0}
    row = row_of(job, engine.sweep_of(1, 1).cells[0], {}, SCRATCH, found.states[0].outcome())
    assert row.metrics.keys() >= {"val/balanced_accuracy", "test/balanced_accuracy"}
    assert found.states[0].member is not None
    assert found.states[0].member.test_outputs() is None
