"""The last screen, `--status` and `--top` in words: tables of what the summary and the outcomes
say."""

from collections.abc import Iterator, Sequence
from typing import Any

from citrus_ray.evidence.evidence import Evidence
from citrus_ray.evidence.gains import Gain
from citrus_ray.evidence.trials import ranked
from citrus_ray.evidence.verdicts import lines as claim_lines
from citrus_ray.experiment.labels import axis_names, value_label
from citrus_ray.experiment.sweep import Sweep
from citrus_ray.metrics import sign_of

# baselines of pairs
CONTROLS = ("halves", "distance", "difference", "seam", "bilinear", "same_run", "run_identity")

SIGNED = "of this metric less is better: gains and differences above 0 are what it is lower by"


def table(summary: dict[str, Any]) -> str:
    """Best trial, test score and transfer gain of every cell, and the claims."""
    head = ("cell", "trials", "best trial", "val", "test", "gain over scratch", "best baseline")
    cells = summary["cells"]
    parts = [
        aligned([head, *map(_line, cells)]),
        *([] if sign_of(cells[0]["metric"]) > 0 else [SIGNED]),
        *_fronts(cells),
        *_controls(cells),
        *_robustness(summary),
        *_labels(cells),
        *_worth(summary),
        *_trained(cells),
        *_arrived(cells),
        *claim_lines(summary["claims"]),
        *_decided(summary["decide"]),
    ]
    return "\n".join(parts)


def _decided(found: dict[str, Any] | None) -> list[str]:
    if found is None or not found["rounds"]:
        return []
    rounds = f"after {found['rounds']} rounds of at most {found['at_most']}"
    if not found["n_open"]:
        return [f"decided: {'all claims' if found['n_claims'] > 1 else 'the claim'} {rounds}"]
    return [f"open: {found['n_open']} of {found['n_claims']} claims {rounds}"]


def _line(cell: dict[str, Any]) -> tuple[str, ...]:
    failed = f" ({cell['n_failed']} failed)" if cell["n_failed"] else ""
    stopped = f", {cell['stopped']}" if cell["stopped"] else ""
    return (
        cell["label"],
        f"{cell['n_trials']}{failed}{stopped}",
        ", ".join(f"{n}={v}" for n, v in _said(cell["best"] or {}).items()) or "-",
        _score(cell["val"]),
        spread(cell["test"]),
        spread(cell["gain"], "+"),
        best_baseline(cell),
    )


def _said(params: dict[str, Any]) -> dict[str, str]:
    return {name: value_label(path, params[path]) for path, name in axis_names(params).items()}


