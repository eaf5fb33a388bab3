# %% [markdown]
# Recordings of your own: from a folder of files to what pre-training on it gains.
#
# `python examples/own_recordings.py` takes a few seconds. The folder is made up here; with yours,
# leave the first cell out.

# %% A folder of recordings and a table of labels
from pathlib import Path

import numpy as np

from citrus_ray import Sweep

folder = Path("study")
folder.mkdir(exist_ok=True)
rows, time = ["file,start_s,stop_s,label,group"], np.arange(4000) / 200
for person in range(12):
    rng = np.random.default_rng(person)
    x = rng.normal(size=(2, len(time))) + 0.5 * np.sin(2 * np.pi * 50 * time)
    x += (time % 4 >= 2) * 0.8 * np.sin(2 * np.pi * rng.uniform(18, 24) * time)
    np.savez(folder / f"p{person:02}.npz", x=x, sfreq=200.0, ch_names=["C3", "C4"], unit="uV")
    for start in range(0, 20, 2):
        label = "move" if start % 4 else "rest"
        rows.append(f"p{person:02},{start},{start + 2},{label},p{person:02}")
(folder / "labels.csv").write_text("\n".join(rows) + "\n")

# %% What is asked of it
mine = {
    "kind": "files",
    "root": str(folder),
    "pattern": "*.npz",
    "labels": "labels.csv",
    "seconds": 2.0,
    "sfreq": 200,
    "notch": 50,
}
sweep = Sweep.of(
    {
        "name": "study",
        "trial": {
            "model": {"kind": "conv", "dim": 8, "strides": [4, 4]},
            "pretrain": {"source": mine, "task": None, "epochs": 1},
            "finetune": {"target": mine, "labels": {"per_class": 6}, "steps": 20, "rounds": 4},
        },
        "compare": {"pretrain.task": [None, {"kind": "masked"}]},
        "budget": {"trials": 1},
        "final": {"rounds": 3},
        "claims": [
            {
                "says": "pre-training on the study helps to tell its classes apart",
                "better": {"pretrain.task": {"kind": "masked"}},
                "worse": {"pretrain.task": None},
            }
        ],
    }
)
for cell in sweep.cells:
    print(cell.label, cell.trial.digest())

# %% Run it, in this process; `sweep.run("local")` takes all CPUs of this machine
results = sweep.run(progress=False)
print(results.claims[["says", "effect", "verdict"]].to_string())
print(f"the page: {results.folders[0] / 'report.html'}")
