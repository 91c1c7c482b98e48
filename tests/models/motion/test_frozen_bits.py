"""Motion of DDIM with explicit steps is that of earlier releases.

The values are those of the release before clips in windows; on the machine that wrote them all bits
are equal. Other processors round sums in another order, so they are compared within a tolerance.
"""

from pathlib import Path

import pytest
import torch

from models.motion.pipeline import Animator, Sampling, load_animator

DEMO = Path(__file__).parents[3] / "people" / "demo"
FACE_TOLERANCE, POSE_TOLERANCE = 2e-5, 2e-4  # pose in rad
FACE = [
    [0.011837, -0.001095, 0.007973, -0.001238, 0.008922, -0.000216, 0.003362, 0.003737],
    [0.012511, -0.001081, 0.007767, -0.003162, 0.013087, -0.00204, 0.003581, 0.004565],
    [0.013699, -0.001413, 0.008568, -0.000814, 0.012005, -0.001916, 0.003565, 0.005106],
    [0.01252, -0.00088, 0.00782, -0.00356, 0.013099, -0.002213, 0.003624, 0.004755],
]
POSE = [
    [-0.000269, 0.006051, 0.0, 0.434183, 0.327148, 0.572144, 0.301714, -0.029886],
    [-0.010141, 0.008102, 0.0, 0.408062, 0.310431, 0.471815, 0.278421, -0.057516],
    [-0.000962, 0.000504, 0.0, 0.438671, 0.335688, 0.570115, 0.302088, -0.030908],
    [-0.00458, -0.000662, 0.0, 0.439522, 0.336273, 0.571001, 0.301593, -0.030561],
]


def audio(seconds: float) -> torch.Tensor:
    """A voice like sound beside turns of noise, [n, 2]."""
    at = torch.arange(int(48000 * seconds)) / 48000
    turns = torch.sin(2 * torch.pi * 0.4 * at) > 0
    noise = torch.randn(len(at), generator=torch.Generator().manual_seed(11))
    loud = (0.5 + 0.5 * torch.sin(2 * torch.pi * 2.3 * at)).clamp(min=0)
    voice = torch.sin(2 * torch.pi * (140 + 20 * torch.sin(3 * at)) * at) * loud
    return torch.stack([0.3 * voice, 0.2 * noise * turns], dim=1)


@pytest.fixture(scope="module")
def animator() -> Animator:
    return load_animator(DEMO, device=torch.device("cpu"))


def differences(animator: Animator, steps: int) -> tuple[float, float]:
    """Largest differences of face and pose from the values of four steps."""
    sampling = Sampling((7,), steps, guidance_face=2.0, guidance_body=1.5, diversity=0.9)
    (motion,) = animator.animate(audio(4), sampling)
    assert (motion.face.shape, motion.pose.shape) == ((120, 256), (120, 104))
    face = motion.face[::30, ::32] - torch.tensor(FACE)
    pose = motion.pose[::30, ::13] - torch.tensor(POSE)
    return face.abs().max().item(), pose.abs().max().item()


def test_a_short_clip_with_explicit_steps_has_the_motion_of_earlier_releases(
    animator: Animator,
) -> None:
    face, pose = differences(animator, 4)

    assert face < FACE_TOLERANCE
    assert pose < POSE_TOLERANCE


def test_the_tolerance_is_less_than_a_tenth_of_the_effect_of_one_more_step(
    animator: Animator,
) -> None:
    face, pose = differences(animator, 5)

    assert face > 10 * FACE_TOLERANCE
    assert pose > 10 * POSE_TOLERANCE
