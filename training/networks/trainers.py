"""Trainers of the four networks: batches, losses, and the file in the person directory.

Letters: B samples, T frames of a window, C channels, L rows of features, A their width, K keys.
Speech features are computed once per scene, before the first step.
"""

from __future__ import annotations

import logging
import math
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from models import checkpoint
from models.formats.dataset import DatasetError
from models.motion.denoiser import (
    KEY_FRAMES,
    BodyDenoiser,
    Denoiser,
    DenoiserConfig,
)
from models.motion.diffusion import STEPS, cumulative_alphas, q_sample
from models.motion.guide import Guide, GuideConfig
from models.motion.lips import LipUnits, LipUnitsConfig
from models.motion.statistics import load_statistics
from models.motion.tokenizer import Tokenizer, TokenizerConfig, load_tokenizer
from training.data.scenes import FACE, POSE, WHOLE, Batch, Shard, sample_padded, sample_windows
from training.loop.batch import TrainingBatch
from training.loop.loop import Training
from training.networks.codebooks import LearningTokenizer, perplexity
from training.networks.lip_data import (
    CLOSED_WEIGHT,
    NO_PHONE,
    PHONE_WEIGHT,
    LipData,
    load_lip_data,
    symbols_of,
)
from training.networks.losses import motion_loss, sample_keep_mask, token_loss, tokenizer_loss
from training.networks.recipes import LIPS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Generator

    from training.data.scenes import Scene
    from training.networks.recipes import Network, Recipe

logger = logging.getLogger(__name__)

CPU = torch.device("cpu")
SEEN, LEAST_SEEN, MOST_SEEN = 0.1, 0.25, 2.0  # rad of spread with weight 1, and limits of weights
LISTENING = 900  # timestep from which on noise hides the motion of a face
CONSTANT = 2.0  # bias of the norms in `align`; large enough to separate 600 positions
MOTION = {"face": FACE, "body": POSE, "tokenizer": POSE, "guide": POSE, LIPS: FACE}


@dataclass(frozen=True)
class Split:
    """Training and validation scenes, and the share of this process in every training batch."""

    training: Sequence[Scene]
    validation: Sequence[Scene] = ()
    shard: Shard = WHOLE


def split(recipe: Recipe, scenes: Sequence[Scene]) -> Split:
    """Split scenes by name: the last ones are for tests, those before them for validation.

    Without enough scenes for validation, all but the test scenes are trained on.
    Raises: DatasetError: when only test scenes are left.
    """
    training, validation = split_sizes(recipe, len(scenes))
    if recipe.validation_scenes and not validation:
        logger.info("%d scenes are too few for a validation split: training on all", training)
    return Split(scenes[:training], scenes[training : training + validation])


def split_sizes(recipe: Recipe, scenes: int) -> tuple[int, int]:
    """Numbers of training and validation scenes.

    Raises: DatasetError: when only test scenes are left.
    """
    rest = scenes - recipe.test_scenes
    if rest < 1:
        raise DatasetError(
            f"{scenes} scenes are too few: the recipe keeps {recipe.test_scenes} for tests; "
            "add scenes or lower test_scenes"
        )
    training = rest - recipe.validation_scenes
    return (training, recipe.validation_scenes) if training >= 1 else (rest, 0)


def make_training(name: str, recipe: Recipe, person: Path, scenes: Split) -> Training:
    """Training of one network of a person; the guide needs the trained tokenizer."""
    if name == "guide":
        tokenizer = load_tokenizer(person / "tokenizer.safetensors", device=CPU)
        return guide_training(recipe, scenes, tokenizer)
    if name == LIPS:
        return lips_training(recipe, scenes, load_lip_data(person))
    if name == "tokenizer":
        weights = None
        if recipe.seen_weights:
            weights = seen_weights(load_statistics(person / "stats.json", device=CPU).pose_std)
        return tokenizer_training(recipe, scenes, weights)
    return {"face": face_training, "body": body_training}[name](recipe, scenes)


