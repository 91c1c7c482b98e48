"""Render the picture of the README: `python -m training.demo.portrait --out docs/pictures`.

It shows both demo people in conversation, with face units and key poses chosen by hand: she speaks,
he listens. Each is rendered by a camera whose centre is moved aside, and set before one wall. With
`--clip`, contact sheets of sampled motion of the clip in both shadings follow: of both people, and
of the demo person alone.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from contracts.avatar_kinds import FAST, FULL
from contracts.person import FINISHING
from models.avatar.appearance import TRANSPARENT, RenderOptions
from models.avatar.blendshape.kind import load_blendshape_avatar
from models.avatar.camera import PORTRAIT
from models.formats.wav import FRAME_RATE
from training.demo.media import CHANNELS, sampled_motion
from training.demo.pose_keys import POSES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from models.avatar.blendshape.renderer import BlendshapeAvatar
    from models.avatar.camera import Camera
    from models.motion.pipeline import Motion

PEOPLE = Path(__file__).parents[2] / "people"
WIDTH, HEIGHT = 1200, 640
SAMPLES = 4  # along each side of a pixel
QUALITY = 88
SHEET_SIZES = (512, 1024)  # of a frame
SHEET_SECONDS = {"demo": (1.2, 8.5), "sam": (8.3, 3.0)}  # of the sample clip: speaking, listening
SHEET_SEED = 4242
SHADING_SECONDS = (0.9, 3.0, 4.8, 8.5)
LARGE_SECOND = (4.8,)


@dataclass(frozen=True)
class Sitter:
    """A person in the picture."""

    name: str
    aside: int  # pixels from the middle of the picture, negative to the left
    face: Mapping[str, float]  # face units
    body: Mapping[str, float]  # pose parameters besides the arms
    keys: Mapping[str, float]  # weights of key poses
    resting: float = 0.0  # weight of the person's own rest of the hands


SITTERS = (
    Sitter(
        "demo",
        aside=-335,
        face={
            "jawOpen": 0.20,
            "mouthUpperUpLeft": 0.20,
            "mouthUpperUpRight": 0.20,
            "mouthLowerDownLeft": 0.20,
            "mouthLowerDownRight": 0.20,
            "mouthSmileLeft": 0.30,
            "mouthSmileRight": 0.28,
            "cheekSquintLeft": 0.25,
            "cheekSquintRight": 0.25,
            "browInnerUp": 0.12,
        },
        body={
            "root_ry": 0.42,
            "head_ry": 0.20,
            "neck_ry": 0.06,
            "head_rz": 0.05,
            "eye_L_ry": 0.10,
            "eye_R_ry": 0.10,
        },
        keys={"rest_L": 1.0, "open_R": 0.35, "mid_R": 0.65},
    ),
    Sitter(
        "sam",
        aside=335,
        face={
            "mouthSmileLeft": 0.28,
            "mouthSmileRight": 0.32,
            "cheekSquintLeft": 0.15,
            "cheekSquintRight": 0.15,
            "browInnerUp": 0.10,
        },
        body={
            "root_ry": -0.42,
            "head_ry": -0.20,
            "neck_ry": -0.06,
            "head_rz": -0.06,
            "head_rx": 0.04,
            "eye_L_ry": -0.10,
            "eye_R_ry": -0.10,
        },
        keys={},
        resting=1.0,
    ),
)


def render_conversation() -> NDArray[np.uint8]:
    """Render the picture, [HEIGHT, WIDTH, 3] sRGB."""
    avatars = [
        load_blendshape_avatar(PEOPLE / sitter.name, device=torch.device("cpu"))
        for sitter in SITTERS
    ]
    picture = _wall(avatars[0])
    for sitter, avatar in zip(SITTERS, avatars, strict=True):
        frame = _frame(avatar, sitter).astype(np.float64)
        alpha = frame[..., 3:] / 255
        picture = picture * (1 - alpha) + frame[..., :3] * alpha
    return np.asarray(picture + 0.5).astype(np.uint8)


def _frame(avatar: BlendshapeAvatar, sitter: Sitter) -> NDArray[np.uint8]:
    pose = row(avatar.parameter_names, sitter.body)
    for key, weight in sitter.keys.items():
        pose += weight * row(avatar.parameter_names, read_key(key))
    if sitter.resting:
        pose += sitter.resting * row(avatar.parameter_names, own_rest(sitter.name))
    face = avatar.face_code(row(avatar.unit_names, sitter.face))
    return _rendered(avatar, face, pose, aside(camera_of(avatar), sitter.aside), TRANSPARENT)


def _wall(avatar: BlendshapeAvatar) -> NDArray[np.float64]:
    pose = row(avatar.parameter_names, {"root_ty": -100.0})
    face = avatar.face_code(row(avatar.unit_names, {}))
    return _rendered(avatar, face, pose, camera_of(avatar), None).astype(np.float64)


def _rendered(
    avatar: BlendshapeAvatar, face: Tensor, pose: Tensor, camera: Camera, background: str | None
) -> NDArray[np.uint8]:
    options = RenderOptions(background=background, samples=SAMPLES, shading=FULL)  # type: ignore[arg-type]
    return np.asarray(next(iter(avatar.render(face, pose, [camera], options=options)))[0])


def contact_sheet(clip: Path) -> NDArray[np.uint8]:
    """Rows of both people, [2 * S, 4 * S, 3]: speaking and listening in `fast`, then in `full`."""
    size, rows = max(SHEET_SIZES), []
    for name, channel in zip(SHEET_SECONDS, CHANNELS, strict=True):
        avatar = load_blendshape_avatar(PEOPLE / name, device=torch.device("cpu"))
        seconds = max(SHEET_SECONDS[name]) + 1
        motion = sampled_motion(PEOPLE / name, clip, seconds, SHEET_SEED, channel)
        rows.append(np.concatenate(in_both(avatar, motion, SHEET_SECONDS[name], size), axis=1))
    return np.concatenate(rows)


def in_both(
    avatar: BlendshapeAvatar, motion: Motion, seconds: Sequence[float], size: int
) -> list[NDArray[np.uint8]]:
    """Frames at some times beside each other, [S, N * S, 3]: in `fast`, then in `full`."""
    at, rows = [round(second * FRAME_RATE) for second in seconds], []
    for shading, view in ((FAST, None), (FULL, PORTRAIT)):
        camera = avatar.camera(view).resized(size, size)
        options = RenderOptions(shading=shading)
        frames = avatar.render(motion.face[at], motion.pose[at], [camera], options=options)
        rows.append(np.concatenate([frame for batch in frames for frame in batch], axis=1))
    return rows


def shading_sheets(clip: Path) -> dict[str, NDArray[np.uint8]]:
    """Sheets of the demo person by file name: four frames in both shadings, and one larger."""
    avatar = load_blendshape_avatar(PEOPLE / "demo", device=torch.device("cpu"))
    motion = sampled_motion(PEOPLE / "demo", clip, max(SHADING_SECONDS) + 1, SHEET_SEED)
    small, large = SHEET_SIZES
    return {
        f"shading-{small}": np.concatenate(in_both(avatar, motion, SHADING_SECONDS, small)),
        f"shading-{large}": np.concatenate(in_both(avatar, motion, LARGE_SECOND, large), axis=1),
    }


def camera_of(avatar: BlendshapeAvatar) -> Camera:
    """Return the camera of the picture."""
    return avatar.camera(PORTRAIT).resized(WIDTH, HEIGHT)


def aside(camera: Camera, pixels: int) -> Camera:
    """Move the centre of a camera's picture, so that the person appears beside it."""
    (fx, skew, cx), second, third = camera.intrinsics
    return replace(camera, intrinsics=((fx, skew, cx + pixels), second, third))


