"""Motion of clips, with a tiny person: lengths, seeds, progress, both speakers."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.checkpoint import CheckpointError
from models.motion.pipeline import (
    LONGEST_SECONDS,
    Animator,
    Motion,
    MotionError,
    Sampling,
    load_animator,
    take_generators,
    take_seed,
)
from tests import tiny_person

CPU = torch.device("cpu")
RATE = 48_000
SHORT = int(0.5 * RATE)


@pytest.fixture(scope="module")
def animator() -> Animator:
    """Tiny person with larger weights in the tail, whose untrained output is too small."""
    networks = tiny_person.tiny_networks()
    for convolution in networks.body.tail:
        convolution.weight.data *= 3
    return Animator(networks, device=CPU)


def clip(samples: int, *, partner_seed: int = 2) -> Tensor:
    """Two people talking at once, [samples, 2]."""
    voices = [
        0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))
        for seed in (1, partner_seed)
    ]
    return torch.stack(voices, dim=1)


def sampling(*seeds: int, **more: float) -> Sampling:
    choices = {"steps": 2, "guidance_face": 1.5, "guidance_body": 1.5, "diversity": 0.9}
    return Sampling(seeds=seeds or (1,), **{**choices, **more})


def distance(one: Motion, other: Motion) -> tuple[float, float]:
    """Largest differences of face and pose, in standard deviations of the person."""
    statistics = tiny_person.tiny_statistics()
    face, pose = one.face - other.face, one.pose - other.pose
    return (
        float((face / statistics.code_std).abs().max()),
        float((pose / statistics.pose_std).abs().max()),
    )


@pytest.mark.parametrize(
    ("samples", "frames"),
    [(1, 1), (1599, 1), (1600, 1), (1601, 2), (4800, 3), (192_001, 121), (960_000, 600)],
)
def test_a_clip_of_any_length_gets_one_frame_per_1600_samples(
    animator: Animator, samples: int, frames: int
) -> None:
    motion = animator.animate(clip(samples), sampling())[0]
    for part, width in ((motion.face, 256), (motion.pose, 104)):
        assert part.shape == (frames, width)
        assert part.dtype == torch.float32
        assert part.isfinite().all()


def test_silence_is_animated(animator: Animator) -> None:
    motion = animator.animate(torch.zeros(SHORT, 2), sampling())[0]
    assert motion.face.isfinite().all()
    assert motion.pose.isfinite().all()


def small_animator() -> Animator:
    """Networks that take 10 s, too little for a window."""
    networks = tiny_person.tiny_networks()
    guide = type(networks.guide)(replace(tiny_person.GUIDE, longest_rows=300)).eval()
    return Animator(replace(networks, guide=guide), device=CPU)


@pytest.mark.parametrize(("samples", "seconds"), [(480_001, "10.01 s"), (1_920_000, "40.00 s")])
def test_the_error_for_a_clip_too_long_for_small_networks_gives_both_lengths(
    samples: int, seconds: str
) -> None:
    with pytest.raises(MotionError, match=f"is {seconds} long; this person's networks take 10 s"):
        small_animator().animate(torch.zeros(samples, 2), sampling())


def test_an_empty_clip_is_refused(animator: Animator) -> None:
    with pytest.raises(MotionError, match="no samples; send a recording"):
        animator.animate(torch.zeros(0, 2), sampling())


@pytest.mark.parametrize("shape", [(4800,), (2, 4800), (4800, 1), (1, 4800, 2)], ids=str)
def test_audio_of_another_shape_is_refused(animator: Animator, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"must be \[samples, 2\], got \[{shape[0]}"):
        animator.animate(torch.zeros(shape), sampling())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": ()}, "seeds: empty"),
        ({"steps": 0}, "1 to 1000 \\(0\\)"),
        ({"steps": 1001}, "1 to 1000 \\(1001\\)"),
        ({"diversity": 0.0}, "at most 1 \\(0.0\\)"),
        ({"diversity": 1.1}, "at most 1 \\(1.1\\)"),
    ],
)
def test_invalid_sampling_options_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(MotionError, match=message):
        replace(sampling(), **wrong)


def test_equal_seeds_give_equal_motion_and_other_seeds_other_motion(animator: Animator) -> None:
    first, again, other = (animator.animate(clip(SHORT), sampling(s))[0] for s in (7, 7, 8))
    assert torch.equal(first.face, again.face)
    assert torch.equal(first.pose, again.pose)
    assert min(distance(first, other)) > 0.01


def test_a_take_does_not_depend_on_the_number_of_takes(animator: Animator) -> None:
    together = animator.animate(clip(SHORT), sampling(5, 6, 7))
    assert min(distance(together[0], together[2])) > 0.01
    for take, seed in enumerate((5, 6, 7)):
        alone = animator.animate(clip(SHORT), sampling(seed))[0]
        assert max(distance(together[take], alone)) < 1e-4


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_takes_are_the_same_if_memory_limits_their_number(limit: int) -> None:
    unlimited, limited = tiny_person.tiny_animator(), tiny_person.tiny_animator()
    sizes: list[int] = []

    def limit_memory(_network: object, inputs: tuple[Tensor, ...]) -> None:
        sizes.append(len(inputs[0]) // 2)
        if sizes[-1] > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")

    for network in (limited.networks.face, limited.networks.body):
        network.register_forward_pre_hook(limit_memory)
    reports: list[tuple[str, float]] = []
    options = sampling(5, 6, 7, 8, 9)

    parts = limited.animate(clip(SHORT), options, progress=lambda *report: reports.append(report))

    whole = unlimited.animate(clip(SHORT), options)
    assert max(sizes) == 5
    assert all(max(distance(*pair)) < 1e-4 for pair in zip(whole, parts, strict=True))
    assert [share for stage, share in reports if stage == "body"][-1] == pytest.approx(1.0)


def test_memory_too_small_for_one_take_is_an_error() -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    animator = tiny_person.tiny_animator()
    animator.networks.body.register_forward_pre_hook(full)
    with pytest.raises(torch.OutOfMemoryError):
        animator.animate(clip(SHORT), sampling(5, 6))


def test_key_poses_of_a_take_equal_those_of_the_take_alone(animator: Animator) -> None:
    features = animator.extract(clip(4 * RATE))

    def keys(*seeds: int) -> Tensor:
        return animator.keys(
            features, sampling(*seeds).diversity, take_generators(sampling(*seeds))
        )

    together = keys(5, 6, 7)
    assert not torch.equal(together[0], together[2])
    for take, seed in enumerate((5, 6, 7)):
        torch.testing.assert_close(together[take], keys(seed)[0], rtol=0, atol=1e-6)


def test_the_steps_in_sequence_equal_animate(animator: Animator) -> None:
    whole = animator.animate(clip(SHORT), sampling(5))[0]
    features, generators = animator.extract(clip(SHORT)), take_generators(sampling(5))
    face = animator.faces(features, sampling(5), generators)[0]
    keys = animator.keys(features, sampling(5).diversity, generators)
    pose = animator.poses(features, keys, sampling(5), generators)[0]
    assert torch.equal(whole.face, face)
    assert torch.equal(whole.pose, pose)


def test_a_body_without_a_face_is_the_same(animator: Animator) -> None:
    whole = animator.animate(clip(SHORT), sampling(5))[0]
    features, generators = animator.extract(clip(SHORT)), take_generators(sampling(5))
    animator.face_noise(features, generators)
    keys = animator.keys(features, sampling(5).diversity, generators)
    assert torch.equal(whole.pose, animator.poses(features, keys, sampling(5), generators)[0])


def test_the_stages_come_in_order_and_each_ends_at_one(animator: Animator) -> None:
    reports: list[tuple[str, float]] = []
    animator.animate(clip(SHORT), sampling(1, 2), progress=lambda *report: reports.append(report))
    assert list(dict.fromkeys(stage for stage, _ in reports)) == ["speech", "face", "guide", "body"]
    for stage in ("speech", "face", "guide", "body"):
        shares = [share for name, share in reports if name == stage]
        assert shares == sorted(shares)
        assert shares[-1] == pytest.approx(1.0)


@pytest.mark.parametrize("stage", ["speech", "face", "guide", "body"])
def test_an_exception_from_progress_ends_the_work(animator: Animator, stage: str) -> None:
    class Canceled(Exception):
        pass

    stages: list[str] = []

    def progress(name: str, _: float) -> None:
        stages.append(name)
        if name == stage:
            raise Canceled

    with pytest.raises(Canceled):
        animator.animate(clip(SHORT), sampling(), progress=progress)
    assert stages.count(stage) == 1
    assert stages[-1] == stage


def test_global_random_state_is_not_changed(animator: Animator) -> None:
    before = torch.get_rng_state()
    animator.animate(clip(SHORT), sampling(1, 2))
    assert torch.equal(torch.get_rng_state(), before)


def test_global_random_state_does_not_change_the_motion(animator: Animator) -> None:
    first = animator.animate(clip(SHORT), sampling())[0]
    torch.rand(3)
    again = animator.animate(clip(SHORT), sampling())[0]
    assert torch.equal(first.pose, again.pose)


def test_the_audio_of_the_caller_is_not_changed(animator: Animator) -> None:
    audio = clip(SHORT)
    before = audio.clone()
    animator.animate(audio, sampling())
    assert torch.equal(audio, before)


@pytest.mark.parametrize("samples", [SHORT, 216_700])
def test_motion_depends_on_the_end_of_a_clip(animator: Animator, samples: int) -> None:
    audio = clip(samples)
    other = audio.clone()
    other[-1700:] = 0.4 * other[-1700:].flip(1)
    first, second = (animator.animate(part, sampling())[0] for part in (audio, other))
    assert min(distance(first, second)) > 0


@pytest.mark.parametrize("channel", [0, 1])
def test_motion_depends_on_both_speakers(animator: Animator, channel: int) -> None:
    audio = clip(SHORT)
    other = audio.clone()
    other[: SHORT // 2, channel] = 0
    first, second = (animator.animate(part, sampling())[0] for part in (audio, other))
    assert min(distance(first, second)) > 1e-3


def test_guidance_changes_its_own_part_only(animator: Animator) -> None:
    plain = animator.animate(clip(SHORT), sampling())[0]
    face = animator.animate(clip(SHORT), sampling(guidance_face=4.0))[0]
    body = animator.animate(clip(SHORT), sampling(guidance_body=4.0))[0]
    assert not torch.equal(plain.face, face.face)
    assert torch.equal(plain.pose, face.pose)
    assert torch.equal(plain.face, body.face)
    assert not torch.equal(plain.pose, body.pose)


def test_seeds_of_takes_are_distinct_and_reproducible() -> None:
    seeds = [take_seed(seed, take) for seed in range(20) for take in range(1, 11)]
    assert len(set(seeds)) == 200
    assert all(0 <= seed < 2**63 for seed in seeds)
    bits = [bin(a ^ b).count("1") for a, b in pairwise(seeds)]
    assert min(bits) > 12
    assert take_seed(10, 1) == 5789154665933260553


def test_the_longest_clip_is_the_smallest_limit_of_networks_too_small_for_windows(
    animator: Animator,
) -> None:
    assert animator.max_frames == 600
    assert animator.max_seconds == LONGEST_SECONDS
    assert small_animator().max_frames == 300
    assert small_animator().max_seconds == 10


def test_a_person_loaded_from_disk_gives_the_same_motion(tmp_path: Path) -> None:
    loaded = load_animator(tiny_person.write_tiny_person(tmp_path), device=CPU)
    memory = tiny_person.tiny_animator()
    assert loaded.max_seconds == memory.max_seconds
    one, other = (each.animate(clip(SHORT), sampling())[0] for each in (loaded, memory))
    torch.testing.assert_close(one.face, other.face)
    torch.testing.assert_close(one.pose, other.pose)


@pytest.mark.parametrize("name", ["speech", "face", "body", "guide", "tokenizer", "stats"])
def test_the_error_for_an_incomplete_person_names_the_file(tmp_path: Path, name: str) -> None:
    person = tiny_person.write_tiny_person(tmp_path)
    next(person.glob(f"{name}.*")).unlink()
    with pytest.raises(CheckpointError, match=rf"{name}\.\w+: (weights|statistics) not found"):
        load_animator(person, device=CPU)
