"""A fine-tune as it is kept: what it learnt, and what it takes to give it recordings again."""

from dataclasses import asdict
from typing import Any

import citrus_ray
from citrus_ray import records
from citrus_ray.data.expected import expected_of
from citrus_ray.data.windowing import cache
from citrus_ray.models.specs import EncoderSpec
from citrus_ray.spec import Foreign, Spec
from citrus_ray.training.learner import Learner
from citrus_ray.training.portable import Arrays, taken_apart

OURS = f"{citrus_ray.__name__}."


def kept(learner: Learner) -> tuple[dict[str, Any], Arrays]:
    """Facts and arrays of a learner that was scored, from which another process predicts."""
    trial, arrays = learner.trial, Arrays()
    spec, foreign = trial.finetune, modules_of(trial.model)
    whole = cache.load(spec.target)
    names = [name for part in whole.streams for name in part.ch_names] or whole.ch_names
    picked = spec.align.picked(names)  # of several streams all: they are left as they are
    expected = expected_of(spec.target, whole, picked, trial.model.multimodal)
    facts = {
        "digest": trial.digest(),
        "kind": trial.model.kind,
        "target": learner.windows.target,
        "classes": list(learner.windows.classes or (learner.windows.target,)),
        "expected": expected.tree(),
        "align": spec.align.tree(),
        "multimodal": trial.model.multimodal,
        "context": asdict(learner.context),
        "foreign": foreign,
        "scales": taken_apart(learner.view.scales, arrays),
        "predicts": taken_apart(learner.fitted(), arrays, foreign),
        "trial": trial.tree(),
        "encoder": trial.encoder_digest(),
        "data_digest": spec.target.digest(),
        "labelled": learner.n_labelled(),
        **learner.tested,
        "caveats": list(learner.windows.caveats),
        "versions": records.versions(),
        "commit": records.commit(),
        "finished": records.now(),
    }
    return facts, arrays


def modules_of(model: EncoderSpec) -> list[str]:
    """Modules outside this package that the model is built from."""
    found = set[str]()
    left: list[Any] = [model]
    while left:
        part = left.pop()
        if isinstance(part, list | tuple):
            left += part
        elif isinstance(part, Spec):
            left += [getattr(part, name) for name in type(part).model_fields]
            paths = [f"{type(part).__module__}:", getattr(part, "method", "")]
            paths += [part.cls] if isinstance(part, Foreign) else []
            found |= {path.partition(":")[0] for path in paths if path}
    return sorted(name for name in found if not name.startswith(OURS))
