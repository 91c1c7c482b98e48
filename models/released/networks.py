"""Released networks as this project keeps them: each a config and weights under our names.

Sizes are told by the weights; what weights do not tell (heads, strides, activations) by the
settings beside them, or it is as released. Everything that does not fit is a ReleasedError with
the file, the key, and the shapes.
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
from models.released.weight_names import APART, guide_rules, released_key, tokenizer_rules

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import Tensor, nn

    Weights = Mapping[str, Tensor]

CHANNELS = {"face": 256, "body": 104}
HALF = 2e-3  # how well half precision, and sines of large angles, keep a table
DEFAULT_HEADS = 4  # of diffusion, where the settings do not say
PLAIN_SPEECH = {  # flags of a speech model that its convolutions here have
    "skip_connections_feat": False,
    "non_affine_group_norm": False,
}
LIP_SPEECH = {  # flags of wav2vec_large that the lip regressor here has
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
    """What one .safetensors file will hold."""

    config: dict[str, Any]
    weights: dict[str, Tensor]
    notes: tuple[str, ...] = ()  # what the person who imports should know


def denoiser(kind: str, weights: Weights, settings: Mapping[str, Any], path: Path) -> Network:
    """The "face" or "body" denoiser of a diffusion checkpoint."""
    weights = released.strip_parallel(weights)
    _check_process(settings, path)
    _check_computed(weights, path)
    layers = _count(weights, r"seqTransDecoder\.stack\.(\d+)\.", path)
    _agree(path, "layers", settings.get("layers"), layers)
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
    """The guide of its checkpoint's model_state_dict."""
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
    for name, found in (
        ("layers", layers),
        ("dim", config.width),
        ("num_audio_layers", blocks),  # what trained it does not write it down
    ):
        _agree(path, name, settings.get(name), found)
    converted = _converted(lambda: released.convert_guide(weights), path)
    _check_fit(lambda: Guide(config), converted, guide_rules(blocks), path)
    return Network(asdict(config), converted)


def tokenizer(weights: Weights, settings: Mapping[str, Any], path: Path) -> Network:
    """The tokenizer of its checkpoint's net."""
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
    for name, ours in (names | {"depth": "depth"}).items():
        _agree(path, name, settings.get(name), getattr(config, ours))
    for level in range(depth):
        _check_shape(weights, key.format(level), [config.codes, config.width], path)
    converted = _converted(lambda: released.convert_tokenizer(weights), path)
    _check_fit(lambda: Tokenizer(config), converted, tokenizer_rules(), path)
    return Network(asdict(config), converted)


def speech(weights: Weights, args: Mapping[str, Any] | None, path: Path) -> Network:
    """The front end: convolutions of the gumbel speech model. args: of its own checkpoint."""
    weights = released.strip_parallel(weights)
    layers = _conv_layers(weights, "", args, path)
    notes = []
    if args is None:
        notes.append(
            "no arguments of the speech model were found (assets/vq-wav2vec.pt): activation gelu "
            "and no log compression are taken, as in its published training command"
        )
    elif "log_compression" not in args:
        notes.append(
            "the speech checkpoint does not say whether it has log compression; none is taken"
        )
    said = args or {}
    _check_flags(PLAIN_SPEECH, said, path)
    config = _config(
        ConvSpeechConfig,
        path,
        layers=layers,
        activation=said.get("activation", "relu") if args is not None else "gelu",
        log_compression=bool(said.get("log_compression", False)),
    )
    converted = _converted(lambda: released.convert(weights, released.SPEECH), path)
    _check_fit(lambda: ConvSpeech(config), converted, released.SPEECH, path)
    return Network({"kind": "convolutions", **asdict(config)}, converted, tuple(notes))


