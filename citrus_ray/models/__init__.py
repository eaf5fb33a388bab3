"""Encoders: what a sweep says of one is in `specs`, the networks are in `nets`."""

from citrus_ray.models.specs import AnyEncoder

__all__ = ["AnyEncoder"]
