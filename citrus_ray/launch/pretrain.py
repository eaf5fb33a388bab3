"""Pre-training through Ray Train: one call per encoder digest, `workers` processes that share gradients."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import ray

from citrus_ray.launch import cluster
from citrus_ray.launch.failures import WorkerLost, is_lost, last_line

if TYPE_CHECKING:
    from citrus_ray.trial import Trial


RESTARTS = 3  # after worker processes died (out of memory, a node lost); each goes on from the last saved epoch


# A task with no CPU of its own: the workers of the trainer ask for theirs, and waiting for them must not hold one.
@ray.remote(num_cpus=0, max_retries=0)  # type: ignore[untyped-decorator]
def pretrain(trial_json: str, store: str, tensorboard: str, cpus_per_thread: float) -> bool:
    """Fill the store with the trial's encoder; False where another sweep is at it."""
    from citrus_ray import checkpoint
    from citrus_ray.store import open_files
    from citrus_ray.store.claims import Claims
    from citrus_ray.trial import Trial

    trial = Trial.model_validate_json(trial_json)
    digest = trial.encoder_digest()
    assert digest is not None
    claim = Claims(open_files(store)).take(digest)
    if claim is None:
        return False
    with claim:
        if not checkpoint.exists(store, digest):
            config = {"trial": trial_json, "store": store, "tensorboard": tensorboard}
            _train(trial, digest, config, cpus_per_thread)
    return True


def _train(trial: "Trial", digest: str, config: dict[str, str], cpus_per_thread: float) -> None:
    from ray.train.v2.api.exceptions import WorkerGroupError

    for left in reversed(range(RESTARTS + 1)):
        try:
            return _fit(trial, digest, config, cpus_per_thread)
        except WorkerGroupError as err:
            if not any(_is_death(failure) for failure in err.worker_failures.values()):
                raise  # an error that every try would meet again
            if not left:
                raise WorkerLost(last_line(err)) from None
    return None


def _is_death(failure: Exception) -> bool:
    return is_lost(getattr(failure, "health_check_failure", failure))


def _fit(trial: "Trial", digest: str, config: dict[str, str], cpus_per_thread: float) -> None:
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    spec = trial.pretraining
    assert spec is not None
    with tempfile.TemporaryDirectory(prefix="citrus-train-") as scratch:
        TorchTrainer(
            _worker,
            train_loop_config=config,
            scaling_config=ScalingConfig(
                num_workers=spec.workers,
                use_gpu=spec.gpu,
                resources_per_worker={
                    "CPU": spec.threads_per_worker * cpus_per_thread,
                    **({"GPU": 1} if spec.gpu else {}),
                },
                placement_strategy="SPREAD",  # workers on one node would fight over its memory bandwidth
            ),
            torch_config=TorchConfig(backend="nccl" if spec.gpu else "gloo"),
            run_config=RunConfig(name=digest, storage_path=scratch),
        ).fit()


def _worker(config: dict[str, str]) -> None:
    """Runs in every Ray Train worker; rank 0 stores the encoder."""
    import ray.train
    import ray.train.torch
    import torch

    from citrus_ray import tensorboard
    from citrus_ray.pretrain import Place, keep, run
    from citrus_ray.resume import State
    from citrus_ray.trial import Trial

    trial = Trial.model_validate_json(config["trial"])
    spec, digest = trial.pretraining, trial.encoder_digest()
    assert spec is not None
    assert digest is not None
    torch.set_num_threads(spec.threads_per_worker)
    context = ray.train.get_context()
    place = Place(
        rank=context.get_world_rank(),
        world=context.get_world_size(),
        device=str(ray.train.torch.get_device()),
        wrap=ray.train.torch.prepare_model,
    )
    state = State(config["store"], digest)
    done = run(spec, trial.model, place, ray.train.report, state)
    if place.rank == 0:
        keep(trial, digest, config["store"], done, place.world, state)
        hparams = {"task": spec.task and spec.task.kind, "model": trial.model.kind, "lr": spec.optim.lr}
        folder = Path(config["tensorboard"]) / "pretrain" / digest
        tensorboard.write_run(folder, hparams, done.history, {"val/loss": done.history[-1]["val/loss"]})


assert cluster.QUIET  # imported for its environment variables, before Ray Train reads them
