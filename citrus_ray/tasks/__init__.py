"""Pre-training tasks. The union is the registry: a new task is one file and one entry here."""

from typing import Annotated

from pydantic import Field

from citrus_ray.tasks.masked import Masked

AnyTask = Annotated[Masked, Field(discriminator="kind")]
