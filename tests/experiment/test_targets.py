"""What a kind of target goes with is checked before anything is read."""

import pytest

from citrus_ray.experiment.budgets import Objective
from citrus_ray.spec import SpecError
from tests.small import PEOPLE, SCRATCH, SWEEP, sweep_of

COUNTED = SWEEP.replace("{per_class: 4}", "{count: 12}")
OF_VALUES = COUNTED.replace(PEOPLE, PEOPLE.replace("}", ", target: value}"))
MAE = "objective: {metric: val/mae}\n"


def refusals(text: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        _ = sweep_of(text).cells
    return [str(problem) for problem in caught.value.problems]


def test_a_sweep_of_values_is_judged_by_its_error() -> None:
    sweep = sweep_of(OF_VALUES + MAE)
    assert sweep.objective.mode == "min"
    assert "finetune.sampling" not in sweep.cells[0].trial.identity()
    assert sweep_of(OF_VALUES + "objective: {metric: val/r2}\n").objective.mode == "max"


def test_a_metric_of_another_kind_of_target_is_refused_with_those_that_fit() -> None:
    (said,) = refusals(OF_VALUES)
    assert "objective.metric: metric=val/balanced_accuracy: is of classes" in said
    assert "`target: value`; give one of val/mae, val/r2, val/pearson_r" in said
    (said,) = refusals(SWEEP + MAE)
    assert "is of value, and finetune.target has `target: classes`" in said


def test_places_of_two_kinds_have_no_metric_in_common() -> None:
    both = f"[{PEOPLE}, {PEOPLE.replace('}', ', target: value}')}]"
    repeated = COUNTED.replace("repeat:\n", f"repeat:\n  finetune.target: {both}\n")
    assert any("has `target: classes`" in said for said in refusals(repeated + MAE))


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("labels", "{per_class: 4}", "a value has no classes to count by; give `count`"),
        ("smoothing", "0.1", "smoothing=0.1: a value has no classes; drop it"),
        ("class_weights", "balanced, sampling: shuffled", "class_weights=balanced: a value has no"),
        ("pool", "late", "pool=late: is a vote of each sensor for one class"),
    ],
)
def test_what_is_of_classes_is_refused_of_a_value(key: str, value: str, rule: str) -> None:
    line = f"    labels: {value}\n" if key == "labels" else f"    {key}: {value}\n"
    line = line.replace(", sampling", "\n    sampling")
    text = OF_VALUES.replace("    labels: {count: 12}\n", "") if key == "labels" else OF_VALUES
    said = refusals(text.replace("    steps: 8\n", f"{line}    steps: 8\n") + MAE)
    assert any(rule in one for one in said)


def test_sampling_is_of_classes_and_no_axis_of_values() -> None:
    text = OF_VALUES + MAE
    text = text.replace(
        "search:\n", "search:\n  finetune.sampling: {choice: [balanced, shuffled]}\n"
    )
    assert any("search.finetune.sampling: no compared arm takes" in one for one in refusals(text))
    value = {"finetune.target.target": "value", "finetune.labels": {"count": 8}}
    one, two = (SCRATCH.at(value | {"finetune.sampling": s}) for s in ("balanced", "shuffled"))
    assert one.digest() == two.digest()


def test_a_mode_that_is_not_the_metrics_own_is_refused() -> None:
    with pytest.raises(ValueError, match="mae is better when lower; drop mode"):
        Objective(metric="val/mae", mode="max")
    assert Objective().mode == "max"
    assert Objective(metric="val/mae").mode == "min"


def test_a_level_lies_where_scores_can() -> None:
    claim = (
        "claims:\n  - {says: sooner, better: {pretrain.task: {kind: masked}}, "
        "worse: {pretrain.task: null}, measure: rounds, level: LEVEL}\n"
    )
    full = "    steps: 8\n    validation: full\n"
    of_classes = SWEEP.replace("    steps: 8\n", full) + claim.replace("LEVEL", "3.0")
    assert any("level=3: must lie between 0 and 1" in one for one in refusals(of_classes))
    of_values = OF_VALUES.replace("    steps: 8\n", full) + MAE + claim.replace("LEVEL", "3.0")
    assert sweep_of(of_values).cells


def test_a_model_of_values_is_kept_as_others_are() -> None:
    text = (OF_VALUES + MAE).replace("final: {rounds: 5}", "final: {rounds: 5, keep: true}")
    assert sweep_of(text).final.keep


def test_what_is_of_one_class_is_refused_of_several_labels() -> None:
    several = OF_VALUES.replace("target: value", "target: labels")
    assert sweep_of(several + "objective: {metric: val/auroc}\n").cells
    (said,) = refusals(several)
    assert "`target: labels`; give one of val/auroc, val/auprc" in said
    counted = several.replace("{count: 12}", "{per_class: 4}")
    assert any("a set of labels has no classes to count by" in one for one in refusals(counted))
    kept = several.replace("final: {rounds: 5}", "final: {rounds: 5, keep: true}")
    said = refusals(kept + "objective: {metric: val/auroc}\n")[0]
    assert "models of several labels at once are not kept; drop it" in said
