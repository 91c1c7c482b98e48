"""Conversion of released networks, and refusal of checkpoints that do not match."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models.motion.denoiser import BODY, FACE, BodyDenoiser, Denoiser
from models.motion.guide import Guide, GuideConfig
from models.motion.lips import LipConfig, LipRegressor
from models.motion.speech import ConvSpeech, ConvSpeechConfig
from models.motion.tokenizer import Tokenizer, TokenizerConfig
from models.released import networks
from models.released.networks import Network
from models.released.reader import Inert, ReleasedError
from tests import released_layout as small
from tests.released_layout import (
    DIFFUSION_ARGS,
    LIP_ARGS,
    SPECS,
    SPEECH_ARGS,
    state_of,
)

PATH = Path("here/weights.pt")
Weights = dict[str, Tensor]
Read = Callable[[Weights], Network]

READ: dict[str, tuple[str, Callable[[], Any], Read]] = {
    "face": (
        "face_small", lambda: Denoiser(small.FACE),
        lambda weights: networks.denoiser("face", weights, DIFFUSION_ARGS, PATH),
    ),
    "body": (
        "pose_small", lambda: BodyDenoiser(small.BODY),
        lambda weights: networks.denoiser("body", weights, DIFFUSION_ARGS, PATH),
    ),
    "guide": (
        "guide_small", lambda: Guide(small.GUIDE),
        lambda weights: networks.guide(weights, {"layers": 2, "dim": 16}, PATH),
    ),
    "tokenizer": (
        "vq_small", lambda: Tokenizer(small.TOKENIZER),
        lambda weights: networks.tokenizer(weights, {}, PATH),
    ),
    "speech": (
        "speech_vq", lambda: ConvSpeech(small.SPEECH),
        lambda weights: networks.speech(weights, SPEECH_ARGS, PATH),
    ),
    "lips": (
        "lip", lambda: LipRegressor(small.LIPS),
        lambda weights: networks.lips(weights, LIP_ARGS, PATH),
    ),
}  # fmt: skip
CONFIGS = {"face": small.FACE, "body": small.BODY, "guide": small.GUIDE, "lips": small.LIPS,
           "tokenizer": small.TOKENIZER}  # fmt: skip


@pytest.fixture(scope="module")
def states() -> dict[str, Weights]:
    return {name: state_of(spec, make()) for name, (spec, make, _) in READ.items()}


def read(name: str, weights: Weights) -> Network:
    return READ[name][2](weights)


@pytest.mark.parametrize("name", READ)
def test_sizes_are_inferred_from_the_weights(name: str, states: dict[str, Weights]) -> None:
    network = read(name, states[name])
    assert network.notes == ()
    if name in CONFIGS:
        config = type(CONFIGS[name])(**network.config)
        assert config == CONFIGS[name]
    else:
        assert network.config["kind"] == "convolutions"
        assert network.config["log_compression"] is True


@pytest.mark.parametrize("name", READ)
def test_the_prefix_of_several_gpus_and_half_precision_are_accepted(
    name: str, states: dict[str, Weights]
) -> None:
    plain = read(name, {key: value.half().float() for key, value in states[name].items()})
    other = read(name, {f"module.{key}": value.half() for key, value in states[name].items()})
    assert other.config == plain.config
    assert other.weights.keys() == plain.weights.keys()
    assert all(torch.equal(other.weights[key], plain.weights[key]) for key in plain.weights)
    assert {value.dtype for value in other.weights.values()} == {torch.float32}


@pytest.mark.parametrize("name", READ)
def test_tables_and_unused_parts_may_be_absent(name: str, states: dict[str, Weights]) -> None:
    optional = ("rotary.freqs", "resampler.kernel", "project_mean_shape", "cluster_size", "inited",
             "embed_avg", "vector_quantizer", "wav2vec_predictions")  # fmt: skip
    bare = {k: v for k, v in states[name].items() if not any(part in k for part in optional)}
    assert read(name, bare).weights.keys() == read(name, states[name]).weights.keys()


@pytest.mark.parametrize("name", ["face", "body"])
def test_networks_inside_a_denoiser_are_ignored(name: str, states: dict[str, Weights]) -> None:
    more = {f"{part}.x.weight": torch.zeros(1) for part in ("transformer", "tokenizer")}
    more["audio_model.anything"] = torch.zeros(1)
    assert read(name, states[name] | more).weights.keys() == read(name, states[name]).weights.keys()


@pytest.mark.parametrize("name", READ)
def test_the_error_names_a_missing_key(name: str, states: dict[str, Weights]) -> None:
    state = states[name]
    for key in [key for key in state if key.endswith(("bias", "embed"))][::9]:
        if any(part in key for part in ("quantizer.vars", "predictions", "project_mean",
                                        "vector_quantizer")):  # fmt: skip
            continue
        if name == "speech" and "aggregator" in key:
            continue
        fewer = {each: value for each, value in state.items() if each != key}
        with pytest.raises(ReleasedError, match=r"here/weights\.pt") as caught:
            read(name, fewer)
        assert key.rpartition(".")[0] in str(caught.value), str(caught.value)


@pytest.mark.parametrize(
    ("name", "key", "shape", "message"),
    [
        ("face", "time_mlp.1.bias", [3], r"time_mlp\.1\.bias must be \[64\], found \[3\]"),
        ("face", "null_cond_embed", [16], r"null_cond_embed must have at least 2 axes, found"),
        ("face", "input_projection.weight", [16, 7],
         r"input_projection\.weight must take 256 channels for a face, found 7"),
        ("body", "seqTransDecoder.stack.1.film2a.block.1.weight", [16, 16],
         r"seqTransDecoder\.stack\.1\.film2a\.block\.1\.weight must be \[32, 16\], found"),
        ("body", "post_pose_layers.3.weight", [104, 104, 5],
         r"post_pose_layers\.3\.weight must be \[104, 104, 3\], found \[104, 104, 5\]"),
        ("guide", "pre_audio.3.weight", [16, 16, 2], r"pre_audio\.3\.weight must be \[16, 16, 3\]"),
        ("tokenizer", "quantizer.layers.1._codebook.embed", [9, 8],
         r"quantizer\.layers\.1\._codebook\.embed must be \[8, 8\], found \[9, 8\]"),
        ("lips", "project_output.weight", [6, 9], r"project_output\.weight must be \[6, 8\]"),
        ("speech", "feature_extractor.conv_layers.2.2.weight", [9],
         r"feature_extractor\.conv_layers\.2\.2\.weight must be \[8\], found \[9\]"),
    ],
)  # fmt: skip
def test_the_error_for_a_wrong_shape_gives_the_right_one(
    name: str, key: str, shape: list[int], message: str, states: dict[str, Weights]
) -> None:
    with pytest.raises(ReleasedError, match=rf"^here/weights\.pt: {message}"):
        read(name, states[name] | {key: torch.zeros(shape)})


@pytest.mark.parametrize("name", READ)
def test_the_error_names_an_unknown_key(name: str, states: dict[str, Weights]) -> None:
    with pytest.raises(ReleasedError, match=r"here/weights\.pt: unknown key momentum\.weight"):
        read(name, states[name] | {"momentum.weight": torch.zeros(1)})


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("face", "rotary.freqs"),
        ("guide", "audio_resampler.kernel"),
        ("lips", "regression_model.cond_positional_encoding.pe"),
    ],
)
def test_a_table_with_other_values_is_refused(
    name: str, key: str, states: dict[str, Weights]
) -> None:
    with pytest.raises(ReleasedError, match=f"{key} differs from the table"):
        read(name, states[name] | {key: states[name][key] + 0.01})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": 8}, "layers is 8 in args.json and 2 in the weights"),
        ({"heads": 5}, "does not match its args.json: width 16 must be even and divisible by 5"),
        ({"heads": "many"}, "does not match its args.json"),
        ({"not_rotary": True}, "not_rotary is not supported"),
        ({"unconstrained": True}, "unconstrained is not supported"),
        ({"noise_schedule": "linear"}, "noise_schedule must be 'cosine', found 'linear'"),
    ],
)
def test_settings_that_do_not_match_are_refused(
    settings: dict[str, Any], message: str, states: dict[str, Weights]
) -> None:
    with pytest.raises(ReleasedError, match=message):
        networks.denoiser("face", states["face"], DIFFUSION_ARGS | settings, PATH)


def test_the_default_number_of_heads_is_four(states: dict[str, Weights]) -> None:
    assert networks.denoiser("face", states["face"], {}, PATH).config["heads"] == 4


@pytest.mark.parametrize("settings", [{}, {"num_audio_layers": 1}, {"num_audio_layers": None}])
def test_the_audio_blocks_of_a_guide_are_inferred_from_the_weights(
    settings: dict[str, Any], states: dict[str, Weights]
) -> None:
    assert networks.guide(states["guide"], settings, PATH).config["audio_blocks"] == 1


def test_missing_audio_blocks_are_reported(states: dict[str, Weights]) -> None:
    with pytest.raises(ReleasedError, match=r"num_audio_layers is 2 in args\.json and 1 in the"):
        networks.guide(states["guide"], {"num_audio_layers": 2}, PATH)
    fewer = {k: v for k, v in states["guide"].items() if not k.startswith("pre_audio.6.")}
    with pytest.raises(ReleasedError, match=r"pre_audio\.6\.weight is missing"):
        networks.guide(fewer, {}, PATH)
    none = {k: v for k, v in states["guide"].items() if not k.startswith("pre_audio.")}
    with pytest.raises(ReleasedError, match=r"pre_audio\.0\.weight is missing"):
        networks.guide(none, {}, PATH)


def test_without_the_file_of_the_speech_model_its_published_settings_are_used(
    states: dict[str, Weights],
) -> None:
    network = networks.speech(states["speech"], None, PATH)
    assert network.config["activation"] == "gelu"
    assert network.config["log_compression"] is False
    assert "no log compression" in network.notes[0]


@pytest.mark.parametrize(
    ("checkpoint", "arguments"),
    [
        ({"args": argparse.Namespace(activation="gelu")}, {"activation": "gelu"}),
        ({"args": None, "cfg": {"model": {"activation": "relu"}}}, {"activation": "relu"}),
        ({"cfg": {"model": argparse.Namespace(activation="relu")}}, {"activation": "relu"}),
        ({"args": None, "cfg": Inert()}, None),
        ({"cfg": {}}, None),
    ],
)
def test_arguments_of_old_and_new_versions_are_read(
    checkpoint: dict[str, Any], arguments: dict[str, Any] | None
) -> None:
    assert networks.conv_args(checkpoint, PATH) == arguments


def test_a_speech_model_without_arguments_is_refused() -> None:
    with pytest.raises(ReleasedError, match="'args' is missing"):
        networks.conv_args({"model": {}}, PATH)


def test_missing_log_compression_means_none_and_is_noted(states: dict[str, Weights]) -> None:
    args = {key: value for key, value in SPEECH_ARGS.items() if key != "log_compression"}
    network = networks.speech(states["speech"], args, PATH)
    assert network.config["log_compression"] is False
    assert "log_compression not found in the speech checkpoint" in network.notes[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"skip_connections_feat": True}, "skip_connections_feat must be False, found True"),
        ({"activation": "silu"}, "activation must be 'gelu' or 'relu', got 'silu'"),
        ({"conv_feature_layers": "[(8, 10, 5)]"}, "conv_feature_layers is"),
        ({"conv_feature_layers": "__import__('os').mkdir('m')"}, "invalid conv_feature_layers"),
    ],
)
def test_an_unsupported_speech_model_is_refused(
    arguments: dict[str, Any], message: str, states: dict[str, Weights]
) -> None:
    with pytest.raises(ReleasedError, match=message):
        networks.speech(states["speech"], SPEECH_ARGS | arguments, PATH)


def test_an_unsupported_lip_model_is_refused(states: dict[str, Weights]) -> None:
    with pytest.raises(ReleasedError, match="log_compression must be True, found False"):
        networks.lips(states["lips"], {"log_compression": False}, PATH)


def test_unknown_strides_are_an_error(states: dict[str, Weights]) -> None:
    key = "feature_extractor.conv_layers.1.0.weight"
    other = states["speech"] | {key: torch.zeros(8, 8, 9)}
    with pytest.raises(ReleasedError, match=r"unknown strides for kernels .* add"):
        networks.speech(other, None, PATH)


def statistics(**more: Any) -> dict[str, Any]:
    return {
        "pose_mean": np.zeros(104), "pose_std": np.ones(104), "code_mean": np.zeros(256),
        "code_std": np.ones(256), "audio_mean": np.zeros(2), "audio_std_flat": np.ones(1),
    } | more  # fmt: skip


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (statistics(code_std=np.ones(3)), r"code_std must be \[256\], found \[3\]"),
        (statistics(pose_std=np.zeros(104)), "pose_std must be above 0, found 0"),
        (statistics(audio_std_flat=np.array([np.nan])), "audio_std_flat must be above 0"),
        ({"pose_mean": np.zeros(104)}, "code_mean is missing"),
        ([1], "must be a dict of arrays, found list"),
    ],
)
def test_invalid_statistics_are_refused(values: object, message: str) -> None:
    with pytest.raises(ReleasedError, match=rf"^here/weights\.pt: {message}"):
        networks.statistics(values, PATH)


RELEASED = {
    "face_released": (lambda: Denoiser(FACE), "face"),
    "pose_released": (lambda: BodyDenoiser(BODY), "body"),
    "guide_released": (lambda: Guide(GuideConfig()), "guide"),
    "vq_released": (lambda: Tokenizer(TokenizerConfig()), "tokenizer"),
    "speech_vq": (lambda: ConvSpeech(ConvSpeechConfig()), "speech"),
    "lip": (lambda: LipRegressor(LipConfig()), "lips"),
}


@pytest.mark.parametrize("spec", RELEASED)
def test_the_presets_have_the_shapes_of_the_released_checkpoints(spec: str) -> None:
    """All keys of the contract, on the meta device and therefore without values."""
    make, name = RELEASED[spec]
    entries = json.loads((SPECS / f"{spec}.json").read_text())
    tables = ("rotary.freqs", "resampler.kernel", ".pe")
    weights = {
        key: torch.empty(entry["shape"], device="meta")
        for key, entry in entries.items()
        if not key.endswith(tables)
    }
    args = {"face": {"heads": 8}, "body": {"heads": 8}}.get(name, {})
    network = {
        "face": lambda: networks.denoiser("face", weights, args, PATH),
        "body": lambda: networks.denoiser("body", weights, args, PATH),
        "guide": lambda: networks.guide(weights, {}, PATH),
        "tokenizer": lambda: networks.tokenizer(weights, {}, PATH),
        "speech": lambda: networks.speech(weights, None, PATH),
        "lips": lambda: networks.lips(weights, None, PATH),
    }[name]()
    with torch.device("meta"):
        expected = make()
    shapes = {key: value.shape for key, value in network.weights.items()}
    assert shapes == {key: value.shape for key, value in expected.state_dict().items()}
    network.config.pop("kind", None)
    assert type(expected.config)(**network.config) == expected.config
