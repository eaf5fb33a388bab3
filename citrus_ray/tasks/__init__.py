"""Pre-training tasks: what a sweep asks of one is in `specs`, the losses are in `losses`."""

from citrus_ray.tasks.specs import AnyTask

__all__ = ["AnyTask"]
