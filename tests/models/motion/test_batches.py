"""Clips of one person together: each has its own motion, up to rounding, in any batch."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from models.motion.denoiser import Condition
from models.motion.execution import moving
from models.motion.execution.batches import Task, animate_together, sample_tasks
from models.motion.execution.padding import joined_conditions
from models.motion.execution.sizes import (
    FRAMES_ON_CPU,
    BatchSizes,
    frame_bytes,
    sizes_within,
)
from models.motion.pipeline import Animator, Motion, MotionError, Sampling
from models.motion.sampling import SegmentMotion, no_progress
from models.motion.windows import ClipSampling, WindowConfig, planned
from tests import tiny_person

SMALL = WindowConfig(hop=60, overlap=30, moves=1, start=60)
FEW = Sampling((1,), 3, 1.5, 1.5, 0.9, "unipc", guidance_until=25)
ALL = BatchSizes(frames=10_000, clips=8)
ROUNDING = 2e-4  # of the standard deviation of the person's codes and poses


class Canceled(Exception):
    pass


@pytest.fixture(scope="module")
def animator() -> Animator:
    """Tiny person with lips, whose tail has a larger output, with random sizes of all rows."""
    networks = tiny_person.tiny_networks()
    for convolution in networks.body.tail:
        convolution.weight.data *= 3
    return Animator(networks, device=torch.device("cpu"))


@pytest.fixture(autouse=True)
def sampled_together(
    caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> Iterator[None]:
    """A batch that fails is sampled one by one, with the right motion."""
    yield
    if request.node.originalname != "test_clips_that_do_not_fit_together_are_sampled_one_by_one":
        assert "one by one" not in caplog.text


def audio(frames: int, seed: int = 1) -> Tensor:
    return 0.1 * torch.randn(1600 * frames, 2, generator=torch.Generator().manual_seed(seed))


def clip(
    animator: Animator,
    frames: int,
    *,
    sampling: Sampling = FEW,
    whole: int | None = None,
    progress: Callable[[str, float], None] = no_progress,
) -> ClipSampling:
    """A clip whose audio and noise are its own, in windows if it is longer than `whole`."""
    own = replace(sampling, seeds=tuple(seed + 1000 * frames for seed in sampling.seeds))
    return ClipSampling(
        animator, audio(frames, frames).split(9999), own, windows=SMALL, whole=whole,
        progress=progress,
    )  # fmt: skip


def together(
    animator: Animator, clips: Sequence[ClipSampling], sizes: BatchSizes = ALL
) -> list[list[list[Motion]] | BaseException]:
    return animate_together(clips, lambda tasks: sample_tasks(animator, tasks, sizes))


def alone(animator: Animator, clip: ClipSampling) -> list[list[Motion]]:
    parts = []
    while (segment := clip.segment()) is not None:
        parts.append(clip.finish(animator.sample(segment, clip.sampling, no_progress)))
    return parts


def assert_same(one: object, other: Sequence[Sequence[Motion]]) -> None:
    assert isinstance(one, list), one
    statistics = tiny_person.tiny_statistics()
    assert len(one) == len(other) > 0
    for part, expected in zip(one, other, strict=True):
        for motion, reference in zip(part, expected, strict=True):
            assert motion.face.shape == reference.face.shape
            assert motion.pose.shape == reference.pose.shape
            face = (motion.face - reference.face) / statistics.code_std
            pose = (motion.pose - reference.pose) / statistics.pose_std
            assert face.abs().lt(ROUNDING).all()
            assert pose.abs().lt(ROUNDING).all()


@pytest.mark.parametrize(
    ("sampler", "lengths"),
    [
        ("unipc", (150, 150, 150)),
        ("unipc", (150, 143, 121)),
        ("unipc", (40, 150, 131)),
        ("ddim", (130, 121)),
        ("dpm-solver", (122, 150)),
    ],
)
def test_clips_together_have_the_motion_of_each_alone(
    animator: Animator, sampler: str, lengths: Sequence[int]
) -> None:
    sampling = replace(FEW, sampler=sampler)
    clips = [clip(animator, frames, sampling=sampling) for frames in lengths]
    for frames, motion in zip(lengths, together(animator, clips), strict=True):
        assert_same(motion, alone(animator, clip(animator, frames, sampling=sampling)))


def test_the_condition_of_a_batch_is_joined_once_for_calls_of_the_same_frames(
    animator: Animator, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined: list[int] = []

    def counted(conditions: Sequence[Condition], takes: Sequence[int], halves: int) -> Condition:
        joined.append(len(conditions))
        return joined_conditions(conditions, takes, halves)

    monkeypatch.setattr(moving, "joined_conditions", counted)
    windows = replace(SMALL, moves=0)
    clips = [
        ClipSampling(animator, [audio(200, n)], replace(FEW, seeds=(n,)), windows=windows, whole=90)
        for n in (1, 2)
    ]
    together(animator, clips)
    calls = [each.calls(FEW.steps, windows) for each in planned(windows, FEW.steps, lambda _: 200)]
    asked = [set(each) for each in calls if any(start < stop for start, stop in each)]
    assert [len(each) for each in asked] == [1, 1, 1]  # of the same frames
    assert joined == [2, 2] * len(asked)  # for face and body


def test_clips_in_windows_together_have_the_motion_of_each_alone(animator: Animator) -> None:
    """Windows after the first continue their own clip; the last ones have other lengths."""
    lengths = (300, 341, 121, 200)
    clips = [clip(animator, frames, whole=120) for frames in lengths]
    for frames, motion in zip(lengths, together(animator, clips), strict=True):
        assert_same(motion, alone(animator, clip(animator, frames, whole=120)))


def test_windows_at_several_positions_together_have_the_motion_of_each_alone(
    animator: Animator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A window of the face has a position of its own where the networks have more of them."""
    positions: list[int] = []
    original = animator.face_condition

    def recorded(features, sampling, **options):  # type: ignore[no-untyped-def]
        positions.append(features.first)
        return original(features, sampling, **options)

    monkeypatch.setattr(animator, "max_frames", 300)
    monkeypatch.setattr(animator, "face_condition", recorded)
    clips = [clip(animator, 341, whole=120), clip(animator, 300, whole=240)]
    early = clips[0].segment()
    assert early is not None
    clips[0].finish(animator.sample(early, FEW, no_progress))
    motions = together(animator, clips)
    assert len(set(positions)) > 3
    expected = [alone(animator, clip(animator, 341, whole=120))[1:]]
    expected += [alone(animator, clip(animator, 300, whole=240))]
    for motion, other in zip(motions, expected, strict=True):
        assert_same(motion, other)


