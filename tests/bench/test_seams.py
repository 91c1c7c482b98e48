"""Seams between windows: planted ones are found, and motion without any passes; tiny networks."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.__main__ import parser
from bench.motion import build
from bench.sampling.borders import Groups, areas, places
from bench.sampling.classifier import KINDS, Spans, auc, held_out_scores, with_interval
from bench.sampling.seams import (
    Plan,
    cut_audio,
    differences_table,
    measure,
    row_of,
    table,
    windows_of,
)
from bench.sampling.whole import compare
from contracts.errors import InputError
from contracts.person import write_manifest
from models.motion.pipeline import Animator
from models.motion.windows import WINDOWS, WindowConfig, borders
from tests.bench.sizes import TINY
from tests.tiny_person import write_tiny_person
from tests.training.scenes import write_scene

GROUPS = Groups(
    {"body": list(range(6)), "head": [6, 7], "lips": [8, 9, 10], "face": [11]}, torch.eye(12)
)
PLAN = Plan(clips=10, seeds=4, networks=1)
FRAMES, CALLS = 900, 4


def motion(seed: int) -> Tensor:
    """Smooth movement with tremble, [T, C]."""
    noise = torch.randn(FRAMES + 40, 12, generator=torch.Generator().manual_seed(seed))
    kernel = torch.hann_window(21)[:, None, None].expand(-1, 12, 1).permute(1, 2, 0)
    slow = torch.nn.functional.conv1d(noise.T[None], kernel, groups=12)[0].T[:FRAMES]
    return slow + 0.05 * noise[:FRAMES]


def averaged(values: Tensor, take: int) -> Tensor:
    """The motion with less tremble around borders, as the mean of two windows has."""
    result = values.clone()
    for border in borders(FRAMES, CALLS, windows_of(WINDOWS, take)):
        part = slice(border - 15, border + 15)
        kernel = torch.ones(12, 1, 3) / 3
        wide = values[border - 16 : border + 16].T[None]
        result[part] = torch.nn.functional.conv1d(wide, kernel, groups=12)[0].T
    return result


def clips(change=lambda values, _take: values) -> list[list[Tensor]]:  # type: ignore[no-untyped-def]
    return [
        [change(motion(10 * clip + take), take) for take in range(PLAN.seeds)]
        for clip in range(PLAN.clips)
    ]


def test_motion_without_seams_passes_and_a_planted_step_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    short = replace(KINDS["network"], epochs=5)
    monkeypatch.setitem(KINDS, "network", short)  # type: ignore[misc]
    row = row_of("sampled", clips(), GROUPS, PLAN, CALLS)

    counts = [
        len(places(FRAMES, CALLS, windows_of(WINDOWS, take)).borders) for take in range(PLAN.seeds)
    ]
    assert row.borders == PLAN.clips * sum(counts)
    assert all(0.95 < ratio < 1.05 for ratio in row.jerk.values())
    assert all(abs(found.value - 0.5) < 0.15 for found in (*row.auc.values(), row.null))
    assert row.planted.value > 0.75
    assert all(group in table([row]) for group in row.jerk)


def test_motion_that_is_smoother_at_borders_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(KINDS, "network")  # type: ignore[misc]
    row = row_of("sampled", clips(averaged), GROUPS, PLAN, CALLS)

    assert all(ratio < 0.9 for ratio in row.jerk.values())
    assert all(found.low > 0.9 for found in row.auc.values())


def louder_there(values: Tensor, _take: int) -> Tensor:
    """The motion with more tremble at the borders of every second take, in all takes."""
    result = values.clone()
    for border in borders(FRAMES, CALLS, windows_of(WINDOWS, 1)):
        result[border - 15 : border + 15] *= 2
    return result


def test_what_is_the_same_in_all_takes_of_a_place_is_no_seam(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(KINDS, "network")  # type: ignore[misc]
    row = row_of("sampled", clips(louder_there), GROUPS, PLAN, CALLS)

    assert abs(row.auc["logistic, between"].value - 0.5) < 0.15
    assert abs(row.null.value - 0.5) < 0.15


def test_places_between_are_the_borders_of_the_other_takes() -> None:
    one, other = (places(1800, 11, windows_of(WINDOWS, take)) for take in (0, 1))

    assert (len(one.borders), one.between, other.between) == (7, other.borders, one.borders)
    assert one.borders[0] == (
        WINDOWS.first(11) + 2 * WINDOWS.hop - 10 * WINDOWS.overlap - WINDOWS.overlap // 2
    )
    for each in (one, other):
        distances = [
            abs(place - border) for place in (*each.between, *each.far) for border in each.borders
        ]
        assert min(distances) >= 60
    assert all((place - one.borders[0]) % 30 == 0 for place in one.between)


def test_the_area_under_jerk_is_that_of_the_frames_around_a_place() -> None:
    values = torch.zeros(100, 1)
    values[50:] = 1.0  # third differences 1, -2, 1
    found = areas(values)
    assert float(found[50]) == 4
    assert float(found[80]) == 0


def test_the_auc_counts_ties_half() -> None:
    border = np.array([True, True, False, False])
    assert auc(np.array([2.0, 1.0, 1.0, 0.0]), border) == 0.875
    assert auc(np.zeros(4), border) == 0.5


def test_a_classifier_never_sees_the_clip_that_it_scores() -> None:
    """Features that only tell clips apart teach nothing about another clip."""
    generator = torch.Generator().manual_seed(1)
    clip = torch.arange(40).repeat_interleave(10)
    border = (torch.rand(400, generator=generator) < 0.5).float()
    features = torch.zeros(400, 41, 20)
    features[torch.arange(400), clip] = border[:, None] * 2 - 1
    spans = Spans(features, border, clip)
    found = with_interval(held_out_scores(spans, KINDS["logistic"], range(1)), spans)
    assert found.value == pytest.approx(0.5, abs=0.1)


def test_windows_that_do_not_agree_differ_more_from_the_whole_clip_at_borders() -> None:
    networks = build(TINY, torch.device("cpu"))
    audio = [torch.randn(1600 * 300, 2, generator=torch.Generator().manual_seed(2))]
    small = WindowConfig(hop=60, overlap=30, moves=1, start=60)
    face, body = compare(networks, audio, 2, windows=small)

    assert (face.network, body.network) == ("face", "body")
    assert face.ratio == face.at_borders / face.elsewhere > 0
    assert "| body | 1 | 10 | 2 |" in differences_table([face, body])


def test_sampled_and_finished_motion_is_measured_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    person, cache = write_tiny_person(tmp_path), tmp_path / "motion"
    audio = [
        0.1 * torch.randn(1600 * 610, 2, generator=torch.Generator().manual_seed(seed))
        for seed in (1, 2)
    ]
    plan = Plan(clips=2, seeds=4, networks=1)
    monkeypatch.delitem(KINDS, "network")  # type: ignore[misc]
    rows = measure(person, audio, plan, "draft", cache=cache)

    assert [(row.stage, row.borders) for row in rows] == [("sampled", 16)]
    assert len(list(cache.iterdir())) == 8

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("motion that is kept is sampled again")

    monkeypatch.setattr(Animator, "stream", refuse)
    (person / "picture.webp").write_bytes(b"not read by sampling")
    facts = json.loads((person / "person.json").read_text())
    files = [*facts.pop("files"), "picture.webp"]
    write_manifest(person, facts | {"media": {"picture": "picture.webp"}}, files)
    assert measure(person, audio, plan, "draft", cache=cache) == rows
    with pytest.raises(InputError, match="sampled whole"):
        measure(person, [audio[0][: 1600 * 600]], plan, "draft")
    with pytest.raises(InputError, match="--seeds: must be at least 4"):
        measure(person, audio, replace(plan, seeds=3), "draft")


def test_a_dataset_that_is_too_short_is_refused(tmp_path: Path) -> None:
    write_scene(tmp_path, "scene", 60)
    assert len(list(cut_audio(tmp_path, 1.0, 2))) == 2
    with pytest.raises(InputError, match="2 clips of 1 s"):
        list(cut_audio(tmp_path, 1.0, 3))


def test_options_have_the_plan_as_defaults(tmp_path: Path) -> None:
    arguments = parser().parse_args(["seams", "--data", str(tmp_path), "--clips", "0"])
    assert (arguments.clips, arguments.seeds) == (0, Plan.seeds)
    assert json.dumps(arguments.released_seconds) == "20.0"
