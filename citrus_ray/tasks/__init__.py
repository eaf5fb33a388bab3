"""Pre-training tasks. The union is the registry: a new task is one file and one entry here."""

from typing import Annotated

from pydantic import Field

from citrus_ray.tasks.crossmodal import Crossmodal
from citrus_ray.tasks.masked import Masked
from citrus_ray.tasks.next_thought import NextThought
from citrus_ray.tasks.spectral import Spectral

AnyTask = Annotated[Crossmodal | Masked | NextThought | Spectral, Field(discriminator="kind")]
