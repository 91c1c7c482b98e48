"""A VRM avatar that our writer did not make: other proportions, rolled rest axes, fewer bones."""

import json
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.animation.humanoid import BONE_PARENTS
from models.animation.quaternions import IDENTITY, inverse, multiply, rotate

Floats = NDArray[np.float64]

# Place of each bone from the one above, in metres: a child with long legs and a large head.
TRUNK = {
    "hips": (0, 0.72, 0.02),
    "spine": (0, 0.07, 0),
    "chest": (0, 0.11, -0.01),
    "neck": (0, 0.16, 0),
    "head": (0, 0.07, 0.01),
}
LEFT = {
    "Shoulder": (0.03, 0.13, 0),
    "UpperArm": (0.07, 0, 0),
    "LowerArm": (0.18, 0, 0),
    "Hand": (0.17, 0, 0),
    "IndexProximal": (0.07, 0, 0.02),
    "UpperLeg": (0.07, -0.02, 0),
    "LowerLeg": (0, -0.34, 0),
    "Foot": (0, -0.31, -0.01),
}
HEIGHT = 1.25


def offsets() -> dict[str, Floats]:
    """Bones of the rig, with the place of each from the one above."""
    result = {bone: np.array(place, float) for bone, place in TRUNK.items()}
    for side, sign in (("left", 1), ("right", -1)):
        for bone, (x, y, z) in LEFT.items():
            result[side + bone] = np.array((sign * x, y, z), float)
    return result


def above(bone: str) -> str | None:
    """Nearest bone above that the rig has."""
    parent = BONE_PARENTS[bone]
    while parent is not None and parent not in offsets():
        parent = BONE_PARENTS[parent]
    return parent


def write_second_rig(path: Path, expressions: tuple[str, ...]) -> None:
    """Write the rig as VRM without a mesh, each bone with rest axes of its own."""
    rng = np.random.default_rng(3)
    world: dict[str, Floats] = {}
    nodes: list[dict[str, object]] = []
    places = list(offsets())
    for bone, offset in offsets().items():
        roll = np.append(rng.uniform(-1, 1, 3), 0.5)
        world[bone] = roll / np.linalg.norm(roll)
        parent = above(bone)
        turned = world[parent] if parent is not None else IDENTITY
        children = [places.index(each) for each in places if above(each) == bone]
        node: dict[str, object] = {
            "name": f"J_{bone}",
            "translation": rotate(inverse(turned), offset).tolist(),
            "rotation": multiply(inverse(turned), world[bone]).tolist(),
        }
        nodes.append(node | ({"children": children} if children else {}))
    document = {
        "asset": {"version": "2.0"},
        "extensionsUsed": ["VRMC_vrm"],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": nodes,
        "extensions": {
            "VRMC_vrm": {
                "specVersion": "1.0",
                "meta": {
                    "name": "second",
                    "authors": ["test"],
                    "licenseUrl": "https://vrm.dev/licenses/1.0/",
                },
                "humanoid": {"humanBones": {b: {"node": n} for n, b in enumerate(places)}},
                "expressions": {"custom": {name: {} for name in expressions}, "preset": {"aa": {}}},
            }
        },
    }
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    header = struct.pack("<4sII", b"glTF", 2, 20 + len(text))
    path.write_bytes(header + struct.pack("<I4s", len(text), b"JSON") + text)
