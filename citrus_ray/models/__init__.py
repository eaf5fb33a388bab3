"""Encoders. The union is the registry: a new model is one file and one entry here."""

import typing
from typing import Annotated

from pydantic import BeforeValidator, Field

from citrus_ray.models.citrus import Citrus
from citrus_ray.models.conv import Conv
from citrus_ray.models.encoder import resolver
from citrus_ray.models.patch import Patch
from citrus_ray.models.sequence import Sequence

Kinds = Annotated[Citrus | Conv | Patch | Sequence, Field(discriminator="kind")]
# a word stands for the kind's defaults, `preset: base` for its larger sizes
AnyEncoder = Annotated[Kinds, BeforeValidator(resolver(Kinds, typing.get_args(Citrus | Conv | Patch | Sequence)))]
