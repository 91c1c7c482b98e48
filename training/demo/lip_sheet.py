"""Contact sheet of lips by phone: `python -m training.demo.lip_sheet --data HELD --out FILE.webp`.

Columns are phones of one clip with a held-out voice; rows are the truth by rule, the sampled face
without the step `lips`, and with it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageDraw

from contracts.person import read_manifest
from contracts.quality import sampling_options
from models.avatar.blendshape.kind import load_blendshape_avatar
from models.finishing.animator import FinishedAnimator, Finishing, load_finished_animator
from models.motion.pipeline import Sampling
from training.commands.options import positive_float
from training.data.audio import FRAME_RATE
from training.demo.judge import cut_clips
from training.person_facts import DEMO_PERSON

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from models.avatar.blendshape.renderer import BlendshapeAvatar
    from training.data.phones import TimedPhone

SHOWN = ("m", "p", "b", "f", "a", "æ", "i", "s", "u", "w", "o", "ɔ", "ʃ", "l", "_")
ASCII = {"æ": "ae", "ɔ": "aw", "ʃ": "sh", "_": "silence"}  # the font of labels has no IPA
SIDE, CROP = 900, (350, 180, 550, 380)  # of the picture, and the face in it
LABEL = 16  # pixels


def moments(phones: Sequence[TimedPhone], frames: int) -> dict[str, int]:
    """Middle frame of the longest phone of each kind."""
    found: dict[str, TimedPhone] = {}
    for phone in phones:
        longest = found.get(phone.symbol)
        inside = phone.start * FRAME_RATE > 5 and phone.end * FRAME_RATE < frames - 5
        if (
            phone.symbol in SHOWN
            and inside
            and (longest is None or phone.end - phone.start > longest.end - longest.start)
        ):
            found[phone.symbol] = phone
    return {
        symbol: int((found[symbol].start + found[symbol].end) / 2 * FRAME_RATE)
        for symbol in SHOWN
        if symbol in found
    }


def faces_of(animator: FinishedAnimator, samples: Tensor, sampling: Sampling) -> list[Tensor]:
    """Face codes [T, 256] without the step `lips` and with it, of the same sample."""
    finishing = animator.finishing
    assert finishing is not None
    steps = {name: finishing.parameters(name) for name in finishing.names if name != "lips"}
    without = FinishedAnimator(animator.animator, Finishing(finishing.rig, steps))
    return [each.animate(samples, sampling)[0].face for each in (without, animator)]


def lip_sheet(person: Path, data: Path, *, seconds: float) -> Image.Image:
    """Render the sheet from the first clip of a dataset."""
    avatar = load_blendshape_avatar(person, device=torch.device("cpu"))
    samples, codes, _, phones = next(iter(cut_clips(data, seconds, 1)))
    chosen = moments(phones or [], len(codes))
    manifest = read_manifest(person)
    defaults = manifest.defaults
    sampling = Sampling(
        (1,), **sampling_options(defaults, None, student=None),
        guidance_face=defaults["guidance_face"], guidance_body=defaults["guidance_body"],
        diversity=defaults["diversity"],
    )  # fmt: skip
    animator = load_finished_animator(person, device=torch.device("cpu"))
    rows = [
        torch.from_numpy(codes).float(),
        *faces_of(animator, torch.from_numpy(samples), sampling),
    ]
    return _drawn(avatar, [row[list(chosen.values())] for row in rows], list(chosen))


def _drawn(avatar: BlendshapeAvatar, rows: Sequence[Tensor], labels: Sequence[str]) -> Image.Image:
    camera = avatar.camera("front").resized(SIDE, SIDE)
    left, top, right, bottom = CROP
    width, height = right - left, bottom - top
    sheet = Image.new("RGB", (width * len(labels), height * len(rows) + LABEL), "white")
    draw = ImageDraw.Draw(sheet)
    for row, codes in enumerate(rows):
        pose = torch.zeros(len(codes), 104)
        frames = [frame for batch in avatar.render(codes, pose, [camera]) for frame in batch]
        for column, frame in enumerate(frames):
            cut = np.asarray(frame)[top:bottom, left:right]
            sheet.paste(Image.fromarray(cut), (column * width, LABEL + row * height))
    for column, label in enumerate(labels):
        draw.text((column * width + width // 2, 2), ASCII.get(label, label), fill="black")
    return sheet


def main() -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of held-out scenes")
    parser.add_argument("--person", type=Path, default=DEMO_PERSON, help="person directory")
    parser.add_argument("--seconds", type=positive_float, default=20.0, help="length of the clip")
    parser.add_argument("--out", type=Path, required=True, help="picture")
    arguments = parser.parse_args()
    lip_sheet(arguments.person, arguments.data, seconds=arguments.seconds).save(arguments.out)


if __name__ == "__main__":
    main()
