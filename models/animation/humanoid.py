"""Humanoid bones of a skeleton, and the names that other rigs give them.

The bones are those of VRM 1.0, which Unity's humanoid shares. Source: VRMC_vrm 1.0, the skeletons
of Mixamo and of Unreal Engine's mannequin.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from models.animation.figure import AnimationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from models.animation.figure import Figure

FINGERS = ("Thumb", "Index", "Middle", "Ring", "Little")
REQUIRED = (
    "hips", "spine", "head",
    "leftUpperArm", "leftLowerArm", "leftHand", "rightUpperArm", "rightLowerArm", "rightHand",
    "leftUpperLeg", "leftLowerLeg", "leftFoot", "rightUpperLeg", "rightLowerLeg", "rightFoot",
)  # fmt: skip
TRUNK = {
    "hips": None,
    "spine": "hips",
    "chest": "spine",
    "upperChest": "chest",
    "neck": "upperChest",
    "head": "neck",
}
LIMBS = {
    "Eye": "head",
    "Shoulder": "upperChest",
    "UpperArm": "Shoulder",
    "LowerArm": "UpperArm",
    "Hand": "LowerArm",
    "UpperLeg": "hips",
    "LowerLeg": "UpperLeg",
    "Foot": "LowerLeg",
    "Toes": "Foot",
}
SIDES = {"left": "l", "right": "r"}


def _phalanges(finger: str) -> tuple[str, str, str]:
    if finger == "Thumb":
        return "ThumbMetacarpal", "ThumbProximal", "ThumbDistal"
    return f"{finger}Proximal", f"{finger}Intermediate", f"{finger}Distal"


def _bone_parents() -> dict[str, str | None]:
    parents: dict[str, str | None] = dict(TRUNK)
    for side in SIDES:
        for bone, parent in LIMBS.items():
            parents[side + bone] = parent if parent in TRUNK else side + parent
        for finger in FINGERS:
            above = side + "Hand"
            for phalanx in _phalanges(finger):
                parents[side + phalanx], above = above, side + phalanx
    return parents


BONE_PARENTS: Mapping[str, str | None] = _bone_parents()

# Patterns of joint names, without side: the demo person's, then common ones of other skeletons.
PATTERNS: dict[str, tuple[str, ...]] = {
    "hips": (r"root", r"b_root", r"hips?", r"pelvis"),
    "spine": (r"spine05", r"(b_)?spine_?0"),
    "chest": (r"spine03", r"(b_)?spine_?2"),
    "upperChest": (r"spine01", r"(b_)?spine_?3"),
    "neck": (r"neck01", r"(b_)?neck_?0?"),
    "head": (r"(b_)?head",),
    "Eye": (r"eye",),
    "Shoulder": (r"clav(icle)?", r"shoulder"),
    "UpperArm": (r"upperarm01", r"upper_?arm", r"arm", r"shoulder"),
    "LowerArm": (r"lowerarm01", r"fore_?arm", r"elbow", r"lower_?arm"),
    "Hand": (r"wrist", r"hand"),
    "UpperLeg": (r"upperleg01", r"up(per)?_?leg", r"thigh", r"hip"),
    "LowerLeg": (r"lowerleg01", r"(lower_?)?leg", r"calf", r"knee"),
    "Foot": (r"foot", r"ankle", r"talocrural"),
    "Toes": (r"toe1-1", r"ball", r"toes?"),
}
OWN_FINGERS = {finger: f"finger{number}" for number, finger in enumerate(FINGERS, 1)}
SIDE_OF_NAME = (
    r"(?P<name>.+)[._](?P<side>[lr])",  # wrist.L
    r"(b_)?(?P<side>[lr]|left|right)_(?P<name>.+)",  # b_l_wrist
)


def humanoid_bones(joint_names: Sequence[str]) -> dict[str, int]:
    """Find the joint of each humanoid bone; bones without a joint are left out."""
    sided = [_side_and_name(name) for name in joint_names]
    found: dict[str, int] = {}
    for bone in BONE_PARENTS:
        side = next((each for each in SIDES if bone.startswith(each)), "")
        wanted = SIDES.get(side, "")
        for pattern in _patterns(bone.removeprefix(side)):
            joints = [
                joint
                for joint, (of, name) in enumerate(sided)
                if of == wanted and re.fullmatch(pattern, name)
            ]
            if len(joints) == 1 and joints[0] not in found.values():
                found[bone] = joints[0]
                break
    return found


def required_bones(figure: Figure) -> dict[str, int]:
    """Find the humanoid bones of a person. Raises: AnimationError: when a required one lacks."""
    bones = humanoid_bones(figure.joint_names)
    missing = [bone for bone in REQUIRED if bone not in bones]
    if missing:
        raise AnimationError(
            f"skeleton: joints of {figure.name} for {', '.join(missing[:3])} not found by name, "
            "and VRM needs these bones; export glb or bvh, or import the person again with names"
        )
    return bones


def parent_bone(bone: str, present: Mapping[str, int]) -> str | None:
    """Nearest bone above that a skeleton has; None for the hips."""
    parent = BONE_PARENTS[bone]
    while parent is not None and parent not in present:
        parent = BONE_PARENTS[parent]
    return parent


def _side_and_name(joint: str) -> tuple[str, str]:
    for pattern in SIDE_OF_NAME:
        if match := re.fullmatch(pattern, joint.lower()):
            return match["side"][0], match["name"]
    return "", joint.lower()


def _patterns(bone: str) -> Iterator[str]:
    yield from PATTERNS.get(bone, ())
    for number, finger in enumerate(FINGERS):
        for place, phalanx in enumerate(_phalanges(finger)):
            if phalanx == bone:
                yield f"{OWN_FINGERS[finger]}-{place + 1}"
                name = "pinky|little" if finger == "Little" else finger.lower()
                yield f"({name})_?{place + 1}"
                yield f"f{number}_{place}"


# Joints of the demo person that the mannequin of Unreal Engine has, too, beyond humanoid bones.
UNREAL_JOINTS = {
    "spine04": "spine_02",
    "spine02": "spine_04",
    "neck02": "neck_02",
    "upperarm02": "upperarm_twist_01",
    "lowerarm02": "lowerarm_twist_01",
    "metacarpal1": "index_metacarpal",
    "metacarpal2": "middle_metacarpal",
    "metacarpal3": "ring_metacarpal",
    "metacarpal4": "pinky_metacarpal",
    "upperleg02": "thigh_twist_01",
    "lowerleg02": "calf_twist_01",
}
# Bone without its side: Mixamo, Unreal.
OTHER_NAMES = {
    "hips": ("Hips", "pelvis"),
    "spine": ("Spine", "spine_01"),
    "chest": ("Spine1", "spine_03"),
    "upperChest": ("Spine2", "spine_05"),
    "neck": ("Neck", "neck_01"),
    "head": ("Head", "head"),
    "Eye": ("Eye", ""),
    "Shoulder": ("Shoulder", "clavicle"),
    "UpperArm": ("Arm", "upperarm"),
    "LowerArm": ("ForeArm", "lowerarm"),
    "Hand": ("Hand", "hand"),
    "UpperLeg": ("UpLeg", "thigh"),
    "LowerLeg": ("Leg", "calf"),
    "Foot": ("Foot", "foot"),
    "Toes": ("ToeBase", "ball"),
}
TARGETS = ("vrm", "unity", "mixamo", "unreal")


def retarget_names(joint_names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Name of every joint in the rigs of `TARGETS`; an empty text where a rig has no such joint."""
    bones = {joint: bone for bone, joint in humanoid_bones(joint_names).items()}
    names: dict[str, list[str]] = {target: [] for target in TARGETS}
    for joint, own in enumerate(joint_names):
        bone = bones.get(joint, "")
        mixamo, unreal = _other_names(bone) if bone else ("", _unreal_joint(own))
        for target, name in zip(TARGETS, (bone, unity_name(bone), mixamo, unreal), strict=True):
            names[target].append(name)
    return {target: tuple(each) for target, each in names.items()}


