"""What others' viewers open: Optuna's journal, TensorBoard's runs of winners, and trackers, from
one reading of the records."""

from pathlib import Path

from citrus_ray.evidence.evidence import Evidence
from citrus_ray.experiment.sweep import Sweep


def write_viewers(sweep: Sweep, evidence: Evidence, out: Path, ended: bool = False) -> list[str]:
    """Bring them up to the records; what is there already stays as it is. Returns what trackers
    lack."""
    from citrus_ray.search.optuna_bridge import export  # Optuna takes a moment to load

    export(sweep, evidence, out / "optuna.log")
    from citrus_ray.launch.tensorboard import Board
    from citrus_ray.launch.trackers import track

    Board(sweep, out / "tensorboard").show_refits(evidence)
    return track(sweep, evidence, out, ended)
