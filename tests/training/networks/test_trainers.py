"""The four trainers on short scenes: they learn, resume, and write files that load."""

import os
import signal
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from models.motion.denoiser import (
    KEY_FRAMES,
    BodyDenoiser,
    Denoiser,
    DenoiserConfig,
    load_body,
    load_face,
)
from models.motion.guide import GuideConfig, load_guide
from models.motion.layers import rotary_frequencies, rotate
from models.motion.tokenizer import Tokenizer, TokenizerConfig, load_tokenizer
from tests.training.scenes import following
from training.data.scenes import Scene
from training.loop.batch import TrainingBatch
from training.loop.checkpoints import CheckpointStore
from training.loop.loop import (
    LoopConfig,
    Progress,
    Run,
    Training,
    compile_layers,
    train,
    training_step,
    validate,
)
from training.loop.schedules import CosineSchedule
from training.loop.tensorboard import NULL_WRITER
from training.networks import trainers
from training.networks.codebooks import LearningTokenizer
from training.networks.losses import LABEL_SMOOTHING
from training.networks.recipes import LIPS, NETWORKS, Recipe, Windows, read_recipe
from training.networks.trainers import (
    MOTION,
    Split,
    add_jitter,
    add_noise,
    align,
    body_training,
    face_training,
    guide_training,
    make_training,
    sample_batch,
    sample_position,
    seen_weights,
    split,
    tokenizer_training,
)

CPU = torch.device("cpu")
Losses = Callable[[TrainingBatch], dict[str, Tensor]]
CHANNELS, AUDIO, FRAMES = 6, 8, 60
FAST = LoopConfig(schedule=CosineSchedule(5e-3, warmup=10), clip=1.0, average=0.9)
SIZES = {
    "channels": CHANNELS, "audio_channels": AUDIO, "width": 32, "layers": 1, "heads": 2,
    "hidden": 32, "longest_rows": FRAMES, "dropout": 0.0,
}  # fmt: skip
WINDOWS = (Windows(FRAMES, 8),)
RECIPES = {
    "face": Recipe(
        DenoiserConfig(**SIZES), WINDOWS, FAST, velocity=1.0, aligned=True, kept_as="float16"
    ),
    "body": Recipe(
        DenoiserConfig(**SIZES, longest_keys=2, tail_hidden=16), WINDOWS, FAST, velocity=1.0,
        aligned=True, kept_as="float16",
    ),
    "tokenizer": Recipe(
        TokenizerConfig(CHANNELS, width=16, codes=16, depth=2), WINDOWS, FAST, kept_as="float16"
    ),
    "guide": Recipe(
        GuideConfig(
            codes=16, audio_channels=AUDIO, audio_blocks=1, width=32, layers=1, heads=2, hidden=32,
            longest_rows=FRAMES,
        ),
        WINDOWS,
        FAST,
        kept_as="float16",
    ),
}  # fmt: skip
LOADERS = {
    "face": load_face, "body": load_body, "tokenizer": load_tokenizer, "guide": load_guide
}  # fmt: skip


@pytest.fixture
def scenes() -> list[Scene]:
    return [following(FRAMES, seed=1), following(FRAMES, seed=2)]


def training_of(name: str, scenes: list[Scene], **changes: object) -> Training:
    """The same training each time: weights are initialised with a fixed seed."""
    recipe, scenes = replace(RECIPES[name], **changes), Split(scenes, scenes[:1])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if name == "guide":
            tokenizer = Tokenizer(RECIPES["tokenizer"].network).eval()
            return guide_training(recipe, scenes, tokenizer)
        make = {"face": face_training, "body": body_training, "tokenizer": tokenizer_training}
        return make[name](recipe, scenes)


class RecordedLosses:
    """Losses that store their values, and may interrupt the run."""

    def __init__(self, losses: Losses, *, interrupt_at: int | None = None) -> None:
        self.losses, self.interrupt_at = losses, interrupt_at
        self.values: list[dict[str, float]] = []

    def __call__(self, batch: TrainingBatch) -> dict[str, Tensor]:
        losses = self.losses(batch)
        self.values.append({name: float(value.detach()) for name, value in losses.items()})
        if len(self.values) == self.interrupt_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return losses

    def mean(self, name: str, part: slice) -> float:
        values = [losses[name] for losses in self.values[part]]
        return sum(values) / len(values)


