"""Attention among few tokens of many rows, on a CPU.

Fused kernels take a head of a row at a time, a microsecond or two each however small it is. Here
rows lie side by side in memory, (H, D/H, N, R), and each of a few products is one pass over all of
them. Gradients are written out: a step of autograd for each pass would cost more than the pass.
"""

from typing import Any

import torch
from torch.autograd.function import once_differentiable

FEWEST_ROWS, MOST_PAIRS = 64, 400  # of a query and a key; measured, see tests/bench/README.md
Turns = tuple[torch.Tensor, torch.Tensor]  # cosines and sines of angles, (D/H / 2, N, R or 1)


def side_by_side(x: torch.Tensor, n_queries: int, n_keys: int, n_rows: int) -> bool:
    """Whether rows of so many tokens are faster side by side. Never where an operation on `x` is
    more than it seems: on a device, in half precision, under `torch.func`."""
    return (
        n_queries * n_keys <= MOST_PAIRS
        and n_rows >= FEWEST_ROWS
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch._C._functorch.is_functorch_wrapped_tensor(x)
    )


def place_turns(places: torch.Tensor, head_dim: int) -> Turns:
    """How far each pair of features is turned at every place: (N,) or (R, N)."""
    speeds = 10_000 ** (-torch.arange(0, head_dim, 2, device=places.device) / head_dim)
    at = places[:, None] if places.dim() == 1 else places.t()  # (N, 1) or (N, R)
    angles = at * speeds[:, None, None]
    return angles.cos(), angles.sin()


def self_attention(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    n_heads: int,
    turns: Turns | None,
    keep: torch.Tensor | None,
) -> torch.Tensor:
    """Tokens (N, R, D), weight and bias (3D, D), (3D,) of queries, keys and values -> (N, R, D), as
    a view of (D, N, R). `keep` (H, 1, N, R) is what values are multiplied by."""
    return SelfAttention.apply(x, weight, bias, n_heads, turns, keep)  # type: ignore[no-any-return, no-untyped-call]


def cross_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Queries (H, D/H, N, R), keys and values (H, D/H, M, R) -> (H, D/H, N, R)."""
    return CrossAttention.apply(q, k, v)  # type: ignore[no-any-return, no-untyped-call]


def turned(x: torch.Tensor, turns: Turns) -> torch.Tensor:
    """Queries or keys (H, D/H, N, R), turned by their places."""
    return Turned.apply(x, *turns)  # type: ignore[no-any-return, no-untyped-call]


class SelfAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        n_heads: int,
        turns: Turns | None,
        keep: torch.Tensor | None,
    ) -> torch.Tensor:
        n, rows, dim = x.shape
        tokens = x.reshape(n * rows, dim)
        qkv = torch.addmm(bias[:, None], weight, tokens.t())  # (3D, N*R)
        q, k, v = qkv.view(3, n_heads, dim // n_heads, n, rows)
        _turn(q, turns)
        _turn(k, turns)
        if keep is not None:
            v.mul_(keep)
        shares, mixed = _mixed(q, k, v)
        ctx.save_for_backward(tokens, weight, qkv, shares, *(turns or ()), keep)
        ctx.n_heads = n_heads
        return mixed.view(dim, n, rows).permute(1, 2, 0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        tokens, weight, qkv, shares, *turns, keep = ctx.saved_tensors
        n, rows, dim = grad.shape
        heads = (3, ctx.n_heads, dim // ctx.n_heads, n, rows)
        back = torch.empty_like(qkv)
        q, k, v = back.view(heads)
        of_mixed = grad.permute(2, 0, 1).contiguous().view(heads[1:])
        seen = qkv.view(heads)
        _mixed_back(of_mixed, seen[0], seen[1], seen[2], shares, (q, k, v))
        _turn(q, turns, back=True)
        _turn(k, turns, back=True)
        if keep is not None:
            v.mul_(keep)
        of_x = torch.mm(back.t(), weight).view(n, rows, dim) if ctx.needs_input_grad[0] else None
        return of_x, torch.mm(back, tokens), back.sum(dim=1), None, None, None


class CrossAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        shares, mixed = _mixed(q, k, v)
        ctx.save_for_backward(q, k, v, shares)
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, ...]:
        q, k, v, shares = ctx.saved_tensors
        back = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        _mixed_back(grad.contiguous(), q, k, v, shares, back)
        return back


class Turned(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> Any:
        ctx.save_for_backward(cosines, sines)
        return _turn(x.clone(), (cosines, sines))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return _turn(grad.clone(), ctx.saved_tensors, back=True), None, None


def _turn(x: torch.Tensor, turns: Any, back: bool = False) -> torch.Tensor:
    """In place; the two features of a pair are half a head apart."""
    if not turns:
        return x
    cosines, sines = turns
    first, second = x.chunk(2, dim=1)
    sign = -1.0 if back else 1.0
    was = first.clone()
    first.mul_(cosines).addcmul_(second, sines, value=-sign)
    second.mul_(cosines).addcmul_(was, sines, value=sign)
    return x


def _mixed(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How each query is shared out among keys, (H, N, M, R), and the values mixed accordingly."""
    shares = _over(q[:, :, :, None], k[:, :, None], dim=1)
    shares.sub_(shares.amax(dim=2, keepdim=True)).mul_(q.shape[1] ** -0.5).exp_()
    shares.div_(shares.sum(dim=2, keepdim=True))
    return shares, _over(shares[:, None], v[:, :, None], dim=3)


def _mixed_back(
    grad: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    shares: torch.Tensor,
    out: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> None:
    """Gradients of queries, keys and values, written to `out`."""
    _over(shares[:, None], grad[:, :, :, None], dim=2, out=out[2])
    slopes = _over(grad[:, :, :, None], v[:, :, None], dim=1).mul_(shares)
    slopes.addcmul_(shares, slopes.sum(dim=2, keepdim=True), value=-1).mul_(q.shape[1] ** -0.5)
    _over(slopes[:, None], k[:, :, None], dim=3, out=out[0])
    _over(slopes[:, None], q[:, :, :, None], dim=2, out=out[1])


def _over(
    a: torch.Tensor, b: torch.Tensor, dim: int, out: torch.Tensor | None = None
) -> torch.Tensor:
    """The sum over `dim` of products, a pass for each term: none of them is ever in memory."""
    first, *terms = zip(*_spread(a, b, dim), strict=True)
    out = torch.mul(*first, out=out) if out is not None else torch.mul(*first)
    for term in terms:
        out.addcmul_(*term)
    return out


def _spread(a: torch.Tensor, b: torch.Tensor, dim: int) -> list[tuple[torch.Tensor, ...]]:
    """Slices of both along `dim`, where one may be a single slice for all."""
    n = max(a.shape[dim], b.shape[dim])
    return [of.unbind(dim) if of.shape[dim] == n else of.unbind(dim) * n for of in (a, b)]
