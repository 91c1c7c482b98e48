"""The four trainers: a network each, a loss of one drawn batch, a file in a person directory.

Letters: B samples, T frames of a window, C channels, L rows of features, A their width, K keys.
Speech features are made once for each scene, before the first step.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from models import checkpoint
from models.motion.denoiser import KEY_FRAMES, BodyDenoiser, Denoiser, DenoiserConfig
from models.motion.diffusion import STEPS, cumulative_alphas, q_sample
from models.motion.guide import Guide, GuideConfig
from models.motion.statistics import load_statistics
from models.motion.tokenizer import Tokenizer, TokenizerConfig, load_tokenizer
from training.data import FACE, POSE, Batch, draw_windows
from training.loop import LoopConfig
from training.losses import drawn_keep, motion_loss, token_loss, tokenizer_loss
from training.quantiser import LearningTokenizer, perplexity

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Generator, nn

    from training.data import Scene
    from training.loop import Loss

DROP = 0.2  # of samples that do not know their clip, for guidance
CPU = torch.device("cpu")
SEEN, LEAST_SEEN, MOST_SEEN = 0.1, 0.25, 2.0  # rad of spread that count as one, and weights
CONSTANT = 2.0  # of the rows that `align` makes; large enough to tell 600 positions apart
KEPT_AS = torch.float16  # how weights lie in a person directory


@dataclass(frozen=True)
class Windows:
    """One shape of a batch, and how often it is drawn beside the others."""

    frames: int
    batch: int
    share: float = 1.0


@dataclass(frozen=True)
class Recipe:
    """How one network is trained. The loop's steps or minutes say how long."""

    network: DenoiserConfig | GuideConfig | TokenizerConfig
    windows: tuple[Windows, ...]  # each step draws a batch of one of these
    loop: LoopConfig = field(default_factory=LoopConfig)
    velocity: float = 0.0  # weight of the loss of velocities
    level_jitter: float = 0.0  # spread that is added to the level of each channel, 1 is 20 dB
    tone_jitter: float = 0.0  # and to each band
    bfloat16: bool = False
    aligned: bool = True  # attention starts by looking at its own moment


FEATURES = 160  # A of the demo person's front end
LONGEST = 600  # frames of the longest clip
CODES = 128  # of each codebook
DEMO = {
    "face": Recipe(
        DenoiserConfig(
            channels=256,
            audio_channels=FEATURES,
            width=128,
            layers=4,
            heads=4,
            hidden=512,
            encoder_layers=2,
            audio_context=4,  # a sound is told by what comes before and after it
            longest_rows=LONGEST,
            dropout=0.0,
        ),
        windows=(Windows(240, 8, 0.75), Windows(LONGEST, 3, 0.25)),
        loop=LoopConfig(steps=6000, learning_rate=1.5e-3),
        velocity=1.0,
        level_jitter=0.12,
        tone_jitter=0.06,
    ),
    "body": Recipe(
        DenoiserConfig(
            channels=104,
            audio_channels=FEATURES,
            width=96,
            layers=4,
            heads=4,
            hidden=384,
            longest_rows=LONGEST,
            longest_keys=LONGEST // KEY_FRAMES,
            tail_hidden=128,
            dropout=0.0,
        ),
        windows=(Windows(240, 8, 0.75), Windows(LONGEST, 3, 0.25)),
        loop=LoopConfig(steps=6000, learning_rate=1.5e-3),
        velocity=2.0,
        level_jitter=0.12,
        tone_jitter=0.06,
    ),
    "tokenizer": Recipe(
        TokenizerConfig(width=48, codes=CODES, depth=2),
        windows=(Windows(LONGEST, 32),),
        loop=LoopConfig(steps=3000, learning_rate=2e-3),
        bfloat16=False,
    ),
    "guide": Recipe(
        GuideConfig(
            codes=CODES,
            audio_channels=FEATURES,
            audio_blocks=1,
            width=64,
            layers=4,
            heads=4,
            hidden=256,
            longest_rows=LONGEST,
        ),
        windows=(Windows(240, 24, 0.5), Windows(LONGEST, 10, 0.5)),
        loop=LoopConfig(steps=3000, learning_rate=2e-3, weight_decay=0.05),
        level_jitter=0.12,
        tone_jitter=0.06,
    ),
}
MOTION = {"face": FACE, "body": POSE, "tokenizer": POSE, "guide": POSE}


@dataclass(frozen=True)
class Training:
    """All that the loop needs, and how the result is kept."""

    model: nn.Module
    loss: Loss
    publish: Callable[[dict[str, Tensor], Path], None]


def make_training(name: str, person: Path, scenes: Sequence[Scene]) -> Training:
    """The training of one of the demo person's networks; the guide's needs her tokenizer."""
    recipe = DEMO[name]
    if name == "guide":
        tokenizer = load_tokenizer(person / "tokenizer.safetensors", device=CPU)
        return guide_training(recipe, scenes, tokenizer)
    if name == "tokenizer":
        statistics = load_statistics(person / "stats.json", device=CPU)
        return tokenizer_training(recipe, scenes, seen_weights(statistics.pose_std))
    return {"face": face_training, "body": body_training}[name](recipe, scenes)


def face_training(recipe: Recipe, scenes: Sequence[Scene]) -> Training:
    """The face denoiser."""
    config = recipe.network
    assert isinstance(config, DenoiserConfig)
    network = Denoiser(config)
    if recipe.aligned:
        align(network)

    def loss(generator: Generator) -> dict[str, Tensor]:
        batch = drawn(recipe, scenes, generator)
        with autocast(recipe):
            first = drawn_place(config, batch, generator)
            noisy, t = noised(batch.motion, generator)
            keep = drawn_keep(len(t), DROP, generator)
            tokens = network.tokens(batch.features, first=first)
            condition = network.condition(tokens, batch.frames, keep=keep, first=first)
            predicted = network(noisy, t, condition)
        return weighed(predicted, batch, recipe)

    return Training(network, loss, publisher(recipe.network))


