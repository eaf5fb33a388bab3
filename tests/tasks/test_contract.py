"""Every pre-training task in the registry keeps the contract. A new entry is tested without
another line; options that change what a task is have one here."""

import pytest

from citrus_ray.models.specs import KINDS as MODELS
from citrus_ray.models.specs import Crossmodal
from citrus_ray.tasks.losses.reconstruction import ReconstructionTask
from citrus_ray.tasks.specs import (
    KINDS,
    CrossmodalViews,
    Latent,
    Masked,
    Reconstruction,
    SimMtm,
    Spectral,
    TaskSpec,
    Ts2Vec,
)
from citrus_ray.testing import TaskContract
from citrus_ray.testing.tasks import CTX, generator, rhythms
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


MIXING = MODELS({"kind": "custom", "cls": "tests.models.mixing:MixNet"})


@pytest.mark.slow
class TestJointTokens(TaskContract):
    """Of encoders whose tokens are of all channels together."""

    encoder = MIXING

    @pytest.fixture(
        params=[Masked(), Spectral(), Latent(), Ts2Vec(), SimMtm()],
        ids=lambda spec: ",".join(map(str, spec.identity().values())),
    )
    def spec(self, request: pytest.FixtureRequest) -> TaskSpec:
        spec: TaskSpec = request.param
        return spec

    def test_all_channels_are_hidden_together_and_each_is_predicted(self, spec):
        if not isinstance(spec, Reconstruction):
            pytest.skip("does not predict what it hides")
        task = self.build(spec)
        assert isinstance(task, ReconstructionTask)
        hidden = task.hidden((3, 2, 24), generator())
        assert (hidden[:, :1] == hidden).all()
        assert (hidden.sum(dim=2) == 12).all()
        asked = task.question(rhythms(3), generator())
        n_rows = 1 if isinstance(spec, Latent) else 2
        assert asked.target.shape[:2] == asked.wanted.shape[:2] == (3, n_rows)


@pytest.mark.parametrize("odd", [{"encode": "visible"}, {"mix": 1}, {"neighbours": 2}])
def test_what_needs_a_token_for_each_channel_is_refused_of_joint_ones(odd):
    (name, value), *_ = odd.items()
    said = KINDS({"kind": "masked", **odd}).misfit(MIXING, CTX)
    assert said is not None
    assert said.startswith(f"{name}={value}: custom has one token for all channels")