def face_training(recipe: Recipe, scenes: Split) -> Training:
    """Training of the face denoiser."""
    config = recipe.network
    assert isinstance(config, DenoiserConfig)
    network = Denoiser(config)
    if recipe.aligned:
        align(network)

    def sample(
        scenes: Sequence[Scene], generator: Generator, shard: Shard = WHOLE
    ) -> TrainingBatch:
        batch = sample_batch(recipe, scenes, generator, shard)
        return noisy_batch(recipe, config, batch, generator)

    def losses(batch: TrainingBatch) -> dict[str, Tensor]:
        motion, first = batch["motion"], batch.first
        with autocast(recipe, motion.device):
            tokens = network.tokens(batch["features"], first=first)
            condition = network.condition(tokens, motion.shape[1], keep=batch["keep"], first=first)
            predicted = network(batch["noisy"], batch["t"], condition)
        return denoiser_losses(predicted, batch, recipe)

    return _training(recipe, scenes, network, sample, losses)


class LearningBody(BodyDenoiser):
    """Body denoiser with dropout in its convolutions, active only in training."""

    def __init__(self, config: DenoiserConfig, dropout: float) -> None:
        super().__init__(config, tail_dropout=dropout)
        self._dropout = dropout

    def train(self, mode: bool = True) -> LearningBody:  # noqa: FBT001, FBT002 - torch's signature
        self.tail_dropout = self._dropout if mode else 0.0
        super().train(mode)
        return self