def test_takes_of_several_clips_are_one_batch(animator: Animator) -> None:
    many = replace(FEW, seeds=(1, 2, 3))
    one, other = together(animator, [clip(animator, 150, sampling=many), clip(animator, 130)])
    assert_same(one, alone(animator, clip(animator, 150, sampling=many)))
    assert_same(other, alone(animator, clip(animator, 130)))


class Recording:
    """Samples tasks, and records the frames of each batch; some networks may fail."""

    def __init__(self, animator: Animator) -> None:
        self.batches: list[list[int]] = []
        record = self.batches

        class Recorded(Animator):
            def halves(self, face, body, sampling, progress):  # type: ignore[no-untyped-def]
                faces, poses = super().halves(face, body, sampling, progress)
                each = faces if isinstance(faces, list) else [faces]
                record.append([len(one[0]) for one in each])
                return faces, poses

        self._animator = Recorded(animator.networks, device=animator.device)

    def __call__(self, tasks: Sequence[Task]) -> list[SegmentMotion | BaseException]:
        return sample_tasks(self._animator, tasks, ALL)


def test_clips_of_other_options_and_of_other_lengths_are_other_batches(animator: Animator) -> None:
    sampled = Recording(animator)
    other = replace(FEW, guidance_face=2.0)
    clips = [clip(animator, frames) for frames in (300, 250, 150, 149)]
    clips += [clip(animator, 150, sampling=other)]
    motions = animate_together(clips, sampled)
    assert sorted(sampled.batches) == [[150], [150, 149], [300, 250]]
    assert_same(motions[4], alone(animator, clip(animator, 150, sampling=other)))


def test_a_controlled_finishing_does_not_separate_clips(animator: Animator) -> None:
    sampled = Recording(animator)
    louder = replace(FEW, extra=(("expressiveness", 1.5),))
    clips = [clip(animator, 150), clip(animator, 150, sampling=louder)]
    animate_together(clips, sampled)
    assert sampled.batches == [[150, 150]]


@pytest.mark.parametrize("stage", ["speech", "face", "guide", "body"])
def test_a_canceled_clip_leaves_the_others_untouched(animator: Animator, stage: str) -> None:
    def progress(name: str, share: float) -> None:
        if name == stage and share > 0.4:
            raise Canceled

    clips = [clip(animator, 150), clip(animator, 149, progress=progress), clip(animator, 121)]
    one, ended, other = together(animator, clips)
    assert isinstance(ended, Canceled)
    assert_same(one, alone(animator, clip(animator, 150)))
    assert_same(other, alone(animator, clip(animator, 121)))


