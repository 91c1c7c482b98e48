"""Motion of long clips in the pipeline: progress over parts, and audio read in pieces."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jobs.request.model import GenerateRequest
from models.avatar.camera import Camera, camera_named
from tests.tiny_person import tiny_animator
from tests.worker.fakes import DEFAULTS, FakeAvatar
from worker.pipeline.media.decode import Audio
from worker.pipeline.persons import Models, Person
from worker.pipeline.plan import cameras_of, cast_of, plan_of
from worker.pipeline.render import PartProgress, sampled_motion


def audio(folder: Path, seconds: float) -> Audio:
    path = folder / "sound.f32"
    rng = np.random.default_rng(1)
    samples = (0.1 * rng.standard_normal((int(48_000 * seconds), 2))).astype(np.float32)
    samples.tofile(path)
    return Audio(path, samples, partner_speaks=True)


def test_a_long_clip_has_the_motion_of_each_person_alone_and_rising_progress(
    tmp_path: Path,
) -> None:
    """The clip is longer than the networks take, so that it is sampled in windows."""
    person = Person("demo", "d", DEFAULTS, Models(tiny_animator(), FakeAvatar()))
    both = cast_of(GenerateRequest(seed=1, both=True, steps=1), lambda name: person)
    clip = audio(tmp_path, 21.5)
    reports: list[tuple[str, float]] = []

    def report(stage: str, share: float) -> None:
        reports.append((stage, share))

    with sampled_motion(clip, both.performers, report) as stream:
        first = stream.takes[1].span(0)
        motions = [take.between(0, take.frames) for take in stream.takes]
        stream.finish()
    partner = person.models.animator.animate(
        torch.from_numpy(clip.samples[:, ::-1].copy()), both.performers[1].plan.sampling
    )[0]

    assert [(len(each.face), len(each.pose)) for each in motions] == [(645, 645)] * 2
    assert torch.equal(motions[1].pose[: len(first.pose)], first.pose)
    assert torch.equal(motions[1].face, partner.face)
    assert torch.equal(motions[1].pose, partner.pose)
    for stage in ("speech", "face", "guide", "body"):
        shares = [share for name, share in reports if name == stage]
        assert shares == sorted(shares)
        assert shares[-1] == pytest.approx(1.0)


class Posing(FakeAvatar):
    """An avatar with these cameras."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.cameras = {name: replace(FakeAvatar.camera(self), name=name) for name in names}

    def camera(self, name: str | None = None) -> Camera:
        return camera_named(name, self.cameras)


@pytest.mark.parametrize(
    ("cameras", "fields", "shown"),
    [
        (("front", "portrait"), {}, "front"),
        (("front", "portrait"), {"shading": "full"}, "portrait"),
        (("front", "portrait"), {"shading": "full", "views": ("front",)}, "front"),
        (("front",), {"shading": "full"}, "front"),
    ],
)
def test_the_shading_full_shows_face_and_hands_unless_views_are_named(
    cameras: tuple[str, ...], fields: dict[str, Any], shown: str
) -> None:
    plan = plan_of(GenerateRequest(seed=1, **fields), DEFAULTS)
    assert plan.options.shading == fields.get("shading", "fast")
    assert [camera.name for camera in cameras_of(plan, Posing(*cameras))] == [shown]


def test_a_single_part_reports_its_stages_as_they_are() -> None:
    reports: list[tuple[str, float]] = []
    report = PartProgress(lambda *each: reports.append(each), 1)
    report("face", 0.3)
    assert reports == [("face", 0.3)]


def test_audio_is_read_in_pieces_of_a_second(tmp_path: Path) -> None:
    clip = audio(tmp_path, 2.5)
    pieces = list(clip.chunks())
    assert [len(piece) for piece in pieces] == [48_000, 48_000, 24_000]
    assert np.array_equal(np.concatenate(pieces), clip.samples)
