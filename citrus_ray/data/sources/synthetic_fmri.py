"""Functional series of known structure from a seed: sounds of several timbres, answered by blood,
mixed into voxels.

A run is a row of blocks, in each of which one timbre is heard. A timbre's response passes the
haemodynamic delay and appears in voxels through a mixing that is partly everyone's and partly a
subject's own. What goes on in a block is therefore real temporal structure: what comes next looks
like what was. Runs also differ by a level and a drift of their own in every voxel, which say
nothing about timbre and all about the run.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from citrus_ray.data.fingerprints import fingerprints_of
from citrus_ray.data.formats.labels import Stretch
from citrus_ray.data.formats.signals import Channel
from citrus_ray.data.formats.tracks import Track
from citrus_ray.data.source import Count, Source, refuse_too_many
from citrus_ray.data.windowing.assemble import assemble, gather
from citrus_ray.data.windowing.cutting import Cutter, RecordingWindows
from citrus_ray.data.windowing.normalize import NormalizeBy, cleaned
from citrus_ray.data.windows import Signal, Windows

Rng = np.random.Generator
Gain = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]

# seeds what all subjects share, so that sets of other seeds are other subjects of one kind
EVERYONE = 20230522


class SyntheticFmri(Source):
    """Series of `n_subjects` subjects, `n_runs` runs each, of `n_blocks` blocks."""

    cutting = frozenset(
        {
            *("n_subjects", "volumes", "stride", "labelled", "group_by"),
            *("normalize_by", "detrend", "delay_s"),
        }
    )
    kind: Literal["synthetic_fmri"] = "synthetic_fmri"
    """Synthetic functional series of sounds of several timbres."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Draws the subjects."""
    n_subjects: Count = 8
    """Subjects."""
    n_runs: Count = 4
    """Runs of each subject."""
    n_blocks: Annotated[int, Field(ge=2)] = 12
    """Blocks of each run, one timbre each."""
    block: Count = 12
    """Volumes of a block."""
    tr: Annotated[float, Field(gt=0)] = 2.0
    """Seconds from volume to volume."""
    n_voxels: Count = 40
    """Voxels, a channel each."""
    fewer_voxels: Annotated[int, Field(ge=0)] = 0
    """Voxels that a subject lacks at most; they are zeros then."""
    timbres: Annotated[int, Field(ge=2)] = 4
    """Timbres, as many classes."""
    design: Literal["mixed", "one_per_run"] = "mixed"
    """Timbres of a run: mixed, or one per run, as in a published study."""
    imagined: bool = False
    """Every other block is imagined, weaker: classes are timbre/heard and timbre/imagined."""
    gain: Gain = 1.0
    """Response over noise, as amplitudes."""
    own: Share = 0.3
    """Share of the mixing that is a subject's own."""
    offset: Gain = 1.0
    """Spread of the level of runs."""
    drift: Gain = 0.5
    """Spread of the slope of runs, from end to end."""
    memory: Share = 0.2
    """Autocorrelation of the noise from volume to volume."""
    volumes: Count = 5
    """Volumes of a window."""
    stride: Count | None = None
    """Volumes from window to window; `volumes` without."""
    labelled: bool = True
    """False: windows go through whole runs, across blocks."""
    delay_s: Gain = 4.0
    """Seconds by which labels begin and end after the sound."""
    group_by: Literal["subject", "run"] = "subject"
    """What no split cuts."""
    detrend: bool = True
    """Take the straight line out of what is normalised."""
    normalize_by: NormalizeBy = "run"
    """z-score each voxel over its run, over all runs of a subject, or not at all."""

    @model_validator(mode="after")
    def _means_something(self) -> "SyntheticFmri":
        n_volumes = self.n_subjects * self.n_runs * self.n_blocks * self.block
        refuse_too_many(n_volumes * self.n_voxels)
        if self.fewer_voxels >= self.n_voxels:
            rule = f"must leave some of n_voxels={self.n_voxels}"
            raise ValueError(f"fewer_voxels={self.fewer_voxels}: {rule}")
        if self.design == "one_per_run" and self.n_runs < self.timbres:
            rule = f"one timbre per run needs at least timbres={self.timbres} runs"
            raise ValueError(f"n_runs={self.n_runs}: {rule}")
        if self.volumes > self.block and self.labelled:
            rule = f"must fit into block={self.block}; shorten it"
            raise ValueError(f"volumes={self.volumes}: {rule}")
        return self

    def prepare(self) -> Windows:
        cut = Cutter(1 / self.tr, self.volumes, self.stride or self.volumes, "none", "drop")
        n_times = self.n_blocks * self.block
        channels = tuple(Channel(f"v{i}", cut.sfreq, n_times, "fmri") for i in range(self.n_voxels))
        gathered = gather(self._windows(cut), [Track(channels, cut.sfreq, cut.n_times)])
        classes = tuple(sorted({stretch.label for stretch in gathered.stretches} - {""}))
        said = ["groups are runs, so one person may be on both sides of a split"]
        caveats = said if self.group_by == "run" else []
        subject = gathered.recording // self.n_runs
        return assemble(cut, gathered, classes, self.digest(), caveats, subject)

    def _windows(self, cut: Cutter) -> Iterator[RecordingWindows]:
        for subject in range(self.n_subjects):
            shown, runs = self.subject(subject)
            xs = cleaned(runs, self.normalize_by, self.detrend)
            for i, (raw, x, names) in enumerate(zip(runs, xs, shown, strict=True)):
                run = f"_run-{i}" if self.group_by == "run" else ""
                found = cut(x, self._stretches(names, f"sub-{subject:02d}{run}"))
                known = fingerprints_of(raw, [cut.sfreq] * len(raw))
                yield replace(found, fingerprints=known)

    def _stretches(self, names: list[str], group: str) -> list[Stretch]:
        if not self.labelled:
            return [Stretch("", 0.0, math.inf, "", group)]
        begins = np.arange(self.n_blocks + 1) * self.block * self.tr + self.delay_s
        edges = np.minimum(begins, self.n_blocks * self.block * self.tr).tolist()
        blocks = zip(pairwise(edges), names, strict=True)
        return [Stretch("", start, stop, name, group) for (start, stop), name in blocks]

    # ---- one subject ----

    def subject(self, number: int) -> tuple[list[list[str]], list[Signal]]:
        """Labels of the blocks, and the series (C, T), of every run; nothing is cleaned yet."""
        rng = np.random.default_rng([self.seed, number])
        mixing = self._mixing(rng)  # (C, K)
        missing = rng.integers(self.fewer_voxels + 1)
        first, shown, runs = int(rng.integers(self.timbres)), list[list[str]](), list[Signal]()
        imagined = (np.arange(self.n_blocks) % 2 == 1) & self.imagined
        strength = np.where(imagined, 0.6, 1.0)
        for run in range(self.n_runs):
            timbre = self._timbres(rng, (first + run) % self.timbres)
            x = self.gain * mixing @ self._response(timbre, strength) + self._noise(rng)
            x[self.n_voxels - missing :] = 0
            blocks = zip(timbre.tolist(), imagined.tolist(), strict=True)
            shown.append([self._name(t, i) for t, i in blocks])
            runs.append(x.astype(np.float32))
        return shown, runs

    def _name(self, timbre: int, imagined: bool) -> str:
        condition = ("/imagined" if imagined else "/heard") if self.imagined else ""
        return f"timbre{timbre}{condition}"

    def _mixing(self, rng: Rng) -> Any:
        """(C, K): of unit power in every voxel, for one timbre."""
        shape = (self.n_voxels, self.timbres)
        everyone = np.random.default_rng([EVERYONE, *shape]).normal(size=shape)
        return math.sqrt(1 - self.own) * everyone + math.sqrt(self.own) * rng.normal(size=shape)

    def _timbres(self, rng: Rng, of_run: int) -> Any:
        """(n_blocks,): never the same twice in a row, or one all through."""
        if self.design == "one_per_run":
            return np.full(self.n_blocks, of_run)
        steps = rng.integers(1, self.timbres, self.n_blocks)
        return np.cumsum(steps) % self.timbres

    def _response(self, timbre: Any, strength: Any) -> Any:
        """(K, T): a box where a timbre is heard, as blood answers it."""
        heard = np.eye(self.timbres)[timbre].T * strength  # (K, n_blocks)
        box = np.repeat(heard, self.block, axis=1)
        kernel = haemodynamic(self.tr)
        return np.stack([np.convolve(row, kernel)[: box.shape[1]] for row in box])

    def _noise(self, rng: Rng) -> Any:
        """(C, T): first-order autoregressive noise of unit variance, and the level and drift of
        this run."""
        n_times = self.n_blocks * self.block
        white, x = rng.normal(size=(self.n_voxels, n_times)), np.empty((self.n_voxels, n_times))
        x[:, 0] = white[:, 0]
        for t in range(1, n_times):
            x[:, t] = self.memory * x[:, t - 1] + math.sqrt(1 - self.memory**2) * white[:, t]
        level, slope = rng.normal(size=(2, self.n_voxels, 1))
        return x + self.offset * level + self.drift * slope * np.linspace(-0.5, 0.5, n_times)


def haemodynamic(tr: float, seconds: float = 32.0) -> Any:
    """The difference of two gamma densities (peak at 5 s, undershoot at 15 s) every `tr`, summing
    to 1."""
    t = np.arange(0, seconds, tr)
    peak, undershoot = (t ** (k - 1) * np.exp(-t) / math.gamma(k) for k in (6, 16))
    kernel = peak - undershoot / 6
    return kernel / kernel.sum()
