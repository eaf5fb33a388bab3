"""Pre-trained encoders by digest, on a folder or on object storage: `<digest>/meta.json` and the
weights it names.

`python -m citrus_ray.store` lists, checks, prunes and exports them. Nothing here imports torch or
Ray.
"""

from citrus_ray.store.files import (
    Storage,
    Where,
    absolute,
    default_store,
    open_storage,
    store_beside,
)

__all__ = ["Storage", "Where", "absolute", "default_store", "open_storage", "store_beside"]
