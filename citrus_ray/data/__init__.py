"""Sources of windows. The union is the registry: a new source is one file and one entry here."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from citrus_ray.data import sets
from citrus_ray.data.sources.bidmc import Bidmc
from citrus_ray.data.sources.bonn import Bonn
from citrus_ray.data.sources.emgdb import EmgDb
from citrus_ray.data.sources.files import Files
from citrus_ray.data.sources.fmri import Fmri
from citrus_ray.data.sources.mitbih import MitBih
from citrus_ray.data.sources.pairs import Pairs
from citrus_ray.data.sources.ptb import Ptb
from citrus_ray.data.sources.sleep_edf import SleepEdf
from citrus_ray.data.sources.synthetic import Synthetic
from citrus_ray.data.sources.synthetic_fmri import SyntheticFmri
from citrus_ray.data.sources.synthetic_sensors import SyntheticSensors
from citrus_ray.data.sources.uci_har import UciHar
from citrus_ray.data.sources.uwave import UWave

Kinds = Annotated[
    Bidmc
    | Bonn
    | EmgDb
    | Files
    | Fmri
    | MitBih
    | Pairs
    | Ptb
    | SleepEdf
    | Synthetic
    | SyntheticFmri
    | SyntheticSensors
    | UciHar
    | UWave,
    Field(discriminator="kind"),
]
AnySource = Annotated[
    Kinds, BeforeValidator(sets.resolver(Kinds))
]  # a name stands for the set in sets/

Pairs.model_rebuild(_types_namespace={"AnySource": AnySource})  # pairs are of any source but pairs
