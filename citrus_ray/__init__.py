"""citrus_ray: distributed hyper-parameter sweeps for bio-signal transfer learning.

Public names are looked up on first use, so that `import citrus_ray` stays cheap.
"""

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from citrus_ray.experiment.sweep import Sweep, load_sweep
    from citrus_ray.experiment.trial import Trial
    from citrus_ray.inference.model import load_model
    from citrus_ray.report.results import Results
    from citrus_ray.spec import SpecError

    __version__: str

__all__ = ["Results", "SpecError", "Sweep", "Trial", "__version__", "load_model", "load_sweep"]

_HOMES = {
    "Results": "report.results",
    "SpecError": "spec",
    "Sweep": "experiment.sweep",
    "Trial": "experiment.trial",
    "load_model": "inference.model",
    "load_sweep": "experiment.sweep",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return metadata.version("citrus_ray")  # its one source is pyproject.toml
    if name in _HOMES:
        return getattr(import_module(f"citrus_ray.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'citrus_ray' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
