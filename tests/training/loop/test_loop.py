"""The loop of all trainers, on a network of a few weights."""

import logging
import os
import re
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Generator, Tensor, nn

from models import checkpoint
from training.loop.batch import TrainingBatch
from training.loop.checkpoints import CheckpointStore, ResumeError
from training.loop.loop import (
    LoopConfig,
    Progress,
    Run,
    Training,
    format_duration,
    train,
    training_step,
    validate,
)
from training.loop.schedules import CosineSchedule

TARGET = torch.tensor([[0.5, -1.0], [2.0, 0.25]])


def line() -> nn.Module:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Dropout(0.1))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(2))
    return model


def line_training(
    model: nn.Module, *, interrupt_at: int | None = None, batch: int = 16
) -> Training:
    """Squared error on points sampled from the run's generator; may interrupt the run."""
    calls = []

    def sample(generator: Generator) -> TrainingBatch:
        calls.append(1)
        if len(calls) == interrupt_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return TrainingBatch({"points": torch.randn(batch, 2, generator=generator)})

    def losses(batch: TrainingBatch) -> dict[str, Tensor]:
        points = batch["points"]
        return {"loss": (model(points) - points @ TARGET.T).square().mean()}

    def publish(weights: dict[str, Tensor], path: Path) -> None:
        checkpoint.write(path, {}, weights)

    return Training(model, sample, losses, publish, sample_validation=sample)


class Published:
    """The last weights and progress that a run published."""

    def __call__(self, weights: dict[str, Tensor], progress: Progress) -> None:
        self.weights = {name: value.clone() for name, value in weights.items()}
        self.progress = progress


