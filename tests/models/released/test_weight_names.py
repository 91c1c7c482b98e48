"""Names there and back."""

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
def test_every_key_that_is_renamed_comes_back_by_its_new_name(spec: str) -> None:
    rules, kept = TABLES[spec], 0
    for key in json.loads((SPECS / f"{spec}.json").read_text()):
        if "_codebook" in key:  # all levels become one tensor
            continue
        name = released.rename_key(key, rules)
        if name is not None:
            assert released_key(name, rules) == key
            kept += 1
    assert kept > 15


def test_the_codebooks_stand_under_the_key_of_the_first() -> None:
    key = released_key("codebooks", tokenizer_rules())
    assert key == "quantizer.layers.0._codebook.embed"


def test_a_name_that_is_not_ours_is_an_error() -> None:
    with pytest.raises(KeyError, match="no released key becomes momentum"):
        released_key("momentum", released.DENOISER)
