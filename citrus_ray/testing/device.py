"""A device `cuda:0` on a machine without one: what would fail or wait on a GPU is seen on a CPU.

Its tensors hold numbers in main memory, so that whatever is computed is right, and say that they
are elsewhere. As on a GPU, an operation on tensors of both places is refused, and so is one that
PyTorch has for CPUs alone; whenever the host must know a value of a tensor there (`.item()`, `if`,
a shape that depends on values) it would have to wait, and the place in the code is noted.

It knows nothing of a GPU's memory, speed and rounding, and does not count copies onto the device.

PyTorch's own fake tensors do not serve: without CUDA they cannot be indexed, and nothing that
depends on a value can go on, be it a mask, a solved head or a reference.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode

DEVICE = torch.device("cuda", 0)
aten = torch.ops.aten

# operations that need a value of a tensor on the host: what leaves has a shape, or is a number,
# that depends on it
READING = {
    aten._local_scalar_dense.default,
    aten._unique2.default,
    aten.bincount.default,
    aten.equal.default,
    aten.masked_select.default,
    aten.nonzero.default,
    aten.repeat_interleave.Tensor,
    aten.unique_consecutive.default,
    aten.unique_dim.default,
}
INDEXING = {
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
}
# what PyTorch takes on a CPU where it has something of its own for a GPU
OF_CPUS = {
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention_for_cpu_backward",
    "mkldnn_rnn_layer",
    "mkldnn_rnn_layer_backward",
    "slow_conv3d_forward",
    "slow_conv3d_forward.output",
}


class FakeDevice(TorchFunctionMode):
    """While it is entered, tensors can be made on, and moved to, `cuda:0`."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[str] = []  # where the host waited for a value, in order

    def __enter__(self) -> "FakeDevice":
        self._generators = mock.patch.object(torch, "Generator", _Generator)
        self._generators.start()
        # parameters are swapped for those that are there, and stay the same objects
        self._swaps = torch.__future__.get_swap_module_params_on_conversion()
        torch.__future__.set_swap_module_params_on_conversion(True)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)  # type: ignore[no-untyped-call]
        torch.__future__.set_swap_module_params_on_conversion(self._swaps)
        self._generators.stop()

    @contextmanager
    def reading(self) -> Iterator[list[str]]:
        """The list of where the host waits for a value in the block."""
        found, before = list[str](), len(self.reads)
        yield found
        found += self.reads[before:]

    def note(self) -> None:
        """The host waits for a value: at the innermost line that is neither PyTorch's nor here."""
        ours = (f for f in _frames() if not _is_foreign(f.f_code.co_filename))
        frame = next(ours, None)
        if frame is None:
            self.reads.append("a thread of autograd")
            return
        # a comprehension is a part of its function
        names = (f.f_code.co_name for f in (frame, *ours))
        name = next((n for n in names if not n.startswith("<")), "module")
        self.reads.append(f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} ({name})")

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in ASKED:
            return ASKED[func] if _is_there(args[0]) else func(*args)
        if func in MOVED:
            return self._moved(func, args, kwargs)
        if func in UNKNOWN and _is_there(args[0]):
            if kwargs.get("force"):
                return self.brought(args[0]).detach().numpy()
            raise TypeError(
                f"can't convert {DEVICE} device type tensor to numpy. Use Tensor.cpu() to copy the "
                "tensor to host memory first."
            )
        if func is torch.Tensor.tolist and _is_there(args[0]):
            self.note()
            return args[0].detach().held.tolist()
        if func is torch.Tensor.new_tensor and _is_there(args[0]) and "device" not in kwargs:
            kwargs = {**kwargs, "device": DEVICE}
        return self._made(func, args, kwargs)

    def _made(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """What leaves a function; on the device where it is told to be made there."""
        if kwargs.get("device") is None:
            return func(*args, **kwargs)
        place, source = torch.device(kwargs["device"]), kwargs.get("generator")
        if isinstance(source, torch.Generator) and source.device.type != place.type:
            raise RuntimeError(
                f"Expected a '{place.type}' device type for generator but found "
                f"'{source.device.type}'"
            )
        if place.type != DEVICE.type:
            return func(*args, **kwargs)
        asks = bool(kwargs.get("requires_grad"))  # a leaf there, and not a copy of one here
        plain = {"requires_grad": False} if asks else {}
        found = self.put(func(*args, **{**kwargs, "device": "cpu", **plain}))
        return found.requires_grad_() if asks else found

    def _moved(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """`Tensor.to`, `.cpu` and `.cuda`."""
        x, *rest = args
        if func is TENSOR.to:
            given = [*rest, *kwargs.values()]
            place = next((p for p in map(_place_of, given) if p is not None), None)
            x = x.to(*map(_here, rest), **{name: _here(value) for name, value in kwargs.items()})
        else:
            place = torch.device("cpu") if func is TENSOR.cpu else DEVICE
        if place is None or (place.type == DEVICE.type) == _is_there(x):
            return x
        return self.put(x.clone()) if place.type == DEVICE.type else self.brought(x)

    def put(self, found: Any) -> Any:
        """A tensor of the host as one of the device."""
        if not isinstance(found, torch.Tensor) or _is_there(found):
            return found
        if not found.requires_grad:
            return _There(found, self)
        return _Put.apply(found, self)  # type: ignore[no-untyped-call]

    def brought(self, x: torch.Tensor) -> torch.Tensor:
        """A tensor of the device as one of the host, which waits for it."""
        self.note()
        found: torch.Tensor = _Brought.apply(x, self)  # type: ignore[no-untyped-call]
        return found


class _There(torch.Tensor):
    """A tensor that says it is on the device. `held` has its numbers."""

    held: torch.Tensor
    device_of: FakeDevice
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls: Any, held: torch.Tensor, device: FakeDevice) -> "_There":
        found = torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=held.device,
        )
        found.held, found.device_of = held, device
        return found  # type: ignore[no-any-return]

    def __deepcopy__(self, memo: dict[int, Any]) -> "_There":
        if id(self) not in memo:
            found = _There(self.held.clone(), self.device_of).requires_grad_(self.requires_grad)
            if isinstance(self, torch.nn.Parameter):
                found._is_param = True
            memo[id(self)] = found
        return memo[id(self)]  # type: ignore[no-any-return]

    def __reduce_ex__(self, protocol: Any) -> Any:
        # to be read where there is no such device
        return self.held.__reduce_ex__(protocol)  # type: ignore[no-untyped-call]

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"tensor({self.held}, device='{DEVICE}')"

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        there, here = list[_There](), list[torch.Tensor]()

        def held(x: Any) -> Any:
            if isinstance(x, _There):
                there.append(x)
                return x.held
            if isinstance(x, torch.Tensor):
                here.append(x)
            return x

        plain = _each(held, args), _each(held, kwargs or {})
        device, known = there[0].device_of, {id(x.held): x for x in there}
        _refuse_both(func, args, here)
        _refuse_unknown(func)
        if func in READING or (func in INDEXING and any(_is_mask(i) for i in args[1])):
            device.note()
        onto_host = func is aten.copy_.default and not isinstance(args[0], _There)
        if onto_host:
            device.note()
        out = func(*plain[0], **plain[1])

        def put(x: Any) -> Any:
            if not isinstance(x, torch.Tensor) or onto_host:
                return x
            # what was changed in place is the tensor that came in
            return known[id(x)] if id(x) in known else _There(x, device)

        return _each(put, out)