class RecordingWriter:
    """Writer that stores values and pictures."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {}
        self.pictures: dict[int, np.ndarray] = {}

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.values.setdefault(name, []).append(value)

    def picture(self, step: int, picture: np.ndarray) -> None:
        self.pictures[step] = picture


CONFIG = LoopConfig(
    steps=40, schedule=CosineSchedule(0.05, warmup=5), average=0.9, clip=1.0, log_steps=10
)


def run(state: Path, *, interrupt_at: int | None = None, **changes: object) -> Published:
    model, published = line(), Published()
    training = line_training(model, interrupt_at=interrupt_at)
    train(
        training, replace(CONFIG, **changes), checkpoints=CheckpointStore(state), publish=published
    )
    return published


def test_the_loss_falls(tmp_path: Path) -> None:
    published = run(tmp_path / "a", steps=300)
    assert (published.weights["0.weight"] - TARGET).abs().max() < 0.3
    assert published.progress.step == 300


def test_a_stopped_run_resumes_bit_for_bit(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    part = run(tmp_path / "parts", interrupt_at=17)
    assert part.progress.step == 17
    rest = run(tmp_path / "parts")
    assert rest.progress.step == 40
    assert torch.equal(rest.weights["0.weight"], whole.weights["0.weight"])
    assert rest.progress.losses == whole.progress.losses


def test_previous_signal_handlers_are_restored(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    run(tmp_path / "a", interrupt_at=2)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    first = run(tmp_path / "a")
    again = run(tmp_path / "a")
    assert again.progress.step == 40
    assert torch.equal(first.weights["0.weight"], again.weights["0.weight"])


def test_a_run_by_the_clock_ends_after_its_minutes(tmp_path: Path) -> None:
    published = run(tmp_path / "a", minutes=0.005)
    assert 0.3 <= published.progress.seconds < 3


@pytest.mark.parametrize(
    "invalid",
    [{"steps": 0}, {"average": 1.0}, {"accumulate": 0}, {"minutes": 0.0}, {"clip": 0.0}],
)
def test_invalid_settings_are_rejected(invalid: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        LoopConfig(**invalid)


def run_steps(config: LoopConfig, steps: int = 5) -> Run:
    """Run some steps without dropout."""
    model = line()
    model[1].p = 0.0
    fresh = Run(line_training(model), config)
    for _ in range(steps):
        training_step(fresh)
    return fresh


def test_micro_batches_give_the_same_result_as_one_batch() -> None:
    whole, parts = (
        run_steps(replace(CONFIG, accumulate=count)) for count in (1, 5)
    )  # 16 is uneven
    torch.testing.assert_close(parts.model[0].weight, whole.model[0].weight, rtol=1e-5, atol=1e-6)
    assert float(parts.losses["loss"]) == pytest.approx(float(whole.losses["loss"]), rel=1e-5)


def test_a_batch_too_small_for_its_micro_batches_is_rejected() -> None:
    with pytest.raises(ValueError, match="batch of 16 cannot be split into 17"):
        run_steps(replace(CONFIG, accumulate=17))


def test_gradients_are_clipped_only_with_a_clip() -> None:
    free, cut = run_steps(replace(CONFIG, clip=None), 1), run_steps(replace(CONFIG, clip=0.1), 1)
    assert float(free.gradient_norm) == float(cut.gradient_norm) > 0.1
    norms = [float(each.model[0].weight.grad.norm()) for each in (free, cut)]
    assert norms == pytest.approx([float(free.gradient_norm), 0.1], rel=1e-4)


def test_without_averages_the_last_weights_are_published(tmp_path: Path) -> None:
    published = run(tmp_path / "a", average=0.0)
    state = CheckpointStore(tmp_path / "a").latest()
    assert state is not None
    assert torch.equal(published.weights["0.weight"], state["model"]["0.weight"])
    averaged = run(tmp_path / "b")
    assert not torch.equal(averaged.weights["0.weight"], published.weights["0.weight"])


def test_validation_uses_the_averages_and_does_not_change_the_run(tmp_path: Path) -> None:
    plain, writer = run(tmp_path / "plain"), RecordingWriter()
    published = Published()
    config = replace(CONFIG, validate_steps=10)
    train(
        line_training(line()),
        config,
        checkpoints=CheckpointStore(tmp_path / "a"),
        publish=published,
        writer=writer,
    )
    assert torch.equal(published.weights["0.weight"], plain.weights["0.weight"])
    assert len(writer.values["loss/validation"]) == 4
    assert published.progress.best == min(writer.values["loss/validation"])
    _, best = checkpoint.read(tmp_path / "a" / "best.safetensors", device=torch.device("cpu"))
    assert published.progress.best_step == 40
    assert torch.equal(best["0.weight"], published.weights["0.weight"])


def test_weights_that_validate_worse_do_not_become_the_best(tmp_path: Path) -> None:
    fresh = run_steps(CONFIG, 40)
    path, writer = tmp_path / "best", RecordingWriter()
    validate(fresh, path, writer)
    before = path.read_bytes()
    fresh.averages["0.weight"].add_(1.0)
    validate(fresh, path, writer)
    assert writer.values["loss/validation"][1] > writer.values["loss/validation"][0]
    assert path.read_bytes() == before
    assert fresh.progress.best == writer.values["loss/validation"][0]


def test_a_writer_gets_losses_rate_gradient_norm_and_speed(tmp_path: Path) -> None:
    writer = RecordingWriter()
    train(
        line_training(line()),
        CONFIG,
        checkpoints=CheckpointStore(tmp_path / "a"),
        publish=Published(),
        writer=writer,
    )
    assert {name: len(values) for name, values in writer.values.items()} == dict.fromkeys(
        ("loss/loss", "rate", "gradient_norm", "steps_per_second"), 4
    )
    assert writer.values["rate"][-1] < writer.values["rate"][0] <= 0.05


def test_previews_use_the_averages_and_do_not_change_the_run(tmp_path: Path) -> None:
    plain, writer, published, model = (
        run(tmp_path / "plain"),
        RecordingWriter(),
        Published(),
        line(),
    )

    def preview() -> np.ndarray:
        assert not model.training
        torch.randn(3)
        return (100 * model[0].weight.detach().numpy()).astype(np.uint8)

    train(
        line_training(model),
        replace(CONFIG, preview_minutes=1e-9),
        checkpoints=CheckpointStore(tmp_path / "a"),
        publish=published,
        writer=writer,
        preview=preview,
    )
    assert len(writer.pictures) == 40
    assert torch.equal(published.weights["0.weight"], plain.weights["0.weight"])
    last = (100 * published.weights["0.weight"].numpy()).astype(np.uint8)
    assert np.array_equal(writer.pictures[40], last)


def test_a_loss_of_nan_ends_the_run_and_is_not_saved(tmp_path: Path) -> None:
    model = line()
    training = line_training(model)
    with torch.no_grad():
        model[0].weight.fill_(float("nan"))
    with pytest.raises(ValueError, match="loss is nan at step 10"):
        train(training, CONFIG, checkpoints=CheckpointStore(tmp_path / "a"), publish=Published())
    assert CheckpointStore(tmp_path / "a").paths() == []


def test_a_state_of_another_network_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "a")
    other = nn.Sequential(nn.Linear(2, 3, bias=False))
    with pytest.raises(ResumeError, match=r"network of other sizes.*--work"):
        train(
            line_training(other),
            CONFIG,
            checkpoints=CheckpointStore(tmp_path / "a"),
            publish=Published(),
        )


def test_the_log_contains_steps_losses_speed_remaining_time_and_the_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "training.loop.loop"):
        run(tmp_path / "a", interrupt_at=25)
        run(tmp_path / "a")
    assert re.fullmatch(
        r"step 20 of 40 \(50 %\)  loss \d\.\d{4}  [\d.]+ steps/s  \d+ s left", caplog.messages[1]
    )
    messages = [message for message in caplog.messages if not message.startswith("step ")]
    assert messages == [
        "stopped at step 25; the same command resumes from there",
        "resumed at step 25",
        "done at step 40",
    ]
    steps = [int(m.split()[1]) for m in caplog.messages if m.startswith("step ")]
    assert steps == [10, 20, 25, 30, 40]


def test_durations_are_formatted() -> None:
    messages = [format_duration(seconds) for seconds in (-3, 40, 720, 3 * 3600 + 290)]
    assert messages == ["0 s", "40 s", "12 min", "3 h 05 min"]
