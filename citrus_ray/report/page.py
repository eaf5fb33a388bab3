"""The page, top to bottom. Pictures and provenance have files of their own; what is said is in words.py."""

from collections.abc import Iterable, Sequence

from citrus_ray.evidence import explored as settings
from citrus_ray.evidence.gains import Gain
from citrus_ray.evidence.outcomes import Outcome
from citrus_ray.experiment.labels import canonical, settings_label
from citrus_ray.report import captions as words
from citrus_ray.report.exhibits import Exhibit
from citrus_ray.report.figures import ink
from citrus_ray.report.findings import Findings, badge
from citrus_ray.report.markup import (
    DASH,
    Html,
    count,
    details,
    duration,
    figure,
    joined,
    number,
    paragraph,
    section,
    sentence,
    spread,
    table,
    tag,
    text,
)
from citrus_ray.report.pictured import pictured
from citrus_ray.report.pictures import (
    MAX_LISTED,
    by_regime,
    gain_figure,
    history_figure,
    score_figure,
)
from citrus_ray.report.provenance import failures, provenance
from citrus_ray.report.style import CSS

INSTALL = "pip install -e '.[analysis]' brings it"
CARDS = 4  # gains; beyond it, one line each
MANY = 12  # undecided gains that are shown without being asked for
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"  # the page asks the network for nothing


def page(findings: Findings) -> str:
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><link rel="icon" href="data:,">'
        f"<title>{text(findings.design.name)}: what pre-training gains</title><style>{CSS}</style>"
    )
    parts = [
        verdicts,
        gain_figure,
        score_figure,
        caveats,
        shown,
        of_encoders,
        cell_table,
        missing_table,
        history_figure,
        failures,
        provenance,
    ]
    body = joined((part(findings) for part in parts), "\n")
    foot = tag(
        "footer",
        text(
            "Made by analysis/report.py from records, spec.yaml and summary.json; running it again gives this page."
        ),
    )
    main = tag("main", incomplete(findings), body)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>{header(findings)}{main}{foot}</body></html>\n'


def header(findings: Findings) -> Html:
    plan, rows = findings.design, findings.found.rows
    more = (
        f" and {count(len(findings.designs) - 1, 'more folder')}"
        if len(findings.designs) > 1
        else ""
    )
    newest = max((row.finished for row in rows), default="")
    state = [
        count(len(findings.cells), "cell"),
        count(sum(len(cell.searched) for cell in findings.cells), "searched trial"),
        count(sum(len(cell.scored) for cell in findings.cells), "scored refit"),
        f"records up to {newest[:16].replace('T', ' ')} UTC" if newest else "no records",
    ]
    kicker = paragraph(f"citrus_ray sweep report: {plan.name} ({plan.folder}){more}", "kicker")
    asked, mark, rest = (plan.question or f"{plan.name}: what does pre-training gain?").partition(
        "?"
    )
    deck = [paragraph(rest.strip(), "deck")] if rest.strip() else []
    return tag(
        "header",
        kicker,
        tag("h1", text(asked + mark)),
        *deck,
        paragraph(" · ".join(state), "state"),
    )


# ---- what is missing ----


def incomplete(findings: Findings) -> Html:
    said = [*_missing(findings), *_trouble(findings)]
    if not said:
        return Html("")
    items = tag("ul", *(tag("li", text(line)) for line in said))
    return tag(
        "div",
        tag("strong", text("Not all there yet, or not all well")),
        items,
        cls="notice",
        id="incomplete",
    )


