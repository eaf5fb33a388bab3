"""Trials as values: where signals come from, how a model is pre-trained on them and fine-tuned."""

from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from citrus_ray.context import SignalContext
from citrus_ray.data import AnySource
from citrus_ray.data.root import place_at
from citrus_ray.data.source import Source
from citrus_ray.data.windowing.align import AnyAlign, Native
from citrus_ray.data.windowing.splits import Labels, Split, Validation
from citrus_ray.experiment import stored_weights
from citrus_ray.experiment.augment import AnyAugmentation
from citrus_ray.experiment.optim import Optim
from citrus_ray.models import AnyEncoder
from citrus_ray.models.head import Head
from citrus_ray.models.specs import METHODS, Conv, Pooling
from citrus_ray.spec import (
    Aside,
    Foreign,
    Later,
    Problem,
    Spec,
    SpecError,
    digest_of,
    locate,
    refuse,
)
from citrus_ray.tasks import AnyTask

Count = Annotated[int, Field(ge=1, le=10**9)]
Share = Annotated[float, Field(ge=0, lt=1)]
# windows that are looked at together: nothing is learnt from them, so more cost memory alone
EVAL_BATCH = 256

# keys of `Finetune` that a probe, which takes no steps, has no use for; the first three have no
# value that means "none"
OF_STEPS = (
    "optim",
    "steps",
    "rounds",
    "epochs",
    "most_steps",
    "head_first",
    "layer_decay",
    "class_weights",
    "mixup",
    "drop_modality",
    "patience",
    "end",
    "head_init",
    "encoder_rate",
    "anchor",
    "smoothing",
    "sampling",
    "augment",
    "average",
)
# and of which a method that is solved, having no network, has none either
OF_NETWORKS = (*OF_STEPS, "mode", "pool", "head", "subjects")
WITHOUT_NETWORK = frozenset(METHODS)
# a target that is no class, in words
NO_CLASS = {"value": "a value", "labels": "a set of labels"}


class HoldOut(Spec):
    """The target whose test groups pre-training must not see."""

    target: AnySource
    """Source of the target's windows."""
    split: Split
    """How the target is split, which says who its test groups are."""

    @classmethod
    def of(cls, target: Source, split: Split) -> "HoldOut":
        """Everyone of a target who is ever tested, in whichever round."""
        return cls(target=target, split=split.everyone)


class ElasticWorkers(Spec):
    """As many workers as there is room for when a pre-training starts, and starts again."""

    min: Count = 1
    """Fewest that it begins with."""
    max: Count
    """Most that it takes."""

    @model_validator(mode="after")
    def _in_order(self) -> "ElasticWorkers":
        if self.min > self.max:
            rule = f"must not exceed max={self.max}"
            raise refuse(f"min={self.min}: {rule}; lower it", "min")
        return self


class Pretrain(Spec):
    """Learning without labels."""

    source: AnySource
    """Signals to learn from."""
    task: AnyTask | None
    """What is learnt from them; null: from scratch, and no other key here is used."""
    optim: Optim = Optim()
    """Optimiser, its rate and batch size."""
    epochs: Count = 20
    """Passes over the training windows."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of first weights, batch order, masks and held-out groups."""
    val: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of groups whose loss is watched, never trained on."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of products and convolutions in training; weights, losses, validation are float32 always."""
    accumulate: Annotated[Count, Later()] = 1
    """Parts in which each worker takes its windows of a batch, one after another: memory of a part,
    gradient of the batch up to rounding."""
    hold_out: HoldOut | Literal["target"] | None = None
    """Whose test recordings are left out, known by their samples; target: those of the trial's
    target. Filled in where source and target lie in one folder, or one's folder in the other's."""
    workers: Annotated[Count | ElasticWorkers, Aside()] = 1
    """Processes that train one encoder together, each with a part of every batch; `{max: 4}` takes
    as many as there is room for, each time it starts."""
    threads_per_worker: Annotated[Count, Aside()] = 1
    """CPU threads of each worker."""
    gpu: Annotated[bool | Literal["auto"], Aside()] = False
    """Whether each worker has a GPU; true is refused where there are not enough, auto takes CPUs
    there."""

    @property
    def fewest_workers(self) -> int:
        return self.workers if isinstance(self.workers, int) else self.workers.min

    @property
    def most_workers(self) -> int:
        return self.workers if isinstance(self.workers, int) else self.workers.max

    @model_validator(mode="after")
    def _no_label_is_learnt(self) -> "Pretrain":
        """What follows what is known without labels; what is of one class is not."""
        asked = getattr(self.source, "ask", None)
        if self.task is not None and self.task.kind == "next_thought" and asked == "same_class":
            rule = "next_thought would learn from labels"
            raise ValueError(f"source.ask=same_class: {rule}; give `ask: next`")
        return self


