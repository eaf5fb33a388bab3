"""The page, top to bottom: what stands where. How it looks is in templates/page.html.j2."""

import json
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from citrus_ray.evidence import cost, pooled, standings
from citrus_ray.evidence.gains import Gain
from citrus_ray.evidence.outcomes import Outcome
from citrus_ray.evidence.stamps import AFTER
from citrus_ray.evidence.verdicts import Judged, told
from citrus_ray.evidence.worth import pooled_worth
from citrus_ray.experiment.labels import (
    Axes,
    axis_names,
    brief,
    canonical,
    count,
    settings_label,
    value_label,
)
from citrus_ray.records import Phase, Record
from citrus_ray.report import captions as words
from citrus_ray.report.exhibits.gains import badge, by_regime
from citrus_ray.report.findings import Findings
from citrus_ray.report.numbers import DASH, duration, number, sentence, spread
from citrus_ray.report.pictured import pictured
from citrus_ray.report.render import rendered
from citrus_ray.report.tables import Field, Table, TableRow

CLAIMS = 3  # that stand in the first screen; on a narrow one more are folded, and counted
METHODS = 6  # whose mean scores do
CARDS = 4  # gains; beyond it, one line each
MANY = 12  # undecided gains that are shown without being asked for
MAX_CODES = 12
ALONE = (
    "Refits the row's winner with its settings as they were chosen, without searching anew: a "
    "search of one row would draw other trials than the whole sweep drew."
)
ROOTS = ("finetune.target.root", "pretrain.source.root")


def page(findings: Findings) -> str:
    encoders = {row.encoder for row in findings.found.rows}
    drawn = [item for folder in findings.folders for item in pictured(folder, encoders)]
    folded = [part for part in _folded(findings) if part["table"] is not None]
    shown = {
        **_header(findings),
        "incomplete": [*_missing(findings), *_trouble(findings)],
        **_answers(findings),
        **_verdicts(findings),
        "results": findings.results,
        "notes": [sentence(said) for said in findings.notes.owners],
        "test_people": words.test_people(findings.cells),
        "signals": list(dict.fromkeys(s for plan in findings.designs for s in plan.signals)),
        "no_baselines": ""
        if any(cell.baselines for cell in findings.cells)
        else " No dumb baselines are recorded, so chance and one-feature scores are unknown.",
        "exhibits": [*findings.exhibits, *drawn],
        "search": findings.search,
        "folded_tables": folded,
        **_failures(findings),
        **_provenance(findings),
    }
    return rendered("page.html.j2", **shown, contents=list(_contents(shown)))


def _header(findings: Findings) -> dict[str, Any]:
    design, cells = findings.design, findings.cells
    n_more = len(findings.designs) - 1
    more = f" and {count(n_more, 'more folder')}" if n_more else ""
    newest = max((row.finished for row in findings.found.rows), default="")
    recorded = f"records up to {newest[:16].replace('T', ' ')} UTC" if newest else "no records"
    question = design.question or f"{design.name}: what does pre-training gain?"
    asked, mark, rest = question.partition("?")
    return {
        "name": design.name,
        "kicker": f"citrus_ray sweep report: {design.name} ({design.folder}){more}",
        "asked": asked + mark,
        "deck": rest.strip(),
        "state": [
            count(len(cells), "cell"),
            count(sum(len(cell.searched) for cell in cells), "searched trial"),
            count(sum(len(cell.scored) for cell in cells), "scored refit"),
            recorded,
        ],
    }


