"""The loop of all trainers, on a network of a few weights."""

import os
import signal
from pathlib import Path

import pytest
import torch
from torch import Generator, Tensor, nn

from training.loop import LoopConfig, Progress, train

TARGET = torch.tensor([[0.5, -1.0], [2.0, 0.25]])


def line() -> nn.Module:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Dropout(0.1))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(2))
    return model


class Drawn:
    """Squared error on points drawn from the run's generator; may stop the run on the way."""

    def __init__(self, model: nn.Module, *, interrupt_at: int | None = None) -> None:
        self.model = model
        self.interrupt_at = interrupt_at
        self.calls = 0

    def __call__(self, generator: Generator) -> dict[str, Tensor]:
        self.calls += 1
        if self.calls == self.interrupt_at:
            os.kill(os.getpid(), signal.SIGTERM)
        points = torch.randn(16, 2, generator=generator)
        return {"loss": (self.model(points) - points @ TARGET.T).square().mean()}


class Kept:
    """What a run published last."""

    def __call__(self, weights: dict[str, Tensor], progress: Progress) -> None:
        self.weights = {name: value.clone() for name, value in weights.items()}
        self.progress = progress


def run(state: Path, *, steps: int = 40, interrupt_at: int | None = None) -> Kept:
    model, kept = line(), Kept()
    config = LoopConfig(steps=steps, learning_rate=0.05, warmup_steps=5, average=0.9)
    loss = Drawn(model, interrupt_at=interrupt_at)
    train(model, loss, config, state=state, publish=kept)
    return kept


def test_the_loss_falls(tmp_path: Path) -> None:
    kept = run(tmp_path / "a", steps=300)
    assert (kept.weights["0.weight"] - TARGET).abs().max() < 0.3
    assert kept.progress.step == 300


def test_a_run_that_was_stopped_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    part = run(tmp_path / "parts", interrupt_at=17)
    assert part.progress.step == 17
    rest = run(tmp_path / "parts")
    assert rest.progress.step == 40
    assert torch.equal(rest.weights["0.weight"], whole.weights["0.weight"])
    assert rest.progress.losses == whole.progress.losses


def test_a_signal_leaves_the_old_handlers_in_place(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    run(tmp_path / "a", interrupt_at=2)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    first = run(tmp_path / "a")
    again = run(tmp_path / "a")
    assert again.progress.step == 40
    assert torch.equal(first.weights["0.weight"], again.weights["0.weight"])


def test_the_rate_warms_up_and_falls_along_a_cosine() -> None:
    config = LoopConfig(learning_rate=1.0, warmup_steps=10, final_rate=0.1)
    assert config.rate(0, 0.0) == pytest.approx(0.1)
    assert config.rate(9, 0.0) == pytest.approx(1.0)
    assert config.rate(500, 0.5) == pytest.approx(0.55)
    assert config.rate(1000, 1.0) == pytest.approx(0.1)


def test_by_the_clock_a_run_ends_when_its_minutes_are_over(tmp_path: Path) -> None:
    model, kept = line(), Kept()
    config = LoopConfig(minutes=0.005)
    train(model, Drawn(model), config, state=tmp_path / "a", publish=kept)
    assert 0.3 <= kept.progress.seconds < 3


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"average": 1.0}])
def test_settings_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        LoopConfig(**wrong)
