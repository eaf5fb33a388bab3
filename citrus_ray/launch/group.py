"""The processes that share a pre-training, where Ray Train does otherwise than it should."""

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import ray
from ray.core.generated import gcs_pb2
from ray.train.torch import TorchConfig
from ray.train.torch.config import (
    _set_torch_distributed_env_vars,
    _setup_torch_process_group,
    _TorchBackend,
)
from ray.train.v2._internal.execution.callback import WorkerGroupCallback
from ray.util.placement_group import PlacementGroup, remove_placement_group

LOOPBACK = "127.0.0.1"


class OneAtATime(WorkerGroupCallback):  # type: ignore[misc]  # Ray's code is untyped
    """Frees, in the process that leads a pre-training, what an earlier start of its workers holds
    before they are started again."""

    def before_worker_group_start(self, worker_group_context: Any) -> None:
        free_what_holds(ray.get_runtime_context().get_actor_id())


def free_what_holds(actor_id: str | None) -> None:
    """Remove the placement groups that an actor made: CPUs of workers that were lost as their group
    started, for which the next would wait for ever. Ray forgets them until its whole job ends."""
    from ray._private.state import state

    for raw in state._connect_and_get_accessor().get_placement_group_table():
        group = gcs_pb2.PlacementGroupTableData.FromString(raw)
        gone = group.state == gcs_pb2.PlacementGroupTableData.REMOVED
        if group.creator_actor_id.hex() == actor_id and not gone:
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(group.placement_group_id)))


@dataclass
class Meeting(TorchConfig):  # type: ignore[misc]
    """Workers of one machine alone find each other through a file in `folder`: PyTorch would listen
    on all interfaces for that, and asks no one for a token."""

    folder: str = ""

    @property
    def backend_cls(self) -> type:
        return _Meets


class _Meets(_TorchBackend):  # type: ignore[misc]
    def on_start(self, worker_group: Any, backend_config: Meeting) -> None:
        if ray.util.get_node_ip_address() != LOOPBACK:
            super().on_start(worker_group, backend_config)
            return
        worker_group.execute(_set_torch_distributed_env_vars)
        how = {
            "backend": backend_config.backend,
            "world_size": len(worker_group),
            "init_method": f"file://{backend_config.folder}/{uuid4().hex}",
        }
        each = (
            worker_group.execute_single_async(
                rank, _setup_torch_process_group, world_rank=rank, **how
            )
            for rank in range(len(worker_group))
        )
        ray.get(list(each))
