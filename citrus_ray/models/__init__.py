"""Encoders. The union is the registry: a new model is its sizes in `kinds.py`, one file and one entry here."""

import typing
from typing import Annotated

from pydantic import BeforeValidator, Field

from citrus_ray.models.encoder_spec import resolver
from citrus_ray.models.specs import Citrus, Conv, Crossmodal, Patch, Sequence

Singles = Citrus | Conv | Patch | Sequence
Single = Annotated[Singles, Field(discriminator="kind")]
Kinds = Annotated[Singles | Crossmodal, Field(discriminator="kind")]
# a word stands for the kind's defaults, `preset: base` for its larger sizes
AnySingle = Annotated[Single, BeforeValidator(resolver(Single, typing.get_args(Singles)))]
AnyEncoder = Annotated[
    Kinds, BeforeValidator(resolver(Kinds, typing.get_args(Singles | Crossmodal)))
]

Crossmodal.model_rebuild(
    _types_namespace={"AnySingle": AnySingle}
)  # a crossmodal encoder is of any but its own kind