class Lora(Spec):
    """A change of low rank beside an encoder's weights, which stand still themselves."""

    rank: Count = 8
    """Rank of the change of each weight; at that of the weight itself it is any change at all."""
    alpha: Annotated[float, Field(gt=0)] = 8.0
    """The change is multiplied by alpha / rank, below full rank."""
    targets: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Which tensors of the encoder, by patterns of their names such as `blocks.*.weight`; empty:
    all matrices and kernels."""


class End(Spec):
    """Where training ends once nothing more is learnt: told by the loss on the labelled windows, so
    that it takes no validation data."""

    tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.02
    """What a round must take off the lowest loss of the rounds before it, as a share of the loss of
    a head that says nothing."""
    patience: Count = 2
    """Rounds in a row that take off less, after which training ends."""


class Finetune(Spec):
    """Learning from the labels of one target, equally long for every arm and number of labels."""

    target: AnySource
    """Source of the labelled windows."""
    align: AnyAlign = Native()
    """How the target's windows are brought to the pre-training's rate and length."""
    labels: Labels = Labels(fraction=1.0)
    """How many windows show their label, to learn from and, as `validation` says, to choose by."""
    validation: Annotated[Validation, Later(was="full")] = "labels"
    """What is chosen by. labels: a third of the labelled windows; full: a validation part of the
    people, all of it labelled; none: nothing is. Refits of `labels` learn from all, as `none`."""
    split: Split = Split()
    """Who trains, validates and tests."""
    optim: Optim = Optim(batch_size=32)
    """Optimiser, its rate and batch size."""
    steps: Count = 100
    """Optimiser steps, the same for every arm and number of labels."""
    epochs: Annotated[Annotated[int, Field(ge=0)], Later()] = 0
    """Passes over the labelled windows at least: where `steps` make fewer, steps grow to them; 0:
    they never do."""
    most_steps: Annotated[Count | None, Later()] = None
    """Steps that `epochs` grow to at most; null: as many as the passes take."""
    rounds: Count = 10
    """Looks, evenly spaced. With `validation: full` the best round's weights are kept; without, the
    mean over the ends of the last third of rounds."""
    mode: Literal["full", "lora", "frozen", "probe"] = "full"
    """full: all learns; lora: the head, and a change of low rank of the encoder; frozen: a head
    learns on the encoder's features; probe: it is solved."""
    lora: Annotated[Lora, Later()] = Lora()
    """The change, with `mode: lora`."""
    head_init: Annotated[Literal["random", "solved"], Later()] = "random"
    """Where the head starts: drawn by lot, or solved as `mode: probe` solves it, on the encoder as
    it is before the first step; with `validation: full` that start counts as round 0."""
    head_first: Share = 0.0
    """Share of the steps in which the head learns alone."""
    encoder_rate: Annotated[Annotated[float, Field(gt=0, le=1)], Later()] = 1.0
    """Rate of the encoder over the head's, which is that of `optim`."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Rate of each depth of the encoder over the next one's."""
    anchor: Annotated[Annotated[float, Field(ge=0)], Later()] = 0.0
    """Pull of the encoder's weights to those it starts from (L2-SP), per step, as a share of its
    rate, beside the decay of `optim`; from scratch those are first weights, drawn by lot."""
    class_weights: Literal["none", "balanced"] = "none"
    """Whether every class counts the same in the loss, or every window."""
    sampling: Annotated[Literal["shuffled", "balanced"], Later(was="shuffled")] = "balanced"
    """What is in a batch: as many windows of every class, rare ones again and again, as suits
    metrics that count classes the same; or windows in turn, as `class_weights: balanced` takes
    them, and as is always done where the target is no class."""
    smoothing: Annotated[Share, Later()] = 0.0
    """Share of each label that is spread over all classes."""
    augment: Annotated[tuple[AnyAugmentation, ...], Later()] = ()
    """What is done to the windows of each batch, anew every time, in this order, before mixup."""
    mixup: Annotated[float, Field(ge=0)] = 0.0
    """Pairs of windows are mixed by a share from Beta(mixup, mixup); 0: none."""
    drop_modality: Annotated[Share, Later()] = 0.0
    """Chance of each modality to be missing from a training window; one stays always."""
    patience: Count | None = None
    """Rounds without a better one after which training stops; needs `validation: full`."""
    end: Annotated[End | None, Later()] = None
    """Ends training before all `steps` are done, when the loss on labelled windows falls no more.
    Where a mean of weights is kept, it is then that of the rounds since it last fell. null: all
    steps are done."""
    average: Annotated[bool, Later()] = False
    """With `validation: full`, keep the mean of weights that is kept without, not the best
    round."""
    gpu: Annotated[float, Aside(), Field(ge=0, le=1)] = 0.0
    """Share of a GPU per trial, whose members are trained as one model there."""
    pool: Pooling = "mean"
    """Over channels; `channels` keeps them apart, for a set whose channels have places."""
    head: Annotated[Head, Later()] = Head()
    """Which features of a window the head reads, beside or in place of the mean over tokens."""
    subjects: Annotated[Literal["keep", "erase", "recentre"], Later()] = "keep"
    """What of those features is the subject, the group of the split. erase: directions in which
    means of training subjects differ (90 % of that variance, 32 at most) are taken away, for good;
    recentre: each subject's mean is, test subjects' by their own unlabelled windows."""

    @model_validator(mode="after")
    def _steps_in_every_round(self) -> "Finetune":
        if self.rounds > self.steps:
            rule = f"rounds={self.rounds} must not exceed steps={self.steps}"
            raise ValueError(f"{rule}; lower rounds or take more steps")
        return self

    @model_validator(mode="after")
    def _steps_that_grow(self) -> "Finetune":
        if self.most_steps is None:
            return self
        if not self.epochs:
            rule = "bounds the steps that `epochs` grow to, and epochs=0 lets none grow"
            raise refuse(f"most_steps={self.most_steps}: {rule}; give `epochs`", "most_steps")
        if self.most_steps < self.steps:
            rule = f"must not be below steps={self.steps}, which are taken whatever the labels"
            raise refuse(f"most_steps={self.most_steps}: {rule}; raise it", "most_steps")
        return self

    @model_validator(mode="after")
    def _rounds_to_end_before(self) -> "Finetune":
        if self.end is not None and self.end.patience > self.rounds - 2:
            rule = f"is not over before the last of rounds={self.rounds}, the first of which learns"
            raise refuse(f"end.patience={self.end.patience}: {rule}; give more rounds", "end")
        return self

    @model_validator(mode="after")
    def _whole_shares(self) -> "Finetune":
        if self.gpu and abs(1 / self.gpu - round(1 / self.gpu)) > 1e-6:
            rule = "must be 1, 1/2, 1/3, …, or shares do not fill a GPU"
            raise ValueError(f"gpu={self.gpu:g}: {rule}; 0.5 and 0.25 do")
        return self

    @model_validator(mode="after")
    def _enough_to_choose_by(self) -> "Finetune":
        """What a choice takes, of those that may be made without a validation part."""
        if self.validation == "full":
            return self
        if self.patience is not None:
            rule = f"stops at the best round, and validation={self.validation} chooses none"
            way = "give `validation: full`, or drop it"
            raise refuse(f"patience={self.patience}: {rule}; {way}", "patience")
        if self.validation == "labels" and self.labels.per_class == 1:
            rule = "a third of the labels scores the trial, which leaves a class none to learn from"
            way = "give 2 or more, `validation: full`, or `none` where nothing is searched"
            raise refuse(f"labels.per_class=1: {rule}; {way}", "labels")
        return self

    @model_validator(mode="after")
    def _one_thing_is_kept(self) -> "Finetune":
        if self.average and self.validation != "full":
            rule = f"is what validation={self.validation} always keeps"
            raise refuse(f"average=true: {rule}; drop it", "average")
        if self.average and self.patience is not None:
            rule = "stops at the best round, and average keeps none"
            raise refuse(f"patience={self.patience}: {rule}; drop either", "patience")
        return self

    @model_validator(mode="after")
    def _classes_are_balanced_once(self) -> "Finetune":
        if self.sampling == "balanced" and self.class_weights == "balanced":
            rule = "every class is in a batch as often, and weights would count rare ones twice"
            way = "drop class_weights, or give `sampling: shuffled`"
            raise refuse(f"sampling=balanced: {rule}; {way}", "sampling")
        return self

    @model_validator(mode="after")
    def _a_head_that_can_be_solved(self) -> "Finetune":
        if self.head_init == "solved" and self.pool == "late":
            rule = "is one regression, late fusion one for each sensor"
            raise refuse(f"head_init=solved: {rule}; give `head_init: random`", "head_init")
        return self

    @model_validator(mode="after")
    def _a_probe_is_solved(self) -> "Finetune":
        if self.mode != "probe":
            return self
        fields = type(self).model_fields
        odd = [name for name in OF_STEPS[3:] if getattr(self, name) != fields[name].default]
        if odd:
            rule = f"{', '.join(odd)}: of training in steps, and a probe is solved"
            raise ValueError(f"mode=probe: {rule}; drop them")
        if self.pool == "late":
            rule = "is one regression, late fusion one for each sensor"
            raise ValueError(f"mode=probe: {rule}; give `mode: frozen`")
        return self

    @model_validator(mode="after")
    def _a_vote_reads_means(self) -> "Finetune":
        if self.pool == "late" and self.head != Head():
            rule = "late fusion is a vote of each sensor by the mean of its tokens"
            raise ValueError(f"pool=late: {rule}; drop `head`, or give `pool: channels`")
        return self

    @model_validator(mode="after")
    def _subjects_that_can_be_taken_away(self) -> "Finetune":
        if self.subjects == "recentre" and self.mode in ("full", "lora"):
            rule = f"a subject's mean feature would move with what mode={self.mode} trains"
            way = (
                "give `mode: frozen` or `probe`, or `subjects: erase`, which is fitted at the start"
            )
            raise refuse(f"subjects=recentre: {rule}; {way}", "subjects")
        if self.subjects != "keep" and self.pool == "late":
            rule = "late fusion is a vote of each sensor, and zeros say that one is missing"
            raise refuse(f"subjects={self.subjects}: {rule}; give `pool: channels`", "subjects")
        return self

    @model_validator(mode="after")
    def _a_change_of_low_rank(self) -> "Finetune":
        if self.mode != "lora":
            if self.lora != Lora():
                rule = f"is of mode=lora, and mode={self.mode} has no such change"
                raise refuse(f"lora: {rule}; drop it, or give `mode: lora`", "lora")
            return self
        if self.layer_decay != 1 or self.anchor:
            rule = "layer_decay and anchor are of weights that move themselves"
            raise ValueError(f"mode=lora: {rule}; drop them")
        return self

    @model_validator(mode="after")
    def _frozen_has_no_rates(self) -> "Finetune":
        if self.mode != "frozen":
            return self
        if self.head_first or self.layer_decay != 1 or self.encoder_rate != 1 or self.anchor:
            rule = "head_first, layer_decay, encoder_rate and anchor are of an encoder that learns"
            raise ValueError(f"mode=frozen: {rule}; drop them")
        for name in ("drop_modality", "augment"):
            if getattr(self, name):
                rule = "features are made once, of whole windows"
                raise ValueError(f"mode=frozen: {rule}; {name} needs mode: full")
        return self

    @model_validator(mode="after")
    def _subjects_are_groups(self) -> "Finetune":
        if self.subjects != "keep" and self.split.unit != "group":
            rule = f"a subject is its group, and split.unit={self.split.unit} parts it"
            raise refuse(f"subjects={self.subjects}: {rule}; give `keep`", "subjects")
        return self

    @model_validator(mode="after")
    def _of_its_kind_of_target(self) -> "Finetune":
        """What is of classes, refused of a target that has none."""
        kind = self.target.target_kind
        if kind == "classes":
            return self
        what = NO_CLASS[kind]
        if self.labels.per_class is not None:
            rule = f"labels.per_class={self.labels.per_class}: {what} has no classes to count by"
            raise refuse(f"{rule}; give `count` or `fraction`", "labels")
        for name in ("class_weights", "smoothing"):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise refuse(f"{name}={getattr(self, name)}: {what} has no classes; drop it", name)
        if self.pool == "late":
            rule = f"is a vote of each sensor for one class, and {what} has none"
            raise refuse(f"pool=late: {rule}; give `pool: mean` or `channels`", "pool")
        return self

    def n_steps(self, n_labelled: int) -> int:
        """Optimiser steps on so many labelled windows."""
        in_a_pass = -(-n_labelled // min(self.optim.batch_size, n_labelled))
        grown = self.epochs * in_a_pass
        return max(self.steps, grown if self.most_steps is None else min(grown, self.most_steps))

    def identity(self) -> dict[str, Any]:
        return {name: value for name, value in super().identity().items() if self.uses(name)}

    def uses(self, name: str) -> bool:
        """Whether a key changes anything."""
        if name == "sampling" and self.target.target_kind != "classes":
            return False
        return self.mode != "probe" or name not in OF_STEPS


class Trial(Spec):
    """One run of pre-training and fine-tuning."""

    model: AnyEncoder = Conv()
    """Encoder, of the same sizes in pre-training and fine-tuning."""
    pretrain: Pretrain | None = None
    """Pre-training; null, as `pretrain.task: null`: from scratch."""
    finetune: Finetune
    """Fine-tuning on labels of the target."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the fine-tune: head, labelled windows, batch order, dropout."""

    @model_validator(mode="after")
    def _no_encoder_to_pretrain(self) -> "Trial":
        task = self.pretrain.task if self.pretrain is not None else None
        if self.model.backbone is None and task is not None:
            rule = f"model={self.model.kind} has no encoder that could be pre-trained"
            way = "give `pretrain.task: null` for it, or among the compared tasks"
            raise refuse(f"{task.kind}: {rule}; {way}", "pretrain.task")
        return self

    @cached_property
    def pretraining(self) -> Pretrain | None:
        """The pre-training that takes place, None from scratch; it never sees the target's test
        groups.

        Nothing is read for it, as it names the encoder: recordings that lie elsewhere under other
        names are found, and refused, before a sweep starts.
        """
        spec = self.pretrain
        if spec is None or spec.task is None:
            return None
        near = spec.hold_out is None and spec.source.is_at(self.finetune.target)
        if spec.hold_out != "target" and not near:
            return spec
        return spec.model_copy(update={"hold_out": self.tested})

    @property
    def tested(self) -> HoldOut:
        """Who is tested, whom pre-training must not see."""
        return HoldOut.of(self.finetune.target, self.finetune.split)

    def identity(self) -> dict[str, Any]:
        finetune = self.finetune.identity()
        return super().identity() | {
            "pretrain": self.pretraining and self.pretraining.identity(),
            "finetune": {k: v for k, v in finetune.items() if self.uses(k)},
        }

    def uses(self, name: str) -> bool:
        """Whether a key of `finetune` changes anything for this model."""
        return self.finetune.uses(name) and not (self.model.is_solved and name in OF_NETWORKS)

    def encoder_digest(self) -> str | None:
        """The pre-trained encoder's name: a function of `pretrain` and `model` alone."""
        if self.pretraining is None or self.model.backbone is None:
            return None
        model = self.model.backbone.identity()
        return digest_of({"pretrain": self.pretraining.identity(), "model": model})

    def sources(self) -> dict[str, Source]:
        """The sources that this trial reads, by the path of their spec."""
        used: dict[str, Source] = {"finetune.target": self.finetune.target}
        if self.pretraining is not None:
            used["pretrain.source"] = self.pretraining.source
        return used

    def signals(self) -> dict[str, str]:
        """What is done to the signals of each source before a model sees them, in words, by the
        path of its spec."""
        said, align = dict[str, str](), self.finetune.align
        for path, source in self.sources().items():
            root = dict(source).get("root")
            name = place_at(root).name if isinstance(root, str) else source.kind
            done = source.treatment()
            if path == "finetune.target" and align != Native():
                keys = align.tree().items()
                how = ", ".join(f"{key} {value}" for key, value in keys if key != "kind")
                done += f"; aligned by {align.kind} ({how})"
            if done:
                said[path] = f"{name}: {done}"
        return said

    def problems(self, contexts: dict[str, SignalContext]) -> list[Problem]:
        """What makes this trial mean nothing for signals such as these, by the path of the spec."""
        source, target = contexts.get("pretrain.source"), contexts.get("finetune.target")
        of_model = [("model", self._too_short(ctx, path)) for path, ctx in contexts.items()]
        if isinstance(self.model, Foreign) and any(said for _, said in of_model):
            # it cannot be built, so nothing else is known of it
            return [next(Problem(path, said) for path, said in of_model if said)]
        weights = (stored_weights.misfit(self.model, ctx) for ctx in contexts.values())
        found = (
            *of_model,
            ("model.weights", next((said for said in weights if said), None)),
            ("pretrain.task", source and self._task_misfit(source)),
            ("pretrain.source", source and target and self._target_misfit(source, target)),
            ("finetune.drop_modality", target and self._one_modality(target)),
            ("finetune.head", target and self._head_misfit(target)),
            ("finetune.mode", source and target and self._stands_by_lot(source, target)),
            ("finetune.lora.targets", target and self._lora_misfit(target)),
            ("finetune.augment", target and self._nothing_to_augment(target)),
            ("finetune.align.sfreq", source and self._other_rate(source)),
            ("pretrain.workers", self._more_workers_than_windows()),
            ("pretrain.accumulate", self._parts_that_are_no_whole()),
        )
        return [Problem(path, message) for path, message in found if message]

    def _too_short(self, ctx: SignalContext, path: str) -> str | None:
        complaint = self.model.check(ctx)
        return complaint and f"{complaint} (signals of {path})"

    def _task_misfit(self, source: SignalContext) -> str | None:
        """Why the task cannot be learnt from these signals by this model."""
        spec, encoder = self.pretraining, self.model.backbone
        if spec is None or spec.task is None or encoder is None:
            return None
        return spec.task.check(source) or spec.task.misfit(encoder, source)

    def _target_misfit(self, source: SignalContext, target: SignalContext) -> str | None:
        complaint = self.model.misfit(source, target)
        encoder = self.model.backbone or self.model
        return complaint and f"{encoder.kind}: {complaint}"

    def _head_misfit(self, target: SignalContext) -> str | None:
        return self.finetune.head.misfit(self.model, target) if self.uses("head") else None

    def _stands_by_lot(self, source: SignalContext, target: SignalContext) -> str | None:
        """Of a pre-trained encoder that stands still, a step that would be drawn by lot for it."""
        mode = self.finetune.mode
        projects = getattr(self.model, "channels", "") == "project"
        same = (source.n_chans, source.names) == (target.n_chans, target.names)
        if not projects or same or mode not in ("frozen", "probe"):
            return None
        rule = "its projection is new for other channels than those of pretrain.source"
        return f"mode={mode}: {rule}, and nothing would train it; give full or lora"

    def _lora_misfit(self, target: SignalContext) -> str | None:
        """Patterns that fit no tensor; to know that the encoder has to be built."""
        spec = self.finetune
        if spec.mode != "lora" or not spec.lora.targets or not self.uses("mode"):
            return None
        encoder = self.model.untrained().build(target)
        try:
            locate("citrus_ray.models.nets.low_rank:of_encoder")(encoder, spec.lora.targets)
        except SpecError as err:
            return err.problems[0].message
        return None

    def _one_modality(self, target: SignalContext) -> str | None:
        parts = target.parts if self.model.multimodal else (target,)
        names = {name for part in parts for name in part.modalities}
        if not self.finetune.drop_modality or len(names) > 1 or not self.uses("drop_modality"):
            return None
        rule = f"{self.model.kind} reads signals of one modality only, and one always stays"
        return f"drop_modality={self.finetune.drop_modality:g}: {rule}; drop it"

    def _nothing_to_augment(self, target: SignalContext) -> str | None:
        said = (augmentation.check(target) for augmentation in self.finetune.augment)
        return next((complaint for complaint in said if complaint), None)

    def _other_rate(self, source: SignalContext) -> str | None:
        wanted = self.finetune.align.expects()
        if not wanted or abs(wanted / source.sfreq - 1) <= 1e-3:
            return None
        rule = f"must be the rate of pretrain.source, which is {source.sfreq:g} Hz"
        return f"sfreq={wanted:g}: {rule}, or the arms compare rates and not pre-training"

    def _more_workers_than_windows(self) -> str | None:
        spec = self.pretraining
        if spec is None:
            return None
        if spec.most_workers > spec.optim.batch_size:
            return "must not exceed pretrain.optim.batch_size: each needs a window"
        if isinstance(spec.workers, int) or self._takes_parts:
            return None
        rule = f"{self._loss_of_a_batch}, and with it on how many workers there are"
        return f"{rule}; give their number"

    @property
    def _takes_parts(self) -> bool:
        spec, encoder = self.pretraining, self.model.backbone
        assert spec is not None
        return not (spec.task and encoder) or spec.task.takes_parts(encoder)

    @property
    def _loss_of_a_batch(self) -> str:
        task = self.pretrain.task if self.pretrain else None
        kinds = f"{task and task.kind} with {self.model.kind}"
        return f"of {kinds}, a window's loss hangs on the whole batch"

    def _parts_that_are_no_whole(self) -> str | None:
        spec = self.pretraining
        if spec is None or spec.accumulate == 1:
            return None
        if spec.accumulate * spec.most_workers > spec.optim.batch_size:
            rule = "times pretrain.workers must not exceed pretrain.optim.batch_size"
            return f"accumulate={spec.accumulate}: {rule}: each part needs a window"
        if self._takes_parts:
            return None
        way = "drop it, and lower the batch size"
        return f"accumulate={spec.accumulate}: {self._loss_of_a_batch}; {way}"

    def run(self) -> dict[str, float]:
        """Validation metrics of this one trial's kept weights, run in this process, without Ray."""
        # by name: training stands above what is asked
        return locate("citrus_ray.training.members:run_alone")(self)  # type: ignore[no-any-return]
