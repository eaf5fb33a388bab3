"""The quality report: what it measures, and that it warns of what flatters a number and of nothing
else."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import normalized_mutual_info_score

from citrus_ray.data.sources.files import Files
from citrus_ray.data.sources.mitbih import MitBih
from citrus_ray.data.sources.synthetic import Synthetic
from citrus_ray.data.sources.uwave import UWave
from citrus_ray.data.tools import quality as module
from citrus_ray.data.tools.describe import as_json, main_describe, render, source_of, warnings
from citrus_ray.data.tools.quality import Quality, confounding, measure, overlap
from citrus_ray.data.windowing.normalize import zscore
from citrus_ray.data.windows import Stream, Windows
from citrus_ray.spec import SpecError
from tests.small import SOURCE, windows_of

N_GROUPS, PER_GROUP = 10, 12
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N_GROUPS * PER_GROUP, 2, 64)).cumsum(axis=-1).astype(np.float32)


def healthy(**edits: Any) -> Windows:
    """Ten people with twelve windows each, both classes in each of them."""
    windows = Windows(
        x=X,
        y=np.tile(np.arange(PER_GROUP) % 2, N_GROUPS).astype(np.int64),
        group=np.repeat(np.arange(N_GROUPS), PER_GROUP).astype(np.int64),
        sfreq=32.0,
        ch_names=("a", "b"),
        modalities=("eeg", "ecg"),
        groups=tuple(f"g{i}" for i in range(N_GROUPS)),
        classes=("rest", "move"),
        digest="0123",
    )
    return replace(windows, **edits)


def measured(**edits: Any) -> Quality:
    return measure(healthy(**edits), "set", "none")


def warned(**edits: Any) -> str:
    return "\n".join(warnings(measured(**edits)))


def changed(index: Any, value: Any) -> np.ndarray:
    x = X.copy()
    x[index] = value
    return x


# ---- measuring ----


def test_a_set_without_faults_has_no_warning():
    found = measured()
    assert list(warnings(found)) == []
    assert (found.windows, found.n_times, found.seconds, found.groups) == (120, 64, 2.0, 10)
    assert found.classes == {"rest": 60, "move": 60}
    assert found.windows_per_group == (12, 12.0, 12)
    assert found.unsplittable is None


def test_amplitudes_are_those_of_numpy_in_any_block_size(monkeypatch):
    whole = measured()
    for c, channel in enumerate(whole.channels):
        assert (channel.low, channel.high) == (X[:, c].min(), X[:, c].max())
        assert channel.std == pytest.approx(np.median(X[:, c].std(axis=-1)), rel=1e-5)
        assert channel.flat == channel.clipped == 0
    monkeypatch.setattr(module, "BLOCK", 7 * 2 * 64)
    assert measured() == whole


def test_flat_and_clipped_windows_are_counted_per_channel():
    x = changed((slice(0, 30), 1), 3.0)
    x[30:60, 0] = np.clip(x[30:60, 0], *np.quantile(x[30:60, 0], [0.2, 0.8], axis=-1)[..., None])
    one, two = measured(x=x).channels
    assert (one.flat, one.clipped) == (0, 0.25)
    assert (two.flat, two.clipped) == (0.25, 0)
    said = warned(x=x)
    assert "flat windows: b (25%)" in said
    assert "clipped, coarsely quantised or padded windows: a (25%)" in said


def test_values_that_are_not_finite_are_counted_and_still_reported_in_json():
    found = measured(x=changed((0, 0, slice(0, 5)), np.nan))
    assert found.non_finite == 5
    assert json.loads(as_json(found))["non_finite"] == 5
    assert "5 samples are not finite" in warnings(found)


@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(1, 8))
def test_mutual_information_is_that_of_scikit_learn(seed, n_classes, n_groups):
    rng = np.random.default_rng(seed)
    y, group = rng.integers(0, n_classes, 40), rng.integers(0, n_groups, 40)
    found = confounding(windows_of(y, group, n_classes))
    one_of_each = len(np.unique(y)) == len(np.unique(group)) == 1
    assert found.nmi == pytest.approx(
        0 if one_of_each else normalized_mutual_info_score(group, y), abs=1e-9
    )


def test_a_class_is_guessed_from_the_most_frequent_of_its_group():
    y, group = np.array([0, 0, 1, 1, 1, 0]), np.array([0, 0, 0, 1, 1, 2])
    found = confounding(windows_of(y, group, 2))
    assert found.class_guessed_from_group == pytest.approx(5 / 6)
    assert found.class_guessed_blindly == 0.5
    assert found.group_has_one_class == 0.5
    assert found.class_has_one_group == 0
    assert found.groups_per_class == {"class0": 2, "class1": 2}


@pytest.mark.parametrize("stride", [16, 32, 48, 56])
def test_overlap_is_found_behind_the_normalisation_of_windows(stride):
    long = RNG.normal(size=(3, 300)).cumsum(axis=-1)
    one, other = (zscore(long[:, s : s + 64].astype(np.float32)) for s in (0, stride))
    assert overlap(one, other) == pytest.approx((64 - stride) / 64)
    assert overlap(other, one) == 0


def test_no_overlap_is_seen_where_there_is_none():
    ramps = np.linspace(0, 1, 64, dtype=np.float32) + 1e-2 * RNG.normal(size=(2, 1, 64)).astype(
        np.float32
    )
    assert overlap(*ramps) == 0
    assert overlap(np.zeros((2, 64), np.float32), np.zeros((2, 64), np.float32)) == 0
    assert overlap(X[0, :, :4], X[1, :, :4]) == 0


# ---- warning ----


def test_a_class_that_is_its_group_is_said_to_mean_nothing():
    said = warned(
        y=np.repeat([0, 1], 60),
        group=np.repeat([0, 1], 60),
        groups=("p0", "p1"),
        classes=("healthy", "ill"),
    )
    assert "class = group" in said
    assert "no split with the defaults" in said


def test_a_class_of_one_group_is_named():
    y = np.tile(np.arange(PER_GROUP) % 2, N_GROUPS)
    y[:3] = 2
    said = warned(y=y, classes=("rest", "move", "fit"))
    assert "fit: all windows are from one group" in said
    assert "no split with the defaults of `split:`" in said


def test_a_class_that_is_a_trait_of_people_counts_people():
    said = warned(y=np.repeat(np.arange(N_GROUPS) % 2, PER_GROUP))
    assert "the sample is 10 groups (rest 5, move 5), not 120 windows" in said


def test_groups_of_one_window_are_no_people():
    said = warned(group=np.arange(120), groups=tuple(f"s{i}" for i in range(120)))
    assert "a person may be in train and in test" in said
    assert "every group has one class" not in said


def test_few_groups_are_few():
    assert "only 4 groups" in warned(group=np.repeat(np.arange(4), 30), groups=("a", "b", "c", "d"))


def test_copies_are_counted_where_they_may_cross_a_split():
    x = X.copy()
    x[12:15], x[3] = x[0:3], x[1]  # of another group, and of the same
    found = measured(x=x).repeats
    assert (found.windows, found.across_groups, found.across_classes) == (4, 3, 0)
    assert found.shared_by == ("g0 and g1",)
    assert (
        "3 windows are copies of a window of another group and may cross a split: g0 and g1"
        in warned(x=x)
    )
    y = healthy().labels.copy()
    y[12:15] = 1 - y[12:15]
    assert "3 windows are copies of a window of another class" in warned(x=x, y=y)


def test_silent_windows_are_flat_and_not_copies():
    found = measured(x=changed(slice(0, 40), 0.0))
    assert found.repeats.windows == 0
    assert found.channels[0].flat == pytest.approx(1 / 3)


def test_overlapping_neighbours_are_told_from_overlap_that_crosses_groups():
    long = RNG.normal(size=(2, 64 + 32 * 119)).cumsum(axis=-1).astype(np.float32)
    x = np.stack([long[:, 32 * i : 32 * i + 64] for i in range(120)])
    found = measured(x=x).neighbours
    assert (found.overlapping, found.overlap, found.overlapping_across_groups) == (1.0, 0.5, 9)
    said = warned(x=x)
    assert "9 windows overlap a window of another group" in said
    assert "100% of neighbours overlap by 50% of their length" in said


def test_groups_cut_from_one_recording_are_suspected():
    t = np.cumsum(1 + 0.3 * RNG.normal(size=120 * 64)) / 9  # smooth, and of no fixed period
    x = np.sin(t).reshape(120, 1, 64).repeat(2, axis=1).astype(np.float32)
    group = np.arange(120) // 4
    found = measured(x=x, group=group, groups=tuple(f"g{i}" for i in range(30)))
    assert found.neighbours.ends_correlate_across_groups == pytest.approx(1, abs=0.1)
    assert any(
        "the groups may be pieces of one recording" in warning for warning in warnings(found)
    )
    apart = measured(
        x=x[RNG.permutation(120)], group=group, groups=tuple(f"g{i}" for i in range(30))
    )
    assert not any("pieces of one recording" in warning for warning in warnings(apart))


def test_rare_classes_and_dropped_windows_are_said():
    y = np.zeros(120, np.int64)
    y[[5, 17, 29, 41]] = 1
    assert "the rarest class has 4 windows and the most common 116" in warned(y=y)
    assert "20% of windows were dropped" in warned(
        caveats=("dropped for missing samples: 30 of 150 windows",)
    )
    assert measured(caveats=("dropped for missing samples: 1 of 150 windows",)).dropped == 1 / 150


# ---- showing and finding ----


def test_the_report_is_a_screen_with_its_warnings_on_top():
    lines = render(
        measured(x=changed((slice(0, 30), 1), 3.0), caveats=("one person",))
    ).splitlines()
    assert lines[0] == "set: 120 windows of 2 s (64 samples at 32 Hz), 2 channels, 0123"
    assert lines[1].startswith("  ! flat windows: b")
    assert lines[2] == "  caveat: one person"
    assert len(lines) < 24
    assert max(len(line) for line in lines) < 160


def test_many_channels_are_shown_by_modality():
    x = np.repeat(X, 10, axis=1)
    names = tuple(f"c{i}" for i in range(20))
    found = measured(x=x, ch_names=names, modalities=("eeg",) * 12 + ("ecg",) * 8)
    text = render(found)
    assert "12 channels  eeg" in text
    assert "8 channels   ecg" in text
    assert len(json.loads(as_json(found))["channels"]) == 20


def test_an_unlabelled_set_is_described_without_classes():
    found = measured(y=None, classes=())
    assert found.confounding is None
    assert list(warnings(found)) == []
    assert "none: not labelled" in render(found)
    assert "splits" not in render(found)


SWEEP = """\
trial:
  pretrain: {source: SOURCE, task: null}
  finetune: {target: SOURCE}
