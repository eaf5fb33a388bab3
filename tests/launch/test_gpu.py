"""GPUs: who gets a share, what it counts, and a clear word where there is none. No GPU is needed
for these."""

from typing import Any

import pytest

from citrus_ray import records
from citrus_ray.evidence.cost import GpuMeter, cost
from citrus_ray.evidence.summary import summarise
from citrus_ray.launch.cluster import Capacity
from citrus_ray.launch.pretrain import share_of
from citrus_ray.launch.slots import PRETRAIN_SHARE, Slots
from citrus_ray.search.study import Studies
from citrus_ray.spec import SpecError
from citrus_ray.store import checkpoint
from tests.evidence.test_summary import VAL
from tests.small import PRETRAINED, record_of, sweep_of

LR = {"finetune.optim.lr": {"loguniform": [1e-3, 1e-2]}}
MIXED: dict[str, Any] = {"compare": {"finetune.gpu": [0.0, 0.25]}, "search": LR}
SHARED: dict[str, Any] = {"compare": {"finetune.gpu": [0.25]}, "search": LR}


def test_trials_share_a_gpu_as_the_spec_says():
    assert Slots(sweep_of(**SHARED), Capacity(16, 1)).n == 4
    assert Slots(sweep_of(**SHARED), Capacity(16, 2)).n == 8
    assert Slots(sweep_of(**SHARED), Capacity(2, 1)).n == 2, "each trial has a CPU of its own too"
    assert Slots(sweep_of(**SHARED, concurrency=3), Capacity(16, 1)).n == 3
    assert Slots(sweep_of(**MIXED), Capacity(16, 1)).n == 16, "some need no GPU"


def test_trials_of_a_sweep_with_gpus_ask_for_their_share_and_those_of_one_without_ask_for_none():
    slots = Slots(sweep_of(**MIXED), Capacity(16, 1))
    assert [slots.request(cell) for cell in (0, 1)] == [{"CPU": 0.9}, {"CPU": 0.9, "GPU": 0.25}]
    crowded = Slots(sweep_of(concurrency=8), Capacity(2, 0))
    assert crowded.n * crowded.request(0)["CPU"] <= 2 * (1 - PRETRAIN_SHARE), (
        "what is left is for pre-trainings"
    )


def test_trials_that_need_no_gpu_go_on_where_all_gpus_are_taken():
    slots = Slots(sweep_of(**MIXED), Capacity(16, 1))
    live = [1, 1, 0, 0, 1, 1]
    assert not slots.has_room(1, live)
    assert slots.has_room(0, live)
    assert slots.has_room(1, live[:-1])
    slots.resize(Capacity(16, 0))
    assert slots.has_room(1, [0, 0]), "it asks for a node with a GPU"
    assert not slots.has_room(1, [1])


def test_the_next_trial_is_of_a_cell_that_has_room(tmp_path):
    studies = Studies(sweep_of(**MIXED), tmp_path / "records")
    jobs = [studies.next_job(lambda cell: cell.index == 0) for _ in range(3)]
    assert [job.cell.index for job in jobs if job] == [0, 0, 0]
    job = studies.next_job()
    assert job is not None
    assert job.cell.index == 1, "which has asked least"


@pytest.mark.parametrize(
    ("edits", "asked"),
    [({}, {"CPU": 0.2}), ({"pretrain.gpu": True}, {"CPU": 0.2, "GPU": 1})],
    ids=["cpu", "gpu"],
)
def test_workers_of_a_pretraining_ask_for_a_gpu_each_only_where_the_spec_says_so(edits, asked):
    spec = PRETRAINED.at({"pretrain.threads_per_worker": 2} | edits).pretraining
    assert spec is not None
    assert share_of(spec, PRETRAIN_SHARE) == asked


def test_a_cluster_without_a_gpu_is_refused_before_anything_starts():
    with pytest.raises(
        ValueError, match=r"0.25 of a GPU each .*, but the cluster has 0; set finetune.gpu"
    ):
        Slots(sweep_of(**SHARED), Capacity(16, 0))


