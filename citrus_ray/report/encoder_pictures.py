"""What the best encoder has learned: `python analysis/encoder_pictures.py results/lowdata`, then
report.py shows it.

Two pictures: hidden patches and their spectra as a read-out of the encoder restores them, and
the target's windows as the encoder sees them, coloured by class. The one script here that loads
weights and signals; it reads no test window.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from citrus_ray.data.windowing import cache
from citrus_ray.data.windowing.view import View
from citrus_ray.data.windows import Windows
from citrus_ray.evidence.evidence import read_evidence
from citrus_ray.evidence.outcomes import Outcome as Found
from citrus_ray.experiment.sweep import load_sweep
from citrus_ray.experiment.trial import Trial
from citrus_ray.models.nets.encoder import Encoder, patches
from citrus_ray.records import write_text
from citrus_ray.report.figures import ink
from citrus_ray.report.pictured import FOLDER, Pictured
from citrus_ray.store import checkpoint
from citrus_ray.tasks.losses.masking import span_mask
from citrus_ray.training.finetuning import Member
from citrus_ray.training.loading import load_encoder
from citrus_ray.training.pretraining import held_out

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Index = npt.NDArray[np.int64]
RATIO, SPAN = 0.4, 2  # of patches hidden in the picture, the same for every encoder
N_FIT, N_SHOWN, N_MAPPED = 600, 3, 1500  # windows
RIDGE = 1e-2  # times the mean variance of the features
BATCH = 128


@dataclass(frozen=True)
class Restored:
    """Signals (n, T) of one channel, what the read-out says of them, and what was hidden."""

    truth: Floats
    said: Floats
    hidden: Bools  # (n, T)
    sfreq: float
    correlation: float  # over all hidden samples of held-out windows
    untrained: float  # the same with an encoder that learned nothing


def best_cell(folder: Path) -> Found:
    """Validation chooses, as everywhere."""
    found = read_evidence([folder])
    cells = [cell for cell in found.cells if not cell.is_scratch and cell.final and cell.best]
    if not cells:
        raise LookupError(
            f"{folder}: no pre-trained cell has been refitted yet; let the sweep end first"
        )
    sign = 1 if found.designs[0].mode == "max" else -1
    return max(cells, key=lambda cell: sign * (cell.best.value or 0.0) if cell.best else 0.0)


def trial_of(folder: Path, found: Found) -> Trial:
    """The first refit of that cell, from the sweep's spec."""
    cells = load_sweep(folder / "spec.yaml").cells
    cell = next((cell for cell in cells if cell.digest == found.digest), None)
    if cell is None:
        commit = found.rows[0].commit
        raise LookupError(
            f"{folder}: cell {found.digest} was recorded by other code; check out commit {commit}"
        )
    return cell.members(found.final[0].params, 0)[0][1]


# ---- hidden patches ----


@torch.no_grad()
def restore(trial: Trial, weights: checkpoint.Weights) -> Restored:
    """A linear read-out from tokens to the samples behind them, fitted on some windows and shown on
    others.

    Pre-training throws its own decoder away; a linear one anew says what the tokens hold, for
    any task.
    """
    spec, model = trial.pretraining, trial.model.backbone
    assert spec is not None
    assert model is not None
    windows = cache.load(spec.source)
    train, val = held_out(windows, spec)
    view, rng = View.of(windows, train, model.multimodal), np.random.default_rng(0)
    fit, shown = (
        np.sort(rng.choice(part, min(N_FIT, len(part)), replace=False)) for part in (train, val)
    )
    x_fit, x_shown = (torch.from_numpy(view(index)) for index in (fit, shown))
    trained, blank = (of.build(windows.context) for of in (model, model.untrained()))
    load_encoder(trained, trained, weights)
    said, truth, hidden = _read_out(trained, x_fit, x_shown)
    untrained, _, _ = _read_out(blank, x_fit, x_shown)
    width = truth.shape[-1] * truth.shape[-2]
    rows = np.linspace(0, len(truth) - 1, N_SHOWN).astype(int)
    mask = np.repeat(hidden, truth.shape[-1], axis=-1)
    return Restored(
        truth=truth[rows, 0].reshape(len(rows), width),
        said=said[rows, 0].reshape(len(rows), width),
        hidden=mask[rows, 0].reshape(len(rows), width),
        sfreq=windows.context.sfreq,
        correlation=_correlation(said[hidden], truth[hidden]),
        untrained=_correlation(untrained[hidden], truth[hidden]),
    )


def _read_out(
    encoder: Encoder, x_fit: torch.Tensor, x_shown: torch.Tensor
) -> tuple[Floats, Floats, Bools]:
    """Restored and true patches (n, C, N, P) of `x_shown`, and which were hidden (n, C, N)."""
    tokens, truth, hidden = _tokens(encoder, x_fit, seed=1)
    a, b = tokens[hidden], truth[hidden]
    middle, level = a.mean(axis=0), b.mean(axis=0)
    gram = (a - middle).T @ (a - middle)
    gram += RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    weights = np.linalg.solve(gram, (a - middle).T @ (b - level))
    tokens, truth, hidden = _tokens(encoder, x_shown, seed=2)
    return (tokens - middle) @ weights + level, truth, hidden


