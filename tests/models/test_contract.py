"""Every encoder in the registry keeps the contract. A new entry is tested without another line."""

import pytest

from citrus_ray.models.specs import ENCODERS, EncoderSpec
from citrus_ray.testing import EncoderContract
from tests.small import registered


class TestEncoders(EncoderContract):
    @pytest.fixture(params=registered(ENCODERS), ids=lambda kind: kind.__name__)
    def spec(self, request: pytest.FixtureRequest) -> EncoderSpec:
        spec: EncoderSpec = request.param()
        return spec
