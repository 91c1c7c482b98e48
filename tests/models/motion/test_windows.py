"""Motion in windows, with a tiny person: lengths, agreement of windows, memory, seeds."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from models.motion.guide import Guide
from models.motion.pipeline import Animator, Motion, MotionError, Sampling
from models.motion.sampling import SegmentMotion
from models.motion.windows import (
    WINDOWS,
    AudioBuffer,
    MotionStream,
    Window,
    WindowConfig,
    borders,
    count_parts,
    planned,
)
from tests import tiny_person

SMALL = WindowConfig(frames=120, first=90, overlap=60, kept=30, fading=10)
HOP = SMALL.frames - SMALL.overlap
FEW = Sampling((1,), 2, 1.5, 1.5, 0.9, "unipc")


@pytest.fixture(scope="module")
def animator() -> Animator:
    """Tiny person that takes 5 s whole."""
    networks = tiny_person.tiny_networks()
    for convolution in networks.body.tail:
        convolution.weight.data *= 3
    guide = Guide(replace(tiny_person.GUIDE, longest_rows=150)).eval()
    guide.load_state_dict(
        {**networks.guide.state_dict(), "null_tokens": networks.guide.null_tokens[:, :150]}
    )
    return Animator(replace(networks, guide=guide), device=torch.device("cpu"))


def audio(frames: int, *, seed: int = 1) -> Tensor:
    return 0.1 * torch.randn(1600 * frames, 2, generator=torch.Generator().manual_seed(seed))


def streamed(
    animator: Animator, clip: Tensor, sampling: Sampling = FEW, *, chunk: int = 5000
) -> list[list[Motion]]:
    return list(animator.stream(clip.split(chunk), sampling, windows=SMALL))


def whole(parts: list[list[Motion]], take: int = 0) -> Tensor:
    return torch.cat([torch.cat([part[take].face, part[take].pose], dim=1) for part in parts])


@pytest.mark.parametrize("frames", [151, 180, 181, 239, 240, 241, 400])
def test_the_parts_of_a_clip_of_any_length_have_all_of_its_frames(
    animator: Animator, frames: int
) -> None:
    parts = streamed(animator, audio(frames)[:-7])
    assert sum(len(part[0].face) for part in parts) == frames
    assert [len(part[0].pose) for part in parts][:-1] == [HOP] * (len(parts) - 1)
    assert len(parts) == count_parts(frames, animator.max_frames, SMALL)
    assert whole(parts).isfinite().all()


def test_a_clip_that_the_networks_take_whole_is_one_part_equal_to_animate(
    animator: Animator,
) -> None:
    (part,) = streamed(animator, audio(150))
    (motion,) = animator.animate(audio(150), FEW)
    assert torch.equal(part[0].face, motion.face)
    assert torch.equal(part[0].pose, motion.pose)


def test_motion_does_not_depend_on_the_chunks_of_audio(animator: Animator) -> None:
    one, other = (streamed(animator, audio(300), chunk=n) for n in (1_000_000, 777))
    assert torch.equal(whole(one), whole(other))


def test_a_part_does_not_depend_on_audio_after_that_of_its_level(animator: Animator) -> None:
    heard = 1600 * (SMALL.frames + animator.networks.speech.context)
    clip = audio(600)
    changed = torch.cat([clip[:heard], 3 * audio(600, seed=2)[heard:]])
    one, other = streamed(animator, clip), streamed(animator, changed)
    same = [torch.equal(a[0].face, b[0].face) for a, b in zip(one, other, strict=True)]
    assert same == sorted(same, reverse=True)
    assert sum(same) == heard // 1600 // HOP - 1


def test_the_first_window_hears_the_level_of_what_follows(animator: Animator) -> None:
    """A pause at the start does not count as speech, however short the first window is."""
    speech = animator.networks.speech
    heard: list[int] = []
    hook = speech.register_forward_hook(  # type: ignore[attr-defined]
        lambda _network, inputs, _output: heard.append(inputs[0].shape[1] // 1600)
    )
    streamed(animator, audio(690))
    hook.remove()
    assert set(heard) == {SMALL.frames + speech.context}


def test_windows_grow_to_their_length_and_the_last_one_ends_with_the_clip() -> None:
    found = [(each.start, each.stop) for each in planned(WINDOWS, lambda _: 800)]
    assert found == [(0, 150), (90, 390), (330, 630), (480, 800)]
    assert [each.last for each in planned(WINDOWS, lambda _: 800)] == [False, False, False, True]


def test_frames_after_a_border_continue_those_before_it(animator: Animator) -> None:
    """Without agreement the difference over a border is that of two independent samples."""
    motion = whole(streamed(animator, audio(400)))
    steps = motion.diff(dim=0).abs().mean(1)
    borders = [HOP * k for k in range(1, 5)]
    assert max(float(steps[b - 1]) for b in borders) < 3 * float(steps.median())


def test_takes_of_a_long_clip_are_those_of_each_alone(animator: Animator) -> None:
    together = streamed(animator, audio(300), replace(FEW, seeds=(5, 6)))
    for take, seed in enumerate((5, 6)):
        alone = streamed(animator, audio(300), replace(FEW, seeds=(seed,)))
        torch.testing.assert_close(whole(together, take), whole(alone), rtol=0, atol=1e-4)
    assert not torch.equal(whole(together, 0), whole(together, 1))


def test_tokens_of_the_guide_continue_over_borders(animator: Animator) -> None:
    known: list[Tensor | None] = []
    sampled: list[Tensor] = []
    original = animator.key_tokens

    class Recorded(Animator):
        def key_tokens(self, *args, **options) -> Tensor:  # type: ignore[no-untyped-def]
            known.append(options["known"])
            sampled.append(original(*args, **options))
            return sampled[-1]

    list(
        Recorded(animator.networks, device=animator.device).stream([audio(300)], FEW, windows=SMALL)
    )
    assert known[0] is None
    for before, given, after in zip(sampled, known[1:], sampled[1:], strict=False):
        assert given is not None
        assert torch.equal(before[:, -given.shape[1] :], given)
        assert torch.equal(after[:, : given.shape[1]], given)


@pytest.mark.parametrize("frames", [151, 240, 400])
def test_borders_are_where_the_windows_of_a_stream_change(
    animator: Animator, monkeypatch: pytest.MonkeyPatch, frames: int
) -> None:
    made: list[Window] = []
    original = MotionStream.segment

    def recorded(self, audio, window, **options):  # type: ignore[no-untyped-def]
        made.append(window)
        return original(self, audio, window, **options)

    monkeypatch.setattr(MotionStream, "segment", recorded)
    streamed(animator, audio(frames))

    assert borders(frames, SMALL) == [window.stop - 30 + 5 for window in made[:-1]]


@pytest.mark.parametrize(("end", "same"), [(20, True), (21, False)])
def test_the_unused_end_of_a_window_has_no_effect(
    animator: Animator, monkeypatch: pytest.MonkeyPatch, end: int, same: bool
) -> None:
    original = MotionStream.finish

    def changed(self, segment, motion, window):  # type: ignore[no-untyped-def]
        if window.start == 0:
            motion = SegmentMotion(*(part.clone() for part in motion))
            for part in motion:
                part[:, -end:] = 9.0
        return original(self, segment, motion, window)

    before = whole(streamed(animator, audio(300)))
    monkeypatch.setattr(MotionStream, "finish", changed)
    assert torch.equal(whole(streamed(animator, audio(300))), before) == same


@pytest.mark.parametrize(
    ("longest", "positions"), [(150, {0}), (210, {0, 30, 60}), (270, {0, 30, 60, 90, 120})]
)
def test_a_window_has_its_position_in_the_clip_as_far_as_positions_reach(
    animator: Animator, monkeypatch: pytest.MonkeyPatch, longest: int, positions: set[int]
) -> None:
    """Motion depends on the position: windows that all began at 0 would show where they begin."""
    found: list[tuple[int, int]] = []
    original = animator.face_condition

    def recorded(features, sampling):  # type: ignore[no-untyped-def]
        found.append((features.first, features.frames))
        return original(features, sampling)

    monkeypatch.setattr(animator, "max_frames", longest)
    monkeypatch.setattr(animator, "face_condition", recorded)
    streamed(animator, audio(400))
    assert {first for first, _ in found} == positions
    assert all(first + frames <= longest for first, frames in found)


def test_a_fade_begins_and_ends_slowly() -> None:
    """A linear one adds a step of speed at both ends to the difference of two windows."""
    weights = WINDOWS.weights(WINDOWS.overlap, torch.device("cpu"))
    stop = WINDOWS.kept + WINDOWS.fading
    assert (weights[: WINDOWS.kept] == 1).all()
    assert (weights[stop:] == 0).all()
    falls = -weights.diff()
    assert (falls >= 0).all()
    assert max(falls[WINDOWS.kept - 1], falls[stop - 1]) < 0.05 * falls.max()


def test_audio_that_no_window_needs_is_forgotten(animator: Animator) -> None:
    sizes: list[int] = []

    def chunks() -> Iterator[Tensor]:
        for _ in range(40):
            yield audio(30)

    class Recorded(AudioBuffer):
        def forget(self, start: int) -> None:
            super().forget(start)
            sizes.append(sum(len(part) for part in self._kept))

    from models.motion import windows

    original, windows.AudioBuffer = windows.AudioBuffer, Recorded  # type: ignore[misc]
    try:
        list(animator.stream(chunks(), FEW, windows=SMALL))
    finally:
        windows.AudioBuffer = original  # type: ignore[misc]
    assert len(sizes) > 15
    assert max(sizes[8:-1]) == min(sizes[8:-1])


def test_an_empty_stream_is_refused(animator: Animator) -> None:
    with pytest.raises(MotionError, match="no samples"):
        list(animator.stream([], FEW))


def test_a_long_clip_is_refused_where_windows_do_not_fit(animator: Animator) -> None:
    with pytest.raises(MotionError, match=r"longer than 5 s, and windows of 10\.9"):
        list(animator.stream([audio(200)], FEW))


@pytest.mark.parametrize(
    "wrong",
    [
        {"frames": 100},
        {"first": 100},
        {"first": 330},
        {"overlap": 45},
        {"overlap": 150},
        {"kept": 46},
        {"kept": -1},
        {"fading": -1},
        {"fading": 46},
    ],
)
def test_windows_that_do_not_fit_together_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be|kept and fading must be"):
        replace(WINDOWS, **wrong)