def _contents(shown: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Anchor and name of each section, in the order of the page."""
    yield "answer", "The answer"
    if shown["incomplete"]:
        yield "incomplete", "What is missing"
    yield "verdicts", "Cell against cell"
    yield from ((item.name, item.title) for item in shown["results"])
    if shown["notes"]:
        yield "caveats", "Caveats"
    for item in (*shown["exhibits"], *shown["search"]):
        yield (item["name"], item["title"]) if isinstance(item, dict) else (item.name, item.title)
    yield "cells", "All cells"
    yield "failures", "Failures"
    yield "again", "Make it again"


# ---- the answer ----


def _answers(findings: Findings) -> dict[str, Any]:
    """What is said before anything is shown: claims, the pooled answer, networks against
    closed-form methods, cost."""
    evidence = findings.evidence
    claims = [_claim(findings, one) for one in evidence.claims]
    n_shown = CLAIMS - (evidence.contest is not None)  # whose sentence takes the room of one
    rest = [claim["verdict"] for claim in claims[n_shown:]]
    return {
        "claims": claims[:n_shown],
        "more_claims": claims[n_shown:],
        "of_more_claims": ", ".join(f"{n} {verdict}" for verdict, n in Counter(rest).items()),
        "pooled": list(_pooled(findings)),
        "contest": evidence.contest,
        "networks": standings.told(evidence.standings),
        "halves": evidence.halves.told if evidence.halves else "",
        "cost": cost.told(findings.cost) if findings.found.rows else "",
    }


def _claim(findings: Findings, judged: Judged) -> dict[str, Any]:
    tree = judged.tree()
    return {
        "verdict": judged.verdict,
        "badge": f"{words.SIGNS[judged.verdict]} {judged.verdict}",
        "says": tree["says"],
        "late": AFTER if judged.is_late else "",
        "told": told(tree),
        "notes": findings.notes.of(*(cell.digest for cell in judged.cells)),
    }


def _pooled(findings: Findings) -> Iterable[dict[str, Any]]:
    """What each pre-training gains over everything; without one, the mean score of each method."""
    evidence = findings.evidence
    gains = pooled.over_everything(evidence.pools)
    for pool in gains:
        cells = (g for g in findings.gains if g.cell.arm_label == pool.arm)
        notes = sorted({note for gain in cells for note in findings.notes.of_gain(gain)})
        badged = {"verdict": pool.verdict, "badge": f"{words.SIGNS[pool.verdict]} {pool.verdict}"}
        yield {"name": pool.arm, "told": pooled.numbers(pool), "notes": notes, **badged}
    if gains or evidence.standings is None:
        return
    found = evidence.standings
    compared = [one for one in found.placed if one.standing.kind in standings.COMPARED]
    own = [one for one in compared if not one.standing.baseline]
    metric = words.metric_name(found.design.test_metric)
    for one in own[:METHODS]:
        over = f"mean of {count(len(found.places), 'place')}, {count(one.effect.n, 'round')}"
        said = f"{metric} {spread(one.effect)} ({over})"
        yield {"name": one.standing.label, "told": said, "notes": (), "verdict": "", "badge": ""}


# ---- what is missing ----


def _missing(findings: Findings) -> Iterable[str]:
    there = {canonical(cell.axes) for cell in findings.cells}
    absent = [
        axes for plan in findings.designs for axes in plan.cells if canonical(axes) not in there
    ]
    if absent:
        yield (
            f"{count(len(absent), 'compared cell')} without any record: "
            f"{_listed(map(settings_label, absent))}"
        )
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
        yield (
            "no scored from-scratch partner, so no gain, for "
            f"{count(len(alone), 'cell')}: {_listed(names)}"
        )


def _listed(names: Iterable[str], most: int = 6) -> str:
    names = list(names)
    more = f"; and {len(names) - most} more" if len(names) > most else ""
    return "; ".join(names[:most]) + more


def _trouble(findings: Findings) -> Iterable[str]:
    yield from (f"{plan.folder}: {plan.problem}" for plan in findings.designs if plan.problem)
    found = findings.found
    if found.unreadable:
        first = found.unreadable[0]
        yield (
            f"{count(len(found.unreadable), 'record file')} could not be read, first "
            f"{first.file}: {first.reason}"
        )
    if found.conflicts:
        n = len({(conflict.digest, conflict.phase) for conflict in found.conflicts})
        yield (
            f"{count(n, 'computation')} with different results in different copies (see "
            "Failures); which of them counts hangs on no clock"
        )
    if found.n_other:
        yield (
            f"{count(found.n_other, 'record')} of another spec of the same name lie in "
            "the folder and are left out"
        )
    if found.n_superseded:
        yield (
            f"{count(found.n_superseded, 'failed or cut-short run')} stand corrected by a "
            "full result of the same"
        )


# ---- verdicts ----


def _verdicts(findings: Findings) -> dict[str, Any]:
    """Cards for a few gains; of many, a line each, and undecided ones folded where they are very
    many."""
    gains = by_regime(findings.gains)
    if not gains:
        said = (
            "No verdict yet: it needs a pre-trained and a from-scratch cell, both scored "
            "on test data."
        )
        return {"verdicts_said": said, "cards": [], "lines": [], "folded": []}
    if len(gains) <= CARDS:
        cards = [_card(findings, gain) for gain in findings.gains]
        return {"verdicts_said": "", "cards": cards, "lines": [], "folded": []}
    undecided = [gain for gain in gains if gain.verdict == "undecided"]
    folded = undecided if len(undecided) > MANY else []  # a screen of open questions hides the rest
    return {
        "verdicts_said": words.verdicts_shown(gains),
        "cards": [],
        "lines": [_card(findings, gain) for gain in gains if gain not in folded],
        "folded": [_card(findings, gain) for gain in folded],
    }


def _card(findings: Findings, gain: Gain) -> dict[str, Any]:
    metric = gain.cell.design.test_metric
    return {
        "verdict": gain.verdict,
        "badge": badge(gain),
        "amount": words.amount(gain.effect.mean, metric, sign=True),
        "range": words.gain_range(gain.effect, metric),
        "sentence": words.verdict_sentence(gain),
        "evidence": words.evidence(gain),
        "line": words.verdict_line(gain),
        "notes": findings.notes.of_gain(gain),
    }


# ---- tables ----


def _folded(findings: Findings) -> Iterable[dict[str, Any]]:
    """Tables of all cells, one after the other."""
    cells, scores = findings.cells, "Mean over the rounds of each cell's winner"
    yield _part("cells", "", _cell_table(findings))
    yield _part("settings", "What the short names stand for.", _settings(cells))
    several = (
        f"A window has any of these labels at once. {scores}, each label against all windows "
        "without it."
    )
    yield _part("labels", several, _by_label(cells))
    missing = "Of the same refits, had the named modalities not been recorded at test."
    yield _part("missing", missing, _missing_modalities(cells))
    worth = (
        "The test score of all views less that of the others alone, of the same refits, with the "
        "interval over rounds."
    )
    yield _part("worth", worth, _worth(cells))
    identity = (
        "Share of the variance of pooled features that lies between training subjects (omega "
        "squared; 0: none), before pre-training and after."
    )
    yield _part("identity", identity, _identity(cells))
    trained = (
        "Numbers of each network, those that fine-tuning trained (the head always), and proof "
        "that weights from files are in it."
    )
    yield _part("networks", trained, _networks(cells))


def _part(name: str, said: str, table: Table | None) -> dict[str, Any]:
    return {"name": name, "said": said, "table": table, "title": table and table.name}


OF_CELLS = (
    *("test", "gain", "verdict", "validation, chosen trial", "trials", "failed", "pruned"),
    *("chosen settings", "baselines", "compute", "digest"),
)


def _cell_table(findings: Findings) -> Table:
    """A column for each compared axis, or for the name of the only cell."""
    cells, gains = findings.cells, findings.evidence.gain_of
    compared = [cell.axes for cell in cells]
    paths = dict.fromkeys(path for axes in compared for path in axes)
    names = axis_names(sorted(paths, key=lambda path: not path.startswith("pretrain")))
    head = tuple(names.values()) or ("cell",)
    rows = tuple(
        (
            *_axes(cell, list(names), compared),
            *_cell_line(findings, cell, gains.get(cell.digest)),
        )
        for cell in cells
    )
    return Table("One row per compared cell", (*head, *OF_CELLS), rows)


def _axes(cell: Outcome, paths: Sequence[str], compared: Sequence[Axes]) -> TableRow:
    short = brief(cell.axes, compared)
    return tuple(
        Field(value_label(path, short[path]), full=value_label(path, cell.axes[path]))
        if path in cell.axes
        else DASH
        for path in paths
    ) or (cell.label,)


def _cell_line(findings: Findings, cell: Outcome, gain: Gain | None) -> TableRow:
    best = cell.best
    gained: TableRow = (DASH, DASH)
    if gain:
        gained = (
            Field(spread(gain.effect, sign=True), findings.notes.of_gain(gain)),
            Field(badge(gain), style=f"badge {gain.verdict}"),
        )
    baselines = ", ".join(f"{name} {number(score)}" for name, score in cell.baselines.items())
    seconds = sum(row.seconds for row in cell.rows)
    return (
        Field(spread(cell.test), findings.notes.of(cell.digest)),
        *gained,
        number(best.value if best else None),
        str(len(cell.searched)),
        *(str(cell.n_searched(status)) for status in ("failed", "pruned")),
        words.params_label(best.params) or "nothing searched" if best else DASH,
        baselines or "none recorded",
        Field(duration(seconds), value=seconds),
        Field(cell.digest, style="code"),
    )


def _settings(cells: Sequence[Outcome]) -> Table | None:
    """Nothing where every name says all."""
    rows = tuple(
        (cell.label, Field(cell.settings, style="wide"), Field(cell.digest, style="code"))
        for cell in cells
    )
    if all(cell.label in (cell.settings, "the only cell") for cell in cells):
        return None
    return Table("All settings of each cell", ("cell", "compared settings", "digest"), rows)


def _missing_modalities(cells: Sequence[Outcome]) -> Table | None:
    """Nothing where no set has two modalities."""
    missing = [(cell, cell.missing) for cell in cells]
    return _beside_test("Test scores by what is missing", "nothing missing", missing)


def _by_label(cells: Sequence[Outcome]) -> Table | None:
    """The score of each label, where windows have any of several at once."""
    by_label = [(cell, cell.by_label) for cell in cells]
    return _beside_test("Test scores by label", "mean over labels", by_label)


def _beside_test(
    title: str, test: str, scores: Sequence[tuple[Outcome, Mapping[str, float]]]
) -> Table | None:
    """Further scores of cells by name, beside the one that is reported; nothing without any."""
    found = [(cell, more) for cell, more in scores if more]
    names = list(dict.fromkeys(name for _, more in found for name in more))
    if not found:
        return None
    rows = tuple(
        (
            cell.label,
            number(cell.test.mean if cell.test else None),
            *(number(more.get(name)) for name in names),
        )
        for cell, more in found
    )
    return Table(title, ("cell", test, *names), rows)


def _worth(cells: Sequence[Outcome]) -> Table | None:
    """What each view of a window adds to the test score of all, where there are several."""
    found = [cell for cell in cells if cell.worth]
    views = list(dict.fromkeys(view for cell in found for view in cell.worth))
    if not found:
        return None
    all_of = [(c.label, c.worth) for c in found]
    all_of += [(one.label, one.of_view) for one in pooled_worth(cells)]
    rows = tuple((label, *(spread(of.get(v), sign=True) for v in views)) for label, of in all_of)
    return Table("What each view adds to the test score of all", ("cell", *views), rows)


def _identity(cells: Sequence[Outcome]) -> Table | None:
    """Nothing where no refit recorded it."""
    rows = tuple(
        (cell.label, *(number(cell.identity.get(name)) for name in ("untrained", "start")))
        for cell in cells
        if cell.identity
    )
    head = ("cell", "never trained", "as fine-tuning starts")
    return Table("Share of an embedding that is the subject", head, rows) if rows else None


def _networks(cells: Sequence[Outcome]) -> Table | None:
    """What fine-tuning trained of each network, and what of it came from a file."""
    rows = tuple(
        (
            cell.label,
            f"{cell.network['parameters']:,}",
            f"{cell.network['trained']:,}",
            f"{cell.network['trained'] / cell.network['parameters']:.2%}",
            " to ".join(f"{n:,}" for n in dict.fromkeys(cell.network.get("steps", ()))) or DASH,
            Field("; ".join(cell.network["reads"]) or DASH, style="wide"),
            Field("; ".join(cell.network["weights"]) or DASH, style="wide"),
        )
        for cell in cells
        if cell.network
    )
    head = ("cell", "parameters", "trained", "share", "steps", "reads", "weights from files")
    return (
        Table("Parameters of each network, and weights that arrived", head, rows) if rows else None
    )


# ---- what went wrong ----


def _failures(findings: Findings) -> dict[str, Any]:
    rows = findings.found.rows
    counts = Counter((row.phase, row.status) for row in rows)
    names: dict[Phase, str] = {"search": "searched", "final": "refitted"}
    said = "; ".join(
        f"members {name}: {sum(row.phase == phase for row in rows):,}, of which "
        f"{counts[phase, 'failed']:,} failed and {counts[phase, 'pruned']:,} were stopped early"
        for phase, name in names.items()
    )
    reasons = Counter(
        (row.phase, row.reason or "no reason recorded") for row in rows if row.status == "failed"
    )
    listed: tuple[TableRow, ...] = tuple(
        (f"{n:,}", phase, Field(reason, style="wide"))
        for (phase, reason), n in reasons.most_common()
    )
    conflicts: tuple[TableRow, ...] = tuple(
        (Field(c.digest, style="code"), c.phase, c.metric, ", ".join(f"{v:.6g}" for v in c.values))
        for c in findings.found.conflicts
    )
    title = "The same computation with different results"
    head = ("digest", "phase", "metric", "values")
    return {
        "failures_said": f"{sentence(said)}.",
        "reasons": Table("Why members failed", ("members", "phase", "reason"), listed)
        if listed
        else None,
        "conflicts": Table(title, head, conflicts) if conflicts else None,
    }


# ---- how to get the same numbers again ----


def _provenance(findings: Findings) -> dict[str, Any]:
    """The chosen settings of each row as a command, with the digests that it must come back
    with."""
    rows: tuple[TableRow, ...] = tuple(
        (
            cell.label,
            Field(row_command(cell), style="code"),
            Field(_codes([row.digest for row in cell.final]), style="code"),
        )
        for cell in findings.cells
        if cell.final
    )
    head = ("cell", "command", "digests of its refits")
    return {
        "commands": commands(findings),
        "alone": ALONE,
        "row_commands": Table("The command for each row", head, rows),
        "facts": list(_facts(findings, findings.found.rows)),
        "specs": [(design.folder, design.text) for design in findings.designs if design.text],
    }


def commands(findings: Findings) -> list[str]:
    """What to type to get these numbers anew."""
    commits = sorted({row.commit.rstrip("+") for row in findings.found.rows if row.commit})
    checkout = [f"git checkout {commit}" for commit in commits[-1:]]
    data = data_flag(findings.found.rows)
    runs = [
        f"python sweeps/run.py {plan.folder}/spec.yaml --out again/{plan.name}{data}"
        for plan in findings.designs
    ]
    shown = " ".join(dict.fromkeys(f"again/{plan.name}" for plan in findings.designs))
    return [*checkout, *dict.fromkeys(runs), f"python analysis/report.py {shown}"]


def data_flag(rows: Iterable[Record]) -> str:
    """` --data DATA` where a source lies under the data folder, which is another one on every
    machine."""
    roots = {str(row.config[path]) for row in rows for path in ROOTS if path in row.config}
    return " --data DATA" if any(root == "None" or "CITRUS_DATA" in root for root in roots) else ""


def row_command(cell: Outcome) -> str:
    """What computes one row alone: its axes and its winner's settings as the only ones compared, no
    search.

    A search of one row would draw other trials than the whole sweep drew; the refit of known
    settings is the same.
    """
    settings = cell.final[0].params if cell.final else {}
    compare = {path: [value] for path, value in {**cell.axes, **settings}.items()}
    wanted = shlex.quote(f"compare={json.dumps(compare, sort_keys=True)}")
    # a claim about other rows would be refused
    edits = f"--set {wanted} --set 'search={{}}' --set 'claims=[]' --set decide=null"
    folder = cell.design.folder
    return (
        f"python sweeps/run.py {folder}/spec.yaml {edits} --out "
        f"again/{cell.digest}{data_flag(cell.rows)}"
    )


def _facts(findings: Findings, rows: Sequence[Record]) -> Iterable[tuple[str, str]]:
    specs = dict.fromkeys(design.spec_digest for design in findings.designs if design.spec_digest)
    yield "spec digest", _codes(list(specs)) if specs else "written when the sweep ends"
    yield "code", _commits(rows)
    yield "versions", _versions(rows)
    yield "data digests", _codes(sorted({row.data_digest for row in rows}))
    yield "encoder digests", _codes(sorted({row.encoder for row in rows if row.encoder}))
    yield "compute", _compute(rows)
    found = findings.found
    yield "records", f"{found.n_read:,} lines read, {found.n_computations:,} different computations"


def _commits(rows: Sequence[Record]) -> str:
    commits = Counter(row.commit for row in rows)
    if not commits or set(commits) == {None}:
        return "no commit recorded: the code did not run from a git checkout"
    edited = " (with uncommitted edits)"
    named = [
        (c.rstrip("+") + edited * c.endswith("+") if c else "not recorded", n)
        for c, n in commits.most_common()
    ]
    return "; ".join(n_ if len(named) == 1 else f"{n_}: {n:,} members" for n_, n in named)


def _versions(rows: Sequence[Record]) -> str:
    seen: dict[str, set[str]] = {}
    for versions in {id(row.versions): row.versions for row in rows}.values():
        for name, version in versions.items():
            seen.setdefault(name, set()).add(version)
    return (
        ", ".join(
            f"{name} {' and '.join(sorted(versions))}" for name, versions in sorted(seen.items())
        )
        or DASH
    )


def _compute(rows: Sequence[Record]) -> str:
    seconds = duration(sum(row.seconds for row in rows))
    at_once = ", ".join(str(n) for n in sorted({row.concurrency for row in rows})) or DASH
    peak = max((row.peak_mb for row in rows), default=0.0)
    return (
        f"{seconds} in members (pre-training apart), {at_once} trials at once, at most "
        f"{peak:,.0f} MB per process"
    )


def _codes(digests: Sequence[str | None]) -> str:
    more = f" and {len(digests) - MAX_CODES} more" if len(digests) > MAX_CODES else ""
    return ", ".join(str(digest) for digest in digests[:MAX_CODES]) + more or "none"