def _refuse_both(func: Any, args: Sequence[Any], here: list[torch.Tensor]) -> None:
    """An operation on tensors of both places. A number is wherever it is needed, an index may come
    from the host, a copy may go either way; what autograd fills in is not the caller's."""
    if func is aten.copy_.default or torch._C._current_graph_task_id() != -1:
        return
    if func in INDEXING and isinstance(args[0], _There):
        here = [x for x in here if not any(x is index for index in args[1])]
    if any(x.dim() for x in here):
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, "
            f"{DEVICE} and cpu! (when {func} was called)"
        )


@cache
def _refuse_unknown(func: Any) -> None:
    namespace, name = func._schema.name.split("::")
    name = f"{name}.{func._schema.overload_name}" if func._schema.overload_name else name
    if namespace == "aten" and name in of_cpus_alone():
        raise NotImplementedError(
            f"Could not run 'aten::{name}' with arguments from the 'CUDA' backend."
        )


@cache
def of_cpus_alone() -> frozenset[str]:
    """Names of operations that PyTorch has for CPUs and not for GPUs, by its own list."""
    import torchgen  # type: ignore[import-untyped]

    folder = Path(torchgen.__file__).parent / "packaged" / "ATen" / "native"
    found, name, keys = set[str](), "", set[str]()
    for line in [*(folder / "native_functions.yaml").read_text().splitlines(), "- func: ("]:
        word = line.strip()
        if word.startswith("- func:"):
            if "CPU" in keys and "CUDA" not in keys and "Composite" not in "".join(keys):
                found.add(name)
            name, keys = word.removeprefix("- func:").split("(")[0].strip(), set()
        elif ":" in word and word.split(":")[0].replace(", ", "").isalnum():
            keys |= set(word.split(":")[0].split(", "))
    return frozenset(found - OF_CPUS)