def run(
    training: Training, folder: Path, *, steps: int, interrupt_at: int | None = None
) -> tuple[RecordedLosses, Path]:
    """Train into `folder`, resuming a stopped run there."""
    recorded, weights = (
        RecordedLosses(training.losses, interrupt_at=interrupt_at),
        folder / "weights",
    )

    def publish(averaged: dict[str, Tensor], _: Progress) -> None:
        training.publish(averaged, weights)

    train(
        replace(training, losses=recorded),
        replace(FAST, steps=steps),
        checkpoints=CheckpointStore(folder / "states"),
        publish=publish,
    )
    return recorded, weights


def latest_checkpoint(folder: Path) -> dict[str, Any]:
    state = CheckpointStore(folder / "states").latest()
    assert state is not None
    return state


@pytest.mark.parametrize(
    ("name", "steps"), [("face", 60), ("body", 170), ("tokenizer", 220), ("guide", 30)]
)
def test_every_trainer_overfits_two_scenes(
    tmp_path: Path, scenes: list[Scene], name: str, steps: int
) -> None:
    recorded, _ = run(training_of(name, scenes), tmp_path, steps=steps)
    floor = smoothed_floor(16) if name == "guide" else 0.0
    first, last = (recorded.mean("loss", part) - floor for part in (slice(3), slice(-15, None)))
    assert first > 5 * last


def smoothed_floor(codes: int) -> float:
    """Lowest possible loss of tokens with smoothed labels."""
    share = torch.full((codes,), LABEL_SMOOTHING / codes)
    share[0] += 1 - LABEL_SMOOTHING
    return -float((share * share.log()).sum())


@pytest.mark.parametrize("name", RECIPES)
def test_a_stopped_run_resumes_bit_for_bit(tmp_path: Path, scenes: list[Scene], name: str) -> None:
    jitter = {} if name == "tokenizer" else {"level_jitter": 0.1, "tone_jitter": 0.1}
    _, whole = run(training_of(name, scenes, **jitter), tmp_path / "whole", steps=8)
    first = training_of(name, scenes, **jitter)
    stopped, _ = run(first, tmp_path / "parts", steps=8, interrupt_at=4)
    rest, parts = run(training_of(name, scenes, **jitter), tmp_path / "parts", steps=8)
    assert len(stopped.values) == len(rest.values) == 4
    assert parts.read_bytes() == whole.read_bytes()
    checkpoints = [latest_checkpoint(tmp_path / each)["model"] for each in ("whole", "parts")]
    for key, value in checkpoints[0].items():
        assert torch.equal(value, checkpoints[1][key]), key


def test_the_checkpoint_of_a_tokenizer_contains_the_averages_of_its_codebooks(
    tmp_path: Path, scenes: list[Scene]
) -> None:
    training = training_of("tokenizer", scenes)
    run(training, tmp_path, steps=3)
    state = latest_checkpoint(tmp_path)["model"]
    for name in ("sums", "counts", "begun", "tokenizer.codebooks"):
        assert torch.equal(state[name], training.model.state_dict()[name])
    assert state["begun"].all()


@pytest.mark.parametrize("name", RECIPES)
def test_published_weights_are_those_that_workers_load(
    tmp_path: Path, scenes: list[Scene], name: str
) -> None:
    training = training_of(name, scenes)
    _, weights = run(training, tmp_path, steps=2)
    network = LOADERS[name](weights, device=CPU)
    assert network.config == RECIPES[name].network
    averages = latest_checkpoint(tmp_path)["averages"]
    for key, value in network.state_dict().items():
        if key != "codebooks":
            average = averages[f"tokenizer.{key}" if name == "tokenizer" else key]
            assert torch.equal(value, average.half().float()), key


def test_published_codebooks_are_not_averaged(tmp_path: Path, scenes: list[Scene]) -> None:
    training = training_of("tokenizer", scenes)
    _, weights = run(training, tmp_path, steps=5)
    codebooks = load_tokenizer(weights, device=CPU).codebooks
    assert torch.equal(codebooks, training.model.tokenizer.codebooks.half().float())


