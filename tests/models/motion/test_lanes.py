"""Windows that move from call to call: a network that looks at no other frame shows no window."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from contracts.samplers import SAMPLERS
from models.motion.diffusion import guided
from models.motion.execution import moving
from models.motion.execution.lanes import QUICK_PASS, SLOW_PASS, Call, Lane, passed
from models.motion.execution.moving import Moving, Part, Sections
from models.motion.windows import WindowConfig, planned

WINDOWS = WindowConfig(hop=60, overlap=30, moves=3, start=60)
TAKES, CHANNELS = 2, 3


@dataclass(frozen=True)
class Wanted:
    """Condition of a network that predicts each frame from this frame alone."""

    motion: Tensor  # [2, T, 1], with and without a condition
    hidden: Tensor

    def conditional(self) -> Wanted:
        return Wanted(self.motion[:1], self.hidden[:1])


def network(x: Tensor, t: Tensor, condition: Wanted) -> Tensor:
    takes = len(x) // len(condition.motion)
    return 0.3 * torch.tanh(x + t[0] / 1000) + condition.motion.repeat_interleave(takes, 0)


def sampled(sampler: str, steps: int, parts: list[Part], noise: Tensor) -> Tensor:
    both = Moving(network, parts, 2)  # type: ignore[arg-type]
    denoise = guided(both.both, 1.7, conditional=both.conditional, until=400)
    return SAMPLERS[sampler].sample(denoise, noise, steps, progress=lambda _: None)


def part(wanted: Tensor, frames: slice, lane: Lane | None, takes: int = TAKES) -> Part:
    """Takes of the frames of a clip, with what the network wants there: wanted [2, T, 1]."""
    motion = wanted[:, frames]
    count = motion.shape[1]
    if lane is None:
        whole = Wanted(motion, torch.zeros(2, 1))
        return Part(whole, None, slice(0, takes), count)  # type: ignore[arg-type]

    def section(rows: Tensor, call: Call) -> Wanted:
        assert rows.shape[1] == call.stop - call.start
        return Wanted(rows[..., None].transpose(0, 2)[..., 0], torch.zeros(2, 1))

    rows = motion.permute(2, 1, 0)  # [1, T, 2]
    sections = Sections(rows, count, section)  # type: ignore[arg-type]
    return Part(sections, lane, slice(0, takes), count)


def in_windows(sampler: str, steps: int, wanted: Tensor, noise: Tensor) -> Tensor:
    known: dict[int, Tensor] = {}
    frames, result = noise.shape[1], []
    for window in planned(WINDOWS, steps, lambda _: frames):
        lane = Lane(
            window.calls(steps, WINDOWS), known, WINDOWS.overlap,
            window.complete - window.start if window.complete < window.stop else None,
        )  # fmt: skip
        whole = slice(window.start, window.stop)
        motion = sampled(sampler, steps, [part(wanted, whole, lane)], noise[:, whole])
        result.append(motion[:, : window.complete - window.start])
        known = lane.made()
    return torch.cat(result, dim=1)


@pytest.mark.parametrize("frames", [121, 180, 181, 299, 400])
@pytest.mark.parametrize(("sampler", "steps"), [("ddim", 5), ("dpm-solver", 4), ("unipc", 6)])
def test_windows_give_the_motion_of_the_whole_clip(sampler: str, steps: int, frames: int) -> None:
    """So solvers and guidance have the same signal in the frames that windows share."""
    random = torch.Generator().manual_seed(frames)
    noise = torch.randn(TAKES, frames, CHANNELS, generator=random)
    wanted = torch.randn(2, frames, 1, generator=random)
    expected = sampled(sampler, steps, [part(wanted, slice(None), None)], noise)
    torch.testing.assert_close(in_windows(sampler, steps, wanted, noise), expected)


def test_predictions_pass_slowly_and_their_tremble_at_once() -> None:
    """The mean of two predictions trembles less, which would show where windows meet."""
    random = torch.Generator().manual_seed(2)
    before, after = torch.randn(2, 1, 40, 60, 50, generator=random)
    result = passed(before, after)

    middle = slice(30 - QUICK_PASS // 2, 30 + QUICK_PASS // 2)
    spread = result[0].std(dim=(0, 2))  # of each frame; 1 in both predictions
    outside = torch.cat([spread[: middle.start], spread[middle.stop :]])
    assert float(outside.min()) > 0.9
    assert float(torch.lerp(before, after, 0.5).std()) < 0.75

    slow = passed(torch.ones_like(before), torch.zeros_like(after))[0, 0, :, 0]
    assert slow[0] == pytest.approx(1, abs=1e-3)
    assert slow[-1] == pytest.approx(0, abs=1e-3)
    assert float(slow.diff().abs().max()) < 2 / SLOW_PASS  # a minimum-jerk curve


def test_clips_with_and_without_windows_are_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """They may have other lengths, and a call may have no frames in some of them."""
    random = torch.Generator().manual_seed(1)
    wanted = torch.randn(2, 500, 1, generator=random)
    noise = torch.randn(TAKES, 120, CHANNELS, generator=random)
    lanes = [Lane([Call(0, 90), Call(0, 60)]), None, Lane([Call(30, 120), Call(60, 60)])]
    alone = [
        sampled("ddim", 2, [part(wanted, slice(0, 120), lane)], noise)
        for lane in lanes
    ]  # fmt: skip
    monkeypatch.setattr(moving, "joined_conditions", joined)
    parts = [part(wanted, slice(0, 120), lane) for lane in lanes]
    together = sampled("ddim", 2, parts, torch.cat([noise] * 3))
    for own, expected in zip(together.chunk(3), alone, strict=True):
        torch.testing.assert_close(own, expected)


def joined(conditions: list[Wanted], takes: list[int], halves: int) -> Wanted:
    """A condition with rows for every take, padded as the frames are."""
    longest = max(each.motion.shape[1] for each in conditions)
    rows = [
        torch.nn.functional.pad(half, (0, 0, 0, longest - len(half))).expand(count, -1, -1)
        for number in range(halves)
        for each, count in zip(conditions, takes, strict=True)
        for half in [each.motion[number]]
    ]
    return AllTakes(torch.cat(rows), torch.zeros(2, 1))


class AllTakes(Wanted):
    def conditional(self) -> Wanted:
        return AllTakes(self.motion.chunk(2)[0], self.hidden[:1])


def test_a_try_that_failed_leaves_nothing() -> None:
    """Takes are sampled in smaller batches when memory is too small for all of them."""
    lane = Lane([Call(0, 60)], next_start=0)
    values = torch.arange(4.0)[None, :, None, None].expand(1, 4, 60, 1)
    lane.joined(0, values + 9, 60, slice(0, 4))
    lane.joined(0, values[:, :2], 60, slice(0, 2))
    lane.joined(0, values[:, 2:], 60, slice(2, 4))
    assert torch.equal(lane.made()[0], values)
