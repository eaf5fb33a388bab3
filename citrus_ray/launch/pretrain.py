"""Pre-training of one encoder: in an actor, or through Ray Train where `workers` share gradients.

Ray Train starts a controller and a group of processes around its workers, which a lone one need not
wait for.
"""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from citrus_ray.launch import cluster
from citrus_ray.launch.failures import WorkerLost, is_lost, last_line, node_error, on_this_node
from citrus_ray.launch.slots import n_workers

if TYPE_CHECKING:
    from citrus_ray.experiment.trial import Pretrain, Trial
    from citrus_ray.training.parts import Worker
    from citrus_ray.training.pretraining import Report

# after worker processes died (out of memory, a node lost); each goes on from the last saved epoch
RESTARTS = 3


# A task with no CPU of its own: the workers of the trainer ask for theirs, and waiting for them
# must not hold one.
@ray.remote(num_cpus=0, max_retries=0)  # type: ignore[untyped-decorator]
def pretrain(
    trial_json: str,
    store: str,
    tensorboard: str,
    cpus_per_thread: float,
    workers: int | None = None,
) -> bool:
    """Fill the store with the trial's encoder; False where another sweep is at it. `workers` is
    how many there is room for at first; by default as many as the nodes that are up hold."""
    from citrus_ray.experiment.trial import Trial
    from citrus_ray.store import checkpoint, open_storage
    from citrus_ray.store.leases import Leases

    trial = Trial.model_validate_json(trial_json)
    digest = trial.encoder_digest()
    assert digest is not None
    lease = Leases(open_storage(store)).take(digest)
    if lease is None:
        return False
    with lease:
        if not checkpoint.exists(store, digest):
            config = {"trial": trial_json, "store": store, "tensorboard": tensorboard}
            _train(trial, digest, config, cpus_per_thread, workers)
    return True


def _train(
    trial: "Trial",
    digest: str,
    config: dict[str, str],
    cpus_per_thread: float,
    workers: int | None,
) -> None:
    """Tries again where a worker process died: the next goes on from the last saved epoch, with as
    many workers as the nodes that are left have room for."""
    spec = trial.pretraining
    assert spec is not None
    share = share_of(spec, cpus_per_thread)
    for left in reversed(range(RESTARTS + 1)):
        n = workers or n_workers(spec, cluster.capacity())
        workers = None
        try:
            if n == 1:
                return _alone(config, share)
            return _together(digest, config, n, bool(spec.gpu), share)
        except Exception as err:
            if broken := node_error(err):
                raise broken from None
            if not _is_death(err):
                raise  # an error that every try would meet again
            if not left:
                raise WorkerLost(last_line(err)) from None
    return None


def share_of(spec: "Pretrain", cpus_per_thread: float) -> dict[str, float]:
    """What each worker asks Ray for."""
    return {"CPU": spec.threads_per_worker * cpus_per_thread} | ({"GPU": 1.0} if spec.gpu else {})


def _is_death(err: Exception) -> bool:
    """Of a lone worker, or of some worker in a group of Ray Train's, be it as the group starts,
    which Ray Train puts down to what leads them."""
    of_leader = getattr(err, "controller_failure", err)
    met = getattr(err, "worker_failures", {0: of_leader}).values()
    return any(is_lost(getattr(failure, "health_check_failure", failure)) for failure in met)


def _alone(config: dict[str, str], share: dict[str, float]) -> None:
    """In an actor, not a task: when a node loses its power, Ray tells who waits for an actor at
    once, for a task minutes later. Spread over nodes: on a packed one several would train at the
    speed of one."""
    cpus, gpus = share["CPU"], share.get("GPU", 0)
    how = {"num_cpus": cpus, "num_gpus": gpus, "max_restarts": 0, "scheduling_strategy": "SPREAD"}
    ray.get(ray.remote(LoneWorker).options(**how).remote().run.remote(config))


class LoneWorker:
    """The only worker of a pre-training."""

    def run(self, config: dict[str, str]) -> None:
        from citrus_ray.experiment.trial import Trial
        from citrus_ray.training.parts import Worker

        trial = Trial.model_validate_json(config["trial"])
        assert trial.pretraining is not None
        worker = Worker(device="cuda" if trial.pretraining.gpu else "cpu")
        _run(trial, config, worker, lambda metrics: None)


def _together(
    digest: str, config: dict[str, str], n: int, on_gpus: bool, share: dict[str, float]
) -> None:
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    from citrus_ray.launch.group import Meeting, OneAtATime, free_what_holds

    controllers: list[Any] = []
    with tempfile.TemporaryDirectory(prefix="citrus-train-") as scratch:
        trainer = TorchTrainer(
            _one_of_many,
            train_loop_config=config,
            scaling_config=ScalingConfig(
                num_workers=n,
                use_gpu=on_gpus,
                resources_per_worker=share,
                # workers on one node would fight over its memory bandwidth
                placement_strategy="SPREAD",
            ),
            torch_config=Meeting(backend="nccl" if on_gpus else "gloo", folder=scratch),
            run_config=RunConfig(name=digest, storage_path=scratch, callbacks=[OneAtATime()]),
        )
        # Ray Train would hear Ctrl-C in place of the sweep, and hold its controller for that; one
        # that lives on may keep CPUs of workers that were lost, for which the next would wait
        trainer._register_sigint_handler = controllers.append
        try:
            trainer.fit()
        finally:
            for controller in controllers:
                ray.kill(controller)
                free_what_holds(controller._actor_id.hex())


def _one_of_many(config: dict[str, str]) -> None:
    """Runs in every Ray Train worker."""
    import ray.train
    import ray.train.torch

    from citrus_ray.experiment.trial import Trial
    from citrus_ray.training.parts import Worker

    context = ray.train.get_context()
    worker = Worker(
        rank=context.get_world_rank(),
        world=context.get_world_size(),
        device=str(ray.train.torch.get_device()),
        wrap=ray.train.torch.prepare_model,
    )
    _run(Trial.model_validate_json(config["trial"]), config, worker, ray.train.report)


def _run(trial: "Trial", config: dict[str, str], worker: "Worker", report: "Report") -> None:
    """Train, in this process; rank 0 stores the encoder."""
    import torch

    from citrus_ray.launch import tensorboard
    from citrus_ray.store.resume import State
    from citrus_ray.training.pretraining import keep, run

    spec, encoder, digest = trial.pretraining, trial.model.backbone, trial.encoder_digest()
    assert spec is not None
    assert encoder is not None
    assert digest is not None
    torch.set_num_threads(spec.threads_per_worker)
    state = State(config["store"], digest)
    with on_this_node():
        done = run(spec, encoder, worker, report, state)
    if worker.rank == 0:
        keep(trial, digest, config["store"], done, worker, state)
        tensorboard.write_pretraining(Path(config["tensorboard"]), trial, digest, done.history)
