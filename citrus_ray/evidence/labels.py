"""Labels of cells, made last and over all cells that are shown together: as short as they can be,
longer until no two read the same."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from citrus_ray.experiment.labels import (
    SCRATCH,
    Axes,
    axis_names,
    brief,
    canonical,
    exact_label,
    is_pretrain,
    joined,
    part_of,
    settings_label,
    unique,
    value_label,
)
from citrus_ray.records import Record

if TYPE_CHECKING:
    from citrus_ray.evidence.outcomes import Outcome

# of a pre-training: what cannot change its numbers, or is drawn anew
ASIDE = {f"pretrain.{name}" for name in ("workers", "threads_per_worker", "gpu", "seed")}


def is_from_scratch(row: Record) -> bool:
    return (
        row.encoder is None and "pretrain.task.kind" not in row.config and not stored_weights(row)
    )


def stored_weights(row: Record) -> dict[str, Any]:
    """What a row says of weights that its model begins with, by path; nothing where it has none."""
    return {
        path: value
        for path, value in row.config.items()
        if path.startswith("model.") and is_pretrain(path, value) and value not in (None, {}, [])
    }


def arm_of(rows: Sequence[Record], axes: Axes) -> str:
    """The canonical JSON of how a cell is pre-trained: every setting but those that are searched
    or repeated."""
    if not rows:
        return canonical(part_of(axes, pretrain=True))
    return SCRATCH if is_from_scratch(rows[0]) else canonical(_arm_settings(rows[0]))


def _arm_settings(row: Record) -> dict[str, Any]:
    varied = {*row.params, *row.repeat, *ASIDE}
    kept = [path for path in row.config if path.startswith("pretrain") and not _is_root(path)]
    kept += stored_weights(row)
    return {
        path: row.config[path]
        for path in kept
        if not any(path == other or path.startswith(f"{other}.") for other in varied)
    }


def _is_root(path: str) -> bool:
    return path.endswith(".root")


def labelled(cells: Sequence["Outcome"]) -> list["Outcome"]:
    """The cells with their labels."""
    arms = {cell.arm: cell for cell in cells}
    by_settings = dict(zip(arms, _arm_labels(list(arms.values())), strict=True))
    arm_labels = by_settings | _named_arms(cells)
    regimes = labels_of_axes([part_of(cell.axes, False) for cell in cells])
    named = [
        replace(
            cell,
            arm_label=arm_labels[cell.arm],
            regime_label=regime,
            settings=settings_label(cell.axes),
        )
        for cell, regime in zip(cells, regimes, strict=True)
    ]
    wordings: list[Callable[[Outcome], str]] = [
        _of_parts,
        lambda cell: f"{_of_parts(cell)} ({cell.design.name})",
        lambda cell: f"{_of_parts(cell)} ({cell.design.folder})",
        lambda cell: f"{_of_parts(cell)} ({cell.digest})",
    ]
    labels = unique(named, wordings)
    return [replace(cell, label=label) for cell, label in zip(named, labels, strict=True)]


def _named_arms(cells: Sequence["Outcome"]) -> dict[str, str]:
    """Names that a sweep gave to its arms, where each is of one pre-training; two that differ
    elsewhere may share it."""
    names: dict[str, dict[str, None]] = {}
    for cell in cells:
        if not cell.is_scratch:
            names.setdefault(cell.arm, {})[str(cell.axes.get("arm", ""))] = None
    all_names = [name for of in names.values() for name in of]
    if {"", SCRATCH} & {*all_names} or len({*all_names}) < len(all_names):
        return {}
    return {arm: " / ".join(of) for arm, of in names.items()}


def labels_of_axes(all_axes: Sequence[Axes]) -> list[str]:
    """A label for each of these settings, the same for equal ones; empty where nothing is
    compared."""
    known = {canonical(axes): axes for axes in all_axes}
    different = list(known.values())
    wordings: list[Callable[[Axes], str]] = [
        lambda axes: settings_label(brief(axes, different)),
        settings_label,
        exact_label,
    ]
    said = dict(zip(known, unique(different, wordings), strict=True))
    return [said[canonical(axes)] for axes in all_axes]


def _of_parts(cell: "Outcome") -> str:
    return joined(cell.arm_label if part_of(cell.axes, True) else "", cell.regime_label)


def _arm_labels(cells: Sequence["Outcome"]) -> list[str]:
    """One per different pre-training: its compared settings, and where they do not tell it
    apart, the others."""
    settings = [
        {} if cell.arm == SCRATCH or not cell.rows else _arm_settings(cell.rows[0])
        for cell in cells
    ]
    compared = [part_of(cell.axes, True) for cell in cells]

    def in_words(shown: Callable[[int], Mapping[str, Any]]) -> Callable[[int], str]:
        def said(i: int) -> str:
            if cells[i].arm == SCRATCH:
                return SCRATCH
            return settings_label(shown(i)) or "pre-trained"

        return said

    def with_what_differs(i: int) -> dict[str, Any]:
        peers = [s for s, axes in zip(settings, compared, strict=True) if axes == compared[i]]
        return compared[i] | {
            path: value
            for path, value in settings[i].items()
            if len({canonical(peer.get(path)) for peer in peers}) > 1
        }

    return unique(
        range(len(cells)),
        [
            in_words(lambda i: brief(compared[i], compared)),
            in_words(lambda i: compared[i]),
            in_words(with_what_differs),
        ],
    )


def params_label(params: Mapping[str, Any]) -> str:
    names = axis_names(params)
    return ", ".join(f"{names[path]} {value_label(path, value)}" for path, value in params.items())
