"""Conversion of released networks to a config and weights under the names of this project.

Sizes are inferred from the weights. Values that weights do not contain (heads, strides,
activations) come from the settings beside them or are the released ones. A mismatch raises
ReleasedError with the file, the key and the shapes.
"""

from __future__ import annotations

import argparse
import ast
import re
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from models.motion.denoiser import BodyDenoiser, Denoiser, DenoiserConfig
from models.motion.guide import AUDIO_DILATIONS, Guide, GuideConfig
from models.motion.lips import LipConfig, LipRegressor, sinusoids
from models.motion.resample import sinc_filters
from models.motion.speech import (
    RELEASED_LAYERS,
    SAMPLE_RATE,
    SPEECH_RATE,
    ConvSpeech,
    ConvSpeechConfig,
)
from models.motion.statistics import LENGTHS
from models.motion.tokenizer import Tokenizer, TokenizerConfig
from models.released import motion_keys as released
from models.released.reader import ReleasedError
from models.released.weight_names import STRIDE, guide_rules, released_key, tokenizer_rules

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import Tensor, nn

    Weights = Mapping[str, Tensor]

CHANNELS = {"face": 256, "body": 104}
TABLE_TOLERANCE = 2e-3  # of tables in half precision and of sines of large angles
DEFAULT_HEADS = 4  # of denoisers whose settings do not contain it
PLAIN_SPEECH = {  # flags of a speech model that its convolutions here support
    "skip_connections_feat": False,
    "non_affine_group_norm": False,
}
LIP_SPEECH = {  # flags of wav2vec_large that the lip regressor here supports
    **PLAIN_SPEECH,
    "activation": "relu",
    "log_compression": True,
    "skip_connections_agg": True,
    "residual_scale": 0.5,
    "no_conv_bias": False,
    "agg_zero_pad": False,
}
OPTIONAL_STATISTICS = {"pose_std_flat": 1, "code_std_flat": 1, "audio_std": 2}


@dataclass(frozen=True)
class Network:
    """Content of one .safetensors file."""

    config: dict[str, Any]
    weights: dict[str, Tensor]
    notes: tuple[str, ...] = ()  # for the user who imports


def denoiser(kind: str, weights: Weights, settings: Mapping[str, Any], path: Path) -> Network:
    """Convert the "face" or "body" denoiser of a diffusion checkpoint.

    Raises: ReleasedError: when a tensor or a setting does not match.
    """
    weights = released.strip_parallel(weights)
    _check_process(settings, path)
    _check_computed(weights, path)
    layers = _count(weights, r"seqTransDecoder\.stack\.(\d+)\.", path)
    _check_setting(path, "layers", settings.get("layers"), layers)
    sizes = {
        "channels": _size(weights, "input_projection.weight", 1, path),
        "audio_channels": _size(weights, "cond_projection.weight", 1, path),
        "width": _width(weights, path),
        "layers": layers,
        "heads": settings.get("heads", DEFAULT_HEADS),
        "hidden": _size(weights, "seqTransDecoder.stack.0.linear1.weight", 0, path),
        "longest_rows": _size(weights, "null_cond_embed", 1, path),
    }
    if sizes["channels"] != CHANNELS[kind]:
        raise ReleasedError(
            f"{path}: input_projection.weight must take {CHANNELS[kind]} channels for a {kind}, "
            f"found {sizes['channels']}"
        )
    if kind == "face":
        config = _config(
            DenoiserConfig, path, encoder_layers=_count(weights, r"cond_encoder\.(\d+)\."), **sizes
        )
        network = Denoiser
    else:
        config = _config(
            DenoiserConfig,
            path,
            longest_keys=_size(weights, "null_pose_embed", 1, path),
            tail_hidden=_size(weights, "post_pose_layers.0.weight", 0, path),
            **sizes,
        )
        network = BodyDenoiser
    converted = _converted(lambda: released.convert(weights, released.DENOISER), path)
    _check_fit(lambda: network(config), converted, released.DENOISER, path)
    return Network(asdict(config), converted)


