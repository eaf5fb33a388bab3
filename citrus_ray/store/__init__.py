"""Pre-trained encoders by digest, on a folder or on object storage: `<digest>/meta.json` and the
weights it names.

`python -m citrus_ray.store` lists, checks, prunes and exports them. Nothing here imports torch or
Ray.
"""

from citrus_ray.store.files import (
    ENCODERS,
    Places,
    Storage,
    Where,
    absolute,
    default_store,
    encoders_of,
    open_storage,
    store_beside,
)

__all__ = [
    "ENCODERS",
    "Places",
    "Storage",
    "Where",
    "absolute",
    "default_store",
    "encoders_of",
    "open_storage",
    "store_beside",
]
