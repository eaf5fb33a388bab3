"""What went wrong, what it ran on, and how to get the same numbers again."""

import json
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence

from citrus_ray.evidence.outcomes import Outcome
from citrus_ray.evidence.reading import Collection
from citrus_ray.records import Phase, Record
from citrus_ray.report.findings import Findings
from citrus_ray.report.markup import (
    DASH,
    Html,
    definitions,
    details,
    duration,
    joined,
    paragraph,
    section,
    sentence,
    table,
    tag,
    text,
)

MAX_LISTED = 1000
ALONE = (
    "Refits the row's winner with its settings as they were chosen, without searching anew: a search of one row would "
    "draw other trials than the whole sweep drew."
)
ROOTS = ("finetune.target.root", "pretrain.source.root")


def failures(findings: Findings) -> Html:
    rows = findings.found.rows
    counts = Counter((row.phase, row.status) for row in rows)
    names: dict[Phase, str] = {"search": "searched", "final": "refitted"}
    said = "; ".join(
        f"members {name}: {sum(row.phase == phase for row in rows):,}, of which "
        f"{counts[phase, 'failed']:,} failed and {counts[phase, 'pruned']:,} were stopped early"
        for phase, name in names.items()
    )
    parts = [paragraph(f"{sentence(said)}. Failed members count in no mean.")]
    reasons = Counter(
        (row.phase, row.reason or "no reason recorded") for row in rows if row.status == "failed"
    )
    if reasons:
        lines = [
            [text(f"{n:,}"), text(phase), _wide(reason)]
            for (phase, reason), n in reasons.most_common(MAX_LISTED)
        ]
        parts.append(table(["members", "phase", "reason"], lines, "Why members failed"))
    if findings.found.conflicts:
        parts.append(
            details("The same computation with different results", _conflict_table(findings.found))
        )
    return section("Failures", *parts, name="failures")


def _wide(said: str) -> Html:
    return tag("span", text(said), cls="wide")


def _conflict_table(found: Collection) -> Html:
    rows = [
        [
            tag("code", text(c.digest)),
            text(c.phase),
            text(c.metric),
            text(", ".join(f"{v:.6g}" for v in c.values)),
        ]
        for c in found.conflicts[:MAX_LISTED]
    ]
    return table(
        ["digest", "phase", "metric", "values"], rows, "The same computation with different results"
    )


def provenance(findings: Findings) -> Html:
    rows = findings.found.rows
    lead = paragraph(
        "From a checkout of the code, into a folder of its own, so that nothing recorded is reused:"
    )
    facts = definitions(_facts(findings, rows))
    specs = [
        details(f"{plan.folder}/spec.yaml, as run", tag("pre", text(plan.text)))
        for plan in findings.designs
        if plan.text
    ]
    code = tag(
        "pre", tag("code", text("\n".join(commands(findings)))), tabindex="0", aria_label="commands"
    )
    alone = details("One row alone", paragraph(ALONE, "fine"), _row_commands(findings))
    return section("Make it again", lead, code, alone, facts, *specs, name="again")


def _row_commands(findings: Findings) -> Html:
    """The chosen settings of each row as a command, with the digests that it must come back with."""
    rows = [
        [
            text(cell.label),
            tag("code", text(row_command(cell))),
            _codes([row.digest for row in cell.final]),
        ]
        for cell in findings.cells
        if cell.final
    ]
    return table(["cell", "command", "digests of its refits"], rows, "The command for each row")


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
    """` --data DATA` where a source lies under the data folder, which is another one on every machine."""
    roots = {str(row.config[path]) for row in rows for path in ROOTS if path in row.config}
    return " --data DATA" if any(root == "None" or "CITRUS_DATA" in root for root in roots) else ""


def row_command(cell: Outcome) -> str:
    """What computes one row alone: its axes and its winner's settings as the only ones compared, no search.

    A search of one row would draw other trials than the whole sweep drew; the refit of known settings is the same.
    """
    settings = cell.final[0].params if cell.final else {}
    compare = {path: [value] for path, value in {**cell.axes, **settings}.items()}
    wanted = shlex.quote(f"compare={json.dumps(compare, sort_keys=True)}")
    edits = f"--set {wanted} --set 'search={{}}' --set 'claims=[]'"  # a claim about other rows would be refused
    folder = cell.design.folder
    return f"python sweeps/run.py {folder}/spec.yaml {edits} --out again/{cell.digest}{data_flag(cell.rows)}"


def _facts(findings: Findings, rows: Sequence[Record]) -> Iterable[tuple[str, Html]]:
    specs = dict.fromkeys(plan.spec_digest for plan in findings.designs if plan.spec_digest)
    yield "spec digest", _codes(list(specs)) if specs else text("written when the sweep ends")
    yield "code", _commits(rows)
    yield "versions", text(_versions(rows))
    yield "data digests", _codes(sorted({row.data_digest for row in rows}))
    yield "encoder digests", _codes(sorted({row.encoder for row in rows if row.encoder}))
    yield "compute", text(_compute(rows))
    found = findings.found
    yield (
        "records",
        text(f"{found.n_read:,} lines read, {found.n_computations:,} different computations"),
    )


def _commits(rows: Sequence[Record]) -> Html:
    commits = Counter(row.commit for row in rows)
    if not commits or set(commits) == {None}:
        return text("no commit recorded: the code did not run from a git checkout")
    edited = " (with uncommitted edits)"
    named = [
        (c.rstrip("+") + edited * c.endswith("+") if c else "not recorded", n)
        for c, n in commits.most_common()
    ]
    return text(
        "; ".join(name if len(named) == 1 else f"{name}: {n:,} members" for name, n in named)
    )


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
    return f"{seconds} in members (pre-training apart), {at_once} trials at once, at most {peak:,.0f} MB per process"


def _codes(digests: Sequence[str | None], most: int = 12) -> Html:
    if not digests:
        return text("none")
    more = text(f" and {len(digests) - most} more") if len(digests) > most else Html("")
    return joined((joined((tag("code", text(digest)) for digest in digests[:most]), ", "), more))
