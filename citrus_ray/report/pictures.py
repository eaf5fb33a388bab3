"""The three figures, each with the sentence that it shows and the table behind it."""

from collections.abc import Sequence

from citrus_ray.evidence.gains import Gain
from citrus_ray.evidence.outcomes import Outcome
from citrus_ray.report import captions as words
from citrus_ray.report import handmade as figures
from citrus_ray.report.findings import Findings, badge
from citrus_ray.report.markup import (
    DASH,
    Html,
    details,
    figure,
    interval,
    joined,
    number,
    paragraph,
    probability,
    section,
    table,
    tag,
    text,
)

MAX_PANELS = 48
MAX_LISTED = 1000  # rows of a table behind a figure; the CSV files hold all


def gain_figure(findings: Findings) -> Html:
    if not findings.gains:
        return Html("")
    rows = [_gain_row(findings, gain) for gain in by_regime(findings.gains)]
    axis = f"gain in {words.metric_name(findings.design.test_metric)}"
    how = (
        "Mean difference, pre-trained minus from scratch, with its 95 % interval; short ticks are single pairs. "
        "▲ the interval lies on the better side of 0, ▼ on the worse, ◇ it holds 0."
    )
    shows = words.gains_shown(findings.gains)
    drawing = figures.intervals(rows, axis, zero=True)
    return section(
        "Gain over training from scratch",
        figure("figure-gain", shows, drawing, how, _gain_tables(findings)),
        name="gain",
    )


def by_regime(gains: Sequence[Gain]) -> list[Gain]:
    order = {
        regime: i
        for i, regime in enumerate(dict.fromkeys(gain.cell.regime_label for gain in gains))
    }
    return sorted(gains, key=lambda gain: order[gain.cell.regime_label])


def _gain_row(findings: Findings, gain: Gain) -> figures.Row:
    said = joined((text(number(gain.effect.mean, sign=True)), findings.gain_marks(gain)))
    small = tag("small", text(f"{interval(gain.effect, sign=True)}, {gain.units.said}"))
    differences = [pair.difference for pair in gain.pairs]
    mark = words.MARKS[gain.verdict]
    regime = gain.cell.regime_label
    return figures.Row(
        gain.cell.arm_label,
        gain.effect,
        differences,
        mark,
        joined((said, small)),
        group=regime,
    )


def _gain_tables(findings: Findings) -> Html:
    head = [
        "cell",
        "against",
        "gain",
        "95 % interval",
        "counted",
        "pairs",
        "up / down / tied",
        "pre-trained",
        "from scratch",
        "best dumb baseline",
        "Wilcoxon p",
        "floor of p",
    ]
    head += ["Holm p", "floor of Holm p", "verdict"]
    rows = [_gain_line(findings, gain) for gain in findings.gains]
    parts = [
        details(
            "The table behind this figure",
            table(head, rows, "Gains, paired by target, labels and seed"),
        )
    ]
    pairs = [(gain, pair) for gain in findings.gains for pair in gain.pairs]
    lines = [
        [text(said) for said in (gain.cell.label, pair.repeat, *_four(pair.with_, pair.without))]
        for gain, pair in pairs[:MAX_LISTED]
    ]
    caption = (
        "Every pair"
        if len(pairs) <= MAX_LISTED
        else f"The first {MAX_LISTED} of {len(pairs):,} pairs"
    )
    listed = table(["cell", "pair", "pre-trained", "from scratch", "difference"], lines, caption)
    return joined([*parts, details("Every pair", listed)])


def _four(with_: float, without: float) -> tuple[str, str, str]:
    return number(with_, 4), number(without, 4), number(with_ - without, 4, sign=True)


def _gain_line(findings: Findings, gain: Gain) -> list[Html]:
    ps = (gain.test.p, gain.test.floor, gain.p_holm, gain.p_holm_floor)
    before = (gain.cell.label, gain.against.label)
    numbers = (
        interval(gain.effect, sign=True),
        gain.units.said,
        str(len(gain.pairs)),
        " / ".join(map(str, gain.signs)),
        *words.sides(gain.pairs),
    )
    score = joined((text(number(gain.effect.mean, sign=True)), findings.gain_marks(gain)))
    after = [text(said) for said in (*numbers, *(probability(p) for p in ps))]
    return [*(text(said) for said in before), score, *after, badge(gain)]


# ---- scores ----


