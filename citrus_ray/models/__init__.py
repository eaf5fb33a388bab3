"""Encoders. The union is the registry: a new model is one file and one entry here."""

from typing import Annotated

from pydantic import Field

from citrus_ray.models.conv import Conv

AnyEncoder = Annotated[Conv, Field(discriminator="kind")]
