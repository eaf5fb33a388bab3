"""A trial is a value: it says completely where signals come from and how a model is pre-trained and fine-tuned."""

from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from citrus_ray.context import SignalContext
from citrus_ray.data import AnySource
from citrus_ray.data.source import Source
from citrus_ray.data.sources.pairs import Pairs
from citrus_ray.data.windowing.align import AnyAlign, Native
from citrus_ray.data.windowing.splits import Labels, Split
from citrus_ray.experiment.optim import Optim
from citrus_ray.models import AnyEncoder
from citrus_ray.models.specs import Conv, Crossmodal, Pooling
from citrus_ray.spec import Aside, Problem, Spec, digest_of
from citrus_ray.tasks import AnyTask
from citrus_ray.tasks.specs import Crossmodal as CrossmodalTask
from citrus_ray.tasks.specs import NextThought, Reconstruction

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
EVAL_BATCH = 256  # windows that are looked at together: nothing is learnt from them, so more cost memory alone


# of `Finetune`: what a probe, which takes no steps, has no use for. The first three have no value that means "none".
OF_STEPS = (
    "optim",
    "steps",
    "rounds",
    "head_first",
    "layer_decay",
    "class_weights",
    "mixup",
    "drop_modality",
    "patience",
)


class HoldOut(Spec):
    """The target whose test groups pre-training must not see."""

    target: AnySource
    split: Split


class Pretrain(Spec):
    """Learning without labels. `task: null` means from scratch: nothing else here is then used.

    `hold_out` is filled in by the trial where source and target are the same recordings.
    """

    source: AnySource
    task: AnyTask | None
    optim: Optim = Optim()
    epochs: Count = 20
    seed: Annotated[int, Field(ge=0)] = 0
    # share of groups whose loss is watched, never trained on
    val: Annotated[float, Field(gt=0, lt=1)] = 0.1
    # of products and convolutions in training; weights, losses and validation are float32 always
    precision: Literal["float32", "bfloat16"] = "float32"
    hold_out: HoldOut | None = None
    workers: Annotated[Count, Aside()] = 1
    threads_per_worker: Annotated[Count, Aside()] = 1
    gpu: Annotated[bool, Aside()] = False

    @model_validator(mode="after")
    def _no_label_is_learnt(self) -> "Pretrain":
        """What follows what is known without labels; what is of one class is not."""
        asked = self.source.ask if isinstance(self.source, Pairs) else None
        if isinstance(self.task, NextThought) and asked == "same_class":
            raise ValueError(
                "source.ask=same_class: next_thought would learn from labels; give `ask: next`"
            )
        return self


class Finetune(Spec):
    """Learning from the labels of one target. Equal steps for every arm and every number of labels."""

    target: AnySource
    align: AnyAlign = Native()
    labels: Labels = Labels(fraction=1.0)
    split: Split = Split()
    optim: Optim = Optim(batch_size=32)
    steps: Count = 100
    rounds: Count = 10  # looks at validation data; the best round's weights are kept
    # frozen: the encoder stays as it is, a head learns on its features; probe: the same, solved and not stepped towards
    mode: Literal["full", "frozen", "probe"] = "full"
    head_first: Share = 0.0  # of the steps, in which the head learns alone
    # rate of each depth of the encoder over the next one's
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    class_weights: Literal["none", "balanced"] = "none"
    # of pairs of windows, by a share from Beta(mixup, mixup); 0: none
    mixup: Annotated[float, Field(ge=0)] = 0.0
    # chance of each modality to be missing from a training window; one stays always
    drop_modality: Share = 0.0
    patience: Count | None = None  # stop after as many rounds without a better one
    # share of one per trial, whose members are stacked
    gpu: Annotated[float, Aside(), Field(ge=0, le=1)] = 0.0
    pool: Pooling = "mean"  # over channels; `channels` keeps them side by side, for a set whose channels have places

    @model_validator(mode="after")
    def _steps_in_every_round(self) -> "Finetune":
        if self.rounds > self.steps:
            raise ValueError(
                f"rounds={self.rounds} must not exceed steps={self.steps}; lower rounds or take more steps"
            )
        return self

    @model_validator(mode="after")
    def _whole_shares(self) -> "Finetune":
        if self.gpu and abs(1 / self.gpu - round(1 / self.gpu)) > 1e-6:
            raise ValueError(
                f"gpu={self.gpu:g}: must be 1, 1/2, 1/3, …, or shares do not fill a GPU; 0.5 and 0.25 do"
            )
        return self

    @model_validator(mode="after")
    def _a_probe_is_solved(self) -> "Finetune":
        odd = [
            name
            for name in OF_STEPS[3:]
            if getattr(self, name) != type(self).model_fields[name].default
        ]
        if self.mode == "probe" and odd:
            raise ValueError(
                f"mode=probe: {', '.join(odd)}: of training in steps, and a probe is solved; drop them"
            )
        return self

    def identity(self) -> dict[str, Any]:
        own = super().identity()
        later = (
            set() if self.drop_modality else {"drop_modality"}
        )  # records of before it was a key keep their names
        unused = later | set(OF_STEPS if self.mode == "probe" else ())
        return {name: value for name, value in own.items() if name not in unused}

    def uses(self, name: str) -> bool:
        """Whether a key changes anything."""
        return self.mode != "probe" or name not in OF_STEPS

    @model_validator(mode="after")
    def _one_regression(self) -> "Finetune":
        if self.mode == "probe" and self.pool == "late":
            raise ValueError(
                "mode=probe: is one regression, late fusion one for each sensor; give `mode: frozen`"
            )
        return self

    @model_validator(mode="after")
    def _frozen_has_no_rates(self) -> "Finetune":
        if self.mode == "frozen" and (self.head_first or self.layer_decay != 1):
            raise ValueError(
                "mode=frozen: head_first and layer_decay are of an encoder that learns; drop them"
            )
        if self.mode == "frozen" and self.drop_modality:
            raise ValueError(
                "mode=frozen: features are made once, of whole windows; drop_modality needs mode: full"
            )
        return self