def names_of_joint(names: Mapping[str, Sequence[str]], joint: int) -> dict[str, str]:
    """Names of one joint in the other rigs that have it, from `retarget_names`."""
    return {target: each[joint] for target, each in names.items() if each[joint]}


def unity_name(bone: str) -> str:
    """Name in Unity's HumanBodyBones: that of VRM, with a capital and other names in the thumb."""
    if "Thumb" in bone:
        bone = bone.replace("Proximal", "Intermediate").replace("Metacarpal", "Proximal")
    return bone[:1].upper() + bone[1:]


def _other_names(bone: str) -> tuple[str, str]:
    side = next((each for each in SIDES if bone.startswith(each)), "")
    plain = bone.removeprefix(side)
    if plain in OTHER_NAMES:
        mixamo, unreal = OTHER_NAMES[plain]
    else:
        finger = next(each for each in FINGERS if plain.startswith(each))
        number = _phalanges(finger).index(plain) + 1
        other = "Pinky" if finger == "Little" else finger
        mixamo, unreal = f"Hand{other}{number}", f"{other.lower()}_{number:02d}"
    if unreal and side:
        unreal = f"{unreal}_{SIDES[side]}"
    return f"mixamorig:{side.capitalize()}{mixamo}", unreal


def _unreal_joint(joint: str) -> str:
    side, name = _side_and_name(joint)
    known = UNREAL_JOINTS.get(name, "")
    return f"{known}_{side}" if known and side else known
