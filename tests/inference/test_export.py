"""A kept network for programs without this package: equal to the model, or not written."""

import importlib.util

import numpy as np
import pytest
import torch

from citrus_ray.cli.export import main
from citrus_ray.inference import export as exporting
from tests.inference.conftest import RATE, VALUE, Keep, target_of


@pytest.mark.parametrize(
    "edits",
    [
        {},
        {"model": "citrus"},
        {"finetune__head": {"moments": True, "power": True, "bins": 2}},
        VALUE,
    ],
    ids=["conv", "citrus", "head", "value"],
)
def test_torchscript_says_what_the_model_says(keep: Keep, study, signal, tmp_path, edits, capsys):
    model, _ = keep(target_of(study, normalize="none"), **edits)
    out = tmp_path / "model.pt"
    assert main([str(model.folder), "--to", "torchscript", "--out", str(out)]) == 0
    gives = "values (B, 1)" if edits is VALUE else "probabilities (B, 2)"
    assert f"float32 (B, 2, 64) -> {gives}" in capsys.readouterr().out
    windows = signal[:, :320].reshape(2, 5, 64).swapaxes(0, 1)
    again = torch.jit.load(str(out))  # type: ignore[no-untyped-call]
    found = again(torch.from_numpy(np.ascontiguousarray(windows)))
    assert found.numpy() == pytest.approx(model(windows, RATE), abs=1e-6)


@pytest.mark.skipif(not importlib.util.find_spec("onnx"), reason="pip install citrus_ray[onnx]")
def test_onnx_says_what_the_model_says(model, tmp_path, capsys):
    out = tmp_path / "model.onnx"
    assert main([str(model.folder), "--to", "onnx", "--out", str(out)]) == 0
    assert out.stat().st_size > 1000


@pytest.mark.skipif(bool(importlib.util.find_spec("onnx")), reason="onnx is installed")
def test_without_onnx_the_way_to_it_is_said(model, tmp_path, capsys):
    out = tmp_path / "model.onnx"
    assert main([str(model.folder), "--to", "onnx", "--out", str(out)]) == 2
    assert "pip install 'citrus_ray[onnx]', or give --to torchscript" in capsys.readouterr().err
    assert not out.exists()


def test_what_differs_is_not_written(model, tmp_path, monkeypatch, capsys):
    made = exporting._torchscript
    monkeypatch.setattr(
        exporting, "_torchscript", lambda *given: lambda x: made(*given)(x) + np.float32(1e-3)
    )
    out = tmp_path / "model.pt"
    assert main([str(model.folder), "--to", "torchscript", "--out", str(out)]) == 2
    assert "differs from the model by 0.001" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("edits", "said"),
    [
        ({"model": "band_power"}, "band_power is a method without a network"),
        (
            {"finetune__mode": "probe", "finetune__subjects": "recentre"},
            "subjects=recentre: what it says of a window hangs on others of its subject",
        ),
    ],
    ids=["method", "recentre"],
)
def test_what_is_no_plain_network_is_refused_by_name(keep: Keep, tmp_path, edits, said, capsys):
    model, _ = keep(**edits)
    out = tmp_path / "model.pt"
    assert main([str(model.folder), "--to", "torchscript", "--out", str(out)]) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()
