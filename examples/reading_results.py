# %% [markdown]
# Results as tables and figures: of `citrus run quickstart` where it was run here, else of a smaller
# one that is run first.

# %%
from pathlib import Path

from citrus_ray import Results, load_sweep

folder = Path("results/quickstart")
if folder.is_dir():
    results = Results(folder)
else:
    small = {"budget.trials": 1, "trial.finetune.steps": 20, "final.rounds": 3, "decide": None}
    small |= {"trial.pretrain.epochs": 1, "name": "small"}
    results = load_sweep("quickstart", small).run(progress=False)
print(results)

# %% Which cell is best, and what pre-training gains
print(results.cells[["label", "test_mean", "test_low", "test_high"]].to_string())
print(results.gains[["label", "gain_mean", "gain_low", "gain_high", "verdict"]].to_string())

# %% Every trial: the best of the search, by cell
searched = results.trials[results.trials["phase"] == "search"]
best = searched.sort_values("value", ascending=False).groupby("label").head(1)
print(best[["label", "value", "params.finetune.optim.lr", "seconds"]].to_string())

# %% Who is hard to read: accuracy by subject, over all rounds
said = results.predictions
said["right"] = said["true"] == said["predicted"]
print(said.pivot_table(index="subject", columns="label", values="right").round(2).to_string())

# %% Figures of the page, as matplotlib figures
print(results.figures)
results.figure("gains").savefig("gains.png", dpi=120)