@pytest.mark.parametrize(("n_gpus", "gpu"), [(0, False), (1, False), (2, True)])
def test_gpus_that_are_welcome_are_taken_where_each_worker_has_one(n_gpus, gpu):
    task = {"pretrain.task": [{"kind": "masked"}]}
    sweep = sweep_of(compare=task)
    tree = sweep.tree()
    tree["trial"]["pretrain"] |= {"gpu": "auto", "workers": 2}
    auto = sweep.at({"trial": tree["trial"]})
    assert auto.digest() == sweep.digest(), "where it ran changes no result"
    slots = Slots(auto, Capacity(4, n_gpus))
    asked = slots.as_run(auto.cells[0].trial).pretraining
    assert asked is not None
    assert asked.gpu is gpu
    said = f"gpu: auto, and the cluster has {n_gpus} GPUs for 2 workers"
    assert [said in line for line in slots.planned_down] == ([] if gpu else [True])


def test_an_encoder_that_was_computed_without_a_gpu_counts_no_seconds_of_one(tmp_path):
    (cell,) = sweep_of(compare={"pretrain.task": [{"kind": "masked"}]}).cells
    for device in ("cpu", "cuda"):
        about = {"seconds": 100.0, "workers": 2, "device": device}
        checkpoint.save(str(tmp_path), device, {}, about)
        row = record_of(cell, {"seed": 0}, {}, config={"pretrain.gpu": "auto"}, encoder=device)
        meter = GpuMeter(tmp_path)
        meter.add([row])
        assert meter.seconds == (200 if device == "cuda" else 0)
        assert cost([row], tmp_path)["pretrained_on"] == {device: 1}


def test_a_share_that_leaves_a_rest_is_refused():
    with pytest.raises(SpecError, match=r"gpu=0.3: must be 1, 1/2, 1/3"):
        PRETRAINED.at({"finetune.gpu": 0.3})
    assert PRETRAINED.at({"finetune.gpu": 1 / 3}).digest() == PRETRAINED.digest(), (
        "where it ran changes no result"
    )


def test_gpu_seconds_count_each_encoder_once_and_trials_by_their_share(tmp_path):
    (cell,) = sweep_of(compare={"pretrain.task": [{"kind": "masked"}]}).cells
    checkpoint.save(str(tmp_path), "e", {}, {"seconds": 100.0, "workers": 2})
    fields = {"encoder": "e", "seconds": 8.0, "gpu": 0.25}
    rows = [
        record_of(cell, {"seed": i}, {}, config={"pretrain.gpu": True}, **fields) for i in range(3)
    ]
    meter = GpuMeter(tmp_path)
    meter.add(rows)
    assert meter.seconds == 3 * 2 + 200
    on_cpu = GpuMeter(tmp_path)
    on_cpu.add(record_of(cell, {"seed": i}, {}, encoder="e", seconds=8.0) for i in range(3))
    assert on_cpu.seconds == 0


def test_gpu_hours_end_the_search_and_winners_are_refitted(tmp_path):
    sweep = sweep_of(budget={"trials": 40, "gpu_hours": 0.01}, compare={}, search=LR)  # 36 s
    folder = tmp_path / "records"
    (study,) = Studies(sweep, folder).studies
    for _ in range(2):
        job = study.next_job()
        assert job is not None
        assert job.phase == "search"
        fields = {
            "trial": job.digest,
            "phase": "search",
            "params": job.params,
            "seconds": 20.0,
            "gpu": 0.5,
        }
        rows = [
            record_of(study.cell, repeat, {VAL: 0.5}, **fields) for repeat, _ in job.members
        ]  # 30 s of a GPU
        records.write(folder, job.digest, rows)
        study.finish(job, rows)
    last = study.next_job()
    assert last is not None
    assert last.phase == "final"
    (found,) = summarise(sweep, folder, 0.0)["cells"]
    assert (found["stopped"], found["cost"]["gpu_seconds"]) == ("gpu_hours", 60.0)
    (again,) = Studies(sweep, folder).studies
    assert not again.searching
