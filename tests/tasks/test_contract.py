"""Every pre-training task in the registry keeps the contract. A new entry is tested without
another line; options that change what a task is have one here."""

import pytest

from citrus_ray.models.specs import Crossmodal
from citrus_ray.tasks.specs import KINDS, CrossmodalViews, Masked, Spectral, TaskSpec
from citrus_ray.testing import TaskContract
from tests.small import registered

OF_SENSORS = Crossmodal(sensors="channel", encoder=TaskContract.encoder)


class TestTasks(TaskContract):
    @pytest.fixture(params=registered(KINDS), ids=lambda kind: kind.__name__)
    def spec(self, request: pytest.FixtureRequest) -> TaskSpec:
        of_sensors = request.param is CrossmodalViews
        self.encoder = OF_SENSORS if of_sensors else TaskContract.encoder
        spec: TaskSpec = request.param()
        return spec


OPTIONS: list[TaskSpec] = [
    Spectral(whiten="window"),
    Spectral(whiten="smooth", transform="stft"),
    Masked(neighbours=2, mix=1),
    Spectral(bottleneck=True),
]


@pytest.mark.slow
class TestOptions(TaskContract):
    @pytest.fixture(params=OPTIONS, ids=lambda spec: ",".join(map(str, spec.identity().values())))
    def spec(self, request: pytest.FixtureRequest) -> TaskSpec:
        spec: TaskSpec = request.param
        return spec
