"""Phone and watch, EEG and ECG: the specs of docs/formats.md, cut down, as whole sweeps."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from citrus_ray.data.root import data_root

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_portfolio")]
Run = Callable[..., tuple[int, Path]]
PAGE = Path(__file__).resolve().parents[2] / "docs" / "formats.md"
SMALL: dict[str, Any] = {
    "trial": {
        "model": {"kind": "crossmodal", "encoder": {"kind": "conv", "dim": 8, "strides": [4, 4]}},
        "pretrain": None,
        "finetune": {"labels": {"per_class": 4}, "steps": 4, "rounds": 2},
    },
    "search": {"finetune.optim.lr": {"choice": [1e-3]}},
    "budget": {"trials": 1},
    "final": {"rounds": 2},
}


def target(part: str) -> dict[str, Any]:
    """The block of the page that has such a part."""
    found = re.findall(r"```yaml\n(finetune:.*?)```", PAGE.read_text(), re.DOTALL)
    blocks: list[dict[str, Any]] = [yaml.safe_load(text)["finetune"]["target"] for text in found]
    return next(block for block in blocks if part in block.get("of", {}))


@pytest.mark.parametrize(
    ("folder", "part", "patterns", "sensors"),
    [
        (
            "sp_sw_har",
            "watch",
            {"phone": "recordings/s0*_sp.npz", "watch": "recordings/s0*_sw.npz"},
            {
                f"{kind}@{part}"
                for kind in ("accelerometer", "gyroscope")
                for part in ("phone", "watch")
            },
        ),
        (
            "eegmat",
            "ecg",
            dict.fromkeys(("eeg", "ecg"), "recordings/Subject0*.npz"),
            {"eeg", "ecg"},
        ),
    ],
)
def test_parts_of_one_moment_run_to_the_end(
    run: Run, folder: str, part: str, patterns: dict[str, str], sensors: set[str]
) -> None:
    if not (data_root() / folder / "recordings").is_dir():
        pytest.skip(f"{folder} is not under {data_root()}; set CITRUS_DATA to what holds it")
    block = target(part)
    for name, pattern in patterns.items():
        block["of"][name] |= {"pattern": pattern, "max_windows_per_recording": 4}
    trial = SMALL["trial"] | {"finetune": SMALL["trial"]["finetune"] | {"target": block}}
    code, out = run(SMALL | {"name": folder, "trial": trial}, "--no-ray")
    assert code == 0
    (cell,) = json.loads((out / "summary.json").read_text())["cells"]
    assert cell["n_failed"] == 0
    assert cell["test"]["n"] == 2
    (record, *_) = [json.loads(p.read_text().splitlines()[0]) for p in (out / "records").iterdir()]
    assert set(record["modalities"]) == sensors
