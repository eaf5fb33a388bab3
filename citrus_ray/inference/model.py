"""A kept model, ready to be asked: arrays or recordings in, probabilities out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from citrus_ray.context import SignalContext, TargetKind
from citrus_ray.data.expected import SignalContract
from citrus_ray.data.faults import suggest
from citrus_ray.data.formats.labels import Stretch
from citrus_ray.data.formats.recordings import resample
from citrus_ray.data.formats.signals import Channel
from citrus_ray.data.formats.tracks import Track
from citrus_ray.data.sources.files import Files
from citrus_ray.data.sources.given import CLOSE, Allowed, GivenRecordings
from citrus_ray.data.windowing.align import Align, AnyAlign
from citrus_ray.data.windowing.assemble import assemble, gather
from citrus_ray.data.windowing.cutting import Cutter
from citrus_ray.data.windowing.normalize import straightened, zscore
from citrus_ray.data.windowing.view import View
from citrus_ray.data.windows import Index, Signal, Windows
from citrus_ray.spec import refuse, validate
from citrus_ray.store import kept
from citrus_ray.store.predictions import probabilities_of
from citrus_ray.training.learner import Reader
from citrus_ray.training.portable import Arrays, context_of, put_together

Floats = npt.NDArray[np.floating]
ALIGN: TypeAdapter[Align] = TypeAdapter(AnyAlign)


class _Given(Reader):
    """Windows that a kept model is given, on the scales that it was trained on."""

    def __init__(self, windows: Windows, view: View, ctx: SignalContext) -> None:
        self.windows, self.view, self._ctx = windows, view, ctx

    @property
    def context(self) -> SignalContext:
        return self._ctx


@dataclass(frozen=True)
class Predicted:
    """What a model says of the windows of recordings."""

    recordings: tuple[str, ...]  # their names
    recording: Index  # (n,), of each window, into `recordings`
    start_s: Floats  # (n,), from the beginning of its recording
    stop_s: Floats  # (n,)
    outputs: Floats  # (n, K) probabilities, or (n, 1) values
    labels: tuple[str, ...] = ()  # of each window, where a table says
    notes: tuple[str, ...] = ()  # what whoever reads them should know


@dataclass(frozen=True)
class KeptModel:
    """A model from a folder that a sweep with `final: {keep: true}` wrote.

    `model(x, sfreq, ch_names)` takes one recording (C, T) in physical units at `sfreq` Hz, channels
    in any order by their names, or windows (n, C, T) that are cut already; it gives probabilities
    (n, K), a row for each window of `seconds`, a column for each of `classes`; or values (n, 1).
    """

    folder: Path
    facts: dict[str, Any]
    arrays: Arrays

    @cached_property
    def expected(self) -> SignalContract:
        """What signals must be like."""
        return validate(SignalContract, self.facts["expected"])

    @property
    def target(self) -> TargetKind:
        """What it predicts: classes, or a value."""
        return self.facts["target"]  # type: ignore[no-any-return]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the columns of what it gives."""
        return tuple(self.facts["classes"])

    @property
    def ch_names(self) -> tuple[str, ...]:
        """The channels that it reads."""
        return tuple(channel.name for channel in self.expected.channels)

    @property
    def units(self) -> tuple[str, ...]:
        """Unit of each channel; empty where it does not matter, or is not known."""
        return tuple(channel.unit for channel in self.expected.channels)

    @property
    def sfreq(self) -> float:
        """Rate of its windows in Hz."""
        return self.expected.streams[0].sfreq

    @property
    def seconds(self) -> float:
        """Length of a window."""
        return self.expected.seconds

    # ---- asking ----

    def __call__(
        self,
        x: npt.ArrayLike,
        sfreq: float,
        ch_names: Sequence[str] | None = None,
        *,
        resample: bool = False,
        stride_s: float | None = None,
    ) -> Floats:
        """Probabilities (n, K), or values (n, 1), of a recording (C, T), cut every `stride_s`
        (`seconds` without), or of windows (n, C, T). Another rate than the model's is refused
        unless training resampled, or `resample` says so."""
        signal = self._picked(np.asarray(x, dtype=np.float32), ch_names)
        if signal.ndim == 3:
            return self.said(self._of_windows(signal, sfreq))
        return self.said(self._of_recording(signal, sfreq, resample, stride_s))

    def predict(self, paths: Mapping[str, Path], allowed: Allowed | None = None) -> Predicted:
        """What it says of recordings, by their names, in their order."""
        source = GivenRecordings.of(paths, self.expected, allowed or Allowed())
        windows, names = source.taken()
        assert windows.origins is not None
        start = windows.origins.first / min(stream.sfreq for stream in self.expected.streams)
        labels = () if windows.y is None else tuple(windows.classes[k] for k in windows.y)
        notes = [said for said in windows.caveats if not said.startswith(NO_NEWS)]
        notes += [f"{name}: no row of the table is of it" for name in paths if name not in names]
        return Predicted(
            tuple(names),
            windows.origins.run,
            start,
            start + self.seconds,
            self.said(windows),
            labels,
            tuple(notes),
        )

    def said(self, windows: Windows) -> Floats:
        """Probabilities (n, K), or values (n, 1), of windows as its source gives them."""
        return said_of(self.outputs(windows), self.target)

    def outputs(self, windows: Windows) -> Floats:
        """Logits (n, K), or values, in the very batches that training would predict them in."""
        aligned = self.align.apply(windows)
        return self.predictor(aligned)(np.arange(len(aligned))).astype(np.float32)

    @cached_property
    def align(self) -> Align:
        """How windows are brought to the length and rate of the model."""
        return ALIGN.validate_python(self.facts["align"])

    def predictor(self, aligned: Windows) -> Callable[[Index], Floats]:
        """What gives logits of aligned windows by their places."""
        foreign = self.facts["foreign"]
        view = View.on(aligned, (), self.facts["multimodal"])
        reader = _Given(aligned, view, context_of(self.facts["context"]))
        scales = put_together(self.facts["scales"], self.arrays, reader)
        reader.view = View.on(aligned, scales, self.facts["multimodal"])
        return put_together(  # type: ignore[no-any-return]
            self.facts["predicts"], self.arrays, reader, foreign
        )

    # ---- arrays ----

    def _picked(self, x: Signal, ch_names: Sequence[str] | None) -> Signal:
        """The channels that the model reads, in its order."""
        if len(self.expected.streams) > 1:
            rule = "reads signals of several rates, which one array cannot hold"
            raise refuse(f"{self.folder.name}: {rule}; give it recordings: `citrus predict`", "x")
        if x.ndim not in (2, 3):
            rule = f"x must be a recording (C, T) or windows (n, C, T), but is {x.shape}"
            raise refuse(f"{rule}; reshape it", "x")
        if not np.isfinite(x).all():
            raise refuse("x holds samples that are no numbers; fill or cut these gaps", "x")
        if ch_names is None:
            if x.shape[-2] != len(self.ch_names):
                rule = f"x has {x.shape[-2]} channels, but the model reads"
                way = "give `ch_names`, a name for each"
                raise refuse(f"{rule} {len(self.ch_names)}: {', '.join(self.ch_names)}; {way}", "x")
            return x
        if len(ch_names) != x.shape[-2]:
            rule = f"x has {x.shape[-2]} channels, but there are {len(ch_names)} names"
            raise refuse(f"{rule}; give one for each", "ch_names")
        lacking = [name for name in self.ch_names if name not in ch_names]
        if lacking:
            rule = f"no channel {', '.join(lacking)}, which the model reads"
            raise refuse(f"{rule}; {suggest(lacking[0], ch_names)}", "ch_names")
        index = [list(ch_names).index(name) for name in self.ch_names]
        return np.ascontiguousarray(x[..., index, :])

    def _of_windows(self, x: Signal, sfreq: float) -> Windows:
        """Windows (n, C, T) as those of training."""
        (stream,) = self.expected.streams
        if abs(sfreq / stream.sfreq - 1) > CLOSE or x.shape[2] != stream.n_times:
            rule = f"windows are {x.shape[2]} samples at {sfreq:g} Hz, but the model reads"
            way = "give it whole recordings (C, T)"
            raise refuse(f"{rule} {stream.n_times} at {stream.sfreq:g} Hz; {way}", "x")
        if self.expected.normalize == "recording" or self.expected.clean:
            rule = "the model's windows are z-scored over their recording"
            if self.expected.clean:
                rule = "recordings were filtered before they were cut into the model's windows"
            raise refuse(f"{rule}; give it whole recordings (C, T)", "x")
        x = zscore(x) if self.expected.normalize == "window" else x
        kinds = tuple(channel.modality for channel in stream.channels)
        return Windows(x, np.zeros(len(x), np.int64), stream.sfreq, self.ch_names, kinds, ("",))

    def _of_recording(
        self, x: Signal, sfreq: float, may_resample: bool, stride_s: float | None
    ) -> Windows:
        """Windows of a recording (C, T), as those of training."""
        (stream,), expected = self.expected.streams, self.expected
        for problem in (expected.of_windows, expected.around and f"around {expected.around}"):
            if problem:
                rule = f"windows of a recording cannot be known: {problem}"
                raise refuse(f"{rule}; cut them, and give windows (n, C, T)", "x")
        if abs(sfreq / stream.sfreq - 1) > CLOSE:
            if not (may_resample or (expected.resampled and sfreq > stream.sfreq)):
                rule = f"sfreq={sfreq:g}: the model reads {stream.sfreq:g} Hz"
                raise refuse(f"{rule}; `resample=True` brings it there", "sfreq")
            x = resample(x, sfreq, stream.sfreq)
        x = self._cleaned(straightened(x) if expected.detrend else x)
        if x.shape[1] < stream.n_times and not expected.short:
            rule = f"x is {x.shape[1] / stream.sfreq:g} s long, shorter than the model's window"
            raise refuse(f"{rule} of {self.seconds:g} s; give more", "x")
        stride = max(1, round((stride_s or self.seconds) * stream.sfreq))
        cut = Cutter(
            *(stream.sfreq, stream.n_times, stride, expected.normalize),
            short="pad" if expected.short else "drop",
        )
        whole = Stretch("", 0.0, np.inf, "", "")
        channels = tuple(Channel(c.name, stream.sfreq, 0, c.modality) for c in stream.channels)
        gathered = gather([cut(x, [whole])], [Track(channels, stream.sfreq, stream.n_times)])
        return assemble(cut, gathered, (), "")

    def _cleaned(self, x: Signal) -> Signal:
        """A recording (C, T) as training cleaned it."""
        (stream,), expected = self.expected.streams, self.expected
        if not expected.clean:
            return x
        if "reference" in expected.clean:
            rule = "channels are measured against others of the recording, which x does not hold"
            raise refuse(f"{rule}; give it recordings: `citrus predict`", "x")
        rest = {"root": ".", "pattern": "*", "seconds": self.seconds, "sfreq": stream.sfreq}
        source = validate(Files, expected.clean | rest)
        channels = [Channel(c.name, stream.sfreq, 0, c.modality) for c in stream.channels]
        return source.clean(x, channels, len(x), stream.sfreq)


