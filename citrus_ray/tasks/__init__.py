"""Pre-training tasks. The union is the registry: a new task is its spec in `kinds.py`, one file and one entry here."""

from typing import Annotated

from pydantic import Field

from citrus_ray.tasks.specs import Crossmodal, Masked, NextThought, Spectral

AnyTask = Annotated[Crossmodal | Masked | NextThought | Spectral, Field(discriminator="kind")]