def _missing(findings: Findings) -> Iterable[str]:
    there = {canonical(cell.axes) for cell in findings.cells}
    absent = [
        axes for plan in findings.designs for axes in plan.cells if canonical(axes) not in there
    ]
    if absent:
        yield f"{count(len(absent), 'compared cell')} without any record: {_listed(map(settings_label, absent))}"
    searching = [cell for cell in findings.cells if not cell.final]
    if searching:
        names = (f"{cell.label} ({words.progress(cell)})" for cell in searching)
        yield f"{count(len(searching), 'cell')} not yet scored on test data: {_listed(names)}"
    unscored = [cell for cell in findings.cells if cell.final and not cell.scored]
    if unscored:
        names = (cell.label for cell in unscored)
        yield f"every refit failed in {count(len(unscored), 'cell')}: {_listed(names)}"
    paired = {gain.cell.digest for gain in findings.gains}
    alone = [
        cell
        for cell in findings.cells
        if cell.scored and not cell.is_scratch and cell.digest not in paired
    ]
    if alone:
        names = (cell.label for cell in alone)
        yield f"no scored from-scratch partner, so no gain, for {count(len(alone), 'cell')}: {_listed(names)}"


def _listed(names: Iterable[str], most: int = 6) -> str:
    names = list(names)
    more = f"; and {len(names) - most} more" if len(names) > most else ""
    return "; ".join(names[:most]) + more


def _trouble(findings: Findings) -> Iterable[str]:
    yield from (f"{plan.folder}: {plan.problem}" for plan in findings.designs if plan.problem)
    if not ink.is_there():
        yield f"matplotlib is not installed, so most figures are missing; {INSTALL}"
    elif not settings.is_installed():
        yield f"scikit-learn is not installed, so it is not shown what the gain hangs on; {INSTALL}"
    found = findings.found
    if found.unreadable:
        first = found.unreadable[0]
        yield f"{count(len(found.unreadable), 'record file')} could not be read, first {first.file}: {first.reason}"
    if found.conflicts:
        n = len({(conflict.digest, conflict.phase) for conflict in found.conflicts})
        yield f"{count(n, 'computation')} with different results in different copies (see Failures); the newest counts"
    if found.n_other:
        yield f"{count(found.n_other, 'record')} of another spec of the same name lie in the folder and are left out"
    if found.n_superseded:
        yield f"{count(found.n_superseded, 'failed or cut-short run')} stand corrected by a full result of the same"


# ---- verdicts and cells ----


def verdicts(findings: Findings) -> Html:
    if not findings.gains:
        said = "No verdict yet: it needs a pre-trained and a from-scratch cell, both scored on test data."
        return tag("section", paragraph(said, "shows"), id="verdicts")
    if len(findings.gains) <= CARDS:
        return tag("section", *(_card(findings, gain) for gain in findings.gains), id="verdicts")
    undecided = [gain for gain in by_regime(findings.gains) if gain.verdict == "undecided"]
    decided = [gain for gain in by_regime(findings.gains) if gain.verdict != "undecided"]
    said = paragraph(words.verdicts_shown(findings.gains), "shows")
    if len(undecided) <= MANY:
        return tag(
            "section", said, _verdict_lines(findings, by_regime(findings.gains)), id="verdicts"
        )
    # a screen full of open questions hides what was found; none is left out
    folded = details(f"The {len(undecided)} undecided ones", _verdict_lines(findings, undecided))
    return tag("section", said, _verdict_lines(findings, decided), folded, id="verdicts")


def _verdict_lines(findings: Findings, gains: Sequence[Gain]) -> Html:
    return tag("ul", *(_verdict_line(findings, gain) for gain in gains), cls="sentences")


def _card(findings: Findings, gain: Gain) -> Html:
    metric, found = gain.cell.design.test_metric, gain.effect
    range_ = tag("small", text(words.gain_range(found, metric)))
    big = tag("p", text(words.amount(found.mean, metric, sign=True)), range_, cls="big")
    say = tag(
        "p",
        badge(gain),
        text(f" {words.verdict_sentence(gain)}"),
        findings.gain_marks(gain),
        cls="say",
    )
    body = tag("div", say, paragraph(words.evidence(gain), "fine"))
    return tag("article", big, body, cls=f"verdict {gain.verdict}")


def _verdict_line(findings: Findings, gain: Gain) -> Html:
    said = tag("span", text(words.verdict_line(gain)), findings.gain_marks(gain))
    return tag("li", badge(gain), said)