def test_a_batch_ends_once_all_of_its_clips_are_canceled(animator: Animator) -> None:
    reports: list[float] = []

    def progress(name: str, share: float) -> None:
        if name == "face":
            reports.append(share)
            raise Canceled

    clips = [clip(animator, frames, progress=progress) for frames in (150, 140)]
    assert [type(each) for each in together(animator, clips)] == [Canceled, Canceled]
    assert reports == [pytest.approx(1 / FEW.steps)] * 2


def test_an_empty_clip_ends_alone(animator: Animator) -> None:
    empty = ClipSampling(animator, [], FEW)
    one, ended = together(animator, [clip(animator, 150), empty])
    assert isinstance(ended, MotionError)
    assert_same(one, alone(animator, clip(animator, 150)))


@pytest.mark.parametrize("part", ["face", "guide", "body"])
def test_clips_that_do_not_fit_together_are_sampled_one_by_one(
    animator: Animator, part: str
) -> None:
    """The noise of a clip is the same in its second try, wherever the first one ended."""

    class Short(Animator):
        failures = 0

        def fail(self) -> None:
            if not self.failures:
                self.failures += 1
                raise torch.OutOfMemoryError

        def face_condition(self, *given, **options):  # type: ignore[no-untyped-def]
            if part == "face":
                self.fail()
            return super().face_condition(*given, **options)

        def body_condition(self, *given, **options):  # type: ignore[no-untyped-def]
            if part == "body":
                self.fail()
            return super().body_condition(*given, **options)

        def key_tokens(self, *given, **options):  # type: ignore[no-untyped-def]
            tokens = super().key_tokens(*given, **options)
            if part == "guide":
                self.fail()
            return tokens

    short = Short(animator.networks, device=animator.device)
    motions = together(short, [clip(short, frames) for frames in (150, 130)])
    assert short.failures == 1
    for frames, motion in zip((150, 130), motions, strict=True):
        assert_same(motion, alone(animator, clip(animator, frames)))


def test_sizes_limit_frames_padding_included_and_clips_and_padding() -> None:
    sizes = BatchSizes(frames=400, clips=3)
    assert sizes.batches(dict.fromkeys(range(4), 100)) == [[0, 1], [2, 3]]
    assert sizes.batches(dict.fromkeys(range(7), 100)) == [[0, 1], [2, 3], [4, 5, 6]]
    assert sizes.batches({0: 100, 1: 160, 2: 150}) == [[1, 2], [0]]
    assert sizes.batches({0: 500, 1: 499}) == [[0], [1]]
    assert sizes.batches({0: 100, 1: 70}) == [[0], [1]]
    assert sizes.batches({}) == []


def test_free_memory_limits_the_frames_of_a_batch(animator: Animator) -> None:
    networks, gpu = animator.networks, torch.device("cuda")  # its table has no entry
    one, two = (sizes_within(networks, gpu, 8, 1e6 * n * frame_bytes(networks)) for n in (1, 2))
    assert (one.frames, two.frames) == (500_000, 1_000_000)  # half of what is free
    assert one.clips == 8
    none_free = sizes_within(networks, torch.device("cpu"), 8, 0.0)
    assert none_free.batches({0: 100, 1: 100}) == [[0], [1]]
    plenty = sizes_within(networks, torch.device("cpu"), 8, 1e15)
    assert plenty.frames == min(FRAMES_ON_CPU.values())


@torch.inference_mode()
def test_the_estimate_of_memory_covers_what_a_batch_keeps(animator: Animator) -> None:
    """Counted: conditions of each clip, the joined ones, and their features."""
    kept = 0
    sampling = replace(FEW, steps=1)
    segments = [clip(animator, frames).segment() for frames in (150, 150)]
    for name in ("face", "body"):
        conditions = []
        for segment in segments:
            assert segment is not None
            features = segment.features
            kept += 4 * features.with_lips.numel() + 4 * features.speech.numel()
            if name == "face":
                conditions.append(animator.face_condition(features, sampling)[1])
            else:
                keys = segment.body(no_progress).keys
                conditions.append(animator.body_condition(features, sampling)[1](keys))
        for condition in (*conditions, joined_conditions(conditions, [1, 1], 2)):
            for layer in condition.memories:
                kept += 4 * sum(part.keys.numel() + part.values.numel() for part in layer)
    estimate = 300 * frame_bytes(animator.networks)
    assert kept < estimate < 100 * kept
