"""What each view of a window adds: by cell, pooled over places, on every surface alike."""

from pathlib import Path

import pytest

from citrus_ray import records
from citrus_ray.evidence.evidence import evidence_of
from citrus_ray.evidence.summary import summarise
from citrus_ray.evidence.tables import table
from citrus_ray.evidence.worth import pooled_worth
from citrus_ray.experiment.sweep import Sweep
from tests.small import record_of, sweep_of

METRIC = "balanced_accuracy"
LABELS = [{"per_class": 2}, {"per_class": 4}]


def swept(folder: Path) -> tuple[Sweep, Path]:
    """Two places, five rounds: bands add 0.10 and 0.20, and in each round a little more; time
    takes away."""
    sweep = sweep_of(
        compare={"finetune.labels": LABELS, "pretrain.task": [None]},
        search={},
        claims=[],
        final={"rounds": 5},
    )
    for cell, adds in zip(sweep.cells, (0.1, 0.2), strict=True):
        rows = []
        for i in range(5):
            metrics = {
                f"test/{METRIC}": 0.8,
                f"without:bands/{METRIC}": 0.8 - adds - 0.001 * i,
                f"without:time/{METRIC}": 0.81,
            }
            rows.append(
                record_of(cell, {"seed": 1000 + i}, metrics, trial=f"f{cell.index}", seed=1000 + i)
            )
        records.write(folder, f"f{cell.index}", rows)
        search = record_of(
            cell, {"seed": 0}, {f"val/{METRIC}": 0.8}, phase="search", trial=f"s{cell.index}"
        )
        records.write(folder, f"s{cell.index}", [search])
    return sweep, folder


def test_a_view_adds_what_the_others_lack_without_it_in_each_place_and_in_the_mean(tmp_path):
    sweep, folder = swept(tmp_path)
    cells = evidence_of(sweep, folder).cells
    assert [cell.worth["bands"].mean for cell in cells] == [
        pytest.approx(0.102),
        pytest.approx(0.202),
    ]
    assert cells[0].worth["time"].mean == pytest.approx(-0.01)
    assert cells[0].worth["bands"].n == 5
    (pooled,) = pooled_worth(cells)
    bands = pooled.of_view["bands"]
    assert (pooled.n_places, bands.n) == (2, 5)
    assert bands.mean == pytest.approx(0.152)
    assert bands.is_bounded
    assert bands.low > 0.14


def test_summary_and_last_screen_show_the_same(tmp_path):
    sweep, folder = swept(tmp_path)
    found = summarise(sweep, folder, 1.0)
    (pooled,) = found["worth"]
    assert pooled["of_view"]["bands"]["mean"] == pytest.approx(0.152)
    assert found["cells"][1]["worth"]["bands"]["mean"] == pytest.approx(0.202)
    text = table(found)
    assert "what a view adds" in text
    assert "mean of 2 places" in text
    assert "+0.152" in text


def test_a_sweep_without_views_says_nothing_of_them(tmp_path):
    sweep, folder = swept(tmp_path)
    for path in folder.glob("f*.jsonl"):
        path.write_text(path.read_text().replace("without:", "other:"))
    found = summarise(sweep, folder, 1.0)
    assert found["worth"] == []
    assert "what a view adds" not in table(found)
