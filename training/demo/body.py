"""Build the avatar of a demo person: `python -m training.demo.body --out people/demo`.

The name of the folder selects the person, of `training.demo.mesh.looks`. Writes avatar.safetensors
and cameras.json. Repeated runs on one machine write identical bytes.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import save

from models.avatar.blendshape.model import BlendshapeConfig
from models.avatar.blendshape.texture import pack_texture
from models.avatar.camera import PORTRAIT, looking_at, write_cameras
from models.motion.pipeline import LONGEST_SECONDS
from training.demo.mesh import assets
from training.demo.mesh.ambient_occlusion import sky_openness
from training.demo.mesh.assembly import Assembly, assemble
from training.demo.mesh.body_shape import shape_body
from training.demo.mesh.head import Body
from training.demo.mesh.looks import DEMO as DEMO_LOOKS
from training.demo.mesh.looks import LOOKS, Looks
from training.demo.mesh.skeleton import build_rig
from training.demo.mesh.texture_painting import paint_texture
from training.person_facts import DEFAULTS, DEMO, SIZE, read_facts, write_draft

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from models.avatar.camera import Camera
    from training.demo.mesh.geometry import Indices, Points

FACE_CODE = 256
SKIN_JOINTS = 8
SHINE = {"skin": 0.20, "eyes": 1.0, "teeth": 0.5, "tongue": 0.4, "sweater": 0.02}
SHINE |= {"trousers": 0.02, "hair": 0.25, "bun": 0.25}
RIGID_PARTS = ("hair", "bun", "teeth")  # attached to the head joint only
STILL_PARTS = ("hair", "bun")  # not moved by any face unit
SMALLEST_MOVE = 2e-4  # decimetres; smaller displacements are dropped


def facts_of(name: str) -> dict[str, Any]:
    """Facts of a demo person for person.json."""
    return {
        "name": name,
        "title": LOOKS[name].title,
        "consent": {
            "kind": "synthetic",
            "uses": ["non-commercial", "commercial"],
            "conditions": "made by this project from public-domain sources; no real human being "
            "is shown",
        },
        "licence": "Apache-2.0; body from CC0 sources: see NOTICE",
        "avatar": {"kind": "blendshape"},
        "limits": {"max_seconds": LONGEST_SECONDS},
        "defaults": {**DEFAULTS["mel"], "size": SIZE},
    }


DEMO_FACTS = facts_of(DEMO)


def build_body(looks: Looks = DEMO_LOOKS) -> Body:
    """Base mesh in the shape of the person, with its skeleton."""
    mesh = assets.read_base_mesh()
    shape = shape_body(mesh, looks.figure)
    return Body(mesh, shape, build_rig(shape), looks)


def unit_moves(body: Body, assembly: Assembly) -> tuple[tuple[str, ...], Points]:
    """Names of the face units and their vertex displacements, [U, V, 3]."""
    units = assets.read_face_units(len(body.shape))
    moves = np.stack([assembly.mix @ move for move in units.values()])
    moves[:, assembly.mask(*STILL_PARTS)] = 0
    return tuple(units), moves


def skin_weights(body: Body, assembly: Assembly) -> tuple[Indices, Points]:
    """Joints and skin weights of each vertex, [V, K] each, heaviest first."""
    weights = np.asarray(assembly.mix @ body.rig.weights)
    rigid = assembly.mask(*RIGID_PARTS)
    weights[rigid] = 0
    weights[rigid, body.rig.joint("head")] = 1
    joints = np.argsort(-weights, axis=1, kind="stable")[:, :SKIN_JOINTS]
    chosen = np.take_along_axis(weights, joints, axis=1)
    return joints, chosen / chosen.sum(1, keepdims=True)


def face_basis(units: int) -> NDArray[np.float32]:
    """Random orthonormal basis [256, U]; a face code is the basis times the face units."""
    directions = np.random.default_rng(0).standard_normal((FACE_CODE, units))
    return np.linalg.qr(directions)[0].astype(np.float32)


def lip_vertices(assembly: Assembly, jaw: Points) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Upper and lower vertices at the middle of the inner lips, from the jaw displacement [V, 3].

    The lower ones move down with the jaw, the upper ones do not.
    """
    at, drop = assembly.template, -jaw[:, 1]
    middle = np.flatnonzero(assembly.mask("skin") & (np.abs(at[:, 0]) < 0.06))
    front = middle[at[middle, 2] > at[middle, 2].max() - 0.35]
    moving, still = front[drop[front] > 0.5 * drop[front].max()], front[drop[front] < 1e-3]
    gap = np.linalg.norm(at[still][:, None] - at[moving][None], axis=-1)
    gap += 10 * np.abs(at[still][:, None, 0] - at[moving][None, :, 0])  # prefers vertical pairs
    nearest = np.argsort(gap.min(1), kind="stable")[:3]
    upper, lower = still[nearest], moving[gap[nearest].argmin(1)]
    return tuple(int(i) for i in upper), tuple(int(i) for i in lower)


