"""Members of one shape trained as one stacked model: a step of all of them costs a GPU little more
than a step of one.

Weights, optimiser and learning rate are each member's own, so its numbers are those of training it
alone, up to rounding. On a CPU there is nothing to gain (measured: 0.9 to 1.1 times), so members
are stacked on GPUs only.
"""

import copy
from collections import defaultdict
from collections.abc import Hashable, Iterable

import numpy as np
import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from citrus_ray.models.nets.conv import OneGroup
from citrus_ray.training.finetuning import Losses, Member
from citrus_ray.training.learner import Learner
from citrus_ray.training.loop import edges, finite_mean

Named = dict[str, torch.Tensor]
# torch's own for AdamW, which takes one learning rate for all members
BETAS, EPS = (0.9, 0.999), 1e-8


def vmap_groups(members: Iterable[Learner]) -> list["VmappedMembers"]:
    """Members in groups that can be trained as one; those that cannot, or are alone, are in
    none."""
    groups: dict[Hashable, list[Member]] = defaultdict(list)
    for member in members:
        if isinstance(member, Member) and _stackable(member):
            groups[_shape(member)].append(member)
    return [VmappedMembers(group) for group in groups.values() if len(group) > 1]


def _stackable(member: Member) -> bool:
    """Whether nothing is drawn by lot while it trains: stacked draws would not be those of the
    member alone."""
    spec = member.trial.finetune
    drops = any(isinstance(part, nn.Dropout) and part.p > 0 for part in member.classifier.modules())
    draws = drops or spec.mixup or spec.drop_modality or spec.augment
    return spec.mode == "full" and not spec.head_first and not draws


def _shape(member: Member) -> Hashable:
    """Equal for members whose tensors are alike in every step."""
    spec = member.trial.finetune
    tensors = tuple((name, tuple(t.shape)) for name, t in member.classifier.state_dict().items())
    n_batch = min(spec.optim.batch_size, len(member.labelled))
    signal = tuple(x.shape[1:] for x in member.view.arrays)
    lengths = (n_batch, spec.n_steps(len(member.labelled)), spec.rounds)
    rates = (spec.layer_decay, spec.encoder_rate)
    return member.trial.model.digest(), tensors, signal, lengths, rates, spec.smoothing


