"""CPUs and whose they are: how many trials and pre-trainings run at once on the nodes that are up,
and how many more could.

Nodes come and go while a sweep runs. What it lacks is shown to the autoscaler as a request that
cannot be met.
"""

import math
import time
from collections.abc import Callable, Collection, Iterable

import ray
from ray.util import placement_group, remove_placement_group
from ray.util.placement_group import PlacementGroup

from citrus_ray.experiment.sweep import Sweep
from citrus_ray.experiment.trial import Pretrain, Trial
from citrus_ray.launch.cluster import Capacity, capacity

# of a CPU that a pre-training's thread asks Ray for; a trial asks for the rest
PRETRAIN_SHARE = 0.1
TRIAL_SHARE = 1 - PRETRAIN_SHARE
LOOK_EVERY_S = 2.0  # at the nodes
AT_ONCE = 100  # nodes' worth of a request: the next one follows when these are up


class Slots:
    """Who may use which CPU: what trials and pre-training threads ask Ray for, and how many run at
    once.

    Ray Tune keeps idle workers warm, with their requests, sometimes more of them than trials that
    run; a pre-training that asked for whole CPUs would wait for them for ever. So each CPU is asked
    for in two parts, one that only trials fill and one that only pre-trainings fill, and the search
    counts what is really busy.
    """

    def __init__(self, sweep: Sweep, now: Capacity, most: Capacity | None = None) -> None:
        self.most = most or now  # what the cluster may grow to
        self.concurrency = sweep.concurrency
        # of a GPU, for a trial of each cell
        self.shares = [cell.trial.finetune.gpu for cell in sweep.cells]
        self.pretrainings = [
            cell.trial.pretraining for cell in sweep.cells if cell.trial.pretraining
        ]
        for spec in self.pretrainings:
            self._check(spec)
        if (share := max(self.shares)) > self.most.gpus:
            raise ValueError(
                f"trials ask for {share:g} of a GPU each (finetune.gpu), but the cluster has "
                f"{self.most.gpus:g}; set finetune.gpu: 0, or add nodes with a GPU"
            )
        self.resize(now)

    def _check(self, spec: Pretrain) -> None:
        n, n_cpus = spec.fewest_workers, spec.fewest_workers * spec.threads_per_worker
        if n_cpus > max(1, self.most.cpus):
            raise ValueError(
                f"pre-training asks for {n_cpus} CPUs (workers x threads_per_worker), but "
                f"the cluster has {self.most.cpus:g}; lower pretrain.workers, or add nodes"
            )
        if spec.gpu is True and n > self.most.gpus:
            raise ValueError(
                f"pre-training asks for {n} GPUs, one per worker, but the cluster has "
                f"{self.most.gpus:g}; lower pretrain.workers, or set pretrain.gpu: false, or auto"
            )

    def on_gpus(self, spec: Pretrain) -> bool:
        """Whether a pre-training runs on GPUs in this cluster."""
        return spec.gpu is True or (spec.gpu == "auto" and spec.fewest_workers <= self.most.gpus)

    def as_run(self, trial: Trial) -> Trial:
        """A trial whose pre-training says whether it has GPUs here."""
        spec = trial.pretraining
        if spec is None or spec.gpu != "auto":
            return trial
        return trial.at({"pretrain.gpu": self.on_gpus(spec)})

    @property
    def planned_down(self) -> list[str]:
        """What would take GPUs and runs on CPUs, in a sentence."""
        auto = [s for s in self.pretrainings if s.gpu == "auto" and not self.on_gpus(s)]
        if not auto:
            return []
        n = max(spec.fewest_workers for spec in auto)
        rule = f"gpu: auto, and the cluster has {self.most.gpus:g} GPUs for {n} workers"
        return [f"pre-trainings run on CPUs ({rule}); what they give differs by rounding"]

    def resize(self, now: Capacity) -> None:
        """To the nodes that are up. A trial waits for the first of them: it is a request, too."""
        self.now = now
        self.cpus = max(1, int(now.cpus))
        room = math.floor(now.gpus / min(self.shares) + 1e-6) if all(self.shares) else self.cpus
        self.n = max(1, min(self.concurrency or self.cpus, self.cpus, room))

    def request(self, cell: int) -> dict[str, float]:
        """What a trial of that cell asks Ray for: one that needs no GPU fits any node."""
        return {"CPU": TRIAL_SHARE} | ({"GPU": self.shares[cell]} if self.shares[cell] else {})

    def has_room(self, cell: int, live: Iterable[int]) -> bool:
        """Whether a trial of that cell, if it needs a GPU, fits beside trials of the `live` cells.
        The first of them asks for a node with one."""
        share, taken = self.shares[cell], sum(self.shares[other] for other in live)
        return not share or not taken or taken + share <= self.now.gpus + 1e-6

    def lacking(
        self, n_trials: int, specs: Collection[Pretrain], free: Capacity
    ) -> list[dict[str, float]]:
        """What trials and pre-trainings that could run now need beyond the nodes that are up, a CPU
        or GPU at a time, beside what is free: a request that fits is met at once, and asks for no
        node."""
        n_trials = min(n_trials, self.concurrency or n_trials)
        per_cell = n_trials / len(self.shares)  # cells advance together
        gpus = per_cell * sum(self.shares) + sum(s.most_workers for s in specs if s.gpu)
        cpus = per_cell * self.shares.count(0) + sum(threads(s) for s in specs if not s.gpu)
        more_gpus = math.ceil(min(gpus, self.most.gpus) - self.now.gpus)
        more_cpus = math.ceil(min(cpus, self.most.cpus) - self.now.cpus)
        wished = [{"CPU": 1.0, "GPU": 1.0}] * (more_gpus + int(free.gpus)) if more_gpus > 0 else []
        wished += [{"CPU": 1.0}] * (more_cpus + int(free.cpus)) if more_cpus > 0 else []
        return wished[:AT_ONCE]