def guide(weights: Weights, settings: Mapping[str, Any], path: Path) -> Network:
    """Convert the guide in the model_state_dict of its checkpoint.

    Raises: ReleasedError: when a tensor or a setting does not match.
    """
    weights = released.strip_parallel(weights)
    _check_computed(weights, path)
    blocks = _audio_blocks(weights, path)
    layers = _count(weights, r"seqTransDecoder\.stack\.(\d+)\.", path)
    config = _config(
        GuideConfig,
        path,
        codes=_size(weights, "final_layer.weight", 0, path),
        audio_channels=_size(weights, "cond_projection.weight", 1, path),
        audio_blocks=blocks,
        width=_width(weights, path),
        layers=layers,
        hidden=_size(weights, "seqTransDecoder.stack.0.linear1.weight", 0, path),
        longest_rows=_size(weights, "null_cond_embed", 1, path),
    )
    for name, size in (
        ("layers", layers),
        ("dim", config.width),
        ("num_audio_layers", blocks),  # the reference does not always write it
    ):
        _check_setting(path, name, settings.get(name), size)
    converted = _converted(lambda: released.convert_guide(weights), path)
    _check_fit(lambda: Guide(config), converted, guide_rules(blocks), path)
    return Network(asdict(config), converted)


def tokenizer(weights: Weights, settings: Mapping[str, Any], path: Path) -> Network:
    """Convert the tokenizer in the net of its checkpoint.

    Raises: ReleasedError: when a tensor or a setting does not match.
    """
    weights = released.strip_parallel(weights)
    key = "quantizer.layers.{}._codebook.embed"
    depth = _count(weights, r"quantizer\.layers\.(\d+)\.", path)
    config = _config(
        TokenizerConfig,
        path,
        channels=_size(weights, "encoder.enc.0.weight", 1, path),
        width=_size(weights, "encoder.enc.0.weight", 0, path),
        codes=_size(weights, key.format(0), 0, path),
        depth=depth,
    )
    names = {"nb_joints": "channels", "output_emb_width": "width", "code_dim": "codes"}
    for name, field in (names | {"depth": "depth"}).items():
        _check_setting(path, name, settings.get(name), getattr(config, field))
    for level in range(depth):
        _check_shape(weights, key.format(level), [config.codes, config.width], path)
    converted = _converted(lambda: released.convert_tokenizer(weights), path)
    _check_fit(lambda: Tokenizer(config), converted, tokenizer_rules(), path)
    return Network(asdict(config), converted)


def speech(weights: Weights, args: Mapping[str, Any] | None, path: Path) -> Network:
    """Convert the front end, the convolutions of the gumbel speech model.

    args: hyper-parameters from the separate checkpoint of the model, if it exists.

    Raises: ReleasedError: when a tensor or an argument does not match.
    """
    weights = released.strip_parallel(weights)
    layers = _conv_layers(weights, "", args, path)
    notes = []
    if args is None:
        notes.append(
            "arguments of the speech model not found (assets/vq-wav2vec.pt): using activation gelu "
            "and no log compression, as in its published training command"
        )
    elif "log_compression" not in args:
        notes.append("log_compression not found in the speech checkpoint: using no log compression")
    settings = args or {}
    _check_flags(PLAIN_SPEECH, settings, path)
    config = _config(
        ConvSpeechConfig,
        path,
        layers=layers,
        activation=settings.get("activation", "relu") if args is not None else "gelu",
        log_compression=bool(settings.get("log_compression", False)),
    )
    converted = _converted(lambda: released.convert(weights, released.SPEECH), path)
    _check_fit(lambda: ConvSpeech(config), converted, released.SPEECH, path)
    return Network({"kind": "convolutions", **asdict(config)}, converted, tuple(notes))


def lips(weights: Weights, args: Mapping[str, Any] | None, path: Path) -> Network:
    """Convert the lip regressor.

    args: hyper-parameters of wav2vec_large, if its checkpoint exists.

    Raises: ReleasedError: when a tensor or an argument does not match.
    """
    weights = released.strip_parallel(weights)
    _check_computed(weights, path)
    prefix = "audio_encoder.wav2vec_model."
    layers = _conv_layers(weights, prefix, args, path)
    _check_flags(LIP_SPEECH, args or {}, path)
    pattern = re.escape(prefix) + r"feature_aggregator\.conv_layers\.(\d+)\."
    kernels = tuple(
        _size(weights, f"{prefix}feature_aggregator.conv_layers.{layer}.1.weight", 2, path)
        for layer in range(_count(weights, pattern, path))
    )
    blocks = "regression_model.transformer_"
    table = weights.get("regression_model.cond_positional_encoding.pe")
    config = _config(
        LipConfig,
        path,
        layers=layers,
        context_kernels=kernels,
        vertices=_size(weights, "project_output.bias", 0, path) // 3,
        hidden=_size(weights, f"{blocks}encoder.0.feedforward.ff.0.weight", 0, path),
        encoder_layers=_count(weights, rf"{re.escape(blocks)}encoder\.(\d+)\.", path),
        decoder_layers=_count(weights, rf"{re.escape(blocks)}decoder\.(\d+)\.", path),
        **({"positions": len(table)} if table is not None else {}),
    )
    converted = _converted(lambda: released.convert(weights, released.LIPS), path)
    _check_fit(lambda: LipRegressor(config), converted, released.LIPS, path)
    return Network(asdict(config), converted)


