"""`citrus init FOLDER`: looks at a folder of recordings and writes a first sweep of it.

Finds formats, rates, channels, labels and people, tries what it found, and writes a spec that runs
as it is. What it could not tell stands at the top of the file and on the screen: read it.
"""

import argparse
import glob
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from citrus_ray.data.originals import source_of
from citrus_ray.data.tools.look import Found, look
from citrus_ray.data.windowing import cache
from citrus_ray.data.windowing.splits import Split, split
from citrus_ray.data.windows import Windows
from citrus_ray.experiment.dry_run import DryRun, check_data
from citrus_ray.experiment.sweep import parse_sweep
from citrus_ray.records import write_text
from citrus_ray.spec import SpecError, parse_yaml, refuse

MOST_LABELS = 20  # of each class, in a first sweep
FEW_GROUPS = 4  # below: split by time, as people cannot be
BLOCKS = (6, 4, 3)  # of each group, the most that its windows allow
SEEDS = (0, 1, 2)  # splits that are tried
UNLABELLED = "{kind: synthetic, seed: 2, n_subjects: 16}"
# keys of a source that are of labels
OF_LABELS = ("labels", "label_pattern", "column", "classes", "group_blocks")
COSTS = "see --dry-run"
TRIAL = """\
HEAD
name: NAME
objective: {metric: val/balanced_accuracy, mode: max}

trial:
  model: MODEL
  pretrain:
    source: &mine
SOURCE
    task: null                # null: from scratch; who tests is left out of pre-training
    epochs: 5
  finetune:
    target: TARGET
    labels: {per_class: LABELS}       # to learn from and, a third of them, to choose by
    pool: channels
    steps: 60

compare:                      # a study each, a row each in the result
"""
PRETRAINED = f"""{TRIAL}\
  pretrain.task: [null, {{kind: masked}}]
search:                       # tried at the same points in both rows
  pretrain.task.ratio: {{choice: [0.4, 0.6]}}
  finetune.optim.lr: {{loguniform: [3e-4, 3e-3]}}
budget: {{trials: 2}}           # of each row
claims:                       # what is asked; written down before anything runs
  - says: masked pre-training helps
    better: {{pretrain.task: {{kind: masked}}}}
    worse: {{pretrain.task: null}}
final: {{rounds: 5}}            # each draws labels, weights and who tests anew; more decide more
"""
COMPARED = f"""{TRIAL}\
  model: [MODEL, band_power, bag]
budget: {{trials: 1}}           # of each row
final: {{rounds: 5}}            # each draws labels, weights and who tests anew
"""


