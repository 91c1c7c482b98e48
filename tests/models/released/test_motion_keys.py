"""Names of released motion weights in this project."""

import json
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from models.motion.denoiser import BodyDenoiser, Denoiser, DenoiserConfig
from models.motion.guide import Guide, GuideConfig
from models.motion.lips import LipConfig, LipRegressor
from models.motion.speech import ConvSpeech, ConvSpeechConfig
from models.motion.tokenizer import Tokenizer, TokenizerConfig
from models.released import motion_keys as released
from tests.models.motion.golden import FOLDER

Weights = dict[str, Tensor]
Convert = Callable[[Weights], Weights]


def keys_of(spec: str) -> Weights:
    """All keys of a released checkpoint, also unused ones, with tiny weights."""
    entries = json.loads((FOLDER / "specs" / f"{spec}.json").read_text())
    return {key: torch.zeros(1) for key in entries}


def converter(rules: released.Rules) -> Convert:
    return lambda weights: released.convert(weights, rules)


def face() -> Denoiser:
    return Denoiser(DenoiserConfig(1, 1, width=8, layers=2, encoder_layers=2))


def body() -> BodyDenoiser:
    return BodyDenoiser(DenoiserConfig(1, 1, width=8, layers=2, longest_keys=1))


def guide() -> Guide:
    return Guide(GuideConfig(codes=1, audio_channels=1, audio_blocks=1, width=8, layers=2))


NETWORKS = {
    "face_small": (face, converter(released.DENOISER)),
    "pose_small": (body, converter(released.DENOISER)),
    "guide_small": (guide, released.convert_guide),
    "vq_small": (lambda: Tokenizer(TokenizerConfig(1, 1, 1, 1)), released.convert_tokenizer),
    "speech_vq": (lambda: ConvSpeech(ConvSpeechConfig()), converter(released.SPEECH)),
    "lip": (lambda: LipRegressor(LipConfig(vertices=1)), converter(released.LIPS)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_keys_of_a_released_checkpoint_give_all_weights_of_the_network(name: str) -> None:
    make, convert = NETWORKS[name]
    with torch.device("meta"):
        expected = make().state_dict().keys()
    assert convert(keys_of(name)).keys() == expected


@pytest.mark.parametrize("name", NETWORKS)
def test_the_prefix_of_training_on_several_gpus_is_removed(name: str) -> None:
    _, convert = NETWORKS[name]
    plain = keys_of(name)
    prefixed = {f"module.{key}": value for key, value in plain.items()}
    assert convert(prefixed).keys() == convert(plain).keys()


@pytest.mark.parametrize("name", NETWORKS)
def test_the_error_names_an_unknown_key(name: str) -> None:
    _, convert = NETWORKS[name]
    with pytest.raises(KeyError, match=r"unknown key momentum_encoder\.weight"):
        convert(keys_of(name) | {"momentum_encoder.weight": torch.zeros(1)})


@pytest.mark.parametrize(
    "unused",
    ["vector_quantizer.vars", "wav2vec_predictions.project_to_steps.bias",
     "feature_aggregator.conv_layers.3.1.weight"],
)  # fmt: skip
def test_unused_parts_of_the_speech_network_are_dropped(unused: str) -> None:
    assert released.convert({unused: torch.zeros(1)}, released.SPEECH) == {}
    assert released.convert({f"audio_model.{unused}": torch.zeros(1)}, released.DENOISER) == {}


def test_networks_inside_a_denoiser_are_extracted_by_their_prefix() -> None:
    weights = keys_of("face_small")
    for prefix, spec in ((released.AUDIO_PART, "speech_vq"), (released.LIP_PART, "lip")):
        assert released.subnetwork(weights, prefix).keys() == keys_of(spec).keys()
        prefixed = {f"module.{key}": value for key, value in weights.items()}
        assert released.subnetwork(prefixed, prefix).keys() == keys_of(spec).keys()


@pytest.mark.parametrize(("spec", "blocks"), [("guide_small", 1), ("guide_released", 2)])
def test_the_audio_blocks_of_a_guide_are_counted_from_its_keys(spec: str, blocks: int) -> None:
    keys = keys_of(spec)
    assert released.audio_blocks(keys) == blocks
    assert released.audio_blocks(f"module.{key}" for key in keys) == blocks


def test_the_convolutions_of_the_guide_keep_their_order() -> None:
    weights = {
        key: torch.tensor([float(key.split(".")[1])]) if key.startswith("pre_audio.") else value
        for key, value in keys_of("guide_released").items()
    }
    converted = released.convert_guide(weights)
    values = [float(converted[f"audio.{index}.weight"]) for index in range(12)]
    assert values == [0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 33]
    assert float(converted["audio_out.weight"]) > 33


def test_codebooks_are_joined_in_the_order_of_their_levels() -> None:
    weights = {
        f"quantizer.layers.{level}._codebook.embed": torch.full((5, 3), float(level))
        for level in (3, 0, 2, 1)
    }
    codebooks = released.convert_tokenizer(weights)["codebooks"]
    assert codebooks.shape == (4, 5, 3)
    assert codebooks[:, 0, 0].tolist() == [0, 1, 2, 3]


def test_weights_are_converted_to_single_precision() -> None:
    weights = {"final_layer.bias": torch.zeros(2, dtype=torch.float64)}
    assert released.convert(weights, released.DENOISER)["motion_out.bias"].dtype == torch.float32
