"""The four trainers: a network each, what a step is made of, its losses, a file of a person.

Letters: B samples, T frames of a window, C channels, L rows of features, A their width, K keys.
Speech features are made once for each scene, before the first step.
"""

from __future__ import annotations

import logging
import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from models import checkpoint
from models.motion.denoiser import (
    KEY_FRAMES,
    BodyDenoiser,
    Denoiser,
    DenoiserConfig,
)
from models.motion.diffusion import STEPS, cumulative_alphas, q_sample
from models.motion.guide import Guide, GuideConfig
from models.motion.statistics import load_statistics
from models.motion.tokenizer import Tokenizer, TokenizerConfig, load_tokenizer
from training.data.scenes import FACE, POSE, Batch, draw_padded, draw_windows
from training.loop.batch import TrainingBatch
from training.loop.loop import Training
from training.networks.codebooks import LearningTokenizer, perplexity
from training.networks.losses import drawn_keep, motion_loss, token_loss, tokenizer_loss

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Generator, nn

    from training.data.scenes import Scene
    from training.networks.recipes import Network, Recipe

logger = logging.getLogger(__name__)

CPU = torch.device("cpu")
SEEN, LEAST_SEEN, MOST_SEEN = 0.1, 0.25, 2.0  # rad of spread that count as one, and weights
CONSTANT = 2.0  # of the rows that `align` makes; large enough to tell 600 positions apart
MOTION = {"face": FACE, "body": POSE, "tokenizer": POSE, "guide": POSE}


@dataclass(frozen=True)
class Split:
    """Scenes to learn from, and those that are validated on."""

    training: Sequence[Scene]
    validation: Sequence[Scene] = ()


def split(recipe: Recipe, scenes: Sequence[Scene]) -> Split:
    """By name: the last scenes are for tests, those before them for validation.

    Where there are too few to validate on some, all are learned from. ValueError where the tests
    leave none.
    """
    rest = len(scenes) - recipe.test_scenes
    if rest < 1:
        raise ValueError(
            f"{len(scenes)} scenes are too few: the recipe keeps {recipe.test_scenes} for tests; "
            "add scenes, or make test_scenes smaller"
        )
    learned = rest - recipe.validation_scenes
    if learned < 1:
        logger.info("%d scenes to learn from are too few to validate on some of them", rest)
        learned = rest
    return Split(scenes[:learned], scenes[learned:rest])


def make_training(name: str, recipe: Recipe, person: Path, scenes: Split) -> Training:
    """The training of one of a person's networks; the guide's needs her tokenizer."""
    if name == "guide":
        tokenizer = load_tokenizer(person / "tokenizer.safetensors", device=CPU)
        return guide_training(recipe, scenes, tokenizer)
    if name == "tokenizer":
        weights = None
        if recipe.seen_weights:
            weights = seen_weights(load_statistics(person / "stats.json", device=CPU).pose_std)
        return tokenizer_training(recipe, scenes, weights)
    return {"face": face_training, "body": body_training}[name](recipe, scenes)


def face_training(recipe: Recipe, scenes: Split) -> Training:
    """The face denoiser."""
    config = recipe.network
    assert isinstance(config, DenoiserConfig)
    network = Denoiser(config)
    if recipe.aligned:
        align(network)

    def draw(scenes: Sequence[Scene], generator: Generator) -> TrainingBatch:
        return noisy_draw(recipe, config, drawn(recipe, scenes, generator), generator)

    def losses(draw: TrainingBatch) -> dict[str, Tensor]:
        motion, first = draw["motion"], draw.first
        with autocast(recipe, motion.device):
            tokens = network.tokens(draw["features"], first=first)
            condition = network.condition(tokens, motion.shape[1], keep=draw["keep"], first=first)
            predicted = network(draw["noisy"], draw["t"], condition)
        return weighed(predicted, draw, recipe)

    return _training(recipe, scenes, network, draw, losses)


class LearningBody(BodyDenoiser):
    """A body denoiser whose convolutions drop out in training, and only there."""

    def __init__(self, config: DenoiserConfig, dropout: float) -> None:
        super().__init__(config, tail_dropout=dropout)
        self._dropout = dropout

    def train(self, mode: bool = True) -> LearningBody:  # noqa: FBT001, FBT002 - torch's signature
        self.tail_dropout = self._dropout if mode else 0.0
        super().train(mode)
        return self