compare:
  finetune.target: [SOURCE, {kind: synthetic, n_subjects: 5}]
"""


@pytest.fixture
def sweep(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text(SWEEP.replace("SOURCE", json.dumps(SOURCE.tree())))
    return path


def test_a_block_of_a_sweep_is_found_by_its_path(sweep):
    assert source_of(f"{sweep}:trial.finetune.target") == SOURCE
    assert source_of(f"{sweep}:trial.pretrain.source") == SOURCE
    assert source_of(f"{sweep}:compare.finetune.target[1]") == Synthetic(n_subjects=5)


@pytest.mark.parametrize("path", ["", ":trial", ":trial.finetune.targets"])
def test_a_path_that_holds_no_source_is_answered_with_those_that_do(sweep, path):
    with pytest.raises(
        SpecError, match=r"there are trial\.pretrain\.source, trial\.finetune\.target, compare"
    ):
        source_of(f"{sweep}{path}")


def test_the_command_describes_a_file(tmp_path, capsys):
    path = tmp_path / "set.yaml"
    path.write_text(json.dumps(SOURCE.tree()))
    assert main_describe([str(path)]) == 0
    assert "64 windows of 1.28 s" in capsys.readouterr().out
    assert main_describe([str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["classes"] == {"5 Hz": 32, "12 Hz": 32}
    assert found["warnings"] == []


def test_what_cannot_be_described_is_one_clear_error(tmp_path, capsys):
    path = tmp_path / "set.yaml"
    path.write_text("kind: synthetic\nn_subject: 3\n")
    assert main_describe([str(path)]) == 2
    assert f"{path}:2: n_subject: `n_subject` is not a key here" in capsys.readouterr().err
    path.write_text("finetune:\n  target:\n    kind: synthetic\n    n_chans: none\n")
    assert main_describe([f"{path}:finetune.target"]) == 2
    assert f"{path}:4: finetune.target.n_chans" in capsys.readouterr().err
    assert main_describe(["{kind: synthetic, n_subject: 3}"]) == 2
    assert "n_subject: `n_subject` is not a key here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "mitbi",
            "`mitbi` is neither a set that has a name nor a kind of source; did you mean `mitbih`?",
        ),
        ("har_wach", "did you mean `har_watch`?"),
        (
            "files",
            "kind files cannot do without root, pattern, seconds, sfreq; describe "
            "'{kind: files, root: …, ",
        ),
    ],
)
def test_a_name_that_stands_for_nothing_is_one_error_with_what_was_meant(capsys, name, message):
    assert main_describe([name]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("error:") == said.count("\n") == 1


def test_a_kind_stands_for_its_defaults_and_a_set_comes_before_the_kind_of_its_name():
    assert source_of("synthetic") == Synthetic()
    assert source_of("mitbih") == MitBih()
    assert source_of("mitbih_beats") == source_of("{set: mitbih_beats}")
    assert isinstance(source_of("uwave"), Files)
    assert source_of("{kind: uwave}") == UWave()


def streamed(**edits: Any) -> Windows:
    """Two streams: the one of `healthy`, and a channel of its own at an eighth of the rate."""
    slow = Stream("slow", X[:, :1, ::8].copy(), 4.0, ("c",), ("eda",))
    return healthy(streams=(Stream("fast", X, 32.0, ("a", "b"), ("eeg", "ecg")), slow), **edits)


def test_every_stream_of_a_multi_rate_set_is_described():
    slow = streamed().streams[1].x
    found = measure(streamed(), "set", "none")
    (other,) = found.others
    assert (found.stream, found.n_times, found.sfreq) == ("fast", 64, 32.0)
    assert (other.stream, other.n_times, other.sfreq) == ("slow", 8, 4.0)
    assert (other.channels[0].low, other.channels[0].high) == (slow.min(), slow.max())
    lines = render(found).splitlines()
    assert lines[0] == "set: 120 windows of 2 s in 2 streams, 0123"
    assert "stream      fast: 64 samples at 32 Hz, 2 channels" in lines
    assert "stream      slow: 8 samples at 4 Hz, 1 channel" in lines
    assert any(line.split()[:2] == ["c", "eda"] for line in lines)
    assert json.loads(as_json(found))["others"][0]["channels"][0]["name"] == "c"


def test_a_warning_about_one_stream_names_it():
    slow = streamed().streams[1].x.copy()
    slow[:30] = 3.0
    fast, other = streamed().streams
    found = measure(replace(streamed(), streams=(fast, replace(other, x=slow))), "set", "none")
    said = [warning for warning in warnings(found) if "flat" in warning]
    assert said == ["slow: flat windows: c (25%)"]
