"""CPUs that Ray Train reserved for workers that were lost as their group started, and forgot: the
next group, or the next trial, would wait for them for ever."""

from typing import Any

from ray import PlacementGroupID
from ray.core.generated import gcs_pb2
from ray.train.v2._internal.execution.callback import WorkerGroupCallback
from ray.util.placement_group import PlacementGroup, remove_placement_group


class OneAtATime(WorkerGroupCallback):  # type: ignore[misc]  # Ray's code is untyped
    """Frees, in the process that leads a pre-training, what an earlier start of its workers holds
    before they are started again."""

    def before_worker_group_start(self, worker_group_context: Any) -> None:
        import ray

        free_what_holds(ray.get_runtime_context().get_actor_id())


def free_what_holds(actor_id: str | None) -> None:
    """Remove the placement groups that an actor made. Ray does so only when its whole job ends."""
    from ray._private.state import state

    for raw in state._connect_and_get_accessor().get_placement_group_table():
        group = gcs_pb2.PlacementGroupTableData.FromString(raw)
        gone = group.state == gcs_pb2.PlacementGroupTableData.REMOVED
        if group.creator_actor_id.hex() == actor_id and not gone:
            remove_placement_group(PlacementGroup(PlacementGroupID(group.placement_group_id)))