def body_training(recipe: Recipe, scenes: Split) -> Training:
    """Training of the body denoiser, conditioned on the true key poses."""
    config = recipe.network
    assert isinstance(config, DenoiserConfig)
    network = LearningBody(config, recipe.tail_dropout)
    if recipe.aligned:
        align(network)

    def sample(
        scenes: Sequence[Scene], generator: Generator, shard: Shard = WHOLE
    ) -> TrainingBatch:
        windows = sample_batch(recipe, scenes, generator, shard)
        batch = noisy_batch(recipe, config, windows, generator)
        # A separate mask: guidance drops both conditions at once, but each must work alone.
        keep_keys = sample_keep_mask(len(batch), recipe.drop, generator)
        return replace(batch, rows={**batch.rows, "keep_keys": keep_keys})

    def losses(batch: TrainingBatch) -> dict[str, Tensor]:
        motion, first = batch["motion"], batch.first
        with autocast(recipe, motion.device):
            tokens = network.tokens(batch["features"], first=first)
            condition = network.condition(tokens, motion.shape[1], keep=batch["keep"], first=first)
            keys = network.key_tokens(motion[:, ::KEY_FRAMES], batch["keep_keys"])
            condition = network.with_keys(condition, keys, first=first // KEY_FRAMES)
            predicted = network(batch["noisy"], batch["t"], condition)
        return denoiser_losses(predicted, batch, recipe)

    return _training(recipe, scenes, network, sample, losses)


def seen_weights(spread: Tensor) -> Tensor:
    """Loss weight of each pose channel by its visibility: spread in rad [C] -> [C].

    Normalised channels would weight the sway of a spine like the sweep of an arm, and the tokens
    would encode the sway.
    """
    return (spread / SEEN).clamp(LEAST_SEEN, MOST_SEEN)


def tokenizer_training(
    recipe: Recipe, scenes: Split, channel_weights: Tensor | None = None
) -> Training:
    """Training of the tokenizer, on key poses alone."""
    config = recipe.network
    assert isinstance(config, TokenizerConfig)
    network = LearningTokenizer(Tokenizer(config))

    def sample(
        scenes: Sequence[Scene], generator: Generator, shard: Shard = WHOLE
    ) -> TrainingBatch:
        windows = sample_plain_batch(recipe, scenes, generator, shard)
        return TrainingBatch({"keys": windows.motion[:, ::KEY_FRAMES].contiguous()})

    def sample_and_initialise(generator: Generator) -> TrainingBatch:
        batch = sample(scenes.training, generator)  # codebooks learn from the whole batch
        network.initialise(_to_device_of(batch["keys"], network), generator)
        return batch

    def losses(batch: TrainingBatch) -> dict[str, Tensor]:
        keys = batch["keys"]
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

    def update(batch: TrainingBatch, generator: Generator) -> None:
        network.update_codebooks(_to_device_of(batch["keys"], network), generator)

    training = _training(recipe, scenes, network, sample, losses)
    return replace(
        training,
        sample=sample_and_initialise,
        publish=publisher(config, stored_dtype(recipe), part="tokenizer."),
        update=update,
    )


def guide_training(recipe: Recipe, scenes: Split, tokenizer: Tokenizer) -> Training:
    """Training of the guide, on the key poses as tokens of the trained tokenizer."""
    config = recipe.network
    assert isinstance(config, GuideConfig)
    network = Guide(config)

    def sample(
        scenes: Sequence[Scene], generator: Generator, shard: Shard = WHOLE
    ) -> TrainingBatch:
        windows = sample_batch(recipe, scenes, generator, shard)
        with torch.no_grad():
            targets = tokenizer.encode(windows.motion[:, ::KEY_FRAMES]).flatten(1)  # [B, K * R]
        keep = sample_keep_mask(len(targets), recipe.drop, generator)
        return TrainingBatch({"features": windows.features, "targets": targets, "keep": keep})

    def losses(batch: TrainingBatch) -> dict[str, Tensor]:
        targets = batch["targets"]
        inputs = torch.cat([torch.full_like(targets[:, :1], network.start), targets[:, :-1]], 1)
        with autocast(recipe, targets.device):
            logits = network(inputs, network.condition(batch["features"], batch["keep"]))
        right = (logits.argmax(-1) == targets).float().mean()
        return {"loss": token_loss(logits.float(), targets), "right": right}

    return _training(recipe, scenes, network, sample, losses)


class LearningLips(nn.Module):
    """Lip regressor in training, where it also tells phones apart.

    Phones determine lips, and a network that knows them does so with more voices. Each member
    learns alone, so that their errors differ.
    """

    def __init__(self, lips: LipUnits) -> None:
        super().__init__()
        self.lips = lips

    def forward(self, rows: Tensor, clip: Tensor) -> list[tuple[Tensor, Tensor, Tensor | None]]:
        """Of each member: as `LipUnits`, and logits of phones [B, T, P], None without phones."""
        results: list[tuple[Tensor, Tensor, Tensor | None]] = []
        for member in self.lips.members:
            hidden = member.hidden(rows, clip)
            phones = None if member.phones is None else member.phones(hidden)
            results.append((*member.units(hidden), phones))
        return results


def lips_training(recipe: Recipe, scenes: Split, data: LipData) -> Training:
    """Training of the lip regressor on disturbed audio."""
    assert isinstance(recipe.network, LipUnitsConfig)
    columns, symbols = data.columns(recipe.network.units), symbols_of(scenes.training)
    mel = data.front_end.config
    config = replace(
        recipe.network,
        phones=len(symbols),
        bands=mel.bands,
        lowest=mel.lowest,
        highest=mel.highest,
    )
    scenes = replace(
        scenes,
        training=data.with_powers(scenes.training, symbols, scenes.shard),
        validation=data.with_powers(scenes.validation, symbols, scenes.shard),
    )
    network = LearningLips(LipUnits(config))
    lips = network.lips
    mean, spread = data.distribution(scenes.training, columns)
    for member in lips.members:
        member.mean, member.spread = mean.clone(), spread.clone()
    bank = data.bank(scenes.training)

    def sample(
        scenes: Sequence[Scene], generator: Generator, shard: Shard = WHOLE
    ) -> TrainingBatch:
        windows = sample_plain_batch(recipe, scenes, generator, shard)
        batch = data.batch(recipe, windows, columns, bank, generator)
        batch["rows"] = add_jitter(batch["rows"], recipe, generator, channels=1)
        return TrainingBatch(batch)

    def losses(batch: TrainingBatch) -> dict[str, Tensor]:
        clip = batch["rows"]  # they begin with those of the window
        with autocast(recipe, clip.device):
            results = network(clip[:, : batch["units"].shape[1]], clip)
        of_members = [
            lip_losses(units, closed, phones, lips.spread, batch, recipe)
            for units, closed, phones in results
        ]
        return {
            name: torch.stack([each[name] for each in of_members]).mean() for name in of_members[0]
        }

    publish = publisher(config, stored_dtype(recipe), part="lips.")
    return replace(_training(recipe, scenes, network, sample, losses), publish=publish)


def lip_losses(
    units: Tensor, closed: Tensor, phones: Tensor | None, spread: Tensor, batch: TrainingBatch,
    recipe: Recipe,
) -> dict[str, Tensor]:  # fmt: skip
    """Losses of one member of the lip regressor."""
    seen = batch["inside"] * batch["present"]  # [B, T]
    motion = motion_loss(
        units.float() / spread, batch["units"] / spread, batch["inside"], batch["present"]
    )
    errors = binary_cross_entropy_with_logits(closed.float(), batch["closed"], reduction="none")
    of_closed = (errors * seen).sum() / seen.sum().clamp(min=1)
    position, velocity = motion.position.mean(), motion.velocity.mean()
    result = {
        "loss": position + recipe.velocity * velocity + CLOSED_WEIGHT * of_closed,
        "position": position,
        "closed": of_closed,
    }
    if phones is not None:
        known = (batch["phones"] != NO_PHONE).sum().clamp(min=1)
        wrong = cross_entropy(
            phones.float().flatten(0, 1), batch["phones"].flatten(),
            ignore_index=NO_PHONE, reduction="sum",
        )  # fmt: skip
        result["phones"] = wrong / known
        result["loss"] = result["loss"] + PHONE_WEIGHT * result["phones"]
    return result


def _training(
    recipe: Recipe,
    scenes: Split,
    network: nn.Module,
    sample: Callable[..., TrainingBatch],  # of scenes, with a generator and a shard
    losses: Callable[[TrainingBatch], dict[str, Tensor]],
) -> Training:
    return Training(
        network,
        partial(sample, scenes.training, shard=scenes.shard),
        losses,
        publisher(recipe.network, stored_dtype(recipe)),
        sample_validation=partial(sample, scenes.validation) if scenes.validation else None,
    )


def _to_device_of(value: Tensor, network: nn.Module) -> Tensor:
    """Move a tensor to the device of a network."""
    return value.to(next(network.parameters()).device)


def sample_batch(
    recipe: Recipe, scenes: Sequence[Scene], generator: Generator, shard: Shard = WHOLE
) -> Batch:
    """Sample a batch of windows, with features jittered as if other microphones had been used."""
    batch = sample_plain_batch(recipe, scenes, generator, shard)
    if recipe.level_jitter == recipe.tone_jitter == 0:
        return batch
    return replace(batch, features=add_jitter(batch.features, recipe, generator))


def sample_plain_batch(
    recipe: Recipe, scenes: Sequence[Scene], generator: Generator, shard: Shard = WHOLE
) -> Batch:
    """Sample a batch in one of the recipe's shapes, without jitter."""
    shares = torch.tensor([windows.share for windows in recipe.windows])
    shape = recipe.windows[int(torch.multinomial(shares, 1, generator=generator))]
    if shape.shortest:
        return sample_padded(
            scenes,
            shape.batch,
            generator,
            shortest=shape.shortest,
            longest=shape.frames,
            shard=shard,
        )
    return sample_windows(scenes, shape.frames, shape.batch, generator, shard=shard)


def sample_position(config: DenoiserConfig, batch: Batch, generator: Generator) -> int:
    """Sample the position of a batch of windows in the longest clip: the one of its first frame.

    0 if feature rows do not correspond to frames one to one.
    """
    room = config.longest_rows - batch.frames
    if batch.features.shape[1] != batch.frames or room <= 0:
        return 0
    return KEY_FRAMES * int(torch.randint(room // KEY_FRAMES + 1, (1,), generator=generator))


def add_jitter(
    features: Tensor, recipe: Recipe, generator: Generator, *, channels: int = 2
) -> Tensor:
    """Add a random level to each audio channel and a random tone to each column of [B, L, A]."""
    count, _, width = features.shape
    level = torch.randn(count, 1, channels, 1, generator=generator) * recipe.level_jitter
    tone = torch.randn(count, 1, channels, width // channels, generator=generator)
    tone = tone * recipe.tone_jitter
    return features + (level + tone).flatten(2)


def sample_timesteps(count: int, listening: float, generator: Generator) -> Tensor:
    """Sample timesteps [count]: all alike, or a share of them from `LISTENING` on.

    Face codes are smooth and of low rank, so below that the network reads the motion from its noisy
    input, and few of uniform draws teach it to listen.
    """
    t = torch.randint(STEPS, (count,), generator=generator)
    if listening == 0:
        return t
    late = torch.randint(LISTENING, STEPS, (count,), generator=generator)
    return torch.where(torch.rand(count, generator=generator) < listening, late, t)


def add_noise(
    clean: Tensor, generator: Generator, *, listening: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Diffuse clean motion [B, T, C] to random timesteps: noisy motion and timesteps [B].

    listening: as in `sample_timesteps`.
    """
    t = sample_timesteps(len(clean), listening, generator)
    noise = torch.randn(clean.shape, generator=generator)
    return q_sample(clean, noise, cumulative_alphas()[t]), t


def noisy_batch(
    recipe: Recipe, config: DenoiserConfig, batch: Batch, generator: Generator
) -> TrainingBatch:
    """Training batch of a denoiser: clean and noisy motion, timesteps, features, condition mask."""
    first = sample_position(config, batch, generator)
    noisy, t = add_noise(batch.motion, generator, listening=recipe.listening)
    keep = sample_keep_mask(len(t), recipe.drop, generator)
    return TrainingBatch({**vars(batch), "noisy": noisy, "t": t, "keep": keep}, first)


def denoiser_losses(predicted: Tensor, batch: TrainingBatch, recipe: Recipe) -> dict[str, Tensor]:
    """Losses of a denoiser."""
    losses = motion_loss(predicted.float(), batch["motion"], batch["inside"], batch["present"])
    position, velocity = losses.position.mean(), losses.velocity.mean()
    return {
        "loss": position + recipe.velocity * velocity,
        "position": position,
        "velocity": velocity,
    }


def autocast(recipe: Recipe, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=recipe.bfloat16)


def stored_dtype(recipe: Recipe) -> torch.dtype:
    """Data type of weights in the person directory."""
    return {"float16": torch.float16, "float32": torch.float32}[recipe.kept_as]


def publisher(
    config: Network, dtype: torch.dtype, *, part: str = ""
) -> Callable[[dict[str, Tensor], Path], None]:
    """Function that writes weights as a file of a person directory.

    part: start of the names that are written, without it, where a training has more networks.
    """

    def publish(weights: dict[str, Tensor], path: Path) -> None:
        kept = {
            name.removeprefix(part): value
            for name, value in weights.items()
            if name.startswith(part)
        }
        checkpoint.write(path, asdict(config), kept, dtype=dtype)

    return publish


@torch.no_grad()
def align(network: Denoiser) -> None:
    """Initialise attention so that it starts at the same moment of time.

    With a constant in every row, rotated by its position, and projections near the identity, the
    product of a query and a key is largest where their positions agree: at short distances in
    heads of high rotary frequency, at long distances in heads of low frequency. Learning this from
    random weights costs thousands of steps. Key poses are 30 frames apart, so their queries read
    the pairs with a frequency 30 times lower.
    """
    norms = [network.memory_norm, *(layer.self_norm for layer in network.encoder)]
    aligned = [layer.self_attention for layer in network.encoder]
    for decoder in network.layers:
        norms += [decoder.self_norm, *decoder.memory_norms]
        aligned += [decoder.self_attention, *decoder.memory_attentions]
    if isinstance(network, BodyDenoiser):
        norms.append(network.key_norm)
    for norm in norms:
        norm.bias[::2] = CONSTANT
    for attention in aligned:
        _align_to_rows(attention.in_weight)
    if isinstance(network, BodyDenoiser):
        for decoder in network.layers:
            _align_to_key_poses(decoder.memory_attentions[1].in_weight)


def _align_to_rows(weight: Tensor) -> None:
    """Set queries and keys of [3 d, d] close to the identity; values stay."""
    width = weight.shape[1]
    weight[: 2 * width] *= 0.2
    weight[: 2 * width] += torch.eye(width).repeat(2, 1)


def _align_to_key_poses(weight: Tensor) -> None:
    """Let each query pair of [3 d, d] read the pair of a KEY_FRAMES times lower frequency."""
    width = weight.shape[1]
    pairs = round(width / 2 * math.log(KEY_FRAMES) / math.log(10000))
    weight[:width] = torch.roll(weight[:width], 2 * pairs, dims=1)