def _tokens(encoder: Encoder, x: torch.Tensor, seed: int) -> tuple[Floats, Floats, Bools]:
    """Tokens (n, C, N, D) of windows with hidden patches, the patches (n, C, N, P), and which
    they were."""
    encoder.eval()
    target = patches(x, encoder.patch)
    hidden = span_mask(tuple(target.shape[:3]), RATIO, SPAN, torch.Generator().manual_seed(seed))
    parts = [encoder(x[i : i + BATCH], hidden[i : i + BATCH]) for i in range(0, len(x), BATCH)]
    tokens = torch.cat(parts).expand(
        *target.shape[:3], -1
    )  # an encoder that mixes channels gives one row for all
    return tokens.numpy().astype(np.float64), target.numpy().astype(np.float64), hidden.numpy()


def _correlation(one: Floats, other: Floats) -> float:
    if one.std() == 0 or other.std() == 0:
        return 0.0
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def restored_picture(found: Restored) -> Pictured:
    return Pictured(
        name="hidden",
        title="What the encoder restores",
        shows="What a read-out of the encoder says of hidden samples correlates "
        f"{found.correlation:.2f} with them; "
        f"that of an untrained encoder {found.untrained:.2f}.",
        how=f"First channel of {len(found.truth)} windows that pre-training did not learn "
        f"from; {100 * RATIO:.0f} % of "
        "patches are hidden (shaded). Left: truth in grey, read-out in blue. Right: spectra "
        "of the hidden samples.",
        head=("encoder", "correlation over hidden samples"),
        rows=(
            ("this encoder", f"{found.correlation:.3f}"),
            ("an untrained encoder", f"{found.untrained:.3f}"),
        ),
    )


def draw_restored(found: Restored) -> "Figure":
    n, width = found.truth.shape
    seconds = np.arange(width) / found.sfreq
    with ink.sheet(8.0, 1.5, 2 * n, 2) as (figure, axes):
        for i in range(n):
            signal, spectrum = axes[2 * i], axes[2 * i + 1]
            signal.fill_between(
                seconds,
                0,
                1,
                where=found.hidden[i],
                color=ink.GRID,
                transform=signal.get_xaxis_transform(),
                lw=0,
            )
            signal.plot(seconds, found.truth[i], color=ink.SCRATCH, lw=0.9)
            signal.plot(
                seconds,
                np.where(found.hidden[i], found.said[i], np.nan),
                color=ink.COLOURS[0],
                lw=1.3,
            )
            for x, colour, dash in (
                (found.truth[i], ink.SCRATCH, "-"),
                (found.said[i], ink.COLOURS[0], "--"),
            ):
                kept = np.where(found.hidden[i], x, 0.0)
                power = np.abs(np.fft.rfft(kept)) ** 2 + 1e-9
                spectrum.semilogy(
                    np.fft.rfftfreq(width, 1 / found.sfreq)[1:],
                    power[1:],
                    color=colour,
                    ls=dash,
                    lw=1,
                )
            spectrum.minorticks_off()
        axes[-2].set_xlabel("seconds")
        axes[-1].set_xlabel("Hz")
        axes[0].set_title("signal")
        axes[1].set_title("power of hidden samples")
    return figure


# ---- the map ----


@dataclass(frozen=True)
class Mapped:
    """Windows on the plane of their embeddings' two largest spreads, with an untrained encoder
    beside it."""

    places: tuple[Floats, Floats]  # (n, 2) each: this encoder, an untrained one
    labels: Index
    classes: tuple[str, ...]
    agree: tuple[
        float, float
    ]  # share of windows whose nearest window of another person has the same class


@torch.no_grad()
def embed(trial: Trial, weights: checkpoint.Weights) -> Mapped:
    """Mean tokens per channel of windows that are not test data."""
    members = [Member(trial, weights), Member(trial, None)]
    known = np.concatenate([members[0].parts.train, members[0].parts.val])
    index = np.sort(
        np.random.default_rng(0).choice(known, min(N_MAPPED, len(known)), replace=False)
    )
    windows = members[0].windows
    found = [_embeddings(member, index) for member in members]
    (labels, names), group = classes_of(windows, index), windows.group[index]
    places = tuple(_plane(embedding) for embedding in found)
    agree = tuple(_agreement(embedding, labels, group) for embedding in found)
    return Mapped((places[0], places[1]), labels, names, (agree[0], agree[1]))