@dataclass
class FirstSweep:
    """What is proposed: a source block that was tried, and the sweep around it."""

    name: str
    found: Found
    block: dict[str, Any]
    windows: Windows | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def n_labels(self) -> int:
        """Labels of each class: at most half of what those who do not test have of the rarest."""
        windows = self.windows
        assert windows is not None
        parts = split(windows, Split(), 0)
        rest = np.concatenate([parts.train, parts.val])
        return max(2, min(MOST_LABELS, int(np.bincount(windows.labels[rest]).min()) // 2))


def main(argv: Sequence[str], prog: str = "citrus init") -> int:
    """Exit code 0: written and tried, 1: written but it does not run yet, 2: nothing to write."""
    options = command_parser(prog).parse_args(argv)
    folder = options.folder.expanduser().resolve()
    name = options.name or re.sub(r"[^a-z0-9]+", "_", folder.name.lower()).strip("_") or "mine"
    out = options.out or Path(f"{name}.yaml")
    try:
        if out.exists() and not options.force:
            raise refuse(f"{out} is there already; give --out FILE, or --force to replace it")
        first = propose(folder, name, out, options.rate)
        text, problem = sweep_text(first, out)
        text = text if problem else text.replace(COSTS, costs(text, out))
    except SpecError as err:
        print(f"error: {err}", file=sys.stderr)
        return 2
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, text)
    print(_said(first, out, problem))
    return 1 if problem else 0


def command_parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog, description=__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the folder of the recordings")
    what = "where the sweep is written (default: NAME.yaml here)"
    parser.add_argument("--out", type=Path, metavar="FILE", help=what)
    parser.add_argument("--name", help="of the sweep (default: that of the folder)")
    what = "rate in Hz of tables that have no column of times"
    parser.add_argument("--rate", type=float, metavar="HZ", help=what)
    parser.add_argument("--force", action="store_true", help="replace FILE")
    return parser


# ---- what works ----


def propose(folder: Path, name: str, out: Path, rate: float | None = None) -> FirstSweep:
    """What the folder holds, with a block whose windows were read and can be split."""
    found = look(folder, rate)
    first = FirstSweep(name, found, dict(found.block))
    if found.table is not None and found.table.text:
        path = out.resolve().with_name(f"{out.stem}-labels.csv")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, found.table.text)
        first.block["labels"] = glob.escape(str(path))
        first.notes.append(f"{path.name} holds {found.table.name} as `kind: files` reads it")
    try:
        _try(first)
    except SpecError as err:
        if not found.labelled:
            raise
        for key in OF_LABELS:
            found.block.pop(key, None)
        found.unknown.append(f"labels that a sweep can use: {err}")
        first.block = dict(found.block)
        _try(first)
    return first


def _try(first: FirstSweep) -> None:
    """Read the windows, and see to it that they can be split."""
    source = source_of(first.block)
    source.check()
    first.windows = cache.load(source)
    if first.found.labelled:
        _splittable(first)
        _scaled(first)


def _splittable(first: FirstSweep) -> None:
    """Leave out classes of too few groups, or split by time where there are too few people."""
    windows = first.windows
    assert windows is not None
    if len(np.unique(windows.group)) < FEW_GROUPS:
        windows = _by_time(first, windows)
    left = list(windows.classes)
    while problem := _unsplittable(windows):
        group, y = windows.group, windows.labels
        of = {k: (len(np.unique(group[y == k])), int((y == k).sum())) for k in range(len(left))}
        rarest = left[min(of, key=lambda k: of[k])]
        left.remove(rarest)
        if len(left) < 2:
            raise refuse(f"no two classes can be split by people: {problem}")
        first.notes.append(f"{rarest} is left out, being in too few groups to split")
        first.block["classes"] = left
        first.windows = windows = cache.load(source_of(first.block))


def _by_time(first: FirstSweep, windows: Windows) -> Windows:
    """Windows of groups that are cut by time into as many blocks as they allow."""
    n = len(np.unique(windows.group))
    for blocks in BLOCKS:
        first.block["group_blocks"] = blocks
        try:
            first.windows = cache.load(source_of(first.block))
        except SpecError:
            if blocks == BLOCKS[-1]:
                raise
        else:
            what = f"only {n} groups: each is cut into {blocks} by time, which is no new person"
            first.notes.append(what)
            return first.windows
    return windows


def _unsplittable(windows: Windows) -> str:
    try:
        for seed in SEEDS:
            split(windows, Split(), seed)
    except SpecError as err:
        return str(err)
    return ""


def _scaled(first: FirstSweep) -> None:
    """Keep amplitudes where a recording is hardly more than a window, which would lose them."""
    windows = first.windows
    assert windows is not None
    units = {c.unit.lower() for h in first.found.headers.values() for c in h.channels}
    if windows.origins is None or len(units) > 1:
        return
    n = len(windows) / len(np.unique(windows.origins.run))
    if n < 2:
        first.block["normalize"] = "none"
        first.notes.append("a recording is about one window, so amplitudes are kept as recorded")
        first.windows = cache.load(source_of(first.block))


# ---- the file ----


