"""Both implementations compute the same numbers; no time is asserted."""

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest
import torch

from bench.__main__ import parser
from bench.motion import Plan, build, differences, measure, table
from bench.networks import plain
from bench.networks.batches import BatchPlan, batch_table, measure_batches
from bench.timing import as_json
from models.motion.denoiser import Condition, Denoiser
from models.motion.diffusion import schedule_for
from models.motion.pipeline import Animator, Networks, Sampling
from models.motion.samplers.ddim import ddim_sample
from tests.bench.sizes import TINY

PLAN = Plan(plain_steps=2, our_repeats=1, clip_steps=4)


@pytest.fixture(scope="module")
def networks() -> Iterator[Networks]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more threads are slower with such small networks
    yield build(TINY, torch.device("cpu"))
    torch.set_num_threads(threads)


def test_every_part_of_every_clip_has_its_row_and_agrees(networks: Networks) -> None:
    report = measure(networks, [4, 4.5], ["clip"], PLAN)

    assert [(row.part, row.seconds) for row in report.rows] == [
        (part, seconds) for seconds in (4, 4.5) for part in ("face", "body", "guide", "clip")
    ]
    assert differences(report) == []
    assert all(f"{row.part} {row.seconds:g} s" in table(report) for row in report.rows)
    whole = report.rows[3]
    assert "ours run whole" in whole.agreement
    assert "measured 2 of 4 steps" in whole.agreement
    assert "the sum of its parts" in report.rows[7].agreement


def test_a_clip_of_few_calls_is_compared_with_the_plain_steps(networks: Networks) -> None:
    report = measure(networks, [4], ["standard"], PLAN)

    *parts, standard = report.rows
    assert [row.part for row in parts] == ["face", "body", "guide"]
    assert (standard.part, standard.unit) == ("standard", "11 calls")
    assert standard.agrees
    assert standard.plain.cpu > sum(row.plain.cpu * row.units for row in parts)


def test_only_the_selected_parts_are_measured(networks: Networks) -> None:
    report = measure(networks, [4], ["body", "guide"], PLAN)

    assert [row.part for row in report.rows] == ["body", "guide"]


def test_the_json_contains_every_figure(networks: Networks) -> None:
    report = measure(networks, [4], ["guide"], PLAN)

    (row,) = json.loads(as_json(report))["rows"]

    assert row["units"] == 4 * TINY.tokenizer.depth
    assert {"cpu", "wall"} == row["ours"].keys() == row["plain"].keys() == row["once"].keys()


def test_an_unknown_part_is_rejected(
    networks: Networks, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["motion", "--part", "hair"])
    with pytest.raises(ValueError, match="unknown part hair"):
        measure(networks, [4], ["hair"], PLAN)

    assert "hair" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--seconds", "3"], ["--seconds", "21"], ["--steps", "0"]])
def test_an_option_out_of_range_is_rejected(
    option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["motion", *option])

    assert option[0] in capsys.readouterr().err


def test_both_benchmarks_have_a_command() -> None:
    assert parser().parse_args(["motion"]).seconds == [4, 20]
    assert parser().parse_args(["avatar"]).frames > 0


class ReversedDenoiser(Denoiser):
    """Conditions on the reversed clip, but only in the batched guidance."""

    def guided_condition(self, tokens: torch.Tensor, frames: int) -> Condition:
        return super().guided_condition(tokens.flip(1), frames)


def test_implementations_that_differ_are_reported(networks: Networks) -> None:
    face = ReversedDenoiser(TINY.face).eval()
    face.load_state_dict(networks.face.state_dict())

    report = measure(replace(networks, face=face), [4], ["face"], PLAN)

    assert differences(report) == ["face of 4 s"]


@torch.inference_mode()
def test_the_plain_code_computes_the_motion_of_the_worker(networks: Networks) -> None:
    """Both animate a whole clip with the same random numbers."""
    sampling = Sampling(seeds=(7,), steps=4, guidance_face=3.0, guidance_body=2.0, diversity=0.9)
    audio = torch.randn(192_000, 2, generator=torch.Generator().manual_seed(5))
    (motion,) = Animator(networks, device=torch.device("cpu")).animate(audio, sampling)

    batch, schedule = audio[None], schedule_for(sampling.steps)
    generator = torch.Generator().manual_seed(7)
    noise = torch.randn(256, 120, generator=generator).T[None]
    step = partial(plain.face_step, networks, batch, scale=3.0)
    face = ddim_sample(step, noise, schedule)[0]
    tokens = torch.full((1, 1), networks.guide.start)
    for _ in range(4 * TINY.tokenizer.depth):
        token = plain.next_token(networks, batch, tokens, top_p=0.9, generator=generator)
        tokens = torch.cat([tokens, token[None]], dim=1)
    keys = networks.tokenizer.decode(tokens[:, 1:].view(1, 4, TINY.tokenizer.depth))
    noise = torch.randn(104, 120, generator=generator).T[None]
    step = partial(plain.body_step, networks, batch, keys, scale=2.0)
    pose = ddim_sample(step, noise, schedule)[0]

    torch.testing.assert_close(motion.face, face, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(motion.pose, pose, rtol=1e-4, atol=1e-4)


def test_clips_together_are_measured_in_windows_and_whole_and_have_their_own_motion(
    networks: Networks,
) -> None:
    sampling = Sampling((1,), 2, 2.0, 1.5, 0.9, "unipc")
    plan = BatchPlan(jobs=3, seconds=5.0, repeats=1)
    animator = Animator(networks, device=torch.device("cpu"))

    report = measure_batches(animator, "tiny", sampling, plan)

    sizes = [(row.frames, row.clips) for row in report.rows]
    assert sizes == [(frames, clips) for frames in (120, 150) for clips in (1, 2, 3)]
    assert [row.difference for row in report.rows if row.clips == 1] == [0.0, 0.0]
    assert max(row.difference for row in report.rows) < 1e-3
    assert [row.frames for row in report.rows if row.chosen] == [120, 150]
    assert all(row.times == 1.0 for row in report.rows if row.clips == 1)
    assert batch_table(report).count("tiny") == len(report.rows)
