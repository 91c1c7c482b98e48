"""VRM avatars and animations as three-vrm reads them, on our avatar and on another one."""

import json
from pathlib import Path

import numpy as np
import pytest

from models.animation.figure import AnimationError, Figure
from models.animation.gltf.vrm import write_vrm
from models.animation.gltf.vrma import LEFT_OUT, write_vrma
from models.animation.humanoid import REQUIRED, humanoid_bones
from models.animation.quaternions import multiply, rotate
from models.animation.rows import MotionRows
from models.animation.t_pose import bone_turns, t_pose
from tests.models.animation.conftest import motion_of
from tests.models.animation.gltf import second_rig
from tests.models.animation.gltf_reader import ask, assert_valid

SHOWN = (0, 17, 44)
SECONDS = [frame / 30 for frame in SHOWN]
FAR = ("head", "leftHand", "rightHand")


@pytest.fixture(scope="module")
def files(
    tmp_path_factory: pytest.TempPathFactory, demo: Figure, demo_motion: MotionRows
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("vrm")
    paths = {name: folder / name for name in ("own.vrm", "other.vrm", "take.vrma")}
    write_vrm(paths["own.vrm"], demo, title="Demo", licence="CC0-1.0", author="visavis")
    second_rig.write_second_rig(paths["other.vrm"], demo.unit_names)
    write_vrma(paths["take.vrma"], demo, demo_motion)
    return paths


def test_the_validator_finds_no_fault_for_either_kind_of_avatar(
    files: dict[str, Path], tmp_path: Path, human_codec: Figure
) -> None:
    vrm, vrma = tmp_path / "codec.vrm", tmp_path / "codec.vrma"
    write_vrm(vrm, human_codec, title="Codec", licence="CC BY-NC 4.0", author="visavis")
    write_vrma(vrma, human_codec, motion_of(human_codec))

    assert_valid(files["own.vrm"], files["take.vrma"], vrm, vrma)


def test_our_avatar_moves_as_we_do(
    files: dict[str, Path], demo: Figure, demo_motion: MotionRows
) -> None:
    frames = ask(vrm=files["own.vrm"], vrma=files["take.vrma"], seconds=SECONDS)["frames"]

    bones = humanoid_bones(demo.joint_names)
    assert demo.unit_weights is not None
    for frame, found in zip(SHOWN, frames, strict=True):
        piece = demo_motion.piece(frame, frame + 1)
        ours = demo.world_states(piece.pose)[0, :, :3]
        for bone in FAR:
            away = np.linalg.norm(found["positions"][bone] - ours[bones[bone]])
            assert away < 0.01 * demo.height, bone
        units = demo.unit_weights(piece.face)[0]
        np.testing.assert_allclose(found["targets"], units, atol=1e-3)  # presets add nothing


def test_bones_of_vrma_have_their_names_in_other_rigs(files: dict[str, Path]) -> None:
    content = files["take.vrma"].read_bytes()
    length = int.from_bytes(content[12:16], "little")  # of the JSON chunk
    nodes = json.loads(content[20 : 20 + length])["nodes"]
    names = {node["name"]: node.get("extras") for node in nodes}

    assert names["leftUpperArm"] == {
        "vrm": "leftUpperArm",
        "unity": "LeftUpperArm",
        "mixamo": "mixamorig:LeftArm",
        "unreal": "upperarm_l",
    }


def test_a_codec_avatar_moves_as_we_do(tmp_path: Path, human_codec: Figure) -> None:
    rows = motion_of(human_codec)
    write_vrm(tmp_path / "a.vrm", human_codec, title="C", licence="", author="visavis")
    write_vrma(tmp_path / "a.vrma", human_codec, rows)
    answer = ask(vrm=tmp_path / "a.vrm", vrma=tmp_path / "a.vrma", seconds=SECONDS)

    bones = humanoid_bones(human_codec.joint_names)
    tall = human_codec.rest_world[:, 1].max() - human_codec.rest_world[:, 1].min()
    for frame, found in zip(SHOWN, answer["frames"], strict=True):
        ours = human_codec.world_states(rows.piece(frame, frame + 1).pose)[0, :, :3]
        for bone in FAR:
            away = np.linalg.norm(found["positions"][bone] - ours[bones[bone]])
            assert away < 0.01 * tall, bone


def test_an_avatar_of_other_proportions_makes_the_same_movement(
    files: dict[str, Path], demo: Figure, demo_motion: MotionRows
) -> None:
    frames = ask(vrm=files["other.vrm"], vrma=files["take.vrma"], seconds=SECONDS)["frames"]

    rest = t_pose(demo)
    bones = {bone: joint for bone, joint in rest.bones.items() if bone not in LEFT_OUT}
    assert demo.unit_weights is not None
    for frame, found in zip(SHOWN, frames, strict=True):
        piece = demo_motion.piece(frame, frame + 1)
        turns, hips = bone_turns(demo, piece.pose, rest, bones)
        local = dict(zip(bones, turns[0], strict=True))
        scale = second_rig.TRUNK["hips"][1] / rest.positions[rest.bones["hips"], 1]
        expected = expected_places(local, hips[0] * scale)
        for bone in FAR:
            away = np.linalg.norm(found["positions"][bone] - expected[bone])
            assert away < 0.01 * second_rig.HEIGHT, bone
        units = demo.unit_weights(piece.face)[0]
        theirs = [found["expressions"][name] for name in demo.unit_names]
        np.testing.assert_allclose(theirs, units, atol=1e-3)
        assert found["expressions"]["aa"] == pytest.approx(theirs[demo.unit_names.index("jawOpen")])


def expected_places(
    local: dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]],
    hips: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Places of the bones of the second rig under rotations in the parents' frames."""
    world, places = {"hips": local["hips"]}, {"hips": hips}
    for bone, offset in second_rig.offsets().items():
        parent = second_rig.above(bone)
        if parent is not None:
            world[bone] = multiply(world[parent], local[bone])
            places[bone] = places[parent] + rotate(world[parent], offset)
    return places


def test_the_arms_of_the_t_pose_point_sideways_and_the_legs_down(demo: Figure) -> None:
    rest = t_pose(demo)
    at = {bone: rest.positions[joint] for bone, joint in rest.bones.items()}

    for side, sign in (("left", 1), ("right", -1)):
        arm = at[f"{side}Hand"] - at[f"{side}UpperArm"]
        leg = at[f"{side}Foot"] - at[f"{side}UpperLeg"]
        np.testing.assert_allclose(arm / np.linalg.norm(arm), (sign, 0, 0), atol=1e-6)
        np.testing.assert_allclose(leg / np.linalg.norm(leg), (0, -1, 0), atol=1e-6)
    assert rest.positions[:, 1].min() > 0


def test_a_skeleton_without_the_bones_of_vrm_is_refused(
    tmp_path: Path, codec: Figure, codec_motion: MotionRows
) -> None:
    with pytest.raises(AnimationError, match="joints of tiny for spine, leftUpperArm"):
        write_vrma(tmp_path / "x.vrma", codec, codec_motion)


def test_each_bone_has_a_joint_in_both_naming_schemes(demo: Figure, human_codec: Figure) -> None:
    for figure in (demo, human_codec):
        bones = humanoid_bones(figure.joint_names)
        assert set(REQUIRED) <= set(bones)
        assert len(set(bones.values())) == len(bones)
    assert human_codec.joint_names[bones["leftUpperArm"]] == "b_l_arm"
    assert human_codec.joint_names[bones["rightShoulder"]] == "b_r_shoulder"
