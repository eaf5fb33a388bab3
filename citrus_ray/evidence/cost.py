"""What a sweep cost in seconds of compute, from its records and from what is stored with its
encoders."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from citrus_ray.evidence.trials import Result
from citrus_ray.experiment.labels import count
from citrus_ray.records import Record
from citrus_ray.store import Places, checkpoint


def saved(trials: Sequence[Result], n_members: int) -> dict[str, Any]:
    """What racing did not run, at the mean price of what ran."""
    n_saved = sum(n_members - len(t.values) for t in trials if t.status == "pruned")
    n_ran, seconds = sum(len(t.values) for t in trials), sum(t.seconds for t in trials)
    return {
        "members_saved": n_saved,
        "seconds_saved": round(n_saved * seconds / max(n_ran, 1), 2),
    }


class GpuMeter:
    """Seconds of GPU: of trials, by the share that they asked for, and of the encoders they rest
    on, each once."""

    def __init__(self, store: Places) -> None:
        self.store, self.seconds = store, 0.0
        self._counted: set[str] = set()

    def add(self, rows: Iterable[Record]) -> None:
        for row in rows:
            self.seconds += row.seconds * row.gpu
            if row.encoder and row.config.get("pretrain.gpu") and row.encoder not in self._counted:
                self._counted.add(row.encoder)
                self.seconds += self._pretraining(row.encoder)

    def _pretraining(self, encoder: str) -> float:
        """None of one that was asked of a GPU and ran without."""
        meta = checkpoint.meta_or_none(self.store, encoder) or {}
        if meta.get("device", "cuda") == "cpu":
            return 0.0
        return float(meta.get("seconds", 0.0) * meta.get("workers", 1))


def cost(rows: Iterable[Record], store: Places) -> dict[str, Any]:
    """Seconds of trials and of the pre-trainings they rest on, each encoder once, whichever
    sweep computed it."""
    rows = list(rows)
    encoders = sorted({row.encoder for row in rows if row.encoder})
    stored = [meta for e in encoders if (meta := checkpoint.meta_or_none(store, e))]
    meter = GpuMeter(store)
    meter.add(rows)
    found = {
        phase: sum(row.seconds for row in rows if row.phase == phase)
        for phase in ("search", "final")
    }
    pretraining = sum(meta.get("seconds", 0.0) * meta.get("workers", 1) for meta in stored)
    return {
        "search_seconds": round(found["search"], 2),
        "final_seconds": round(found["final"], 2),
        "pretrain_seconds": round(pretraining, 2),
        "gpu_seconds": round(meter.seconds, 2),
        "failed_seconds": round(sum(row.seconds for row in rows if row.status == "failed"), 2),
        "n_pretrainings": len(stored),
        "n_encoders": len(encoders),
        "pretrained_on": dict(Counter(meta["device"] for meta in stored if "device" in meta)),
    }


def known_cost(rows: Iterable[Record], store: Places, said: Mapping[str, Any]) -> dict[str, Any]:
    """As `cost`, of pre-trainings what a summary said where their store is not here any longer."""
    total = cost(rows, store)
    if total["n_pretrainings"] < said.get("n_pretrainings", 0):
        names = ("pretrain_seconds", "n_pretrainings", "pretrained_on")
        total |= {name: said[name] for name in names if name in said}
    return total


def told(total: Mapping[str, Any]) -> str:
    """What `cost` found, in a sentence."""
    search, final, pretrain = (total[f"{part}_seconds"] for part in ("search", "final", "pretrain"))
    n, lost = total["n_pretrainings"], total["n_encoders"] - total["n_pretrainings"]
    parts = [f"{duration(pretrain)} in {count(n, 'pre-training')}"] if n else []
    if lost:
        parts.append(f"pre-training of {count(lost, 'encoder')} unknown (their store is not here)")
    parts += [f"{duration(search)} in the search", f"{duration(final)} in refits"]
    line = f"{duration(search + final + pretrain)} of compute: {', '.join(parts)}"
    if total["failed_seconds"]:
        line += f"; {duration(total['failed_seconds'])} of it in members that failed"
    return f"{line}."


def duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