NO_NEWS = ("overlapping the one before",)  # a stride was asked for


def said_of(outputs: Floats, target: TargetKind = "classes") -> Floats:
    """(n, K) float32: probabilities of logits, or values as they are."""
    found = outputs if target == "value" else probabilities_of(outputs)
    return np.asarray(found, dtype=np.float32)


def load_model(path: str | Path) -> KeptModel:
    """The model in a folder, once its checksum is right; of several below it, they are named."""
    folder = found_model(Path(path).expanduser())
    return KeptModel(folder, *kept.read(folder))


def found_model(path: Path) -> Path:
    """The folder of the one model that a path means."""
    folder = path.parent if path.name == kept.MODEL else path
    if (folder / kept.MODEL).is_file():
        return folder
    if not folder.is_dir():
        way = "give a folder of results/<name>/models/"
        raise refuse(f"there is no folder {folder}; {way}", "MODEL")
    found = sorted(one.parent for one in folder.rglob(kept.MODEL))
    if len(found) == 1:
        return found[0]
    if not found:
        way = "`final: {keep: true}` in a sweep writes models/"
        raise refuse(f"{folder} holds no {kept.MODEL}; {way}", "MODEL")
    listed = "".join(f"\n  {one}" for one in found[:20])
    more = f"\n  and {len(found) - 20} more" if len(found) > 20 else ""
    raise refuse(f"{folder} holds {len(found)} models; give one:{listed}{more}", "MODEL")
