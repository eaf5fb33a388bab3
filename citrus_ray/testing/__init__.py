"""Contract tests for models, tasks and sources of your own.

    from citrus_ray.testing import EncoderContract

    class TestMine(EncoderContract):
        block = {"kind": "custom", "cls": "my_module:MyNet"}

`block` is what a sweep would say; `pytest` then runs every promise that the rest relies on.
`FakeDevice` is a GPU that is not there: what one would refuse, or wait for, is seen without.
"""

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from citrus_ray.testing.device import FakeDevice as FakeDevice
    from citrus_ray.testing.encoders import EncoderContract as EncoderContract
    from citrus_ray.testing.sources import SourceContract as SourceContract
    from citrus_ray.testing.tasks import TaskContract as TaskContract

pytest.register_assert_rewrite(
    "citrus_ray.testing.encoders", "citrus_ray.testing.tasks", "citrus_ray.testing.sources"
)
HOMES = {
    "EncoderContract": "citrus_ray.testing.encoders",
    "TaskContract": "citrus_ray.testing.tasks",
    "SourceContract": "citrus_ray.testing.sources",
    "FakeDevice": "citrus_ray.testing.device",
}


def __getattr__(name: str) -> Any:
    """Looked up on first use: they load torch."""
    from citrus_ray.spec import locate

    if name not in HOMES:
        raise AttributeError(f"module 'citrus_ray.testing' has no attribute {name!r}")
    return locate(f"{HOMES[name]}:{name}")
