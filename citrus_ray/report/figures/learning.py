"""Drawings of how learning went: losses of pre-trainings, validation of fine-tunes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from citrus_ray.evidence.learning import PretrainedArm, Tuning
from citrus_ray.experiment.labels import SCRATCH
from citrus_ray.report import captions as words
from citrus_ray.report.figures import ink
from citrus_ray.report.figures.forest import short, shorts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_REFITS = 24  # thin lines of one arm


def pretraining_curves(found: Sequence[PretrainedArm]) -> "Figure":
    """A panel per pre-training: validation loss of each encoder by epoch, thin those of training;
    lines across are what predictors without a network reach."""
    with ink.sheet(6.5, 2.6, len(found), 2) as (figure, axes):
        for ax, arm in zip(axes, found, strict=True):
            for split, width in (("train", 0.6), ("val", 1.6)):
                for losses in arm.losses(split):
                    epochs = range(1, len(losses) + 1)
                    ax.plot(epochs, losses, color=ink.COLOURS[0], linewidth=width)
            for i, (name, loss) in enumerate(arm.references.items()):
                dash: Any = ink.DASHES[1 + i % 5]
                ax.axhline(loss, label=name, color=ink.COLOURS[1], linestyle=dash, linewidth=1)
            ax.set_title(short(arm.label, 44))
            ax.set(xlabel="epoch", ylabel="loss")
            if arm.references:
                ax.legend(fontsize=7.5)
    return figure


def tuning_curves(found: Sequence[tuple[str, Sequence[Tuning]]], metric: str) -> "Figure":
    """A panel per setting, a line per arm: mean validation score over refits, which lie thin
    behind it."""
    arms = sorted({one.cell.arm_label for _, of in found for one in of} - {SCRATCH})
    with ink.sheet(6.5, 2.6, len(found), 2) as (figure, axes):
        for ax, (setting, of) in zip(axes, found, strict=True):
            for one in of:
                _tuning(ax, one, ink.look(one.cell.arm_label, arms))
            ax.set_title(short(setting, 44))
            ax.set(xlabel="validation, in order", ylabel=words.metric_name(metric))
            ax.locator_params(axis="x", integer=True, nbins=6)
        handles: dict[str, Any] = {}
        for ax in axes:
            lines, labels = ax.get_legend_handles_labels()
            handles |= dict(zip(labels, lines, strict=True))
        columns = 1 if ink.is_narrow() else 3
        shown = [*handles.values()], shorts([*handles])
        figure.legend(*shown, loc="outside lower center", ncols=columns)
    return figure


def _tuning(ax: "Axes", one: Tuning, how: dict[str, Any]) -> None:
    for scores in one.scores[:: -(-len(one.scores) // MAX_REFITS)]:
        rounds = range(1, len(scores) + 1)
        ax.plot(rounds, scores, color=how["color"], linewidth=0.5, alpha=0.3)
    ax.plot(range(1, len(one.means) + 1), one.means, label=one.cell.arm_label, **how)