def classes_of(windows: Windows, index: Index) -> tuple[Index, tuple[str, ...]]:
    """Classes of the windows at `index` and their names; of values their thirds."""
    if windows.target == "classes":
        return windows.labels[index], windows.classes
    if windows.target == "labels":
        return windows.strata[index], (*windows.classes, "none")
    values = windows.labels[index]
    edges = np.unique(np.quantile(values, [1 / 3, 2 / 3]))
    names = [f"up to {edges[0]:.3g}", *(f"up to {edge:.3g}" for edge in edges[1:])]
    return np.searchsorted(edges, values), (*names, f"above {edges[-1]:.3g}")


def _embeddings(member: Member, index: Index) -> Floats:
    encoder = member.classifier.encoder.eval()
    parts = [
        encoder(torch.from_numpy(member.signal(index[i : i + BATCH])))
        .mean(dim=2)
        .flatten(1)  # (B, C, N, D) -> (B, C*D)
        for i in range(0, len(index), BATCH)
    ]
    x = torch.cat(parts).numpy().astype(np.float64)
    return np.asarray((x - x.mean(axis=0)) / (x.std(axis=0) + 1e-9))


def _plane(x: Floats) -> Floats:
    """Principal components."""
    _, _, axes = np.linalg.svd(x, full_matrices=False)
    return np.asarray(x @ axes[:2].T)


def _agreement(x: Floats, labels: Index, group: Index) -> float:
    squares = (x**2).sum(axis=1)
    distance = squares[:, None] + squares[None] - 2 * x @ x.T
    distance[group[:, None] == group[None]] = np.inf
    reachable = np.isfinite(distance).any(axis=1)
    return (
        float(np.mean(labels[distance.argmin(axis=1)][reachable] == labels[reachable]))
        if reachable.any()
        else 0.0
    )


def mapped_picture(found: Mapped) -> Pictured:
    trained, blank = (f"{100 * share:.0f} %" for share in found.agree)
    chance = float(sum(np.mean(found.labels == k) ** 2 for k in np.unique(found.labels)))
    return Pictured(
        name="embedding",
        title="The target as the encoder sees it",
        shows=f"{trained} of the windows have their nearest window of another person in "
        f"their own class; {blank} with "
        f"an untrained encoder, {100 * chance:.0f} % by chance.",
        how="Mean tokens of windows that are not test data, before any fine-tuning, on "
        "their two principal components; "
        "a colour and a shape per class. Left: this encoder; right: an untrained one. The "
        "share uses all dimensions.",
        head=("encoder", "nearest window of another person is of the same class"),
        rows=(
            ("this encoder", trained),
            ("an untrained encoder", blank),
            ("chance", f"{100 * chance:.0f} %"),
        ),
    )


def draw_mapped(found: Mapped) -> "Figure":
    with ink.sheet(8.0, 3.4, 2, 2) as (figure, axes):
        for ax, places, name in zip(axes, found.places, ("this encoder", "untrained"), strict=True):
            for k in np.unique(found.labels).tolist():
                mine, i = places[found.labels == k], k % len(ink.COLOURS)
                how: dict[str, Any] = {
                    "edgecolors": ink.COLOURS[i],
                    "marker": ink.MARKERS[i],
                    "lw": 0.7,
                }
                ax.scatter(
                    mine[:, 0], mine[:, 1], 12, facecolors="none", label=found.classes[k], **how
                )
            ax.set_title(name)
            ax.set_xticks([])
            ax.set_yticks([])
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
    return figure


# ---- writing ----


def write(folder: Path, store: Path) -> list[Path]:
    found = best_cell(folder)
    trial = trial_of(folder, found)
    digest = trial.encoder_digest()
    assert digest is not None  # a pre-trained cell
    weights = checkpoint.load(store, digest)
    restored, mapped = restore(trial, weights), embed(trial, weights)
    drawn = (
        (restored_picture(restored), draw_restored(restored)),
        (mapped_picture(mapped), draw_mapped(mapped)),
    )
    return [_write(folder / FOLDER, said, figure, digest) for said, figure in drawn]


def _write(folder: Path, said: Pictured, figure: "Figure", digest: str) -> Path:
    picture = ink.Picture(said.name, lambda: figure)
    picture.publish(folder)
    return write_text(
        folder / f"{said.name}.json",
        json.dumps(asdict(said) | {"encoder": digest}, indent=1) + "\n",
    )


def main(argv: Sequence[str] | None = None) -> int:
    cli = argparse.ArgumentParser(prog="analysis/encoder_pictures.py", description=__doc__)
    cli.add_argument(
        "folder", type=Path, metavar="RESULTS", help="a results folder of a sweep that has ended"
    )
    cli.add_argument(
        "--store",
        type=Path,
        metavar="DIR",
        help="where encoders lie (default: store/ beside RESULTS)",
    )
    args = cli.parse_args(argv)
    try:
        for path in write(args.folder, args.store or args.folder.resolve().parent / "store"):
            print(path)
    except (LookupError, OSError, checkpoint.CheckpointError) as err:
        print(err, file=sys.stderr)
        return 2
    return 0