def statistics(values: object, path: Path) -> dict[str, Any]:
    """Convert statistics to the content of stats.json.

    Raises: ReleasedError: when a statistic is missing or invalid.
    """
    if not isinstance(values, dict):
        raise ReleasedError(f"{path}: must be a dict of arrays, found {type(values).__name__}")
    result: dict[str, Any] = {}
    for name, length in {**LENGTHS, "audio_std_flat": 1, **OPTIONAL_STATISTICS}.items():
        if name not in values:
            if name in OPTIONAL_STATISTICS:
                continue
            raise ReleasedError(f"{path}: {name} is missing")
        array = torch.as_tensor(values[name])
        if list(array.shape) != [length]:
            raise ReleasedError(f"{path}: {name} must be [{length}], found {list(array.shape)}")
        if "std" in name and not bool((array > 0).all()):
            raise ReleasedError(f"{path}: {name} must be above 0, found {array.min()}")
        result[name] = array.tolist()
    return result | {"audio_std_flat": result["audio_std_flat"][0]}


def conv_args(checkpoint: object, path: Path) -> dict[str, Any] | None:
    """Hyper-parameters of a speech checkpoint, None if they cannot be read.

    Newer versions of fairseq store them under cfg, as plain values or as objects, which are not
    read.

    Raises: ReleasedError: when the checkpoint has neither args nor cfg.
    """
    if not isinstance(checkpoint, dict) or not checkpoint.keys() & {"args", "cfg"}:
        raise ReleasedError(f"{path}: 'args' is missing")
    newer = checkpoint.get("cfg")
    args = checkpoint.get("args") or (newer.get("model") if isinstance(newer, dict) else None)
    if isinstance(args, argparse.Namespace):
        return dict(vars(args))
    return dict(args) if isinstance(args, dict) else None


def _check_process(settings: Mapping[str, Any], path: Path) -> None:
    """Refuse settings that the networks or the sampler here do not support."""
    for name in ("unconstrained", "not_rotary"):
        if settings.get(name):
            raise ReleasedError(f"{path.parent}/args.json: {name} is not supported")
    schedule = settings.get("noise_schedule", "cosine")
    if schedule != "cosine":
        raise ReleasedError(
            f"{path.parent}/args.json: noise_schedule must be 'cosine', found {schedule!r}"
        )


def _check_computed(weights: Weights, path: Path) -> None:
    """Compare stored tables with the computed ones."""
    for key, value in weights.items():
        leaf = key.rpartition(".")[2]
        if key.endswith("rotary.freqs"):
            pairs = torch.arange(0, 2 * len(value), 2) / (2 * len(value))
            expected = 1 / 10000**pairs
        elif key.endswith("resampler.kernel"):
            expected = sinc_filters(SAMPLE_RATE, SPEECH_RATE)
        elif leaf == "pe" and value.ndim == 2:
            expected = sinusoids(*value.shape)
        else:
            continue
        if value.shape != expected.shape:
            raise _shape_error(path, key, list(expected.shape), value)
        if not torch.allclose(value.float(), expected, rtol=TABLE_TOLERANCE, atol=TABLE_TOLERANCE):
            raise ReleasedError(f"{path}: {key} differs from the table of a network of this size")


def _audio_blocks(weights: Weights, path: Path) -> int:
    """Count the audio blocks of a guide and check that they are complete."""
    layers = {int(m[1]) for key in weights if (m := re.match(r"pre_audio\.(\d+)\.", key))}
    per_block = STRIDE * len(AUDIO_DILATIONS)
    blocks = max(layers, default=per_block) // per_block
    expected = {STRIDE * layer for layer in range(blocks * len(AUDIO_DILATIONS) + 1)}
    for layer in sorted(expected - layers):
        raise ReleasedError(f"{path}: pre_audio.{layer}.weight is missing")
    for layer in sorted(layers - expected):
        raise ReleasedError(f"{path}: unexpected pre_audio.{layer} in {blocks} blocks")
    return blocks


