"""The sampler of a person's student: its calls, its limits, and windows with a given past."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from contracts.samplers import SAMPLERS
from models.motion.denoiser import Denoiser, Student
from models.motion.diffusion import NOISIEST
from models.motion.pipeline import Animator, Motion, MotionError, Sampling, Students
from models.motion.samplers.student import LAST, student_schedule
from models.motion.windows import WindowConfig
from tests import tiny_person

OPTIONS: dict[str, Any] = {
    "steps": 3, "guidance_face": 2.5, "guidance_body": 1.5, "diversity": 0.9, "sampler": "student",
}  # fmt: skip
SMALL = WindowConfig(hop=60, overlap=30, moves=1, start=60)


@pytest.fixture(scope="module")
def animator() -> Animator:
    """Tiny person whose student has other weights."""
    networks = tiny_person.tiny_networks()
    others = tiny_person.tiny_networks()
    with torch.no_grad():
        for network in (others.face, others.body):
            network.motion_out.weight.mul_(3)
        for convolution in (*networks.body.tail, *others.body.tail):
            convolution.weight.mul_(3)
    students = Students(Student(others.face, 3, 2.5), Student(others.body, 3, 1.5))
    return Animator(replace(networks, students=students), device=torch.device("cpu"))


def audio(frames: int) -> Tensor:
    return 0.1 * torch.randn(1600 * frames, 2, generator=torch.Generator().manual_seed(1))


def animated(animator: Animator, **changes: Any) -> Motion:
    return animator.animate(audio(30), Sampling((1,), **OPTIONS | changes))[0]


def passes_of(network: nn.Module, animator: Animator, **changes: Any) -> list[int]:
    """Rows of the condition in each call of a network."""
    rows: list[int] = []
    hook = network.register_forward_hook(
        lambda _network, inputs, _output: rows.append(len(inputs[2].hidden))
    )
    animated(animator, **changes)
    hook.remove()
    return rows


@pytest.mark.parametrize("calls", [1, 2, 4])
def test_timesteps_of_a_student_fall_from_noise_to_equal_signal(calls: int) -> None:
    timesteps = student_schedule(calls).timesteps
    assert len(timesteps) == calls
    assert timesteps[-1] == NOISIEST
    assert timesteps[0] == (LAST if calls > 1 else NOISIEST)


@pytest.mark.parametrize("calls", [1, 2, 4])
def test_a_perfect_student_is_exact(calls: int) -> None:
    clean, noise, shares = torch.randn(2, 5, 3), torch.randn(2, 5, 3), list[float]()
    sample = SAMPLERS["student"].sample
    assert torch.equal(sample(lambda _x, _t: clean, noise, calls, progress=shares.append), clean)
    assert shares == [n / calls for n in range(1, calls + 1)]


@pytest.mark.parametrize("name", ["face", "body"])
def test_a_student_makes_its_calls_without_passes_of_guidance(
    animator: Animator, name: str
) -> None:
    students = animator.networks.students
    assert students is not None
    assert passes_of(getattr(students, name).network, animator) == [1, 1, 1]
    teacher: Denoiser = getattr(animator.networks, name)
    assert passes_of(teacher, animator) == []
    assert passes_of(teacher, animator, sampler="unipc") == [2, 2, 2]


def test_takes_of_a_student_are_those_of_each_alone(animator: Animator) -> None:
    both = animator.animate(audio(30), Sampling((1, 2), **OPTIONS))
    (second,) = animator.animate(audio(30), Sampling((2,), **OPTIONS))
    torch.testing.assert_close(both[1].face, second.face, rtol=0, atol=1e-6)
    torch.testing.assert_close(both[1].pose, second.pose, rtol=0, atol=1e-6)
    assert not torch.equal(both[0].face, both[1].face)


def test_windows_of_a_student_continue_the_motion_before_them(animator: Animator) -> None:
    small = replace(animator.networks, guide=animator.networks.guide)
    streaming = Animator(small, device=animator.device)
    streaming.max_frames = 150
    parts = list(streaming.stream([audio(300)], Sampling((1,), **OPTIONS), windows=SMALL))
    poses = torch.cat([part[0].pose for part in parts])
    assert len(poses) == 300
    steps = poses.diff(dim=0).abs().mean(1)
    borders = [sum(len(part[0].pose) for part in parts[: n + 1]) - 1 for n in range(len(parts) - 1)]
    assert all(steps[border] < 3 * steps.median() for border in borders)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 4}, "steps: the student of this person was made for 3"),
        ({"guidance_face": 3.0}, "guidance_face: the student of this person was made for 2.5"),
        ({"guidance_body": 1.0}, "guidance_body: the student of this person was made for 1.5"),
        ({"guidance_until": 25}, "guidance_until: "),
    ],
)
def test_options_for_which_a_student_was_not_made_are_refused(
    animator: Animator, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(MotionError, match=message):
        animated(animator, **change)


def test_a_person_without_a_student_names_the_command_that_makes_one() -> None:
    with pytest.raises(MotionError, match=r"no student; .*`python -m training distill`"):
        animated(tiny_person.tiny_animator())
