"""What every source is: a spec that can be prepared into `Windows`; and types of its keys."""

import itertools
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from citrus_ray.context import TargetKind
from citrus_ray.data.formats.signals import PLAIN, FileLayout
from citrus_ray.data.root import place_of
from citrus_ray.data.windows import Windows
from citrus_ray.spec import Spec, digest_of

Normalize = Literal["none", "window", "recording"]
Positive = Annotated[float, Field(gt=0, le=1e9)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]
Name = Annotated[str, Field(min_length=1)]
Names = Annotated[tuple[Name, ...], Field(min_length=1)]


MOST_SAMPLES = 1e12  # 4 TB: more than any set has, and than any disk of today holds at ease


def refuse_too_many(n: float) -> None:
    """Refuse to make more samples than a disk holds."""
    if n > MOST_SAMPLES:
        rule = f"its windows would be {n:.3g} samples, {4 * n / 1e12:.3g} TB"
        raise ValueError(f"{rule}; make fewer subjects, windows, channels or seconds")


SCALED = {
    "none": "amplitudes as recorded",
    "window": "each window z-scored",
    "recording": "each recording z-scored",
    "run": "each run z-scored",
    "scan": "all runs of a subject z-scored together",
}

# what was found outside specs so far, by spec; None outside of `looked_once`
_looked: dict[tuple[type, str], str] | None = None


@contextmanager
def looked_once() -> Iterator[None]:
    """A block in which each source looks at its files once, however many digests need them: a
    plan, a trial. What changes under it is seen by the next block."""
    global _looked
    if _looked is not None:  # an outer block looks already
        yield
        return
    _looked = {}
    try:
        yield
    finally:
        _looked = None


@dataclass(frozen=True)
class Handling:
    """What a source does to a recording before and as it cuts it, for those who bring others: the
    keys of `SignalContract`."""

    normalize: Normalize = "none"
    detrend: bool = False
    resampled: bool = False
    short: bool = False
    absent: bool = False
    clean: dict[str, Any] = field(default_factory=dict)  # keys of `Cleaned`, as plain values
    layout: FileLayout = PLAIN
    around: str = ""
    of_windows: str = ""


class Source(Spec):
    """Where signals come from. `prepare` does the work; `windowing.cache.load` does it once."""

    # keys that say how many subjects are made and how they are cut and cleaned, not who they are
    cutting: ClassVar[frozenset[str]] = frozenset()
    kind: str

    @property
    def target_kind(self) -> TargetKind:
        """What its labels are, which is known before anything is read."""
        return "classes"

    @abstractmethod
    def prepare(self) -> Windows:
        """Windows, all read or made. Slow: call `cache.load(source)` instead."""

    def check(self) -> None:
        """Refuse, at once, all that would make `prepare` fail, as far as is cheap to tell."""

    def content(self) -> str:
        """A digest of the bytes outside the spec that the windows depend on; empty without any."""
        return ""

    def treatment(self) -> str:
        """What is done to its signals on the way to windows, in words: rate, cleaning, scale;
        empty where nothing is known of it."""
        known = dict(self)
        rate = known.get("sfreq")
        said = ["at their own rates" if rate == "native" else f"at {rate:g} Hz"] if rate else []
        said += self.cleaning()
        scale = known.get("normalize") or known.get("normalize_by")
        return ", ".join([*said, *([SCALED[scale]] if scale in SCALED else [])])

    def cleaning(self) -> list[str]:
        """What is done to recordings before they are cut, in words."""
        return []

    def recordings(self) -> str:
        """Where recordings are, or a digest of what makes them: equal for sources that only cut
        them otherwise."""
        if "root" not in type(self).model_fields:
            return digest_of({k: v for k, v in self.identity().items() if k not in self.cutting})
        tree = dict(self)
        return str(place_of(tree["root"], tree.get("kind", "")).resolve())

    def handling(self) -> Handling:
        """What is done to a recording. Of a source that does not say, only windows are known."""
        return Handling(of_windows=f"`kind: {self.kind}` makes windows in a way of its own")

    def recorded_channels(self) -> dict[str, tuple[str, float]]:
        """Unit and rate in Hz of each channel as it was recorded, where the source knows."""
        return {}

    def is_at(self, other: "Source") -> bool:
        """Whether one of the two is read from the folder of the other, or from one inside it."""
        pairs = itertools.product(self.places(), other.places())
        return any(one.is_relative_to(two) or two.is_relative_to(one) for one, two in pairs)

    def places(self) -> list[Path]:
        """Folders of its recordings."""
        return [Path(self.recordings())]

    def identity(self) -> dict[str, Any]:
        content = self._content()
        return super().identity() | ({"content": content} if content else {})

    def _content(self) -> str:
        if _looked is None:
            return self.content()
        key = type(self), self.model_dump_json()
        if key not in _looked:
            _looked[key] = self.content()
        return _looked[key]
