"""docs/own-model.md, followed to the letter: its files, its contract tests, its sweep."""

import re

import pytest
import yaml

from tests.docs.pages import ROOT, blocks
from tests.small import SCRATCH

NAME = "docs/own-model.md"
PAGE = (ROOT / NAME).read_text()


def test_the_method_of_the_page_is_a_model(tmp_path, monkeypatch):
    (method,) = [b for b in blocks(ROOT / NAME, "python") if b.file == "my_method.py"]
    (tmp_path / "my_method.py").write_text(method.text)
    monkeypatch.syspath_prepend(str(tmp_path))
    said = re.findall(r"`model: ([^`]*my_method:Means[^`]*)`", PAGE)
    assert len(said) == 2
    for model in (yaml.safe_load(text) for text in said):
        trial = SCRATCH.at({"model": model, "finetune.labels": {"per_class": 12}})
        assert getattr(trial.model, "power", None) in (1.0, 2.0)
        assert 0 < trial.run()["val/balanced_accuracy"] <= 1


@pytest.mark.slow
def test_the_page_leads_from_a_network_to_its_verdict(followed):
    reader = followed(NAME)
    contract, plan, sweep = reader.said.values()
    assert re.search(r"^\d+ passed", contract, re.MULTILINE)
    assert "masked: 2 trials x 2 members + 3 rounds of 1" in plan
    assert "gain over scratch" in sweep
    assert (reader.folder / "results" / "mine" / "report.html").exists()


def test_every_room_that_packages_can_fill_is_named():
    code = "".join(path.read_text() for path in (ROOT / "citrus_ray").rglob("*.py"))
    rooms = set(re.findall(r'(?:Kinds\([^\n]*, (?:room=)?|entry_points\()"(\w+)"\)', code))
    assert rooms == {"models", "tasks", "sources", "augmentations", "views", "baselines"}
    assert all(re.search(rf"`(citrus_ray)?\.{room}`", PAGE) for room in rooms)
