"""Pictures of an encoder: made of windows that are no test data, and shown for the encoder that
they are of."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from citrus_ray.data.windowing import cache
from citrus_ray.data.windows import Index, Signal
from citrus_ray.models.nets.encoder import Encoder, hide_samples, patches
from citrus_ray.report.encoder_pictures import (
    RATIO,
    _agreement,
    _read_out,
    draw_mapped,
    draw_restored,
    embed,
    main,
    mapped_picture,
    restore,
    restored_picture,
)
from citrus_ray.report.figures import ink
from citrus_ray.report.files import write_report
from citrus_ray.report.pictured import FOLDER, Pictured
from citrus_ray.training.finetuning import Member
from tests.evidence.synthetic import MadeUp
from tests.small import PRETRAINED

MODEL, TARGET = PRETRAINED.model, PRETRAINED.finetune.target


@pytest.fixture
def weights():
    return MODEL.build(cache.load(TARGET).context).state_dict()


class Neighbours(Encoder):
    """Tells of each patch the samples of the patch before it, where they are not hidden."""

    dim = patch = 4

    def forward(self, x: torch.Tensor, hidden: torch.Tensor | None = None) -> torch.Tensor:
        seen = x if hidden is None else hide_samples(x, hidden, self.patch)
        tokens: torch.Tensor = patches(seen, self.patch)
        return tokens.roll(1, dims=2)

    def depths(self) -> list[torch.nn.Module]:
        return []


def test_a_read_out_restores_what_the_tokens_hold_and_no_more():
    rng = np.random.default_rng(0)
    held = np.repeat(
        rng.standard_normal((300, 1, 1)), 40, axis=2
    )  # any visible patch tells of all others
    noise = rng.standard_normal((300, 1, 40))
    for signal, least, most in ((held, 0.3, 0.95), (noise, -0.1, 0.1)):
        fit, shown = torch.tensor(signal[:200]).float(), torch.tensor(signal[200:]).float()
        said, truth, hidden = _read_out(Neighbours(), fit, shown)
        assert least < np.corrcoef(said[hidden].ravel(), truth[hidden].ravel())[0, 1] < most


def test_hidden_patches_come_from_windows_that_pretraining_did_not_learn_from(weights):
    found = restore(PRETRAINED, weights)
    assert found.truth.shape == found.said.shape == found.hidden.shape
    assert found.hidden.mean() == pytest.approx(RATIO, abs=0.15)
    assert draw_restored(found).axes
    assert f"{found.correlation:.2f}" in restored_picture(found).shows


def test_the_map_reads_no_test_window(weights, monkeypatch: pytest.MonkeyPatch):
    read: list[int] = []
    signal = Member.signal

    def watched(self: Member, index: Index) -> Signal:
        read.extend(index.tolist())
        return signal(self, index)

    monkeypatch.setattr(Member, "signal", watched)
    found = embed(PRETRAINED, weights)
    test = Member(PRETRAINED, None).parts.test
    assert read
    assert not set(read) & set(test.tolist())
    assert len(found.labels) == len(found.places[0]) == len(found.places[1])
    assert draw_mapped(found).axes
    assert "by chance" in mapped_picture(found).shows


def test_a_neighbour_of_the_same_person_does_not_count():
    x = np.asarray([[0.0], [0.1], [5.0], [5.1]])
    labels = np.asarray([0, 0, 1, 1])
    assert _agreement(x, labels, np.asarray([0, 1, 2, 3])) == 1.0
    assert _agreement(x, labels, np.asarray([0, 0, 1, 1])) == 0.0


@pytest.mark.slow
def test_the_page_shows_pictures_of_encoders_that_it_still_has(tmp_path: Path):
    made = MadeUp()
    folder = made.write(tmp_path)
    encoder = made.row(made.cells()[1], "final", 1e-2, "emgdb", 0).encoder
    with ink.sheet(3, 2) as (figure, (ax,)):
        ax.plot([0, 1])
    ink.Picture("hidden", lambda: figure).publish(folder / FOLDER)
    said = Pictured(
        "hidden", "What it restores", "It restores much.", "Blue.", ("a", "b"), (("1", "2"),)
    )
    path = folder / FOLDER / "hidden.json"
    path.write_text(json.dumps(asdict(said) | {"encoder": encoder}))
    page = write_report([folder], publish=False).read_text()
    assert '<figure id="figure-hidden">' in page
    assert "It restores much." in page
    path.write_text(json.dumps(asdict(said) | {"encoder": "of another sweep"}))
    assert "It restores much." not in write_report([folder], publish=False).read_text()


def test_a_sweep_without_a_refitted_encoder_is_told_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main([str(MadeUp(tasks=(None,)).write(tmp_path))]) == 2
    assert "no pre-trained cell has been refitted yet" in capsys.readouterr().err