class VmappedMembers:
    """Trains its members round by round. A member that nobody asks for another round is left out of
    the next."""

    def __init__(self, members: list[Member]) -> None:
        self.members = members
        self.device = members[0].device
        self.chunk = len(members)  # at once; halved when memory does not hold them
        self.round = 0
        self.error: Exception | None = None
        spec = members[0].trial.finetune
        n_steps = spec.n_steps(len(members[0].labelled))
        self.edges = edges(n_steps, spec.rounds)
        self.base = copy.deepcopy(members[0].classifier)
        for part in self.base.modules():
            if isinstance(part, OneGroup):
                part.stacked = True
        params, self.buffers = stack_module_state([member.classifier for member in members])
        self.params = {name: p.detach().requires_grad_() for name, p in params.items()}  # (M, ...)
        self.moments = {
            name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in self.params.items()
        }
        self.factors = _factors(members[0])
        self.smoothing = spec.smoothing
        pulled = any(member.trial.finetune.anchor for member in members)
        self.first = {  # what an anchor pulls to
            name: p.detach().clone()
            for name, p in self.params.items()
            if pulled and name.startswith("encoder.")
        }
        self.batches = [member.batches() for member in members]
        self.data = [member.examples for member in members]
        self.going = set(range(len(members)))
        self.losses: list[list[torch.Tensor]] = [[] for _ in members]
        for i, member in enumerate(members):
            member.losses = self._losses_of(i)

    def _losses_of(self, i: int) -> Losses:
        """The mean loss of each round of member `i`, whose classifier has the weights of its end by
        then."""
        spec = self.members[i].trial.finetune
        try:
            for number, start in enumerate(self.edges[:-1]):
                self.train(number + 1)
                if self.error is not None:
                    raise self.error
                classifier = self.members[i].classifier
                with torch.no_grad():
                    for name, p in classifier.named_parameters():
                        p.copy_(self.params[name][i])
                yield finite_mean(self.losses[i], start, spec.optim, self.edges[-1], classifier)
        finally:
            self.going.discard(i)

    def train(self, n_rounds: int) -> None:
        """Until so many rounds are done. Members must keep in step: there is one set of weights."""
        while self.round < min(n_rounds, len(self.edges) - 1):
            self._train_round()

    def _train_round(self) -> None:
        """One round of every member that goes on."""
        start, stop = self.edges[self.round : self.round + 2]
        self.losses = [[] for _ in self.members]
        self.base.train()
        try:
            for step in range(start, stop):
                self._step(step, sorted(self.going))
        except Exception as err:  # each member says so in its own row
            self.error = err
        self.round += 1

    def _step(self, step: int, going: list[int]) -> None:
        batches = {i: next(self.batches[i]) for i in going}
        left = going
        while left:
            chunk = left[: self.chunk]
            try:
                losses, slopes = self._slopes(chunk, batches)
            except torch.OutOfMemoryError:
                if len(chunk) == 1:
                    raise
                self.chunk = -(-len(chunk) // 2)
                torch.cuda.empty_cache()
                continue
            self._update(step, chunk, slopes)
            for i, loss in zip(chunk, losses, strict=True):
                self.losses[i].append(loss)
            left = left[len(chunk) :]

    def _slopes(
        self, chunk: list[int], batches: dict[int, np.ndarray]
    ) -> tuple[torch.Tensor, Named]:
        """Losses (M,) and the gradient of each member's own."""
        at = torch.tensor(chunk, device=self.device)
        params = {name: p.detach()[at].requires_grad_() for name, p in self.params.items()}
        buffers = {name: b[at] for name, b in self.buffers.items()}
        x = torch.stack([self.data[i].x[batches[i]] for i in chunk])  # (M, B, C, T)
        y = torch.stack([self.data[i].y[batches[i]] for i in chunk])  # (M, B)
        weights = torch.stack([self.data[i].weights for i in chunk])  # (M, K)
        losses = vmap(self._loss)(params, buffers, x, y, weights)
        slopes = torch.autograd.grad(losses.sum(), list(params.values()), allow_unused=True)
        # a mask token has no part in fine-tuning: it stays as it is, without weight decay too, as
        # torch's AdamW has it
        used = {
            name: slope for name, slope in zip(params, slopes, strict=True) if slope is not None
        }
        return losses.detach(), used

    def _loss(
        self, params: Named, buffers: Named, x: torch.Tensor, y: torch.Tensor, w: torch.Tensor
    ) -> torch.Tensor:
        outputs = functional_call(self.base, (params, buffers), (x,))  # (B, K)
        return self.members[0].taught.loss(outputs, y, w, self.smoothing)

    @torch.no_grad()
    def _update(self, step: int, chunk: list[int], slopes: Named) -> None:
        """AdamW with a rate for each member."""
        optims = [self.members[i].trial.finetune.optim for i in chunk]
        n_steps, at = self.edges[-1], torch.tensor(chunk, device=self.device)
        rates = torch.tensor([optim.rate(step, n_steps) for optim in optims], device=self.device)
        decays = torch.tensor([optim.weight_decay for optim in optims], device=self.device)
        anchors = torch.tensor(
            [self.members[i].trial.finetune.anchor for i in chunk], device=self.device
        )
        for name, slope in _clipped(slopes, [optim.clip for optim in optims]).items():
            own, (first, second) = self.params[name], self.moments[name]
            shape = (-1, *[1] * (own.dim() - 1))
            rate, decay = (rates * self.factors[name]).view(shape), decays.view(shape)
            m = torch.lerp(first[at], slope, 1 - BETAS[0])
            v = torch.lerp(second[at], slope**2, 1 - BETAS[1])
            first[at], second[at] = m, v
            scale = (v / (1 - BETAS[1] ** (step + 1))).sqrt() + EPS
            own[at] = own[at] * (1 - rate * decay) - rate / (1 - BETAS[0] ** (step + 1)) * m / scale
            if name in self.first:
                pull = (rate * anchors.view(shape)).clamp(max=1)
                own[at] = torch.lerp(own[at], self.first[name][at], pull)


def _clipped(slopes: Named, longest: list[float | None]) -> Named:
    """Slopes (M, ...) of which each member's own is no longer than it may be, as
    `torch.nn.utils.clip_grad_norm_` has it."""
    if not any(longest):
        return slopes
    parts = [slope.flatten(1).square().sum(dim=1) for slope in slopes.values()]
    norms = torch.stack(parts).sum(dim=0).sqrt()  # (M,)
    most = norms.new_tensor([torch.inf if one is None else one for one in longest])
    scales = (most / (norms + 1e-6)).clamp(max=1)
    return {n: slope * scales.view(-1, *[1] * (slope.dim() - 1)) for n, slope in slopes.items()}


def _factors(member: Member) -> dict[str, float]:
    """The share of the common rate that each parameter learns at."""
    by_id = {id(p): group.factor for group in member.parameter_groups() for p in group.parameters}
    return {name: by_id[id(p)] for name, p in member.classifier.named_parameters()}
