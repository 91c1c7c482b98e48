"""The two orders of work that are compared give the same numbers; no time is asserted."""

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest
import torch

from bench import plain
from bench.__main__ import parser
from bench.motion import Plan, apart, as_json, build, measure, table
from models.motion.denoiser import Condition, Denoiser
from models.motion.diffusion import schedule_for
from models.motion.pipeline import Animator, Networks, Sampling
from models.motion.samplers.ddim import ddim_sample
from tests.bench.sizes import TINY

PLAN = Plan(plain_steps=2, our_repeats=1, clip_steps=4)


@pytest.fixture(scope="module")
def networks() -> Iterator[Networks]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # such small work is slower on more
    yield build(TINY, torch.device("cpu"))
    torch.set_num_threads(threads)


def test_every_part_of_every_clip_has_its_row_and_agrees(networks: Networks) -> None:
    report = measure(networks, [4, 4.5], ["clip"], PLAN)

    assert [(row.part, row.seconds) for row in report.rows] == [
        (part, seconds) for seconds in (4, 4.5) for part in ("face", "body", "guide", "clip")
    ]
    assert apart(report) == []
    assert all(f"{row.part} {row.seconds:g} s" in table(report) for row in report.rows)
    whole = report.rows[3]
    assert "ours run whole" in whole.agreement
    assert "measured 2 of 4 steps" in whole.agreement
    assert "the sum of its parts" in report.rows[7].agreement


def test_only_the_parts_that_are_named_are_measured(networks: Networks) -> None:
    report = measure(networks, [4], ["body", "guide"], PLAN)

    assert [row.part for row in report.rows] == ["body", "guide"]


def test_the_json_holds_every_figure(networks: Networks) -> None:
    report = measure(networks, [4], ["guide"], PLAN)

    (row,) = json.loads(as_json(report))["rows"]

    assert row["units"] == 4 * TINY.tokenizer.depth
    assert {"cpu", "wall"} == row["ours"].keys() == row["plain"].keys() == row["once"].keys()


def test_a_part_that_is_not_known_is_refused(
    networks: Networks, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["motion", "--part", "hair"])
    with pytest.raises(ValueError, match="no part is called hair"):
        measure(networks, [4], ["hair"], PLAN)

    assert "hair" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--seconds", "3"], ["--seconds", "21"], ["--steps", "0"]])
def test_what_cannot_be_measured_is_refused(
    wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["motion", *wrong])

    assert wrong[0] in capsys.readouterr().err


def test_both_measures_have_a_command() -> None:
    assert parser().parse_args(["motion"]).seconds == [4, 20]
    assert parser().parse_args(["avatar"]).frames > 0


class Mistaken(Denoiser):
    """Hears the clip backwards, but only where guidance is one batch."""

    def guided_condition(self, tokens: torch.Tensor, frames: int) -> Condition:
        return super().guided_condition(tokens.flip(1), frames)


def test_paths_that_differ_are_told(networks: Networks) -> None:
    face = Mistaken(TINY.face).eval()
    face.load_state_dict(networks.face.state_dict())

    report = measure(replace(networks, face=face), [4], ["face"], PLAN)

    assert apart(report) == ["face of 4 s"]


@torch.inference_mode()
def test_the_plain_order_gives_the_motion_of_the_worker(networks: Networks) -> None:
    """A whole clip by both, with the same draws."""
    sampling = Sampling(seeds=(7,), steps=4, guidance_face=3.0, guidance_body=2.0, diversity=0.9)
    audio = torch.randn(192_000, 2, generator=torch.Generator().manual_seed(5))
    (motion,) = Animator(networks, device=torch.device("cpu")).animate(audio, sampling)

    sound, space = audio[None], schedule_for(sampling.steps)
    generator = torch.Generator().manual_seed(7)
    noise = torch.randn(256, 120, generator=generator).T[None]
    step = partial(plain.face_step, networks, sound, scale=3.0)
    face = ddim_sample(step, noise, space)[0]
    tokens = torch.full((1, 1), networks.guide.start)
    for _ in range(4 * TINY.tokenizer.depth):
        drawn = plain.next_token(networks, sound, tokens, top_p=0.9, generator=generator)
        tokens = torch.cat([tokens, drawn[None]], dim=1)
    keys = networks.tokenizer.decode(tokens[:, 1:].view(1, 4, TINY.tokenizer.depth))
    noise = torch.randn(104, 120, generator=generator).T[None]
    step = partial(plain.body_step, networks, sound, keys, scale=2.0)
    pose = ddim_sample(step, noise, space)[0]

    torch.testing.assert_close(motion.face, face, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(motion.pose, pose, rtol=1e-4, atol=1e-4)