def _conv_layers(
    weights: Weights, prefix: str, args: Mapping[str, Any] | None, path: Path
) -> tuple[tuple[int, int, int], ...]:
    """(channels, kernel, stride) of a speech model; strides from its args, else as released."""
    prefix += "feature_extractor.conv_layers."
    count = _count(weights, re.escape(prefix) + r"(\d+)\.", path)
    sizes = [
        tuple(_size(weights, f"{prefix}{layer}.0.weight", axis, path) for axis in (0, 2))
        for layer in range(count)
    ]
    if args is not None and "conv_feature_layers" in args:
        layers = _parse_layers(args["conv_feature_layers"], path)
        if [layer[:2] for layer in layers] != sizes:
            raise ReleasedError(
                f"{path}: conv_feature_layers is {[layer[:2] for layer in layers]}, the weights "
                f"have {sizes}"
            )
        return layers
    known = RELEASED_LAYERS[:count]
    if [kernel for _, kernel in sizes] != [kernel for _, kernel, _ in known]:
        raise ReleasedError(
            f"{path}: unknown strides for kernels {[kernel for _, kernel in sizes]}, which differ "
            "from the released ones; add the checkpoint of the speech model to assets"
        )
    return tuple(
        (channels, kernel, stride)
        for (channels, kernel), (_, _, stride) in zip(sizes, known, strict=True)
    )


def _parse_layers(text: Any, path: Path) -> tuple[tuple[int, int, int], ...]:
    """Parse a text like "[(512, 10, 5), (512, 8, 4)]" without evaluating it."""
    try:
        value = ast.literal_eval(text) if isinstance(text, str) else text
        return tuple((int(c), int(k), int(s)) for c, k, s in value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise ReleasedError(f"{path}: invalid conv_feature_layers {text!r:.80}") from error


def _check_flags(expected: Mapping[str, Any], args: Mapping[str, Any], path: Path) -> None:
    for name, value in expected.items():
        if name in args and args[name] != value:
            raise ReleasedError(f"{path}: {name} must be {value}, found {args[name]}")


def _check_setting(path: Path, name: str, value: object, size: int) -> None:
    """Compare a setting with the weights; a setting may be absent."""
    if value is not None and value != size:
        raise ReleasedError(f"{path}: {name} is {value} in args.json and {size} in the weights")


def _count(weights: Weights, pattern: str, path: Path | None = None) -> int:
    """Count layers by the highest number. If a path is given, 0 is an error."""
    numbers = {int(match[1]) for key in weights if (match := re.match(pattern, key))}
    if not numbers and path is not None:
        readable = pattern.replace(r"(\d+)", "0").replace("\\", "")
        raise ReleasedError(f"{path}: {readable}* is missing; is it the right file?")
    return max(numbers, default=-1) + 1


def _size(weights: Weights, key: str, axis: int, path: Path) -> int:
    if key not in weights:
        raise ReleasedError(f"{path}: {key} is missing")
    if weights[key].ndim <= axis:
        raise ReleasedError(
            f"{path}: {key} must have at least {axis + 1} axes, found {list(weights[key].shape)}"
        )
    return weights[key].shape[axis]


def _width(weights: Weights, path: Path) -> int:
    """Width of a transformer by majority of three tensors, so errors name the deviating one."""
    axes = {"final_layer.weight": 1, "null_cond_hidden": 1, "norm_cond.weight": 0}
    sizes = [_size(weights, key, axis, path) for key, axis in axes.items()]
    return Counter(sizes).most_common(1)[0][0]


def _check_shape(weights: Weights, key: str, expected: list[int], path: Path) -> None:
    if key not in weights:
        raise ReleasedError(f"{path}: {key} is missing")
    if list(weights[key].shape) != expected:
        raise _shape_error(path, key, expected, weights[key])


def _shape_error(path: Path, key: str, expected: list[int], value: Tensor) -> ReleasedError:
    return ReleasedError(f"{path}: {key} must be {expected}, found {list(value.shape)}")


def _config(make: Callable[..., Any], path: Path, **values: Any) -> Any:
    try:
        return make(**values)
    except (ValueError, TypeError) as error:
        raise ReleasedError(f"{path}: does not match its args.json: {error}") from error


def _converted(convert: Callable[[], dict[str, Tensor]], path: Path) -> dict[str, Tensor]:
    try:
        return convert()
    except KeyError as error:
        raise ReleasedError(f"{path}: {error.args[0]}") from error


def _check_fit(
    make: Callable[[], nn.Module], converted: Weights, rules: released.Rules, path: Path
) -> None:
    """Compare names and shapes with the network, without allocating its weights."""
    with torch.device("meta"):
        expected = make().state_dict()
    for name, like in expected.items():
        if name not in converted:
            raise ReleasedError(f"{path}: {released_key(name, rules)} is missing")
        if converted[name].shape != like.shape:
            key = released_key(name, rules)
            raise _shape_error(path, key, list(like.shape), converted[name])
    for name in converted.keys() - expected.keys():
        raise ReleasedError(f"{path}: unexpected key {released_key(name, rules)}")