def build_cameras() -> dict[str, Camera]:
    """Cameras of the demo person; the first is the default."""
    shared = {"width": 512, "height": 512}
    views = [
        looking_at("front", eye=(0, 5.6, 15.0), target=(0, 4.95, 0.4), focal=2.15, **shared),
        looking_at("wide", eye=(0, 5.2, 18.0), target=(0, 3.9, 0.4), focal=1.75, **shared),
        looking_at("side", eye=(9.0, 5.6, 12.0), target=(0, 4.85, 0.4), focal=2.15, **shared),
        looking_at(PORTRAIT, eye=(0, 5.5, 16.0), target=(0, 4.98, 0.4), focal=2.5, **shared),
    ]
    return {camera.name: camera for camera in views}


def build_weights(body: Body, assembly: Assembly) -> tuple[BlendshapeConfig, dict[str, Tensor]]:
    """Config and weights of avatar.safetensors."""
    names, moves = unit_moves(body, assembly)
    rest_face = body.looks.figure.rest_face
    rest = np.array([rest_face.get(name, 0.0) for name in names])
    template = assembly.template + np.einsum("u,uvc->vc", rest, moves)
    upper, lower = lip_vertices(assembly, moves[names.index("jawOpen")])
    shine = tuple(SHINE[name] for name in assembly.names)
    skeleton = body.rig.skeleton
    parameters = body.rig.parameter_names
    config = BlendshapeConfig(
        names, parameters, assembly.names, skeleton.parents, shine, upper, lower, body.rig.bones
    )
    unit, vertex = np.nonzero(np.abs(moves).max(2) > SMALLEST_MOVE)
    joints, weights = skin_weights(body, assembly)
    openness = sky_openness(body, assembly, joints, weights)
    uv = np.stack([assembly.uv[:, 0], 1 - assembly.uv[:, 1]], axis=1)
    return config, {
        "face_basis": torch.from_numpy(face_basis(len(names))),
        "joint_offsets": skeleton.offsets.float(),
        "joint_rotations": skeleton.rotations.float(),
        "transform": skeleton.transform.float(),
        "template": _tensor(template, np.float32),
        "unit_of_move": _tensor(unit, np.uint8),
        "unit_vertices": _tensor(vertex, np.int16),
        "unit_moves": _tensor(moves[unit, vertex], np.float16),
        "skin_weights": _tensor(weights, np.float16),
        "skin_joints": _tensor(joints, np.uint8),
        "faces": _tensor(assembly.faces, np.int16),
        "uv_faces": _tensor(assembly.uv_faces, np.int16),
        "uv": _tensor(uv, np.float32),
        "parts": _tensor(assembly.parts, np.uint8),
        "openness": _tensor(np.round(openness * 255), np.uint8),
        "texture": pack_texture(torch.from_numpy(paint_texture(body, assembly))),
    }


def _tensor(values: NDArray[np.generic], dtype: type[np.generic]) -> Tensor:
    if np.issubdtype(dtype, np.integer) and values.max() > np.iinfo(dtype).max:  # type: ignore[type-var]
        raise ValueError(f"value {values.max()} does not fit into {np.dtype(dtype)}")
    return torch.from_numpy(np.ascontiguousarray(values.astype(dtype)))


def main() -> None:
    """Write the avatar into a person directory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="person directory")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    name = out.resolve().name
    if name == DEMO and read_facts(out) is None:
        write_draft(out, DEMO_FACTS)
    body = build_body(LOOKS.get(name, DEMO_LOOKS))
    config, weights = build_weights(body, assemble(body))
    metadata = {"config": json.dumps(asdict(config))}
    (out / "avatar.safetensors").write_bytes(save(weights, metadata))
    write_cameras(out / "cameras.json", build_cameras())


if __name__ == "__main__":
    main()
