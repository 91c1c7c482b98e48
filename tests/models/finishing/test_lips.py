"""The finishing step that gives the face the lips of the regressor."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from models.checkpoint import CheckpointError
from models.finishing.animator import load_finished_animator
from models.finishing.lips import Lips, closing
from models.finishing.stages import Frames
from models.motion.lips import LipUnits, LipUnitsConfig, write_lip_units

UNITS = ("jawOpen", "mouthPucker", "mouthUpperUpLeft", "mouthSmileLeft", "browInnerUp")
REGRESSED = ("mouthPucker", "jawOpen")
STEP = Lips(
    UNITS, REGRESSED, opening=["jawOpen", "mouthUpperUp"], closed=(0.4, 0.8),
    rounding=["mouthPucker"], smiling=["mouthSmile"], gains={"jawOpen": 1.5},
)  # fmt: skip
CPU = torch.device("cpu")
DEMO = Path(__file__).parents[3] / "people" / "demo"


def frames(lips: list[list[float]]) -> Frames:
    count = len(lips)
    columns = torch.tensor(lips).view(count, -1)
    return Frames(
        torch.full((count, 5), 0.5), torch.zeros(count, 1), torch.zeros(count, 2), columns
    )


def test_lips_are_those_of_the_regressor_and_the_brow_stays() -> None:
    units = STEP.apply(frames([[0.2, 0.4, 0.0]]), 0, last=True).units[0]
    torch.testing.assert_close(units, torch.tensor([0.6, 0.2, 0.5, 0.4, 0.5]))


def test_closed_lips_have_no_opening_but_keep_their_rounding() -> None:
    units = STEP.apply(frames([[0.2, 0.4, 0.9]] * 3), 0, last=True).units
    assert units[1, :3].tolist() == pytest.approx([0.0, 0.2, 0.0])
    units = STEP.apply(frames([[0.2, 0.4, 0.6]] * 3), 0, last=True).units
    assert 0 < units[1, 0] < 0.6


def test_an_unsure_closure_is_certain_and_short() -> None:
    unsure = torch.tensor([0.0] * 4 + [0.1, 0.25, 0.4, 0.25, 0.1] + [0.0] * 4)
    shut = closing(unsure, 0.1, 0.2)
    assert float(shut[6]) == 1
    assert (shut > 0.2).sum() <= 3
    assert not closing(torch.full((9,), 0.09), 0.1, 0.2).any()
    assert closing(torch.full((9,), 0.9), 0.1, 0.2).min() == 1  # silence: closed all the time


def test_closures_do_not_depend_on_how_frames_are_cut() -> None:
    lips = [[0.2, 0.4, p] for p in torch.rand(20, generator=torch.Generator().manual_seed(1))]
    whole = STEP.apply(frames(lips), 0, last=True).units
    part = STEP.apply(frames(lips[4:16]), 4, last=False).units
    edge = STEP.radius
    torch.testing.assert_close(part[edge:-edge], whole[4 + edge : 16 - edge])


def test_an_offset_lowers_a_unit_but_not_below_rest() -> None:
    step = Lips(
        UNITS, REGRESSED, opening=["jawOpen"], closed=(0.4, 0.8), rounding=["mouthPucker"],
        smiling=["mouthSmile"], gains={"mouthPucker": 1.5}, offsets={"mouthPucker": 0.2},
    )  # fmt: skip
    units = step.apply(frames([[0.4, 0.3, 0.0], [0.1, 0.3, 0.0]]), 0, last=True).units
    torch.testing.assert_close(units[:, 1], torch.tensor([0.4, 0.0]))


def test_a_motion_without_the_regressor_stays_as_it_is() -> None:
    plain = frames([[], []])
    assert STEP.apply(plain, 0, last=True) is plain


@pytest.mark.parametrize(
    "change", [{"closed": (0.8, 0.4)}, {"opening": ["tail"]}], ids=["probabilities", "unit"]
)
def test_parameters_that_do_not_fit_are_refused(change: dict[str, object]) -> None:
    values: dict[str, object] = {
        "opening": ["jawOpen"], "closed": (0.4, 0.8), "rounding": ["mouthPucker"],
        "smiling": ["mouthSmile"], "gains": {}, **change,
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"closed|tail"):
        Lips(UNITS, REGRESSED, **values)  # type: ignore[arg-type]


def test_finishing_names_the_units_of_the_regressor(tmp_path: Path) -> None:
    person = tmp_path / "ada"
    shutil.copytree(DEMO, person)
    step = {
        "regressed": ["jawOpen"], "opening": ["jawOpen"], "closed": [0.4, 0.8],
        "rounding": ["mouthPucker"], "smiling": ["mouthSmile"], "gains": {},
    }  # fmt: skip
    path = person / "finishing.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["steps"]["lips"] = step
    path.write_text(json.dumps(content), encoding="utf-8")
    regressor = person / "lip-units.safetensors"
    regressor.unlink(missing_ok=True)
    with pytest.raises(CheckpointError, match=r"must name the units of .*, which has none"):
        load_finished_animator(person, device=CPU)
    write_lip_units(regressor, LipUnits(LipUnitsConfig(160, ("mouthPucker",), width=8)))
    with pytest.raises(CheckpointError, match="which gives mouthPucker"):
        load_finished_animator(person, device=CPU)
    write_lip_units(regressor, LipUnits(LipUnitsConfig(160, ("jawOpen",), width=8)))
    assert load_finished_animator(person, device=CPU).networks.lip_units is not None
