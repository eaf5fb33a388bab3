"""citrus_ray: distributed hyper-parameter sweeps for bio-signal transfer learning.

`Sweep`, `Trial`, `load_sweep` and `load_model` are looked up on first use, so that `import
citrus_ray` stays cheap.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from citrus_ray.experiment.sweep import Sweep, load_sweep
    from citrus_ray.experiment.trial import Trial
    from citrus_ray.inference.model import load_model

__all__ = ["Sweep", "Trial", "load_model", "load_sweep"]


def __getattr__(name: str) -> Any:
    if name == "Trial":
        from citrus_ray.experiment.trial import Trial

        return Trial
    if name in ("Sweep", "load_sweep"):
        from citrus_ray.experiment import sweep

        return getattr(sweep, name)
    if name == "load_model":
        from citrus_ray.inference.model import load_model

        return load_model
    raise AttributeError(f"module 'citrus_ray' has no attribute {name!r}")