def read_key(name: str) -> Mapping[str, float]:
    """Read a key pose of one hand: pose parameter -> radians."""
    keys: dict[str, dict[str, float]] = json.loads(POSES.read_text(encoding="utf-8"))
    return keys[name]


def own_rest(name: str) -> Mapping[str, float]:
    """Read the pose in which the hands of a person rest: pose parameter -> radians."""
    content = json.loads((PEOPLE / name / FINISHING).read_text(encoding="utf-8"))
    return dict(content["steps"]["listening"]["rest"])


def row(names: Sequence[str], values: Mapping[str, float]) -> Tensor:
    """One row of values by name, [1, len(names)], 0 elsewhere."""
    result = torch.zeros(1, len(names))
    for name, value in values.items():
        result[0, names.index(name)] = value
    return result


def main() -> None:
    """Write conversation.webp, and with a clip people-*.webp and shading-*.webp."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="output folder")
    parser.add_argument("--clip", type=Path, help="clip of the contact sheets")
    options = parser.parse_args()
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(render_conversation())
    picture.save(out / "conversation.webp", quality=QUALITY, method=6)
    if options.clip is not None:
        sheet = Image.fromarray(contact_sheet(options.clip))
        for size in SHEET_SIZES:
            share = size / max(SHEET_SIZES)
            small = sheet.resize((round(sheet.width * share), round(sheet.height * share)))
            small.save(out / f"people-{size}.webp", quality=QUALITY, method=6)
        for name, pixels in shading_sheets(options.clip).items():
            Image.fromarray(pixels).save(out / f"{name}.webp", quality=QUALITY, method=6)


if __name__ == "__main__":
    main()