def body_training(recipe: Recipe, scenes: Sequence[Scene]) -> Training:
    """The body denoiser, which sees the true key poses."""
    config = recipe.network
    assert isinstance(config, DenoiserConfig)
    network = BodyDenoiser(config)
    if recipe.aligned:
        align(network)

    def loss(generator: Generator) -> dict[str, Tensor]:
        batch = drawn(recipe, scenes, generator)
        with autocast(recipe):
            first = drawn_place(config, batch, generator)
            noisy, t = noised(batch.motion, generator)
            # Two draws: guidance drops both at once, and each must make sense without the other.
            keep_keys = drawn_keep(len(t), DROP, generator)
            keep = drawn_keep(len(t), DROP, generator)
            tokens = network.tokens(batch.features, first=first)
            condition = network.condition(tokens, batch.frames, keep=keep, first=first)
            keys = network.key_tokens(batch.motion[:, ::KEY_FRAMES], keep_keys)
            condition = network.with_keys(condition, keys, first=first // KEY_FRAMES)
            predicted = network(noisy, t, condition)
        return weighed(predicted, batch, recipe)

    return Training(network, loss, publisher(recipe.network))


def seen_weights(spread: Tensor) -> Tensor:
    """How much each channel of a pose is seen, by its spread in rad, [C].

    Normalised, the sway of a spine counts like the sweep of an arm: tokens would be spent on it.
    """
    return (spread / SEEN).clamp(LEAST_SEEN, MOST_SEEN)


def tokenizer_training(
    recipe: Recipe, scenes: Sequence[Scene], channel_weights: Tensor | None = None
) -> Training:
    """The tokenizer, on key poses alone."""
    assert isinstance(recipe.network, TokenizerConfig)
    codes = recipe.network.codes
    network = LearningTokenizer(Tokenizer(recipe.network))

    def loss(generator: Generator) -> dict[str, Tensor]:
        batch = drawn_windows(recipe, scenes, generator)
        keys = batch.motion[:, ::KEY_FRAMES]
        predicted, quantised = network(keys, generator)
        losses = tokenizer_loss(
            predicted,
            keys,
            quantised.commitment,
            velocity_weight=recipe.velocity,
            channel_weights=channel_weights,
        )
        return {
            "loss": losses.total,
            "motion": losses.motion,
            "perplexity": perplexity(quantised.tokens[:, -1], codes),
        }

    def publish(weights: dict[str, Tensor], path: Path) -> None:
        own = {
            name.removeprefix("tokenizer."): value
            for name, value in weights.items()
            if name.startswith("tokenizer.")
        }
        # Averages of codes are no codes: the table goes with the weights as it stands.
        own["codebooks"] = network.tokenizer.codebooks.data
        checkpoint.write(path, asdict(recipe.network), own, dtype=KEPT_AS)

    return Training(network, loss, publish)


def guide_training(recipe: Recipe, scenes: Sequence[Scene], tokenizer: Tokenizer) -> Training:
    """The guide, on the tokens that a trained tokenizer makes of the key poses."""
    assert isinstance(recipe.network, GuideConfig)
    network = Guide(recipe.network)

    def loss(generator: Generator) -> dict[str, Tensor]:
        batch = drawn(recipe, scenes, generator)
        with torch.no_grad():
            targets = tokenizer.encode(batch.motion[:, ::KEY_FRAMES]).flatten(1)  # [B, K * R]
        inputs = torch.cat([torch.full_like(targets[:, :1], network.start), targets[:, :-1]], 1)
        keep = drawn_keep(len(targets), DROP, generator)
        with autocast(recipe):
            logits = network(inputs, network.condition(batch.features, keep))
        right = (logits.argmax(-1) == targets).float().mean()
        return {"loss": token_loss(logits.float(), targets), "right": right}

    return Training(network, loss, publisher(recipe.network))


def drawn(recipe: Recipe, scenes: Sequence[Scene], generator: Generator) -> Batch:
    """A batch of windows, with sound as other microphones might have it."""
    batch = drawn_windows(recipe, scenes, generator)
    return replace(batch, features=jittered(batch.features, recipe, generator))


def drawn_windows(recipe: Recipe, scenes: Sequence[Scene], generator: Generator) -> Batch:
    """A batch in one of the recipe's shapes."""
    shares = torch.tensor([windows.share for windows in recipe.windows])
    shape = recipe.windows[int(torch.multinomial(shares, 1, generator=generator))]
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


def weighed(predicted: Tensor, batch: Batch, recipe: Recipe) -> dict[str, Tensor]:
    """The losses of a denoiser."""
    losses = motion_loss(predicted.float(), batch.motion, batch.inside, batch.present)
    position, velocity = losses.position.mean(), losses.velocity.mean()
    return {
        "loss": position + recipe.velocity * velocity,
        "position": position,
        "velocity": velocity,
    }


def autocast(recipe: Recipe) -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=recipe.bfloat16)


def publisher(config: Any) -> Callable[[dict[str, Tensor], Path], None]:
    """Writes weights as a file of a person directory."""

    def publish(weights: dict[str, Tensor], path: Path) -> None:
        checkpoint.write(path, asdict(config), weights, dtype=KEPT_AS)

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
