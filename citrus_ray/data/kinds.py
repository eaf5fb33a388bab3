"""Sources by `kind`, and sets by name: each is imported when a sweep asks for it."""

from typing import Annotated

from pydantic import BeforeValidator, SerializeAsAny

from citrus_ray.data.sets import written_out
from citrus_ray.data.source import Source
from citrus_ray.spec import Kinds

SOURCES = {
    kind: f"citrus_ray.data.sources.{kind}:{name}"
    for kind, name in {
        "bidmc": "Bidmc",
        "bids": "Bids",
        "bonn": "Bonn",
        "emgdb": "EmgDb",
        "files": "Files",
        "fmri": "Fmri",
        "joined": "Joined",
        "mitbih": "MitBih",
        "pairs": "Pairs",
        "ptb": "Ptb",
        "sleep_edf": "SleepEdf",
        "synthetic": "Synthetic",
        "synthetic_fmri": "SyntheticFmri",
        "synthetic_sensors": "SyntheticSensors",
        "uci_har": "UciHar",
        "uwave": "UWave",
    }.items()
}
KINDS = Kinds(SOURCES, written_out, "sources")  # a name stands for the set in sets/
AnySource = Annotated[SerializeAsAny[Source], BeforeValidator(KINDS)]
