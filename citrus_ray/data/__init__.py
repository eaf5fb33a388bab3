"""Signals: where windows come from, and what a network gets of them."""

from citrus_ray.data.kinds import AnySource

__all__ = ["AnySource"]
