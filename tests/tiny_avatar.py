"""Valid avatar that renders in milliseconds: a ball with eyes and a mouth, on an ellipsoid.

Names, face units and pose parameters are those of the demo person, with a few hundred vertices.
Lengths are decimetres.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save

from models.avatar.blendshape.model import BlendshapeConfig, BlendshapeModel, load_blendshape
from models.avatar.blendshape.texture import pack_texture
from models.avatar.camera import looking_at, write_cameras

Tensor = torch.Tensor

DEMO = Path(__file__).parents[1] / "people" / "demo" / "avatar.safetensors"
AROUND = 24  # vertices per ring
SHINE = {"skin": 0.2, "eyes": 1.0, "sweater": 0.02}
JOINTS = ("root", "spine01", "head")
PARENTS = (-1, 0, 1)
JAW_DROP = 0.4  # of the middle of the lower lip, decimetres


@dataclass(frozen=True)
class Shell:
    """Rings of vertices around an ellipsoid, between two heights."""

    part: str
    joint: int
    vertices: Tensor  # [V, 3]
    faces: Tensor  # [F, 3] counter-clockwise from outside
    uv: Tensor  # [V, 2]


def write_tiny_avatar(folder: Path) -> None:
    """Write avatar.safetensors and cameras.json in the format of `training.demo.body`."""
    folder.mkdir(parents=True, exist_ok=True)
    config, weights = tiny_weights()
    metadata = {"config": json.dumps(asdict(config))}
    (folder / "avatar.safetensors").write_bytes(save(weights, metadata))
    target, shared = (0, 4.4, 0.4), {"focal": 1.6, "width": 64, "height": 64}
    front = looking_at("front", eye=(0, 5.6, 15.0), target=target, **shared)
    side = looking_at("side", eye=(9.0, 5.6, 12.0), target=target, **shared)
    write_cameras(folder / "cameras.json", {"front": front, "side": side})


def tiny_blendshape(folder: Path, device: str = "cpu") -> BlendshapeModel:
    """Write and load the avatar."""
    write_tiny_avatar(folder)
    return load_blendshape(folder / "avatar.safetensors", device=torch.device(device))


def tiny_weights() -> tuple[BlendshapeConfig, dict[str, Tensor]]:
    """Config and weights of the file."""
    shells = _shells()
    count = [len(shell.vertices) for shell in shells]
    template = torch.cat([shell.vertices for shell in shells])
    first = torch.tensor([0, *count]).cumsum(0)
    faces = torch.cat([s.faces + start for s, start in zip(shells, first, strict=False)])
    parts = torch.tensor([list(SHINE).index(shell.part) for shell in shells])
    joints = torch.tensor([shell.joint for shell in shells]).repeat_interleave(torch.tensor(count))
    names = _demo_names()
    upper = count[0] - AROUND + AROUND // 4  # the rim of the head's upper half, straight ahead
    lower = int(first[1]) + AROUND // 4
    config = BlendshapeConfig(
        names["unit_names"],
        names["parameter_names"],
        tuple(SHINE),
        PARENTS,
        tuple(SHINE.values()),
        (upper,),
        (lower,),
        JOINTS,
    )
    moves = _unit_moves(config.unit_names, template, slice(int(first[1]), int(first[2])))
    unit, vertex = (moves.abs().amax(2) > 1e-4).nonzero(as_tuple=True)
    noise = torch.randn(256, len(moves), generator=torch.Generator().manual_seed(0))
    return config, {
        "face_basis": torch.linalg.qr(noise).Q.contiguous(),
        "joint_offsets": torch.tensor([[0.0, 0, 0], [0, 3, 0], [0, 2, 0.2]]),
        "joint_rotations": torch.tensor([[0.0, 0, 0, 1]] * len(PARENTS)),
        "transform": _transform(len(config.parameter_names)),
        "template": template,
        "unit_of_move": unit.to(torch.uint8),
        "unit_vertices": vertex.to(torch.int16),
        "unit_moves": moves[unit, vertex].half(),
        "skin_weights": torch.tensor([[0.9, 0.1]]).half().repeat(len(template), 1),
        "skin_joints": torch.stack([joints, torch.ones_like(joints)], 1).to(torch.uint8),
        "faces": faces.to(torch.int16),
        "uv_faces": faces.to(torch.int16),
        "uv": torch.cat([shell.uv for shell in shells]),
        "parts": parts.repeat_interleave(torch.tensor(count)).to(torch.uint8),
        "openness": torch.full((len(template),), 230, dtype=torch.uint8),
        "texture": pack_texture(_texture()),
    }


def _shells() -> list[Shell]:
    """Parts of the body. The two halves of the head meet at the mouth."""
    head, radius = (0.0, 5.8, 0.4), (0.8, 1.1, 0.9)
    return [
        _shell("skin", 2, head, radius, (1.0, -0.4)),
        _shell("skin", 2, head, radius, (-0.4, -1.0)),
        _shell("eyes", 2, (-0.35, 6.0, 1.15), (0.14, 0.14, 0.14), (1.0, -1.0)),
        _shell("eyes", 2, (0.35, 6.0, 1.15), (0.14, 0.14, 0.14), (1.0, -1.0)),
        _shell("sweater", 1, (0.0, 2.4, 0.0), (1.9, 2.5, 1.0), (1.0, -1.0)),
    ]


def _shell(
    part: str,
    joint: int,
    centre: tuple[float, float, float],
    radius: tuple[float, float, float],
    heights: tuple[float, float],
) -> Shell:
    rings = 5
    tilt = torch.linspace(*(float(torch.tensor(height).acos()) for height in heights), rings)
    turn = torch.arange(AROUND) * (2 * torch.pi / AROUND)
    tilt, turn = torch.meshgrid(tilt, turn, indexing="ij")
    ball = torch.stack([tilt.sin() * turn.cos(), tilt.cos(), tilt.sin() * turn.sin()], dim=-1)
    vertices = torch.tensor(centre) + torch.tensor(radius) * ball.reshape(-1, 3)
    ring, column = torch.arange(rings - 1)[:, None], torch.arange(AROUND)[None]
    a, b = (ring * AROUND + column).flatten(), (ring * AROUND + (column + 1) % AROUND).flatten()
    below = AROUND
    faces = torch.cat(
        [torch.stack([a, b, b + below], 1), torch.stack([a, b + below, a + below], 1)]
    )
    corner = torch.tensor([list(SHINE).index(part) / len(SHINE), 0.0])
    uv = torch.stack([turn / (2 * torch.pi) / len(SHINE), tilt / torch.pi], dim=-1)
    return Shell(part, joint, vertices, faces, corner + 0.99 * uv.reshape(-1, 2))


def _demo_names() -> dict[str, tuple[str, ...]]:
    with safe_open(DEMO, framework="pt") as file:
        config = json.loads(file.metadata()["config"])
    return {name: tuple(config[name]) for name in ("unit_names", "parameter_names")}


def _unit_moves(names: tuple[str, ...], template: Tensor, lower: slice) -> Tensor:
    """Offsets per face unit and vertex, [U, V, 3]: the jaw moves the lower half of the head."""
    moves = torch.zeros(len(names), len(template), 3)
    for unit in range(len(names)):
        moves[unit, 5 * unit % 200 : 5 * unit % 200 + 5, 2] = 0.05
    jaw = moves[names.index("jawOpen")]
    jaw.zero_()
    at = template[lower]
    jaw[lower, 1] = -JAW_DROP * ((at[:, 2] - 0.4) / 0.85).clamp(0, 1)
    return moves


def _transform(parameters: int) -> Tensor:
    """Pose transform, [J * 7, P]: six parameters move the root, the others bend joints."""
    transform = torch.zeros(len(PARENTS) * 7, parameters)
    transform[:6, :6] = torch.eye(6)
    for parameter in range(6, parameters):
        joint, turn = 1 + parameter % 2, 3 + parameter // 2 % 3
        transform[7 * joint + turn, parameter] = 0.1
    return transform


def _texture() -> Tensor:
    """Texture [64, 64, 3]: stripes of skin, white and blue, with some grain."""
    colours = torch.tensor([[215, 165, 140], [240, 240, 240], [50, 100, 120]])
    texture = colours[(torch.arange(64) * len(colours) // 64)].expand(64, 64, 3)
    grain = torch.randint(-12, 13, (64, 64, 1), generator=torch.Generator().manual_seed(1))
    return (texture + grain).clamp(0, 255).to(torch.uint8)