class Trial(Spec):
    """One run. `pretrain: null` and `pretrain.task: null` both mean from scratch."""

    model: AnyEncoder = Conv()
    pretrain: Pretrain | None = None
    finetune: Finetune
    seed: Annotated[int, Field(ge=0)] = 0

    @cached_property
    def pretraining(self) -> Pretrain | None:
        """The pre-training that takes place, None from scratch. It never sees the target's test groups."""
        spec, target = self.pretrain, self.finetune.target
        if spec is None or spec.task is None:
            return None
        if spec.hold_out is not None or spec.source.recordings() != target.recordings():
            return spec
        return spec.model_copy(
            update={"hold_out": HoldOut(target=target, split=self.finetune.split)}
        )

    def identity(self) -> dict[str, Any]:
        return super().identity() | {"pretrain": self.pretraining and self.pretraining.identity()}

    def encoder_digest(self) -> str | None:
        """Names the pre-trained encoder: a function of `pretrain` and `model` alone."""
        if self.pretraining is None:
            return None
        return digest_of({"pretrain": self.pretraining.identity(), "model": self.model.identity()})

    def sources(self) -> dict[str, Source]:
        """The sources that this trial reads, by the path of their spec."""
        used: dict[str, Source] = {"finetune.target": self.finetune.target}
        if self.pretraining is not None:
            used["pretrain.source"] = self.pretraining.source
        return used

    def problems(self, contexts: dict[str, SignalContext]) -> list[Problem]:
        """What makes this trial mean nothing for the signals at hand."""
        found = []
        for path, ctx in contexts.items():
            complaint = self.model.check(ctx)
            if complaint:
                found.append(Problem("model", f"{complaint} (signals of {path})"))
        source = contexts.get("pretrain.source")
        if source and self.pretraining is not None and self.pretraining.task is not None:
            complaint = self.pretraining.task.check(source) or self._of_other_channels(source)
            found += [Problem("pretrain.task", complaint)] if complaint else []
        target = contexts.get("finetune.target")
        if source and target:
            complaint = self.model.misfit(source, target)
            found += (
                [Problem("pretrain.source", f"{self.model.kind}: {complaint}")] if complaint else []
            )
        if target and self.finetune.drop_modality and len(set(_modalities(self.model, target))) < 2:
            rule = f"drop_modality={self.finetune.drop_modality:g}: {self.model.kind} reads signals of one modality only"
            found.append(
                Problem("finetune.drop_modality", f"{rule}, and one always stays; drop it")
            )
        wanted = self.finetune.align.expects()
        if wanted and source and abs(wanted / source.sfreq - 1) > 1e-3:
            rule = f"sfreq={wanted:g}: must be the rate of pretrain.source, which is {source.sfreq:g} Hz"
            found.append(
                Problem(
                    "finetune.align.sfreq",
                    f"{rule}, or the arms compare rates and not pre-training",
                )
            )
        if (
            self.pretraining is not None
            and self.pretraining.workers > self.pretraining.optim.batch_size
        ):
            found.append(
                Problem(
                    "pretrain.workers",
                    "must not exceed pretrain.optim.batch_size: each needs a window",
                )
            )
        return found

    def _of_other_channels(self, source: SignalContext) -> str | None:
        assert self.pretraining is not None
        task, model = self.pretraining.task, self.model
        if isinstance(task, CrossmodalTask) or isinstance(model, Crossmodal):
            return _across_sensors(task, model, source)
        if model.mixes_channels and isinstance(task, Reconstruction):
            rule = f"{model.kind} has one token for all channels, but {task.kind} predicts each from its own"
            return f"{rule}; use next_thought, with `weights: {{masked: 1.0}}` to hide volumes"
        return None

    def run(self) -> dict[str, float]:
        """Run this one trial in this process, without Ray; validation metrics of its best round."""
        from citrus_ray.training.finetuning import Member
        from citrus_ray.training.pretraining import ensure_encoder

        member = Member(self, ensure_encoder(self))
        member.finish()
        return member.best


def _modalities(model: AnyEncoder, ctx: SignalContext) -> tuple[str, ...]:
    """Of what the model reads."""
    return (
        tuple(name for part in ctx.parts for name in part.modalities)
        if model.multimodal
        else ctx.modalities
    )


def _across_sensors(task: AnyTask | None, model: AnyEncoder, source: SignalContext) -> str | None:
    """Why a task, or a model, that is of several sensors does not go with the other and with the signals."""
    if not isinstance(model, Crossmodal):
        return f"crossmodal masks the embeddings of sensors, which {model.kind} has not; give `model: crossmodal`"
    if isinstance(task, Reconstruction) and task.drop_modality:
        return f"drop_modality={task.drop_modality:g}: each sensor of a crossmodal model learns from itself; drop it"
    there = [sensor.name for sensor in model.of(source) if sensor.rows]
    if isinstance(task, CrossmodalTask) and task.mask == "spatial" and len(there) < 2:
        rule = f"mask=spatial: needs signals of 2 sensors, but there is only {', '.join(there)}"
        return f"{rule}; give `model.sensors: channel`, or another mask"
    return None