def body_training(recipe: Recipe, scenes: Split) -> Training:
    """The body denoiser, which sees the true key poses."""
    config = recipe.network
    assert isinstance(config, DenoiserConfig)
    network = LearningBody(config, recipe.tail_dropout)
    if recipe.aligned:
        align(network)

    def draw(scenes: Sequence[Scene], generator: Generator) -> TrainingBatch:
        plain = noisy_draw(recipe, config, drawn(recipe, scenes, generator), generator)
        # Two draws: guidance drops both at once, and each must make sense without the other.
        keep_keys = drawn_keep(len(plain), recipe.drop, generator)
        return replace(plain, rows={**plain.rows, "keep_keys": keep_keys})

    def losses(draw: TrainingBatch) -> dict[str, Tensor]:
        motion, first = draw["motion"], draw.first
        with autocast(recipe, motion.device):
            tokens = network.tokens(draw["features"], first=first)
            condition = network.condition(tokens, motion.shape[1], keep=draw["keep"], first=first)
            keys = network.key_tokens(motion[:, ::KEY_FRAMES], draw["keep_keys"])
            condition = network.with_keys(condition, keys, first=first // KEY_FRAMES)
            predicted = network(draw["noisy"], draw["t"], condition)
        return weighed(predicted, draw, recipe)

    return _training(recipe, scenes, network, draw, losses)


def seen_weights(spread: Tensor) -> Tensor:
    """How much each channel of a pose is seen, by its spread in rad, [C].

    Normalised, the sway of a spine counts like the sweep of an arm: tokens would be spent on it.
    """
    return (spread / SEEN).clamp(LEAST_SEEN, MOST_SEEN)


def tokenizer_training(
    recipe: Recipe, scenes: Split, channel_weights: Tensor | None = None
) -> Training:
    """The tokenizer, on key poses alone."""
    config = recipe.network
    assert isinstance(config, TokenizerConfig)
    network = LearningTokenizer(Tokenizer(config))

    def draw(scenes: Sequence[Scene], generator: Generator) -> TrainingBatch:
        batch = drawn_windows(recipe, scenes, generator)
        return TrainingBatch({"keys": batch.motion[:, ::KEY_FRAMES].contiguous()})

    def first_draw(scenes: Sequence[Scene], generator: Generator) -> TrainingBatch:
        drawn = draw(scenes, generator)
        network.begin(_near(drawn["keys"], network), generator)
        return drawn

    def losses(draw: TrainingBatch) -> dict[str, Tensor]:
        keys = draw["keys"]
        weights = None if channel_weights is None else channel_weights.to(keys.device)
        with autocast(recipe, keys.device):
            predicted, quantised = network(keys)
        losses = tokenizer_loss(
            predicted.float(),
            keys,
            quantised.commitment.float(),
            velocity_weight=recipe.velocity,
            channel_weights=weights,
        )
        return {
            "loss": losses.total,
            "motion": losses.motion,
            "perplexity": perplexity(quantised.tokens[:, -1], config.codes),
        }

    def learn(draw: TrainingBatch, generator: Generator) -> None:
        network.learn(_near(draw["keys"], network), generator)

    def publish(weights: dict[str, Tensor], path: Path) -> None:
        own = {
            name.removeprefix("tokenizer."): value
            for name, value in weights.items()
            if name.startswith("tokenizer.")
        }
        checkpoint.write(path, asdict(config), own, dtype=kept_as(recipe))

    plain = _training(recipe, scenes, network, draw, losses)
    return replace(
        plain,
        draw=lambda generator: first_draw(scenes.training, generator),
        publish=publish,
        learn=learn,
    )


def guide_training(recipe: Recipe, scenes: Split, tokenizer: Tokenizer) -> Training:
    """The guide, on the tokens that a trained tokenizer makes of the key poses."""
    config = recipe.network
    assert isinstance(config, GuideConfig)
    network = Guide(config)

    def draw(scenes: Sequence[Scene], generator: Generator) -> TrainingBatch:
        batch = drawn(recipe, scenes, generator)
        with torch.no_grad():
            targets = tokenizer.encode(batch.motion[:, ::KEY_FRAMES]).flatten(1)  # [B, K * R]
        keep = drawn_keep(len(targets), recipe.drop, generator)
        return TrainingBatch({"features": batch.features, "targets": targets, "keep": keep})

    def losses(draw: TrainingBatch) -> dict[str, Tensor]:
        targets = draw["targets"]
        inputs = torch.cat([torch.full_like(targets[:, :1], network.start), targets[:, :-1]], 1)
        with autocast(recipe, targets.device):
            logits = network(inputs, network.condition(draw["features"], draw["keep"]))
        right = (logits.argmax(-1) == targets).float().mean()
        return {"loss": token_loss(logits.float(), targets), "right": right}

    return _training(recipe, scenes, network, draw, losses)


def _training(
    recipe: Recipe,
    scenes: Split,
    network: nn.Module,
    draw: Callable[[Sequence[Scene], Generator], TrainingBatch],
    losses: Callable[[TrainingBatch], dict[str, Tensor]],
) -> Training:
    held_out = (lambda generator: draw(scenes.validation, generator)) if scenes.validation else None
    return Training(
        network,
        lambda generator: draw(scenes.training, generator),
        losses,
        publisher(recipe.network, kept_as(recipe)),
        held_out=held_out,
    )


def _near(value: Tensor, network: nn.Module) -> Tensor:
    """The value where the network is."""
    return value.to(next(network.parameters()).device)


def drawn(recipe: Recipe, scenes: Sequence[Scene], generator: Generator) -> Batch:
    """A batch of windows, with sound as other microphones might have it."""
    batch = drawn_windows(recipe, scenes, generator)
    if recipe.level_jitter == recipe.tone_jitter == 0:
        return batch
    return replace(batch, features=jittered(batch.features, recipe, generator))


def drawn_windows(recipe: Recipe, scenes: Sequence[Scene], generator: Generator) -> Batch:
    """A batch in one of the recipe's shapes."""
    shares = torch.tensor([windows.share for windows in recipe.windows])
    shape = recipe.windows[int(torch.multinomial(shares, 1, generator=generator))]
    if shape.shortest:
        return draw_padded(
            scenes, shape.batch, generator, shortest=shape.shortest, longest=shape.frames
        )
    return draw_windows(scenes, shape.frames, shape.batch, generator)


def drawn_place(config: DenoiserConfig, batch: Batch, generator: Generator) -> int:
    """Where in the longest clip a batch of windows stands: the place of its first frame.

    Where rows of speech and frames are not in step, windows stand at the start.
    """
    room = config.longest_rows - batch.frames
    if batch.features.shape[1] != batch.frames or room <= 0:
        return 0
    return KEY_FRAMES * int(torch.randint(room // KEY_FRAMES + 1, (1,), generator=generator))


def jittered(features: Tensor, recipe: Recipe, generator: Generator) -> Tensor:
    """Features [B, L, A] with another level for each channel and another tone for each column."""
    count, _, width = features.shape
    level = torch.randn(count, 1, 2, 1, generator=generator) * recipe.level_jitter
    tone = torch.randn(count, 1, 2, width // 2, generator=generator) * recipe.tone_jitter
    return features + (level + tone).flatten(2)


def noised(clean: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Clean motion [B, T, C] at random times of the diffusion process, and these times [B]."""
    t = torch.randint(STEPS, (len(clean),), generator=generator)
    noise = torch.randn(clean.shape, generator=generator)
    return q_sample(clean, noise, cumulative_alphas()[t]), t


def noisy_draw(
    recipe: Recipe, config: DenoiserConfig, batch: Batch, generator: Generator
) -> TrainingBatch:
    """What a denoiser learns from: motion and the same with noise, what is known of its clip."""
    first = drawn_place(config, batch, generator)
    noisy, t = noised(batch.motion, generator)
    keep = drawn_keep(len(t), recipe.drop, generator)
    return TrainingBatch({**vars(batch), "noisy": noisy, "t": t, "keep": keep}, first)


def weighed(predicted: Tensor, draw: TrainingBatch, recipe: Recipe) -> dict[str, Tensor]:
    """The losses of a denoiser."""
    losses = motion_loss(predicted.float(), draw["motion"], draw["inside"], draw["present"])
    position, velocity = losses.position.mean(), losses.velocity.mean()
    return {
        "loss": position + recipe.velocity * velocity,
        "position": position,
        "velocity": velocity,
    }


def autocast(recipe: Recipe, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=recipe.bfloat16)


def kept_as(recipe: Recipe) -> torch.dtype:
    """How weights lie in a person directory."""
    return {"float16": torch.float16, "float32": torch.float32}[recipe.kept_as]


def publisher(config: Network, dtype: torch.dtype) -> Callable[[dict[str, Tensor], Path], None]:
    """Writes weights as a file of a person directory."""

    def publish(weights: dict[str, Tensor], path: Path) -> None:
        checkpoint.write(path, asdict(config), weights, dtype=dtype)

    return publish


@torch.no_grad()
def align(network: Denoiser) -> None:
    """Start attention where it should end up: at the same moment of time.

    With a constant in every row, rotated by its position, and projections that are about the
    identity, the product of a query and a key is largest where their positions agree: short
    distances in the heads of quick turns, long ones in those of slow turns. Learning that from
    noise costs the first thousands of steps. Key poses stand 30 frames apart, so their queries read
    the pairs that turn 30 times more slowly.
    """
    norms = [network.memory_norm, *(layer.self_norm for layer in network.encoder)]
    straight = [layer.self_attention for layer in network.encoder]
    for decoder in network.layers:
        norms += [decoder.self_norm, *decoder.memory_norms]
        straight += [decoder.self_attention, *decoder.memory_attentions]
    if isinstance(network, BodyDenoiser):
        norms.append(network.key_norm)
    for norm in norms:
        norm.bias[::2] = CONSTANT
    for attention in straight:
        _look_straight(attention.in_weight)
    if isinstance(network, BodyDenoiser):
        for decoder in network.layers:
            _look_slowly(decoder.memory_attentions[1].in_weight)


def _look_straight(weight: Tensor) -> None:
    """Queries and keys of [3 d, d] close to the identity; values as they were."""
    width = weight.shape[1]
    weight[: 2 * width] *= 0.2
    weight[: 2 * width] += torch.eye(width).repeat(2, 1)


def _look_slowly(weight: Tensor) -> None:
    """Each pair of a query of [3 d, d] comes from the pair that turns KEY_FRAMES times slower."""
    width = weight.shape[1]
    pairs = round(width / 2 * math.log(KEY_FRAMES) / math.log(10000))
    weight[:width] = torch.roll(weight[:width], 2 * pairs, dims=1)