def shown(findings: Findings) -> Html:
    """Every picture that the results can fill."""
    return joined((exhibit(item) for item in findings.exhibits), "\n")


def of_encoders(findings: Findings) -> Html:
    """What analysis/encoder_pictures.py left, if it was run."""
    known = {row.encoder for row in findings.found.rows}
    return joined((part for folder in findings.folders for part in pictured(folder, known)), "\n")


def exhibit(item: Exhibit) -> Html:
    cut = (
        f", the first {MAX_LISTED} of {len(item.rows):,} rows; all in tables/"
        if len(item.rows) > MAX_LISTED
        else ""
    )
    rows = [[text(said) for said in row] for row in item.rows[:MAX_LISTED]]
    behind = details("The table behind this figure", table(item.head, rows, item.title + cut))
    drawn = item.picture.inline(item.shows)
    return section(
        item.title,
        figure(f"figure-{item.name}", item.shows, drawn, item.how, behind),
        name=item.name,
    )


def caveats(findings: Findings) -> Html:
    if not findings.notes.owners:
        return Html("")
    items = [
        tag("li", text(f"{sentence(said)}."), id=f"note-{i}")
        for i, said in enumerate(findings.notes.owners, 1)
    ]
    baselines = any(cell.baselines for cell in findings.cells)
    missing = (
        ""
        if baselines
        else " No dumb baselines are recorded, so chance and one-feature scores are unknown."
    )
    lead = paragraph(f"The small numbers beside scores and gains lead here.{missing}", "fine")
    people = paragraph(words.test_people(findings.cells))
    return section(
        "Read these numbers with care", people, lead, tag("ol", *items, cls="notes"), name="caveats"
    )


def cell_table(findings: Findings) -> Html:
    head = [
        "cell",
        "test",
        "gain",
        "validation, chosen trial",
        "trials",
        "failed",
        "pruned",
        "chosen settings",
    ]
    head += ["baselines", "compute", "digest"]
    gains = {gain.cell.digest: gain for gain in findings.gains}
    rows = [_cell_line(findings, cell, gains.get(cell.digest)) for cell in findings.cells]
    said = paragraph(
        "Also as cells.csv, and every member of every trial as members.csv, in the same folder.",
        "fine",
    )
    return section("All cells", table(head, rows, "One row per compared cell"), said, name="cells")


def missing_table(findings: Findings) -> Html:
    """Nothing where no set has two modalities."""
    cells = [cell for cell in findings.cells if cell.missing]
    choices = list(dict.fromkeys(choice for cell in cells for choice in cell.missing))
    if not cells:
        return Html("")
    rows = [
        [
            text(cell.label),
            text(number(cell.test.mean if cell.test else None)),
            *(text(number(cell.missing.get(choice))) for choice in choices),
        ]
        for cell in cells
    ]
    said = paragraph(
        "Test scores of the same refits, had the named modalities not been recorded at test.",
        "fine",
    )
    shown = table(["cell", "nothing missing", *choices], rows, "Test scores by what is missing")
    return section("Missing modalities", said, shown, name="missing")


def _cell_line(findings: Findings, cell: Outcome, gain: Gain | None) -> list[Html]:
    best = cell.best
    gained = (
        joined((text(spread(gain.effect, sign=True)), findings.gain_marks(gain)))
        if gain
        else text(DASH)
    )
    counts = (len(cell.searched), cell.n_searched("failed"), cell.n_searched("pruned"))
    baselines = (
        ", ".join(f"{name} {number(score)}" for name, score in cell.baselines.items())
        or "none recorded"
    )
    return [
        text(cell.label),
        joined((text(spread(cell.test)), findings.marks(cell.digest))),
        gained,
        text(number(best.value if best else None)),
        *(text(n) for n in counts),
        text(words.params_label(best.params) or "nothing searched" if best else DASH),
        text(baselines),
        text(duration(sum(row.seconds for row in cell.rows))),
        tag("code", text(cell.digest)),
    ]
