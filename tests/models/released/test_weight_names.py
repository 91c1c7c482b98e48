"""Inverse renaming of released keys."""

import json

import pytest

from models.released import motion_keys as released
from models.released.weight_names import guide_rules, released_key, tokenizer_rules
from tests.released_layout import SPECS

TABLES = {
    "face_released": released.DENOISER,
    "pose_released": released.DENOISER,
    "guide_released": guide_rules(2),
    "vq_released": tokenizer_rules(),
    "speech_vq": released.SPEECH,
    "lip": released.LIPS,
}


@pytest.mark.parametrize("spec", TABLES)
def test_renaming_and_its_inverse_give_the_same_key(spec: str) -> None:
    rules, count = TABLES[spec], 0
    for key in json.loads((SPECS / f"{spec}.json").read_text()):
        if "_codebook" in key:  # all levels are joined to one tensor
            continue
        name = released.rename_key(key, rules)
        if name is not None:
            assert released_key(name, rules) == key
            count += 1
    assert count > 15


def test_the_joined_codebooks_have_the_key_of_the_first() -> None:
    key = released_key("codebooks", tokenizer_rules())
    assert key == "quantizer.layers.0._codebook.embed"


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(KeyError, match="no released key for momentum"):
        released_key("momentum", released.DENOISER)
