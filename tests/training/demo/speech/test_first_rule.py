"""The mouth rule against the first one, whose shapes are kept in a fixture."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.fake_speech import says, track
from training.demo.speech import motion_rules
from training.demo.speech.motion_rules import SHAPES, UNIT, mouth, rounding

FIRST = Path(__file__).parent / "first_rule.json"
SPEECH = "mapa talu fivo ʃeʒi subo wika ɹoma neda kuʊw paba zæsɑ θoðɔ hatʃu jile"


@pytest.fixture
def first() -> np.ndarray:
    """Mouth of the first rule, [T, 52]."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(motion_rules, "SHAPES", json.loads(FIRST.read_text(encoding="utf-8")))
        patch.setattr(motion_rules, "_SHAPE", motion_rules._shape_rows())
        return mouth(track(says(SPEECH)))


@pytest.mark.parametrize("name", ["jawOpen", "mouthFunnel", "mouthPucker", "mouthPressLeft"])
def test_the_mouth_moves_as_by_the_first_rule(first: np.ndarray, name: str) -> None:
    now = mouth(track(says(SPEECH)))
    assert np.corrcoef(first[:, UNIT[name]], now[:, UNIT[name]])[0, 1] > 0.93


def test_rounding_is_stronger_than_by_the_first_rule(first: np.ndarray) -> None:
    assert rounding(mouth(track(says(SPEECH)))).max() > rounding(first).max()


def test_phones_of_other_languages_have_a_shape() -> None:
    shown = {phone for phones, _, _ in SHAPES for phone in phones}
    assert set("yøœʏɥxçʁɲʎɕʑβ") <= shown
    units = mouth(track(says("yyyy    mmmm")))
    assert units[:, UNIT["mouthPucker"]].max() > 0.7
