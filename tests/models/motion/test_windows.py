"""Motion in windows, with a tiny person: lengths, agreement of windows, memory, seeds."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from models.motion.execution.lanes import Lane, shares
from models.motion.guide import Guide
from models.motion.pipeline import Animator, Motion, MotionError, Sampling
from models.motion.windows import (
    LATER,
    WINDOWS,
    AudioBuffer,
    WindowConfig,
    borders,
    count_parts,
    planned,
)
from tests import tiny_person

SMALL = WindowConfig(hop=60, overlap=30, moves=1, start=60)
HOP = SMALL.hop
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
    sizes = [len(part[0].pose) for part in parts]
    assert sizes[:2] == [0, SMALL.start]  # the last call is late
    assert sizes[2:-1] == [HOP] * (len(parts) - 3)
    assert 0 < sizes[-1] <= HOP
    assert len(parts) == count_parts(animator, frames, FEW, SMALL)
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
    heard = 1600 * (SMALL.longest + animator.networks.speech.context)
    clip = audio(600)
    changed = torch.cat([clip[:heard], 3 * audio(600, seed=2)[heard:]])
    one, other = streamed(animator, clip), streamed(animator, changed)
    same = [torch.equal(a[0].face, b[0].face) for a, b in zip(one, other, strict=True)]
    assert same == sorted(same, reverse=True)
    stops = [window.stop for window in planned(SMALL, FEW.steps, lambda _: 600)]
    assert sum(same) == sum(1600 * (stop + LATER) <= heard for stop in stops)


def test_the_first_window_hears_the_level_of_what_follows(animator: Animator) -> None:
    """A pause at the start does not count as speech, however short the first window is."""
    speech = animator.networks.speech
    heard: list[int] = []
    hook = speech.register_forward_hook(  # type: ignore[attr-defined]
        lambda _network, inputs, _output: heard.append(inputs[0].shape[1] // 1600)
    )
    streamed(animator, audio(690))
    hook.remove()
    assert heard[0] == SMALL.longest + speech.context


def test_windows_follow_each_other_until_all_of_the_clip_is_sampled() -> None:
    found = [
        (each.start, each.fresh, each.stop, each.complete)
        for each in planned(WINDOWS, 11, lambda _: 800)
    ]
    assert found == [
        (0, 0, 300, 0), (0, 300, 540, 0), (0, 540, 780, 120), (120, 780, 800, 360),
        (360, 800, 800, 600), (600, 800, 800, 800),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("calls", "stops"),
    [(1, [180]), (4, [360]), (7, [300, 540]), (11, [300, 540, 780]), (100, [300, 540, 780])],
)
def test_the_first_motion_has_its_length_after_as_few_windows_as_fit(
    calls: int, stops: list[int]
) -> None:
    found = list(planned(WINDOWS, calls, lambda _: 3000))[: len(stops)]
    assert [each.stop for each in found] == stops
    assert [each.complete for each in found] == [0] * (len(stops) - 1) + [WINDOWS.start]


@pytest.mark.parametrize("frames", [601, 630, 721, 959, 960, 961, 1801])
@pytest.mark.parametrize("count", [1, 4, 11, 100])
def test_each_call_predicts_all_frames_of_a_clip(frames: int, count: int) -> None:
    """Frames after the border of the window before are complete in the call before."""
    stops = [0] * count
    complete = 0
    for window in planned(WINDOWS, count, lambda _: frames):
        before = list(stops)
        for place, call in enumerate(window.calls(count, WINDOWS)):
            start, stop = window.start + call.start, window.start + call.stop
            if stop == start:
                assert stops[place] in (0, frames)
                continue
            assert window.start <= start <= max(0, stops[place] - WINDOWS.overlap)
            assert start % 30 == 0
            assert WINDOWS.overlap < stop - start <= WINDOWS.longest
            stops[place] = stop
            moved = WINDOWS.back(place, count) > WINDOWS.back(place - 1, count) if place else False
            if moved and stops[place - 1] < frames:
                assert stop <= stops[place - 1] - WINDOWS.overlap
        assert all(one <= other for one, other in zip(before, stops, strict=True))
        complete = window.complete
    assert stops == [frames] * count
    assert complete == frames


def test_borders_of_the_calls_of_a_window_lie_apart() -> None:
    window = list(planned(WINDOWS, 11, lambda _: 3000))[5]
    stops = [window.start + call.stop for call in window.calls(11, WINDOWS)]
    assert stops == list(range(window.end, window.end - 601, -60))


def test_frames_after_a_border_continue_those_before_it(animator: Animator) -> None:
    """Without agreement the difference over a border is that of two independent samples."""
    motion = whole(streamed(animator, audio(400)))
    steps = motion.diff(dim=0).abs().mean(1)
    at = borders(400, FEW.steps, SMALL)
    assert len(at) > 4
    assert max(float(steps[border - 1]) for border in at) < 3 * float(steps.median())


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
def test_borders_are_where_the_last_calls_of_windows_pass_to_each_other(
    animator: Animator, monkeypatch: pytest.MonkeyPatch, frames: int
) -> None:
    """Frames before the border of a later window do not depend on what it predicts last."""
    steps = FEW.steps
    original = Lane.joined

    def changed(self: Lane, place: int, own: Tensor, frames: int, takes: slice) -> Tensor:
        later = own + 1e3 if place == steps - 1 and place in self.known else own
        return original(self, place, later, frames, takes)

    before = whole(streamed(animator, audio(frames)))
    monkeypatch.setattr(Lane, "joined", changed)
    after = whole(streamed(animator, audio(frames)))
    first = borders(frames, steps, SMALL)[0]
    differs = (after != before).any(1)
    assert not differs[: first - SMALL.overlap // 2].any()
    assert differs[first - SMALL.overlap // 2 :].all()
    assert borders(frames, steps, SMALL) == list(range(first, frames - SMALL.overlap // 2, HOP))


@pytest.mark.parametrize(("longest", "lap"), [(150, 30), (210, 90), (120, 0)])
def test_a_call_has_its_position_in_the_clip_as_far_as_positions_reach(
    animator: Animator, monkeypatch: pytest.MonkeyPatch, longest: int, lap: int
) -> None:
    """Motion depends on the position: calls that all began at 0 would show where they begin."""
    found: set[int] = set()
    original = animator.networks.face.guided_condition

    def recorded(tokens, frames, *, first=0, **options):  # type: ignore[no-untyped-def]
        assert first + frames <= longest
        found.add(first)
        return original(tokens, frames, first=first, **options)

    monkeypatch.setattr(animator, "max_frames", longest)
    monkeypatch.setattr(animator.networks.face, "guided_condition", recorded)
    streamed(animator, audio(400))
    assert found == set(range(0, max(1, lap), 30))


def test_a_border_begins_and_ends_slowly() -> None:
    """A linear one adds a step of speed at both ends to the difference of two windows."""
    rises = shares(WINDOWS.overlap, torch.device("cpu")).diff()
    assert (rises >= 0).all()
    assert max(rises[0], rises[-1]) < 0.05 * rises.max()


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
    assert max(sizes[8:-4]) == min(sizes[8:-4])


def test_an_empty_stream_is_refused(animator: Animator) -> None:
    with pytest.raises(MotionError, match="no samples"):
        list(animator.stream([], FEW))


def test_a_long_clip_is_refused_where_windows_do_not_fit(animator: Animator) -> None:
    with pytest.raises(MotionError, match=r"longer than 5 s, and windows of 13 s"):
        list(animator.stream([audio(200)], FEW))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"hop": 100}, "hop must be a multiple of 30"),
        ({"start": 100}, "start must be a multiple"),
        ({"start": 60}, "start must be 90 to 240"),
        ({"start": 270}, "start must be 90 to 240"),
        ({"overlap": 45}, "overlap must be a multiple"),
        ({"overlap": 0}, "overlap must be 30 to hop"),
        ({"overlap": 270}, "overlap must be 30 to hop"),
        ({"moves": -1}, "moves must be at least 0"),
    ],
)
def test_windows_that_do_not_fit_together_are_refused(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(WINDOWS, **wrong)
