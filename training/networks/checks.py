"""Checks before a training: all of them pass before anything is loaded or written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from contracts.errors import InputError
from models import checkpoint
from models.formats.dataset import DatasetError
from models.motion.lips import LipConfig
from models.motion.pipeline import LIPS
from models.motion.speech import ConvSpeechConfig, MelSpeechConfig
from models.motion.tokenizer import TokenizerConfig
from training.data.scenes import open_scenes
from training.networks.trainers import split_sizes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from training.networks.recipes import Recipe

LOG_MEL = "log-mel rows"


def check_training(
    name: str,
    recipe: Recipe,
    person: Path,
    data: Path,
    *,
    new_front_end: MelSpeechConfig,
    tokenizer_follows: bool = False,
) -> None:
    """Check dataset, recipe and the files of the person that one training reads.

    new_front_end: the front end that a person without one gets. tokenizer_follows: whether the same
    command trains the tokenizer before the guide.
    Raises: InputError: with the fix, for the first fault.
    """
    if name != "tokenizer":
        _check_front_end(name, recipe.network, person, new_front_end)
    scenes = open_scenes(data)
    training, _ = split_sizes(recipe, len(scenes))
    longest = max(scene.frames for scene in scenes[:training])
    for windows in recipe.windows:
        needed = windows.shortest or windows.frames
        if longest < needed:
            raise DatasetError(
                f"{data}: the longest training scene has {longest} frames, the {name} recipe "
                f"trains on windows of {needed}; record longer scenes, or set frames in [[windows]]"
            )
    if name == "guide" and not tokenizer_follows:
        _check_tokenizer(recipe.network, person, data)


def check_codes(tokenizer: Recipe, guide: Recipe) -> None:
    """Check that the guide and the tokenizer of one run have the same codes.

    Raises: InputError: when they differ.
    """
    _compare_codes(getattr(guide.network, "codes", 0), getattr(tokenizer.network, "codes", 0))


def _check_front_end(name: str, network: Any, person: Path, new: MelSpeechConfig) -> None:
    """Compare the width of the person's features with the input of the network."""
    path = person / "speech.safetensors"
    front_end, width = LOG_MEL, _mel_width(new)
    if path.is_file():
        front_end, width = _front_end(checkpoint.read_config(path), path)
    lips = person / LIPS
    if name == "face" and lips.is_file():
        values = checkpoint.read_config(lips)
        width += 3 * checkpoint.config_of(LipConfig, values, lips).vertices
        front_end += " and lips"
    if network.audio_channels == width:
        return
    fix = (
        "train with --config demo, or import the released speech networks: `python -m training "
        f"new-person {person} --speech released --assets DIR`"
        if front_end == LOG_MEL
        else "use a recipe for this front end, such as --config released"
    )
    raise InputError(
        f"{person}: the {name} recipe expects {network.audio_channels} audio channels, but the "
        f"front end of this person ({front_end}) has {width}; {fix}"
    )


def _front_end(values: Mapping[str, Any], path: Path) -> tuple[str, int]:
    """Name and width of the front end with this config."""
    kind = values.get("kind")
    sizes = {name: value for name, value in values.items() if name != "kind"}
    if kind == "mel":
        return LOG_MEL, _mel_width(checkpoint.config_of(MelSpeechConfig, sizes, path))
    layers = checkpoint.config_of(ConvSpeechConfig, sizes, path).layers
    return "released speech network", 2 * layers[-1][0]


def _mel_width(config: MelSpeechConfig) -> int:
    return 2 * config.bands * config.slices


def _check_tokenizer(network: Any, person: Path, data: Path) -> None:
    path = person / "tokenizer.safetensors"
    if not path.is_file():
        raise InputError(
            f"{path}: the guide learns the tokens of the tokenizer, which is not trained yet; "
            f"first run `python -m training tokenizer --data {data} --out {person}`"
        )
    values = checkpoint.config_of(TokenizerConfig, checkpoint.read_config(path), path)
    _compare_codes(network.codes, values.codes)


def _compare_codes(guide: int, tokenizer: int) -> None:
    if guide != tokenizer:
        raise InputError(
            f"the guide recipe has {guide} codes, the tokenizer {tokenizer}; use recipes that "
            "belong together, or train the tokenizer again"
        )
