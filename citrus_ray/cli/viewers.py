"""What others' viewers open: Optuna's journal and TensorBoard's runs of winners, from one reading
of the records."""

from pathlib import Path

from citrus_ray.evidence.evidence import Evidence
from citrus_ray.experiment.sweep import Sweep


def write_viewers(sweep: Sweep, evidence: Evidence, out: Path) -> None:
    """Bring them up to the records; what is there already stays as it is."""
    from citrus_ray.search.optuna_bridge import export  # Optuna takes a moment to load

    export(sweep, evidence, out / "optuna.log")
    from citrus_ray.launch.tensorboard import Board

    Board(sweep, out / "tensorboard").show_refits(evidence)
