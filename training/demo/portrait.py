"""Render the picture of the README: `python -m training.demo.portrait --out docs/pictures`.

It shows the demo person speaking and gesturing, with face units and key poses chosen by hand. The
image is rendered at twice the size and averaged.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from models.avatar.blendshape.kind import load_blendshape_avatar
from training.demo.pose_keys import POSES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from models.avatar.blendshape.renderer import BlendshapeAvatar

PERSON = Path(__file__).parents[2] / "people" / "demo"
WIDTH, HEIGHT = 900, 640
FACE = {
    "jawOpen": 0.24,
    "mouthUpperUpLeft": 0.22,
    "mouthUpperUpRight": 0.22,
    "mouthLowerDownLeft": 0.25,
    "mouthLowerDownRight": 0.25,
    "mouthSmileLeft": 0.30,
    "mouthSmileRight": 0.28,
    "mouthStretchLeft": 0.10,
    "mouthStretchRight": 0.10,
    "cheekSquintLeft": 0.25,
    "cheekSquintRight": 0.25,
}
HANDS = {"high_L": 0.25, "mid_L": 0.75, "open_R": 0.45, "mid_R": 0.55}  # weights of key poses
BODY = {"head_rz": 0.06, "head_ry": -0.10, "head_rx": 0.03, "spine_upper_ry": 0.04}


def render_portrait(avatar: BlendshapeAvatar) -> NDArray[np.uint8]:
    """Render the portrait, [HEIGHT, WIDTH, 3] sRGB."""
    units = _row(avatar.unit_names, FACE)
    pose = _row(avatar.parameter_names, BODY)
    for key, weight in HANDS.items():
        pose += weight * _row(avatar.parameter_names, read_key(key))
    camera = avatar.camera("front").resized(2 * WIDTH, 2 * HEIGHT)
    frame = next(avatar.render(avatar.face_code(units), pose, [camera]))[0]
    blocks = frame.reshape(HEIGHT, 2, WIDTH, 2, 3).astype(np.float64)
    return np.asarray(blocks.mean((1, 3)) + 0.5).astype(np.uint8)


def read_key(name: str) -> Mapping[str, float]:
    """Read a key pose of one hand: pose parameter -> radians."""
    keys: dict[str, dict[str, float]] = json.loads(POSES.read_text(encoding="utf-8"))
    return keys[name]


def _row(names: Sequence[str], values: Mapping[str, float]) -> Tensor:
    row = torch.zeros(1, len(names))
    for name, value in values.items():
        row[0, names.index(name)] = value
    return row


def main() -> None:
    """Write demo-person.png."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="output folder")
    out: Path = parser.parse_args().out
    avatar = load_blendshape_avatar(PERSON, device=torch.device("cpu"))
    out.mkdir(parents=True, exist_ok=True)
    Image.fromarray(render_portrait(avatar)).save(out / "demo-person.png", optimize=True)


if __name__ == "__main__":
    main()