def _fronts(cells: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Of several objectives, per cell: what can be had at the price of what."""
    for cell in (cell for cell in cells if cell.get("front")):
        first = cell["front"][0]
        head = (f"no trial beats these: {cell['label']}", *first["val"], *_said(first["params"]))
        points = [
            ("", *(f"{v:.3f}" for v in point["val"].values()), *_said(point["params"]).values())
            for point in cell["front"]
        ]
        yield aligned([head, *points])


def _controls(cells: Sequence[dict[str, Any]]) -> list[str]:
    """Of pairs: what the runs, and how A and B compare, give without a network."""
    asked = [c for c in cells if "same_run" in c["baselines"] and not c["gain"]]
    # older records lack some
    rows = [
        (c["label"], spread(c["test"]), *(_score(c["baselines"].get(name)) for name in CONTROLS))
        for c in asked
    ]
    return [aligned([("controls of pairs", "test", *CONTROLS), *rows])] if rows else []


def _robustness(summary: dict[str, Any]) -> list[str]:
    """Test scores by what was missing, where the sweep asks what that does."""
    cells = [cell for cell in summary["cells"] if cell["missing"] and cell["test"]]
    if not cells or all(claim["measure"] != "missing" for claim in summary["claims"]):
        return []
    names = list(dict.fromkeys(name for cell in cells for name in cell["missing"]))
    rows = [
        (c["label"], _score(c["test"]["mean"]), *(_score(c["missing"].get(n)) for n in names))
        for c in cells
    ]
    return [aligned([("test score, missing", "nothing", *names), *rows])]


def _labels(cells: Sequence[dict[str, Any]]) -> list[str]:
    """The score of each label, where windows have any of several at once."""
    found = [(cell["label"], cell["by_label"]) for cell in cells if cell.get("by_label")]
    names = list(dict.fromkeys(name for _, of in found for name in of))
    rows = [(label, *(_score(of.get(name)) for name in names)) for label, of in found]
    return [aligned([("test score by label", *names), *rows])] if rows else []


def _worth(summary: dict[str, Any]) -> list[str]:
    """What each view of a window adds to the score of all, where there are several."""
    found = [(cell["label"], cell["worth"]) for cell in summary["cells"] if cell["worth"]]
    found += [(one["label"], one["of_view"]) for one in summary["worth"]]
    views = list(dict.fromkeys(view for _, of in found for view in of))
    rows = [(label, *(spread(of.get(v), "+") for v in views)) for label, of in found]
    return [aligned([("what a view adds", *views), *rows])] if rows else []


def _trained(cells: Sequence[dict[str, Any]]) -> list[str]:
    """How many numbers fine-tuning trained, where it is not all of each network."""
    found = [(cell["label"], cell["network"]) for cell in cells if cell["network"]]
    if all(of["trained"] == of["parameters"] for _, of in found):
        return []
    rows = [
        (label, f"{of['trained']:,}", f"{of['parameters']:,}", f"{_share(of):.2%}")
        for label, of in found
    ]
    return [aligned([("parameters", "trained", "in all", "share"), *rows])]


def _share(network: dict[str, Any]) -> float:
    return float(network["trained"] / network["parameters"])


def _arrived(cells: Sequence[dict[str, Any]]) -> list[str]:
    """Proof that weights from files are in the networks."""
    said = (text for cell in cells for text in cell["network"].get("weights", []))
    return [f"weights: {text}" for text in dict.fromkeys(said)]


def _score(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def best_baseline(cell: dict[str, Any]) -> str:
    """The baseline to beat."""
    found = cell["baselines"]
    # same_run is no baseline to beat: it is told what no network is
    names = found.keys() - {"same_run"}
    sign = sign_of(cell["metric"])
    best = max(names, key=lambda name: (sign * found[name], name), default=None)
    return "-" if best is None else f"{best} {found[best]:.3f}"


def spread(found: dict[str, Any] | None, sign: str = "") -> str:
    """`0.967 [0.947, 0.987] n=12`, n being what the interval counts."""
    if found is None:
        return "-"
    ends = ""
    if found["low"] is not None:
        ends = f" [{found['low']:{sign}.3f}, {found['high']:{sign}.3f}]"
    return f"{found['mean']:{sign}.3f}{ends} n={found['n']}"


def aligned(rows: Sequence[tuple[str, ...]]) -> str:
    """Columns as wide as what stands in them, a rule under the first row."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    rule = "  ".join("-" * width for width in widths)
    return "\n".join([lines[0], rule, *lines[1:]])


def top(sweep: Sweep, evidence: Evidence, n: int) -> Iterator[str]:
    """The best trials of each cell with their parameters. Those that failed or were stopped have
    no rank."""
    for cell, outcome in zip(sweep.cells, evidence.cells, strict=True):
        full = ranked(outcome.searched, outcome.design.mode)
        more = outcome.n_recorded - len(outcome.searched)
        beyond = f", {more} more lie beyond the budget or at other points" if more else ""
        yield (
            f"{outcome.label}: {len(full)} full trials of {len(outcome.searched)} recorded{beyond}"
        )
        several = sweep.objectives if sweep.objective.each else []
        rows = [("", sweep.objective.metric, *several, *cell.search, "seconds", "trial")]
        for rank, result in enumerate(full[:n], start=1):
            params = [value_label(path, result.params[path]) for path in cell.search]
            scores = [f"{score:.4f}" for score in result.scores] if several else []
            cost = (f"{result.seconds:.1f}", result.digest)
            rows.append((str(rank), _score(result.value, 4), *scores, *params, *cost))
        yield aligned(rows) if full else "  none"
        yield ""


def gain_lines(found: Sequence[Gain]) -> list[str]:
    """The table on a terminal."""
    if not found:
        return ["no pre-trained cell has a scored from-scratch partner yet"]
    head = ("cell", "gain", "95 % interval", "for these targets", "pairs", "up/down/tied")
    rows = [(*head, "p", "Holm p", "verdict")]
    for gain in found:
        low, high = gain.effect.low, gain.effect.high
        ends = f"[{low:+.3f}, {high:+.3f}]" if gain.effect.is_bounded else "none"
        start = (gain.cell.label, f"{gain.effect.mean:+.3f}", ends, gain.found.counts)
        signs = "/".join(map(str, gain.signs))
        ps = (f"{gain.found.p:.2g}", f"{gain.found.p_holm:.2g}")
        rows.append((*start, str(len(gain.pairs)), signs, *ps, gain.verdict))
    said = "p and interval may be looked at after every round; Holm corrects the verdicts"
    return [aligned(rows), f"{said} over {len(found)} comparison(s)."]