def row_scores(network: Denoiser, memory: str, frames: int, *, spread: float = 1.0) -> Tensor:
    """Attention between rows of a network, mean over heads and layers: [T, S].

    spread: standard deviation of the rows; at 0 they differ only by position.
    """
    generator, width = Generator().manual_seed(1), network.config.width
    rows = {"keys": frames // KEY_FRAMES}.get(memory, frames)
    x, y = (spread * torch.randn(1, count, width, generator=generator) for count in (frames, rows))
    total = torch.zeros(frames, rows)
    for layer in network.layers:
        attentions = (layer.self_attention, *layer.memory_attentions)
        norms = (layer.self_norm, *layer.memory_norms)
        index = ("self", "speech", "keys").index(memory)
        to_memory = (layer.self_norm, network.memory_norm, getattr(network, "key_norm", None))
        attention, norm, memory_norm = attentions[index], norms[index], to_memory[index]
        normed = memory_norm(x if memory == "self" else y)
        q = attention.queries(rotate(norm(x), rotary_frequencies(frames, width, device=CPU)))
        turned = rotate(normed, rotary_frequencies(rows, width, device=CPU))
        k = attention.keys_values(turned, normed).keys
        q = q.unflatten(-1, (attention.heads, -1)).transpose(1, 2)
        total += (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(-1).mean((0, 1)).detach()
    return total / len(network.layers)


@pytest.mark.parametrize(
    ("make", "memory"),
    [(Denoiser, "self"), (Denoiser, "speech"), (BodyDenoiser, "self"), (BodyDenoiser, "speech")],
)
def test_aligned_attention_starts_at_the_same_moment(
    make: Callable[[DenoiserConfig], Denoiser], memory: str
) -> None:
    network = fresh(make)
    peaks = row_scores(network, memory, 240).argmax(1)
    distance = (peaks - torch.arange(240)).abs().float()
    assert float(distance.quantile(0.9)) <= 3
    apart = fresh(make, aligned=False)
    far = (row_scores(apart, memory, 240).argmax(1) - torch.arange(240)).abs().float()
    assert float(far.median()) > 20


def test_aligned_attention_to_key_poses_starts_at_the_nearest() -> None:
    scores = row_scores(fresh(BodyDenoiser), "keys", 240, spread=0.0)
    moments = torch.arange(240) / KEY_FRAMES
    assert (scores.argmax(1) - moments.clamp(max=7)).abs().max() < 1


def fresh(make: Callable[[DenoiserConfig], Denoiser], *, aligned: bool = True) -> Denoiser:
    """The network of the demo recipe before training."""
    name = "body" if make is BodyDenoiser else "face"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = make(read_recipe(name, "demo").network).eval()
    if aligned:
        align(network)
    return network


def test_positions_are_whole_seconds_anywhere_in_the_longest_clip(scenes: list[Scene]) -> None:
    config, generator = DenoiserConfig(**{**SIZES, "longest_rows": 200}), Generator()
    batch = sample_batch(RECIPES["face"], scenes, generator)
    positions = {sample_position(config, batch, generator) for _ in range(100)}
    assert positions == {0, 30, 60, 90, 120}


def test_the_position_is_0_if_rows_and_frames_differ(
    scenes: list[Scene],
) -> None:
    config, generator = DenoiserConfig(**{**SIZES, "longest_rows": 900}), Generator()
    batch = sample_batch(RECIPES["face"], scenes, generator)
    odd = replace(batch, features=batch.features[:, ::2])
    assert {sample_position(config, odd, generator) for _ in range(20)} == {0}


def test_jitter_is_constant_in_time_for_each_channel_and_column() -> None:
    features = torch.zeros(200, 5, AUDIO)
    level = add_jitter(features, replace(RECIPES["face"], level_jitter=0.5), Generator())
    assert torch.equal(level[..., : AUDIO // 2], level[..., :1].expand(-1, -1, AUDIO // 2))
    assert not torch.equal(level[..., 0], level[..., -1])
    tone = add_jitter(features, replace(RECIPES["face"], tone_jitter=0.5), Generator())
    assert torch.equal(tone, tone[:, :1].expand(-1, 5, -1))
    assert float(level.std()) == pytest.approx(0.5, rel=0.15)
    assert float(tone.std()) == pytest.approx(0.5, rel=0.1)


def test_later_timesteps_are_noisier() -> None:
    clean = torch.ones(500, 20, 4)
    noisy, t = add_noise(clean, Generator().manual_seed(1))
    assert 0 <= int(t.min()) < 20
    assert 980 < int(t.max()) < 1000
    assert float(noisy[t < 100].std()) < 0.2
    assert float(noisy[t > 900].mean()) == pytest.approx(0, abs=0.2)


def test_each_step_samples_one_of_the_recipes_shapes() -> None:
    shapes = (Windows(30, 4, share=0.75), Windows(60, 1, share=0.25))
    recipe, generator = replace(RECIPES["face"], windows=shapes), Generator().manual_seed(1)
    scene = following(FRAMES)
    found = [tuple(sample_batch(recipe, [scene], generator).motion.shape[:2]) for _ in range(200)]
    assert set(found) == {(4, 30), (1, 60)}
    assert found.count((4, 30)) == pytest.approx(150, abs=25)


def test_the_recipes_are_for_all_four_networks() -> None:
    assert NETWORKS.keys() == MOTION.keys() - {LIPS} == RECIPES.keys()


def test_the_guide_needs_the_tokenizer_of_its_person(tmp_path: Path, scenes: list[Scene]) -> None:
    with pytest.raises(ValueError, match=r"tokenizer\.safetensors: weights not found"):
        make_training("guide", RECIPES["guide"], tmp_path, Split(scenes))


def test_a_training_is_selected_by_the_name_of_its_network() -> None:
    training = make_training("body", RECIPES["body"], Path("nowhere"), Split([]))
    assert isinstance(training.model, BodyDenoiser)


def test_the_last_scenes_are_for_tests_and_those_before_for_validation() -> None:
    named = [following(FRAMES, seed=seed) for seed in range(9)]
    parts = split(replace(RECIPES["face"], validation_scenes=2, test_scenes=4), named)
    assert parts.training == named[:3]
    assert parts.validation == named[3:5]


def test_with_few_scenes_there_is_no_validation_but_a_test_split() -> None:
    recipe = replace(RECIPES["face"], validation_scenes=2, test_scenes=1)
    few = [following(FRAMES, seed=seed) for seed in range(3)]
    parts = split(recipe, few)
    assert parts.training == few[:2]
    assert list(parts.validation) == []
    with pytest.raises(ValueError, match="1 scenes are too few: the recipe keeps 1 for tests"):
        split(recipe, few[:1])


def test_training_without_validation_scenes_does_not_validate() -> None:
    training = make_training("face", RECIPES["face"], Path("nowhere"), Split([following(FRAMES)]))
    assert training.sample_validation is None


@pytest.mark.parametrize("name", RECIPES)
def test_micro_batches_give_the_same_result_as_one_batch(name: str, scenes: list[Scene]) -> None:
    runs = []
    for count in (1, 3):  # 8 samples: 2, 3 and 3
        runs.append(Run(training_of(name, scenes), replace(FAST, clip=None, accumulate=count)))
        runs[-1].model.eval()  # no dropout
        training_step(runs[-1])
    whole, parts = runs
    for key, parameter in whole.trained.items():
        difference = (parts.trained[key].grad - parameter.grad).norm()
        assert float(difference) < 1e-5 * float(whole.gradient_norm), key
    assert float(parts.losses["loss"]) == pytest.approx(float(whole.losses["loss"]), rel=1e-5)
    for key in set(whole.model.state_dict()) - set(whole.trained):  # codebooks
        torch.testing.assert_close(parts.model.state_dict()[key], whole.model.state_dict()[key])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
@pytest.mark.parametrize("name", RECIPES)
def test_on_a_gpu_every_trainer_starts_as_on_a_cpu_and_resumes(
    tmp_path: Path, name: str, scenes: list[Scene]
) -> None:
    losses = []
    for device in (CPU, torch.device("cuda", 0)):
        run = Run(training_of(name, scenes), FAST, device=device)
        run.model.eval()
        training_step(run)
        losses.append(float(run.losses["loss"]))
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    validate(run, tmp_path / "best.safetensors", NULL_WRITER)
    again = Run(training_of(name, scenes), FAST, device=run.device)
    again.restore(run.checkpoint())
    training_step(again)
    assert again.progress.step == 2


@pytest.mark.parametrize("name", RECIPES)
def test_in_bfloat16_losses_are_close_and_weights_stay_float32(
    name: str, scenes: list[Scene]
) -> None:
    losses = []
    for short in (False, True):
        run = Run(training_of(name, scenes, bfloat16=short), FAST)
        run.model.eval()
        training_step(run)
        losses.append(float(run.losses["loss"]))
        assert {p.dtype for p in run.trained.values()} == {torch.float32}
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.03)


@pytest.mark.filterwarnings("ignore")  # internal warnings of the compiler
@pytest.mark.parametrize("name", ["face", "body", "guide"])
def test_compiled_layers_train_the_same(name: str, scenes: list[Scene]) -> None:
    losses = []
    for compiled in (False, True):
        training = training_of(name, scenes)
        names = training.model.state_dict().keys()
        if compiled:
            compile_layers(training.model, backend="aot_eager")  # the graph, without a C++ compiler
        run = Run(training, FAST)
        run.model.eval()  # no dropout, because compiled dropout uses other random numbers
        for _ in range(3):
            training_step(run)
        losses.append(float(run.losses["loss"]))
        assert run.model.state_dict().keys() == names
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.parametrize("name", RECIPES)
def test_validation_does_not_change_the_training(
    tmp_path: Path, name: str, scenes: list[Scene]
) -> None:
    runs = []
    for validated in (True, False):
        each = Run(training_of(name, scenes), FAST)
        for _ in range(2):
            training_step(each)
        if validated:
            validate(each, tmp_path / "best.safetensors", NULL_WRITER)
        training_step(each)
        runs.append(each)
    for key, value in runs[0].model.state_dict().items():
        assert torch.equal(value, runs[1].model.state_dict()[key]), key
    assert 0 < runs[0].progress.best < 100
    assert LOADERS[name](tmp_path / "best.safetensors", device=CPU).config == RECIPES[name].network


def test_convolutions_of_the_body_have_dropout_only_in_training(scenes: list[Scene]) -> None:
    network = training_of("body", scenes, tail_dropout=0.3).model
    assert network.train().tail_dropout == 0.3
    assert network.eval().tail_dropout == 0.0


def test_more_visible_channels_have_larger_weights_within_limits() -> None:
    still, swaying, sweeping, breath = seen_weights(torch.tensor([0.0, 0.02, 0.15, 0.7])).tolist()
    assert still == swaying < 1 < sweeping < breath
    assert breath <= 2


@pytest.mark.parametrize("name", RECIPES)
def test_a_step_neither_mixes_devices_nor_copies_to_the_host(
    monkeypatch: pytest.MonkeyPatch, scenes: list[Scene], name: str
) -> None:
    meta = torch.device("meta")

    def to_meta(batch: TrainingBatch, device: torch.device) -> TrainingBatch:
        rows = {key: value.to(device) for key, value in batch.rows.items()}
        return TrainingBatch(rows, batch.first)

    monkeypatch.setattr(TrainingBatch, "to", to_meta)
    monkeypatch.setattr(trainers, "autocast", lambda *_: nullcontext())  # torch has none for it
    adam = partial(torch.optim.AdamW, foreach=True)
    monkeypatch.setattr(torch.optim, "AdamW", lambda *a, fused, **more: adam(*a, **more))
    monkeypatch.setattr(trainers, "perplexity", lambda tokens, _: tokens.float().mean())  # bincount
    # The only copies of a step: whether codebooks have values yet, and which of them are unused.
    monkeypatch.setattr(LearningTokenizer, "initialise", lambda *_: None)
    monkeypatch.setattr(LearningTokenizer, "update_codebooks", lambda *_: None)
    run = Run(training_of(name, scenes), FAST, device=meta)
    training_step(run)

    assert run.progress.step == 1
    assert {value.device for value in (*run.losses.values(), *run.averages.values())} == {meta}
    with pytest.raises((NotImplementedError, RuntimeError), match=r"meta tensor|Tensor\.item"):
        run.average_losses()  # the losses of a report are read once in `log_steps`
