"""Warm Ray Tune workers: one process runs trial after trial."""

from typing import Any

from ray import tune

from citrus_ray.experiment.sweep import Sweep
from citrus_ray.launch.failures import on_this_node
from citrus_ray.launch.runner import JobRunner, ResultPaths


class TrialRunner(tune.Trainable):  # type: ignore[misc]
    """`config` is `Job.config`. Warm by `reuse_actors`."""

    def setup(self, config: dict[str, Any], sweep_json: str, paths: ResultPaths) -> None:
        self.runner = JobRunner(Sweep.model_validate_json(sweep_json), paths)
        self.runner.begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.runner.begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        with on_this_node():
            return self.runner.step()