def threads(spec: Pretrain) -> int:
    """At most, where workers are as many as there is room for."""
    return spec.most_workers * spec.threads_per_worker


def n_workers(spec: Pretrain, room: Capacity) -> int:
    """How many workers a pre-training starts with where so much is free."""
    n = room.gpus if spec.gpu else room.cpus // spec.threads_per_worker
    return max(spec.fewest_workers, min(spec.most_workers, int(n)))


class UnmetRequest:
    """Bundles of resources that no node has, as the autoscaler sees them.

    Not `request_resources`: that one outlives the sweep that asks, which when killed would keep
    nodes up for ever.
    """

    def __init__(self) -> None:
        self.bundles: list[dict[str, float]] = []
        self.group: PlacementGroup | None = None

    def show(self, bundles: list[dict[str, float]]) -> None:
        """A group that found its place is let go at once, for trials to start there."""
        if self.group is not None and (bundles != self.bundles or self.group.wait(0)):
            remove_placement_group(self.group)
            self.group = None
        if bundles and self.group is None:
            self.group = placement_group(bundles)
        self.bundles = bundles


class Nodes:
    """The cluster under a sweep: how large it is, what the sweep asks of it, and which nodes it
    does without."""

    def __init__(self, slots: Slots, say: Callable[[str], None]) -> None:
        self.slots, self.say, self.request = slots, say, UnmetRequest()
        self.sit_out: set[str] = set()  # addresses of nodes that cannot run trials
        self.held: list[PlacementGroup] = []
        self._looked = -math.inf

    def look(self, n_trials: int, specs: Collection[Pretrain]) -> None:
        """Nodes come and go; more could come for the trials and pre-trainings that could run."""
        if time.monotonic() - self._looked < LOOK_EVERY_S:
            return
        self._looked = time.monotonic()
        self.slots.resize(capacity(self.sit_out))
        self.request.show(self.slots.lacking(n_trials, specs, free()))

    def do_without(self, address: str, why: str) -> bool:
        """Hold each CPU of a node as it gets free, or the trials to come would all fail there at
        once.

        False where no other node is left to do its work.
        """
        rest = capacity(self.sit_out | {address}).cpus
        if rest < 1:
            return False
        if address not in self.sit_out:
            n_cpus = math.ceil(capacity(self.sit_out).cpus - rest)
            self.sit_out.add(address)
            self.say(f"{why}; it sits out, its work goes to other nodes")
            for part in [{"CPU": TRIAL_SHARE}, {"CPU": PRETRAIN_SHARE}] * n_cpus:
                self.held.append(placement_group([part | {f"node:{address}": 0.001}]))
        return True

    def close(self) -> None:
        self.request.show([])
        for group in self.held:
            remove_placement_group(group)


def free() -> Capacity:
    """What Ray has given to nobody."""
    left = ray.available_resources()
    return Capacity(left.get("CPU", 0.0), left.get("GPU", 0.0))
