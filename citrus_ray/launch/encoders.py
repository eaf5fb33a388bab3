"""The pre-trainings under way: each encoder once, however many trials wait for it."""

import math
import time
from collections import Counter
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from citrus_ray.experiment.trial import Pretrain, Trial
from citrus_ray.launch.cluster import Capacity
from citrus_ray.launch.failures import WorkerLost, is_lost, last_line, node_error
from citrus_ray.launch.pretrain import pretrain
from citrus_ray.launch.runner import Crash, ResultPaths
from citrus_ray.launch.slots import PRETRAIN_SHARE, Nodes, n_workers
from citrus_ray.store import checkpoint, open_storage
from citrus_ray.store.leases import Leases

LOOK_EVERY_S = 2.0  # at the store, for each encoder that is waited for


def beside_us() -> Any:
    """The task `pretrain`, run on this node: a pre-training is led from here, whichever nodes its
    workers are on, and needs no CPU for that.

    Where a node lost its power, Ray tells the caller of an actor at once and that of a task not for
    minutes (seen: none after four). The workers are actors.
    """
    here = ray.get_runtime_context().get_node_id()
    return pretrain.options(scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=False))


class Encoders:
    """Pre-trainings under way: each digest once, as many at a time as CPUs are free.

    A digest that another sweep is computing in the same store is waited for, with no CPU held.
    """

    def __init__(self, paths: ResultPaths, nodes: Nodes, retries: int) -> None:
        self.paths, self.nodes, self.slots, self.retries = paths, nodes, nodes.slots, retries
        self.leases = Leases(open_storage(paths.store))
        self.busy = 0  # threads of the pre-trainings that run
        self.waiting: dict[str, Trial] = {}
        self.elsewhere: dict[str, str] = {}  # of those that wait: which other sweep is at it
        # digest, trial, threads that it started with
        self.running: dict[ray.ObjectRef, tuple[str, Trial, int]] = {}
        self.failed: dict[str, Crash] = {}
        self.tries: Counter[str] = Counter()
        self.ready: set[str] = set()
        self._looked: dict[str, float] = {}

    @property
    def wanted(self) -> list[Pretrain]:
        """Of those that run, and those that would if there were room."""
        ours = [trial for digest, trial in self.waiting.items() if digest not in self.elsewhere]
        under_way = [trial for _, trial, _ in self.running.values()]
        return [trial.pretraining for trial in under_way + ours if trial.pretraining]

    def want(self, digest: str, trial: Trial) -> bool:
        """Whether the encoder is there; asks for it if not."""
        if digest in self.ready:
            return True
        under_way = any(digest == name for name, *_ in self.running.values())
        if under_way or digest in self.failed:
            return False
        if digest not in self.waiting:
            self.waiting[digest] = self.slots.as_run(trial)
        self._look(digest)
        return digest in self.ready

    def _look(self, digest: str) -> None:
        """At the store: whether a waiting one has come, or is computed elsewhere. Not at every
        call: it may be far."""
        if time.monotonic() - self._looked.get(digest, -math.inf) < LOOK_EVERY_S:
            return
        self._looked[digest] = time.monotonic()
        self.elsewhere.pop(digest, None)
        if checkpoint.is_whole(self.paths.store, digest):
            self.ready.add(digest)
            del self.waiting[digest]
        elif holder := self.leases.holder(digest):
            self.elsewhere[digest] = holder

    def poll(self, n_live: int) -> None:
        """Take in what is done, start what fits beside `n_live` trials."""
        self._collect()
        for digest in list(self.waiting):
            self._look(digest)
        for digest in [d for d in self.waiting if d not in self.elsewhere]:
            spec = self.waiting[digest].pretraining
            assert spec is not None
            free = self.slots.cpus - self.busy - n_live
            workers = n_workers(spec, Capacity(free, self.slots.now.gpus))
            n = workers * spec.threads_per_worker
            if self.running and n > free:
                return
            trial, tensorboard = self.waiting.pop(digest), str(self.paths.tensorboard)
            self.tries[digest] += 1
            told = (trial.model_dump_json(), self.paths.store, tensorboard, PRETRAIN_SHARE, workers)
            self.running[beside_us().remote(*told)] = (digest, trial, n)
            self.busy += n

    def _collect(self) -> None:
        if not self.running:
            return
        done, _ = ray.wait(list(self.running), num_returns=len(self.running), timeout=0)
        for ref in done:
            digest, trial, n = self.running.pop(ref)
            self.busy -= n
            self._looked.pop(digest, None)
            try:
                computed = ray.get(ref)
            except Exception as err:
                self._note_failure(digest, trial, err)
                continue
            self._take_in(digest, trial, computed)

    def _note_failure(self, digest: str, trial: Trial, err: Exception) -> None:
        broken = node_error(err)
        lost = is_lost(err) or isinstance(err, WorkerLost) or broken is not None
        elsewhere = broken is not None and self.nodes.do_without(broken.address, str(broken))
        if elsewhere or (lost and self.tries[digest] <= self.retries):
            self.waiting[digest] = trial
        else:
            self.failed[digest] = Crash(f"pre-training failed: {last_line(err)}", lost)

    def _take_in(self, digest: str, trial: Trial, computed: bool) -> None:
        if checkpoint.exists(self.paths.store, digest):
            self.ready.add(digest)
        elif computed:
            self.failed[digest] = Crash(
                f"pre-training was stored where this machine cannot see it: {self.paths.store} "
                "must be one folder on all nodes; set $CITRUS_STORE to a shared folder or a "
                "storage URI"
            )
        else:
            self.waiting[digest] = trial  # another sweep was a moment faster

    def close(self) -> None:
        """Ctrl-C: what is under way is of no use to a cluster that outlives this sweep."""
        for ref in self.running:
            ray.cancel(ref, force=True, recursive=True)
