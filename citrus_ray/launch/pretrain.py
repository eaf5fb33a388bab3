"""Pre-training through Ray Train: one call per encoder digest, `workers` processes that share gradients."""

import tempfile
import time
from pathlib import Path
from typing import Any

import ray

from citrus_ray.launch import cluster


# A task with no CPU of its own: the workers of the trainer ask for theirs, and waiting for them must not hold one.
@ray.remote(num_cpus=0, max_retries=1)  # type: ignore[untyped-decorator]
def pretrain(trial_json: str, store: str, tensorboard: str, cpus_per_thread: float) -> dict[str, Any]:
    """Fill the store with the trial's encoder; returns its lineage."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    from citrus_ray.trial import Trial

    trial = Trial.model_validate_json(trial_json)
    spec, digest = trial.pretraining, trial.encoder_digest()
    assert spec is not None
    assert digest is not None
    with tempfile.TemporaryDirectory(prefix="citrus-train-") as scratch:
        TorchTrainer(
            _worker,
            train_loop_config={"trial": trial_json, "store": store, "tensorboard": tensorboard},
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
    from citrus_ray import checkpoint

    return checkpoint.read_meta(Path(store), digest)


def _worker(config: dict[str, str]) -> None:
    """Runs in every Ray Train worker; rank 0 stores the encoder."""
    import ray.train
    import ray.train.torch
    import torch

    from citrus_ray import checkpoint, tensorboard
    from citrus_ray.pretrain import Place, lineage, run
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
    started = time.perf_counter()
    done = run(spec, trial.model, place, ray.train.report)
    if place.rank == 0:
        meta = lineage(trial, done, time.perf_counter() - started, place.world)
        checkpoint.save(Path(config["store"]), digest, done.weights, meta)
        hparams = {"task": spec.task and spec.task.kind, "model": trial.model.kind, "lr": spec.optim.lr}
        folder = Path(config["tensorboard"]) / "pretrain" / digest
        tensorboard.write_run(folder, hparams, done.history, {"val/loss": done.history[-1]["val/loss"]})


assert cluster.QUIET  # imported for its environment variables, before Ray Train reads them