def score_figure(findings: Findings) -> Html:
    cells = _cells_by_regime(findings.cells)
    rows = [_score_row(findings, cell) for cell in cells]
    axis = words.metric_name(findings.design.test_metric)
    names = ", ".join(dict.fromkeys(name for row in rows for name, _ in row.lines))
    baseline = f" Dashed lines: baselines ({names})." if names else ""
    how = (
        "Mean over the refits of each cell's winner on fresh seeds, with its 95 % interval; short ticks are single "
        f"refits. Filled: pre-trained; hollow: from scratch.{baseline} Validation data chose the winner; test data "
        "was scored once, after the search."
    )
    drawing = figures.intervals(rows, axis) if rows else paragraph("No records.")
    behind = details("The table behind this figure", _score_table(findings, cells))
    shows = words.scores_shown(findings.cells) if cells else "Nothing is recorded yet."
    return section(
        "Test scores", figure("figure-scores", shows, drawing, how, behind), name="scores"
    )


def _cells_by_regime(cells: Sequence[Outcome]) -> list[Outcome]:
    order = {
        regime: i for i, regime in enumerate(dict.fromkeys(cell.regime_label for cell in cells))
    }
    return sorted(cells, key=lambda cell: (order[cell.regime_label], not cell.is_scratch))


def _score_row(findings: Findings, cell: Outcome) -> figures.Row:
    scores = [row.metrics[cell.design.test_metric] for row in cell.scored]
    score = number(cell.test.mean) if cell.test else DASH
    range_ = f"{interval(cell.test)}, {cell.units.said}" if cell.test else words.progress(cell)
    said = joined((text(score), findings.marks(cell.digest), tag("small", text(range_))))
    mark: figures.Mark = "hollow" if cell.is_scratch else "full"
    lines = tuple(cell.baselines.items())
    return figures.Row(cell.arm_label, cell.test, scores, mark, said, lines, cell.regime_label)


def _score_table(findings: Findings, cells: Sequence[Outcome]) -> Html:
    names = list(dict.fromkeys(name for cell in cells for name in cell.baselines))
    head = ["cell", "mean", "95 % interval", "refits", *(f"baseline: {name}" for name in names)]
    rows = [
        [
            text(cell.label),
            joined(
                (text(number(cell.test.mean if cell.test else None)), findings.marks(cell.digest))
            ),
            text(interval(cell.test) if cell.test else DASH),
            text(f"{len(cell.scored)} of {len(cell.final)}"),
            *(text(number(cell.baselines.get(name))) for name in names),
        ]
        for cell in cells
    ]
    return table(head, rows, words.metric_name(findings.design.test_metric).capitalize())


# ---- search ----


def history_figure(findings: Findings) -> Html:
    cells = [cell for cell in findings.cells if cell.searched]
    if not cells:
        return Html("")
    shown = cells[:MAX_PANELS]
    values = [t.value for cell in shown for t in cell.searched if t.value is not None]
    scale = figures.scale_of(values, n_ticks=4)
    panels = tag("div", *(_panel(cell, scale) for cell in shown), cls="panels")
    cut = (
        f" The first {MAX_PANELS} of {len(cells)} cells are drawn."
        if len(cells) > MAX_PANELS
        else ""
    )
    if any(len(cell.searched) > figures.MANY for cell in shown):
        cut += f" Of long searches about {figures.MANY} trials are drawn, evenly chosen."
    how = (
        f"{words.metric_name(findings.design.metric).capitalize()} of each trial in the order in which they ended, mean "
        "over its members. Line: best so far; ring: the trial that was refitted; hollow: stopped early; cross: failed. "
        f"These are the numbers that chose the winners, so they flatter them.{cut}"
    )
    behind = details("The table behind this figure", _trial_table(findings, cells))
    shows = words.history_shown(cells)
    return section(
        "Search",
        figure("figure-search", shows, panels, how, behind),
        name="search",
    )


def _panel(cell: Outcome, scale: figures.Scale) -> Html:
    steps = [figures.Step(trial.value, trial.status, trial is cell.best) for trial in cell.searched]
    return figures.history(cell.label, steps, scale, cell.design.mode == "max")


def _trial_table(findings: Findings, cells: Sequence[Outcome]) -> Html:
    trials = [(cell, i, trial) for cell in cells for i, trial in enumerate(cell.searched, 1)]
    rows = [
        [
            text(cell.label),
            text(i),
            text(number(trial.value, 4)),
            text(f"{trial.status}, chosen" if trial is cell.best else trial.status),
            text(words.params_label(trial.params)),
            tag("code", text(trial.digest)),
        ]
        for cell, i, trial in trials[:MAX_LISTED]
    ]
    caption = (
        "Every trial"
        if len(trials) <= MAX_LISTED
        else f"The first {MAX_LISTED} of {len(trials):,} trials"
    )
    return table(
        ["cell", "trial", findings.design.metric, "status", "settings", "digest"], rows, caption
    )
