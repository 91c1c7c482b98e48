"""Distillation with tiny networks: trajectories, targets of calls, and a loss that falls."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models.motion.denoiser import BodyDenoiser, Denoiser
from models.motion.diffusion import CLEANEST, NOISIEST, schedule_of
from models.motion.samplers.ddim import ddim_sample, ddim_step
from models.motion.samplers.student import student_schedule
from tests import tiny_person
from training.loop.batch import TrainingBatch
from training.networks.distillation import (
    ORDERS,
    DistillConfig,
    Trajectories,
    call_loss,
    fit_spread,
    needed,
    new_student,
    student_losses,
    teacher_timesteps,
    trajectory,
)


def randn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def linear(x: Tensor, t: int) -> Tensor:
    """Denoiser whose prediction changes with noise and timestep."""
    return 0.3 * x * t / 1000 + 0.5


@pytest.mark.parametrize("calls", [1, 2, 3, 4])
def test_the_teacher_visits_the_timesteps_of_the_student(calls: int) -> None:
    timesteps = teacher_timesteps(calls)
    assert set(student_schedule(calls).timesteps) <= set(timesteps)
    assert (timesteps[0], timesteps[-1]) == (CLEANEST, NOISIEST)
    assert 9 <= len(timesteps) <= 16


@pytest.mark.parametrize("calls", [1, 4])
def test_a_trajectory_leads_from_the_noise_to_the_solution(calls: int) -> None:
    noise = randn(2, 6, 3).double()
    states = trajectory(linear, noise, calls)
    assert states.shape == (2, calls + 1, 6, 3)
    assert torch.equal(states[:, 0], noise)
    many = ddim_sample(linear, noise, schedule_of(range(CLEANEST, NOISIEST + 1)))
    torch.testing.assert_close(states[:, -1], many, rtol=0, atol=0.01)


@pytest.mark.parametrize("step", [0, 1, 2])
def test_the_needed_prediction_leads_to_the_trajectory(step: int) -> None:
    x, later = randn(2, 6, 3).double(), randn(2, 6, 3, seed=2).double()
    schedule = student_schedule(3)
    arrived = ddim_step(x, needed(x, later, step, 3), schedule, step)
    torch.testing.assert_close(arrived, later)


@pytest.mark.parametrize("name", ["face", "body"])
def test_a_student_learns_trajectories(name: str) -> None:
    teacher: Denoiser = getattr(tiny_person.tiny_networks(), name)
    channels, features = teacher.config.channels, randn(2, 60, tiny_person.AUDIO)
    keys = randn(2, 2, channels) if isinstance(teacher, BodyDenoiser) else None
    noise, end = randn(2, 60, channels), torch.full((2, 60, channels), 2.0)
    between = ddim_step(noise, end, student_schedule(2), 1)
    states = torch.stack([noise, between, end], dim=1)
    rows = {"features": features, "states": states}
    batch = TrainingBatch(rows if keys is None else {**rows, "keys": keys})
    network = new_student(teacher)
    assert not network.null_tokens.requires_grad

    trained = [each for each in network.parameters() if each.requires_grad]
    optimiser = torch.optim.Adam(trained, 3e-3)
    losses = []
    for _ in range(8):
        optimiser.zero_grad()
        loss = student_losses(network, batch, 2)
        torch.autograd.backward(loss["loss"])
        optimiser.step()
        losses.append(float(loss["end"]))
    assert losses[-1] < 0.8 * losses[0]


def test_tremble_and_small_motion_cost_more_than_their_square_error() -> None:
    wanted = (torch.arange(120) / 9).sin()[None, :, None]  # [1, 120, 1]
    tremble = 0.1 * (-1.0) ** torch.arange(120)[None, :, None]
    slow = tremble.abs() * wanted.sign()
    assert call_loss(wanted, wanted) == 0
    assert call_loss(wanted + tremble, wanted) > 10 * call_loss(wanted + slow, wanted)
    errors = 0.2**2 * sum(ORDERS)
    assert call_loss(0.8 * wanted, wanted) > 1.5 * errors  # so the spread costs, too


@pytest.mark.parametrize("name", ["face", "body"])
def test_results_are_scaled_to_the_spread_of_the_teacher(name: str, tmp_path: Path) -> None:
    teacher: Denoiser = getattr(tiny_person.tiny_networks(), name)
    config = DistillConfig(calls=1, clips=2, frames=(120,))
    trajectories = Trajectories(tmp_path, config, {})
    channels = teacher.config.channels
    rows = {
        "features": randn(120, tiny_person.AUDIO),
        "states": torch.stack([randn(120, channels), 1 + 3 * randn(120, channels, seed=2)]),
        "keys": randn(4, channels),
    }
    for number in range(2):
        trajectories.write(number, {"face": rows, "body": rows})
    network = new_student(teacher)
    assert fit_spread(network, name, trajectories) != pytest.approx(1, abs=0.01)  # type: ignore[arg-type]
    assert fit_spread(network, name, trajectories) == pytest.approx(1, abs=0.01)  # type: ignore[arg-type]


def test_trajectories_of_another_teacher_are_made_again(tmp_path: Path) -> None:
    config = DistillConfig(calls=2, clips=2)
    of_one = Trajectories(tmp_path, config, {"teacher": "one"})
    rows = {"states": randn(3, 60, 4)}
    of_one.write(0, {"face": rows, "body": rows})
    assert of_one.exists(0)
    assert not of_one.exists(1)
    assert not Trajectories(tmp_path, config, {"teacher": "other"}).exists(0)
    more = DistillConfig(calls=2, clips=9)
    assert Trajectories(tmp_path, more, {"teacher": "one"}).exists(0)
    torch.testing.assert_close(of_one.read("face", [0, 0])["states"][1], rows["states"])


@pytest.mark.parametrize("wrong", [{"calls": 5}, {"calls": 0}, {"clips": 1}, {"frames": (60,)}])
def test_impossible_configs_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
        DistillConfig(**wrong)