def sweep_text(first: FirstSweep, out: Path) -> tuple[str, str]:
    """The text of a sweep that was checked, and what is wrong with it if something is."""
    text, problem = "", ""
    for pretrained in (True, False):  # not all signals suit what is tried first
        text = _text(first, out, pretrained)
        try:
            check_data(parse_sweep(parse_yaml(text, str(out))))
        except SpecError as err:
            problem = problem or str(err)
        else:
            return text, ""
    return text, problem


def costs(text: str, out: Path) -> str:
    minutes = round(sum(DryRun(parse_sweep(parse_yaml(text, str(out)))).cpu_seconds) / 60)
    said = f"{minutes} minutes" if minutes > 1 else "a minute"
    return f"about {said} of one core; --dry-run says more"


def _text(first: FirstSweep, out: Path, pretrained: bool) -> str:
    found = first.found
    head = [
        _question(first, pretrained),
        f"Run:     citrus run {out}",
        f"Costs:   {COSTS}",
        f"Expect:  {_expected(first)}",
        *(f"Found:   {said}" for said in [*found.facts, *first.notes]),
        *(f"Unsure:  {said}" for said in found.unknown),
    ]
    blanks = {
        "HEAD": "\n".join(f"# {line}" for line in head),
        "NAME": first.name,
        "MODEL": _model(first),
        "SOURCE": _yaml(first.block),
        "TARGET": "*mine" if found.labelled else UNLABELLED,
        "LABELS": str(first.n_labels if found.labelled else 8),
    }
    text = PRETRAINED if pretrained else COMPARED
    return re.sub("|".join(blanks), lambda blank: blanks[blank[0]], text)


def _model(first: FirstSweep) -> str:
    """A small network whose tokens are no longer than the shortest windows allow."""
    assert first.windows is not None
    n_strides = min(4, max(1, int(np.log2(first.windows.context.n_times / 4))))
    strides = "" if n_strides == 4 else f", strides: {[2] * n_strides}"
    return f"{{kind: conv, dim: 32{strides}}}"


def _yaml(block: dict[str, Any]) -> str:
    lines = (
        f"      {key}: {json.dumps(value, ensure_ascii=False)}" for key, value in block.items()
    )
    return "\n".join(lines)


def _question(first: FirstSweep, pretrained: bool) -> str:
    name = first.found.root.name
    if not first.found.labelled:
        return f"What does pre-training on {name} gain on a made-up target? (put one of yours)"
    if pretrained:
        return f"Does pre-training on {name} help to tell its classes apart with few labels?"
    return f"What tells the classes of {name} apart with few labels?"


def _expected(first: FirstSweep) -> str:
    windows = first.windows
    if windows is None or not windows.classes:
        return "little: the target is made up, so that this runs; put a labelled set there."
    n = len(windows.classes)
    of = ", ".join(windows.classes[:6]) + (", …" if n > 6 else "")
    return f"chance is {1 / n:.2f} ({n} classes: {of}); methods without a network beside it."


def _said(first: FirstSweep, out: Path, problem: str) -> str:
    windows, found = first.windows, first.found
    assert windows is not None
    counts = (
        ", ".join(f"{k} {n}" for k, n in windows.class_counts().items())
        if windows.classes
        else "none"
    )
    ctx = windows.context
    size = f"{len(windows)} windows of {ctx.n_chans} x {ctx.seconds:g} s at {ctx.sfreq:g} Hz"
    lines = [
        f"{found.root}:",
        *(f"  {said}" for said in [*found.facts, *first.notes]),
        f"  {size}, {len(np.unique(windows.group))} groups; classes: {counts}",
        *(["could not tell:"] if found.unknown else []),
        *(f"  {said}" for said in found.unknown),
    ]
    if problem:
        return "\n".join([*lines, f"wrote {out}, which does not run yet: {problem}"])
    return "\n".join(
        [
            *lines,
            f"wrote {out}; next:",
            f"  citrus data describe {out}:trial.pretrain.source    # what could flatter a number",
            f"  citrus run {out} --dry-run",
            f"  citrus run {out}",
        ]
    )
