"""Kept networks for programs that have torch or an ONNX runtime alone."""

import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from citrus_ray.data.windows import Signal, Windows
from citrus_ray.inference.model import Floats, KeptModel, said_of
from citrus_ray.records import write_bytes
from citrus_ray.spec import SpecError, refuse
from citrus_ray.training.finetuning import Votes
from citrus_ray.training.targets import TaughtValue

Form = Literal["torchscript", "onnx"]
TOLERANCE = 1e-5  # of a probability
SIZES = (5, 1, 3)  # of batches that are compared; the first is traced


class Exported(nn.Module):
    """Aligned windows (B, C, T), as they are cut and z-scored -> probabilities (B, K), or values
    (B, 1)."""

    mean: torch.Tensor
    spread: torch.Tensor

    def __init__(
        self, classifier: nn.Module, mean: Signal, spread: Signal, value: TaughtValue | None = None
    ) -> None:
        """`value`: what outputs are standard deviations of."""
        super().__init__()
        self.classifier, self.value = classifier, value
        self.register_buffer("mean", torch.from_numpy(mean))  # (C, 1)
        self.register_buffer("spread", torch.from_numpy(spread))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.classifier((x - self.mean) / self.spread)
        if self.value is not None:
            return (outputs.double() * self.value.scale + self.value.mean).float()
        return torch.softmax(outputs.double(), dim=1).float()


def export(model: KeptModel, to: Form, out: Path) -> str:
    """Write the model to `out`, if it says there what it says here; a sentence on what it takes."""
    module, ctx = _module(model), model.facts["context"]
    rng = np.random.default_rng(0)
    shape = ctx["n_chans"], ctx["n_times"]
    inputs = [rng.normal(size=(n, *shape)).astype(np.float32) for n in SIZES]
    inputs = [x * module.spread.numpy() + module.mean.numpy() for x in inputs]
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model"
        worst = _largest_difference(model, module, to, inputs, path)
        # of values in their own unit
        most = TOLERANCE * (1.0 if module.value is None else max(module.value.scale, 1e-12))
        if not worst <= most:
            rule = f"what was exported differs from the model by {worst:.2g}"
            raise refuse(f"{rule}, more than {most:g}", "--to")
        write_bytes(out, path.read_bytes())
    n_chans, n_times = shape
    gives = "values (B, 1)" if module.value else f"probabilities (B, {len(model.classes)})"
    takes = f"float32 (B, {n_chans}, {n_times}) -> {gives}"
    return f"{out}: {takes}, equal to the model within {worst:.1g} on {sum(SIZES)} windows"


def _largest_difference(
    model: KeptModel, module: Exported, to: Form, inputs: Sequence[Signal], path: Path
) -> float:
    """How far what is written to `path` and read again is from the model, as probabilities."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a trace warns of what is compared here
            made = {"torchscript": _torchscript, "onnx": _onnx}[to](module, inputs[0], path)
            return max(float(np.abs(made(x) - _asked(model, x)).max()) for x in inputs)
    except SpecError:
        raise
    except Exception as err:  # whatever a network's code does to an exporter
        lines = [line.strip() for line in str(err).splitlines() if line.strip()]
        said = lines[-1][:200] if lines else type(err).__name__
        rule = f"{model.facts['kind']} cannot be written so, or runs on one size of batch alone"
        raise refuse(f"{rule}: {said}; use `load_model`", "--to") from None


def _module(model: KeptModel) -> Exported:
    """The network of a model; methods without one are refused by name."""
    if model.facts["multimodal"]:
        rule = f"{model.facts['kind']} reads signals of several rates, of which some may be absent"
        raise refuse(f"{rule}, which no one tensor holds; use `citrus predict`", "MODEL")
    votes = model.predictor(_silence(model))
    if not isinstance(votes, Votes):
        rule = f"{model.facts['kind']} is a method without a network"
        raise refuse(f"{rule}, and only networks are exported; use `load_model`", "MODEL")
    if votes.middle is not None:
        rule = "subjects=recentre: what it says of a window hangs on others of its subject"
        raise refuse(f"{rule}, which an exported network has not; use `citrus predict`", "MODEL")
    scale = votes.reader.view.scales[0]
    value = votes.taught if isinstance(votes.taught, TaughtValue) else None
    module = Exported(votes.network.classifier, scale.mean, scale.spread, value)
    return module.eval().requires_grad_(False)


def _silence(model: KeptModel, x: Signal | None = None) -> Windows:
    """Aligned windows; without `x`, one of zeros."""
    ctx = model.facts["context"]
    x = np.zeros((1, ctx["n_chans"], ctx["n_times"]), np.float32) if x is None else x
    names = tuple(ctx["names"]) or tuple(map(str, range(ctx["n_chans"])))
    kinds = tuple(ctx["modalities"])
    return Windows(x, np.zeros(len(x), np.int64), ctx["sfreq"], names, kinds, ("",))


def _asked(model: KeptModel, x: Signal) -> Floats:
    """What the kept model itself says of aligned windows."""
    outputs = model.predictor(_silence(model, x.copy()))(np.arange(len(x)))
    return said_of(outputs.astype(np.float32), model.target)


def _torchscript(module: Exported, x: Signal, path: Path) -> Callable[[Signal], Floats]:
    with torch.no_grad():
        traced = torch.jit.trace(module, torch.from_numpy(x))  # type: ignore[no-untyped-call]
    torch.jit.save(traced, str(path))
    again = torch.jit.load(str(path))  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def run(x: Signal) -> Floats:
        return np.asarray(again(torch.from_numpy(x)).numpy())

    return run


def _onnx(module: Exported, x: Signal, path: Path) -> Callable[[Signal], Floats]:
    try:
        import onnx
        import onnxscript  # noqa: F401  (what torch.onnx writes with)
        from onnx.reference import ReferenceEvaluator
    except ImportError as err:
        way = "pip install 'citrus_ray[onnx]', or give --to torchscript"
        raise refuse(f"onnx: {err.name} is not installed; {way}", "--to") from None
    dynamic = {"x": {0: torch.export.Dim("batch")}}
    torch.onnx.export(
        module,
        (torch.from_numpy(x),),
        str(path),
        input_names=["x"],
        output_names=["probabilities"],
        dynamic_shapes=dynamic,
        external_data=False,
        dynamo=True,
        verbose=False,
    )
    again = ReferenceEvaluator(onnx.load(str(path)))
    return lambda x: np.asarray(again.run(None, {"x": x})[0])
