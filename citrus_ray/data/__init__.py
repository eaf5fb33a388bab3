"""Sources of windows. The union is the registry: a new source is one file and one entry here."""

from typing import Annotated

from pydantic import Field

from citrus_ray.data.files import Files
from citrus_ray.data.synthetic import Synthetic

AnySource = Annotated[Files | Synthetic, Field(discriminator="kind")]
