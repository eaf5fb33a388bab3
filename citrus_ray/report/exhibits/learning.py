"""Exhibits of how learning went: losses of pre-trainings beside their references, validation of
fine-tunes."""

from collections.abc import Iterable, Sequence
from statistics import fmean

from citrus_ray.evidence.learning import PretrainedArm, Tuning
from citrus_ray.experiment.labels import count
from citrus_ray.report import captions as words
from citrus_ray.report.exhibits.exhibit import MAX_PANELS, Exhibit, first
from citrus_ray.report.figures import learning
from citrus_ray.report.numbers import DASH, duration, number
from citrus_ray.report.tables import Field, Table, TableRow


def pretraining(arms: Sequence[PretrainedArm]) -> Iterable[Exhibit]:
    if not arms:
        return
    yield Exhibit(
        "pretraining",
        "How pre-training went",
        _beaten(arms),
        "Loss by epoch, a line per encoder: thick on held-out people, thin in training. Lines "
        "across: what predictors without a network lose on the same windows."
        + first(len(arms), MAX_PANELS, "pre-trainings"),
        (
            Table(
                "Last validation loss of each encoder",
                ("pre-training", "encoder", "epochs", "loss", "without a network", "compute"),
                tuple(_encoder_line(arm, i) for arm in arms for i in range(len(arm.encoders))),
            ),
        ),
        lambda: learning.pretraining_curves(arms[:MAX_PANELS]),
    )


def _beaten(arms: Sequence[PretrainedArm]) -> str:
    n, n_bad = (
        sum(of) for of in zip(*((len(a.encoders), a.n_unbeaten) for a in arms), strict=True)
    )
    if not any(arm.references for arm in arms):
        return f"{count(n, 'encoder')}; what their losses are worth is not recorded."
    if not n_bad:
        return f"Every encoder ({n}) loses less than each predictor without a network."
    return f"{n_bad} of {count(n, 'encoder')} lose no less than some predictor without a network."


def _encoder_line(arm: PretrainedArm, i: int) -> TableRow:
    one = arm.encoders[i]
    beside = ", ".join(f"{name} {loss:.4g}" for name, loss in one.references.items())
    return (
        arm.label,
        Field(one.encoder, style="code"),
        str(len(one.history)),
        f"{one.loss:.4g}",
        beside or DASH,
        Field(duration(one.seconds), value=one.seconds),
    )


def finetuning(found: Sequence[Tuning], metric: str) -> Iterable[Exhibit]:
    if not found:
        return
    regimes = dict.fromkeys(one.cell.regime_label for one in found)
    panels = [(name, [one for one in found if one.cell.regime_label == name]) for name in regimes]
    late = sum(one.is_rising(found[0].cell.design.sign) for one in found)
    yield Exhibit(
        "finetuning",
        "How fine-tuning went",
        f"In {late} of {count(len(found), 'cell')} the mean is best at the last validation: "
        "more steps may find better."
        if late
        else "In no cell is the mean best at the last validation: steps were enough.",
        f"{words.metric_name(metric).capitalize()} of refits by validation round: the mean, and "
        "single refits thin behind it. Validation people, so no result."
        + first(len(panels), MAX_PANELS, "settings"),
        (
            Table(
                "Validation by round, mean over refits",
                ("cell", "refits", "first", "best", "at round", "last"),
                tuple(_tuning_line(one) for one in found),
            ),
        ),
        lambda: learning.tuning_curves(panels[:MAX_PANELS], metric),
    )


def _tuning_line(one: Tuning) -> TableRow:
    best = one.best(one.cell.design.sign)
    means = one.means
    refits = f"{len(one.scores)}, {fmean(map(len, one.scores)):.3g} rounds"
    numbers = number(means[0], 4), number(means[best], 4), str(best + 1), number(means[-1], 4)
    return (one.cell.label, refits, *numbers)