class _Put(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, device: FakeDevice) -> torch.Tensor:
        ctx.device = device
        return _There(x.detach(), device)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0].held, None


class _Brought(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any, device: FakeDevice) -> torch.Tensor:
        ctx.device = device
        held: torch.Tensor = x.held.clone()
        return held

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return _There(grads[0], ctx.device), None


class _Generator(torch.Generator):
    """A generator that says it is on the device where it was made for it, and draws on the CPU."""

    is_there: bool

    def __new__(cls, device: Any = "cpu") -> "_Generator":
        found = super().__new__(cls)
        found.is_there = torch.device(device).type == DEVICE.type
        return found

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return DEVICE if self.is_there else torch.device("cpu")


def _each(function: Callable[[Any], Any], values: Any) -> Any:
    """A function of every value in lists, tuples and mappings."""
    if isinstance(values, list | tuple):
        return type(values)([_each(function, x) for x in values])
    if isinstance(values, dict):
        return {name: _each(function, x) for name, x in values.items()}
    return function(values)


def _is_there(x: Any) -> bool:
    """Whether a tensor is on the device, wrapped by `torch.func` or not."""
    while isinstance(x, torch.Tensor) and torch._C._functorch.is_functorch_wrapped_tensor(x):
        x = torch._C._functorch.get_unwrapped(x)
    return isinstance(x, _There)


def _is_mask(index: Any) -> bool:
    return isinstance(index, _There) and index.dtype in (torch.bool, torch.uint8)


def _place_of(x: Any) -> torch.device | None:
    """The device that an argument of `Tensor.to` names, if it does."""
    if isinstance(x, torch.Tensor):
        return DEVICE if _is_there(x) else torch.device("cpu")
    return torch.device(x) if isinstance(x, torch.device | str) else None


def _here(x: Any) -> Any:
    """The same argument, for a tensor that stays on the host."""
    return "cpu" if isinstance(x, torch.device | str) else x


def _frames() -> Iterator[Any]:
    frame: Any = sys._getframe()
    while frame is not None:
        yield frame
        frame = frame.f_back


@cache
def _is_foreign(path: str) -> bool:
    return path == __file__ or path.startswith(("<", str(Path(torch.__file__).parent)))


TENSOR: Any = torch.Tensor
ASKED: dict[Any, Any] = {
    TENSOR.device.__get__: DEVICE,
    TENSOR.is_cuda.__get__: True,
    TENSOR.is_cpu.__get__: False,
    TENSOR.get_device: DEVICE.index,
}
MOVED = {TENSOR.to, TENSOR.cpu, TENSOR.cuda}
UNKNOWN = {TENSOR.numpy, TENSOR.__array__}
