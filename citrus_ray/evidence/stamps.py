"""Stamps on claims: when each was first asked, and whether records were there by then.

A claim that was written down after the records may have been chosen for what they say. It says so
for ever: a stamp is never changed, and a claim that is changed, or asked at another error or
margin, is another one. One that was dropped goes on to count among those that were asked.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from citrus_ray import records
from citrus_ray.experiment.hypotheses import Hypothesis, Verdicts

FILE = "claims.json"
AFTER = "after the records"
Stamps = dict[str, bool]  # by the claim's identity: whether records were there before it


def read_stamps(folder: Path) -> Stamps | None:
    """None where the folder has none that can be read: its claims stand as after the records."""
    try:
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return {str(one["claim"]): bool(one["after_records"]) for one in found}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def stamp(
    folder: Path, claims: Sequence[Hypothesis], verdicts: Verdicts, has_records: bool
) -> None:
    """Write down the claims that are new, before anything more is computed."""
    path = folder / FILE
    known = read_stamps(folder) or {}
    new = [claim for claim in claims if claim.identity_of_claim(verdicts) not in known]
    if not new:
        return
    told = json.loads(path.read_text(encoding="utf-8")) if known else []
    told += [
        {
            "claim": claim.identity_of_claim(verdicts),
            "says": claim.says,
            "asked": records.now(),
            "after_records": has_records,
        }
        for claim in new
    ]
    records.write_text(path, json.dumps(told, indent=1) + "\n")