def lips(weights: Weights, args: Mapping[str, Any] | None, path: Path) -> Network:
    """The lip regressor. args: of wav2vec_large, if it is there."""
    weights = released.strip_parallel(weights)
    _check_computed(weights, path)
    inside = "audio_encoder.wav2vec_model."
    layers = _conv_layers(weights, inside, args, path)
    _check_flags(LIP_SPEECH, args or {}, path)
    pattern = re.escape(inside) + r"feature_aggregator\.conv_layers\.(\d+)\."
    kernels = tuple(
        _size(weights, f"{inside}feature_aggregator.conv_layers.{place}.1.weight", 2, path)
        for place in range(_count(weights, pattern, path))
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
    """What stats.json will hold."""
    if not isinstance(values, dict):
        raise ReleasedError(f"{path} must be a dict of arrays, found {type(values).__name__}")
    result: dict[str, Any] = {}
    for name, length in {**LENGTHS, "audio_std_flat": 1, **OPTIONAL_STATISTICS}.items():
        if name not in values:
            if name in OPTIONAL_STATISTICS:
                continue
            raise ReleasedError(f"{path} lacks {name}")
        array = torch.as_tensor(values[name])
        if list(array.shape) != [length]:
            raise ReleasedError(f"{path}: {name} must be [{length}], found {list(array.shape)}")
        if "std" in name and not bool((array > 0).all()):
            raise ReleasedError(f"{path}: {name} must be above 0 everywhere, found {array.min()}")
        result[name] = array.tolist()
    return result | {"audio_std_flat": result["audio_std_flat"][0]}


def conv_args(checkpoint: object, path: Path) -> dict[str, Any] | None:
    """The hyper-parameters of a speech checkpoint, None where they cannot be read.

    Newer versions keep them below cfg, as plain values or as objects that are not looked into.
    """
    if not isinstance(checkpoint, dict) or not checkpoint.keys() & {"args", "cfg"}:
        raise ReleasedError(f"{path} lacks 'args'")
    newer = checkpoint.get("cfg")
    args = checkpoint.get("args") or (newer.get("model") if isinstance(newer, dict) else None)
    if isinstance(args, argparse.Namespace):
        return dict(vars(args))
    return dict(args) if isinstance(args, dict) else None


def _check_process(settings: Mapping[str, Any], path: Path) -> None:
    """Refuse what the networks or the sampler here cannot be."""
    for name in ("unconstrained", "not_rotary"):
        if settings.get(name):
            raise ReleasedError(f"{path.parent}/args.json: {name} is not known here")
    schedule = settings.get("noise_schedule", "cosine")
    if schedule != "cosine":
        raise ReleasedError(
            f"{path.parent}/args.json: noise_schedule must be 'cosine', found {schedule!r}"
        )


def _check_computed(weights: Weights, path: Path) -> None:
    """Hold tables that are a function of the sizes against our own."""
    for key, value in weights.items():
        leaf = key.rpartition(".")[2]
        if key.endswith("rotary.freqs"):
            pairs = torch.arange(0, 2 * len(value), 2) / (2 * len(value))
            wanted = 1 / 10000**pairs
        elif key.endswith("resampler.kernel"):
            wanted = sinc_filters(SAMPLE_RATE, SPEECH_RATE)
        elif leaf == "pe" and value.ndim == 2:
            wanted = sinusoids(*value.shape)
        else:
            continue
        if value.shape != wanted.shape:
            raise _misshapen(path, key, list(wanted.shape), value)
        if not torch.allclose(value.float(), wanted, rtol=HALF, atol=HALF):
            raise ReleasedError(f"{path}: {key} is not the table that a network of its size has")


def _audio_blocks(weights: Weights, path: Path) -> int:
    """How many blocks of convolutions a guide has; all of them are there."""
    places = {int(m[1]) for key in weights if (m := re.match(r"pre_audio\.(\d+)\.", key))}
    step = APART * len(AUDIO_DILATIONS)
    blocks = max(places, default=step) // step
    wanted = {APART * place for place in range(blocks * len(AUDIO_DILATIONS) + 1)}
    for place in sorted(wanted - places):
        raise ReleasedError(f"{path} lacks pre_audio.{place}.weight")
    for place in sorted(places - wanted):
        raise ReleasedError(f"{path}: pre_audio.{place} has no place in {blocks} blocks")
    return blocks


def _conv_layers(
    weights: Weights, before: str, args: Mapping[str, Any] | None, path: Path
) -> tuple[tuple[int, int, int], ...]:
    """(channels, kernel, stride) of a speech model; strides are as its args say, or as released."""
    before += "feature_extractor.conv_layers."
    count = _count(weights, re.escape(before) + r"(\d+)\.", path)
    sizes = [
        tuple(_size(weights, f"{before}{place}.0.weight", axis, path) for axis in (0, 2))
        for place in range(count)
    ]
    if args is not None and "conv_feature_layers" in args:
        said = _listed(args["conv_feature_layers"], path)
        if [layer[:2] for layer in said] != sizes:
            raise ReleasedError(
                f"{path}: conv_feature_layers say {[layer[:2] for layer in said]}, the weights "
                f"have {sizes}"
            )
        return said
    known = RELEASED_LAYERS[:count]
    if [kernel for _, kernel in sizes] != [kernel for _, kernel, _ in known]:
        raise ReleasedError(
            f"{path}: kernels {[kernel for _, kernel in sizes]} are not the released ones, so "
            "their strides are not known; add the speech model's own checkpoint to assets"
        )
    return tuple(
        (channels, kernel, stride)
        for (channels, kernel), (_, _, stride) in zip(sizes, known, strict=True)
    )


def _listed(said: Any, path: Path) -> tuple[tuple[int, int, int], ...]:
    """What a text like "[(512, 10, 5), (512, 8, 4)]" lists; never evaluated."""
    try:
        value = ast.literal_eval(said) if isinstance(said, str) else said
        return tuple((int(c), int(k), int(s)) for c, k, s in value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise ReleasedError(f"{path}: conv_feature_layers {said!r:.80} lists no layers") from error


def _check_flags(wanted: Mapping[str, Any], said: Mapping[str, Any], path: Path) -> None:
    for name, value in wanted.items():
        if name in said and said[name] != value:
            raise ReleasedError(f"{path}: {name} must be {value}, found {said[name]}")


def _agree(path: Path, name: str, said: object, found: int) -> None:
    """Hold a setting against the weights; settings that are absent agree."""
    if said is not None and said != found:
        raise ReleasedError(f"{path}: args.json says {name} {said}, the weights have {found}")


def _count(weights: Weights, pattern: str, path: Path | None = None) -> int:
    """How many there are, told by the highest number. With a path, none is an error."""
    numbers = {int(match[1]) for key in weights if (match := re.match(pattern, key))}
    if not numbers and path is not None:
        readable = pattern.replace(r"(\d+)", "0").replace("\\", "")
        raise ReleasedError(f"{path} lacks {readable}*; is it another file?")
    return max(numbers, default=-1) + 1


def _size(weights: Weights, key: str, axis: int, path: Path) -> int:
    if key not in weights:
        raise ReleasedError(f"{path} lacks {key}")
    if weights[key].ndim <= axis:
        raise ReleasedError(
            f"{path}: {key} must have at least {axis + 1} axes, found {list(weights[key].shape)}"
        )
    return weights[key].shape[axis]


def _width(weights: Weights, path: Path) -> int:
    """Of a transformer, as most of some tensors have it: so the odd one out is told."""
    places = {"final_layer.weight": 1, "null_cond_hidden": 1, "norm_cond.weight": 0}
    sizes = [_size(weights, key, axis, path) for key, axis in places.items()]
    return Counter(sizes).most_common(1)[0][0]


def _check_shape(weights: Weights, key: str, wanted: list[int], path: Path) -> None:
    if key not in weights:
        raise ReleasedError(f"{path} lacks {key}")
    if list(weights[key].shape) != wanted:
        raise _misshapen(path, key, wanted, weights[key])


def _misshapen(path: Path, key: str, wanted: list[int], found: Tensor) -> ReleasedError:
    return ReleasedError(f"{path}: {key} must be {wanted}, found {list(found.shape)}")


def _config(make: Callable[..., Any], path: Path, **values: Any) -> Any:
    try:
        return make(**values)
    except (ValueError, TypeError) as error:
        raise ReleasedError(f"{path} and its args.json do not fit together: {error}") from error


def _converted(convert: Callable[[], dict[str, Tensor]], path: Path) -> dict[str, Tensor]:
    try:
        return convert()
    except KeyError as error:
        raise ReleasedError(f"{path}: {error.args[0]}") from error


def _check_fit(
    make: Callable[[], nn.Module], converted: Weights, rules: released.Rules, path: Path
) -> None:
    """Hold names and shapes against the network; nothing is allocated for it."""
    with torch.device("meta"):
        wanted = make().state_dict()
    for name, like in wanted.items():
        if name not in converted:
            raise ReleasedError(f"{path} lacks {released_key(name, rules)}")
        if converted[name].shape != like.shape:
            key = released_key(name, rules)
            raise _misshapen(path, key, list(like.shape), converted[name])
    for name in converted.keys() - wanted.keys():
        raise ReleasedError(f"{path}: {released_key(name, rules)} has no place in such a network")
