"""Picture and loop of a person: `python -m training.demo.media --person people/demo --clip CLIP`.

The loop is silent: some seconds of the clip's motion, whose end flows into its beginning. The
picture is the first frame of it, larger: the one in which the person looks at the viewer most
directly. Both become files of the person, named in person.json.
"""

from __future__ import annotations

import argparse
import io
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import torch
from PIL import Image

from contracts.files import write_atomically
from contracts.person import write_manifest
from models.avatar.blendshape.renderer import BlendshapeAvatar
from models.avatar.loading import load_avatar
from models.finishing.animator import load_finished_animator
from models.formats.wav import FRAME_RATE, open_wav
from models.motion.pipeline import Motion, Sampling
from training.commands.options import positive_float
from training.person_directory import person_files
from training.person_facts import read_facts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from models.avatar.avatar import Avatar

CPU = torch.device("cpu")
CHANNELS = ("left", "right")
MEDIA = {"picture": "picture.webp", "loop": "loop.mp4"}
PICTURE, LOOP = (896, 672), (768, 576)  # width and height
BLEND = 15  # frames over which the end of a loop flows into its beginning
QUALITY = 82  # of the picture
CAMERA_DOWN = 0.05  # rad, from the eyes to the camera
SHUT, OPEN = 0.5, 0.3  # of closed lids and of an open jaw, in rad of a gaze aside
ENCODING = {"preset": "veryslow", "crf": "27", "movflags": "+faststart"}


def sampled_motion(
    person: Path, clip: Path, seconds: float, seed: int, channel: str = CHANNELS[0]
) -> Motion:
    """Sample the motion of the beginning of a clip, with the voice of a channel."""
    facts = read_facts(person) or {}
    defaults = facts["defaults"]
    audio = open_wav(clip)
    samples = torch.from_numpy(audio.read(0, round(seconds * audio.rate)))
    samples = samples if channel == CHANNELS[0] else samples.flip(1)
    options = {name: defaults[name] for name in ("steps", "guidance_face", "guidance_body")}
    sampling = Sampling(seeds=(seed,), diversity=defaults["diversity"], **options)
    return load_finished_animator(person, device=CPU).animate(samples, sampling)[0]


def looped(motion: Motion, first: int, frames: int) -> Motion:
    """Cut `frames` frames from `first` on; the last ones blend into those before `first`."""
    share = torch.linspace(0, 1, BLEND + 2)[1:-1, None]

    def part(rows: torch.Tensor) -> torch.Tensor:
        cut = rows[first : first + frames].clone()
        cut[-BLEND:] = (1 - share) * cut[-BLEND:] + share * rows[first - BLEND : first]
        return cut

    return Motion(part(motion.face), part(motion.pose))


def first_look(names: Sequence[str], units: Sequence[str], weights: Tensor, pose: Tensor) -> int:
    """Frame in which the person looks at the viewer, with open lids and a quiet mouth.

    names: of the columns of pose [T, P]. units: of the columns of weights [T, U].
    """

    def total(*starts: str, axis: str) -> Tensor:
        on = [name.startswith(starts) and name.endswith(axis) for name in names]
        return pose[:, on].sum(1)

    def of(*starts: str) -> Tensor:
        return weights[:, [name.startswith(starts) for name in units]].sum(1)

    body = ("root", "spine", "neck", "head")
    turn, nod = (total(*body, axis=axis) for axis in ("_ry", "_rx"))
    across, down = (total("eye", axis=axis) / 2 for axis in ("_ry", "_rx"))
    aside = torch.stack([turn + across, nod + down - CAMERA_DOWN, 0.5 * turn, 0.5 * nod])
    return int((aside.norm(dim=0) + SHUT * of("eyeBlink") / 2 + OPEN * of("jawOpen")).argmin())


def starting_at(motion: Motion, first: int) -> Motion:
    """Start a loop with another of its frames."""
    return Motion(motion.face.roll(-first, 0), motion.pose.roll(-first, 0))


def write_media(avatar: Avatar, motion: Motion, person: Path) -> None:
    """Render picture and loop into the folder of a person."""
    large = avatar.camera().resized(*PICTURE)
    frame = next(iter(avatar.render(motion.face[:1], motion.pose[:1], [large])))[0]
    picture = io.BytesIO()
    Image.fromarray(frame).save(picture, "webp", quality=QUALITY, method=6)
    with write_atomically(person / MEDIA["picture"]) as draft:
        draft.write_bytes(picture.getvalue())
    with write_atomically(person / MEDIA["loop"]) as draft:
        _write_loop(avatar, motion, draft)


def _write_loop(avatar: Avatar, motion: Motion, path: Path) -> None:
    camera = avatar.camera().resized(*LOOP)
    with av.open(path, "w", format="mp4", options={"movflags": "+faststart"}) as film:
        stream = film.add_stream("libx264", rate=FRAME_RATE, options=ENCODING)
        stream.width, stream.height = LOOP
        stream.pix_fmt, stream.time_base = "yuv420p", Fraction(1, FRAME_RATE)
        for batch in avatar.render(motion.face, motion.pose, [camera]):
            for frame in batch:
                film.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        film.mux(stream.encode())


def name_media(person: Path) -> None:
    """Name picture and loop in person.json."""
    facts = read_facts(person)
    if facts is None:
        raise SystemExit(f"{person} has no person.json; complete the person first")
    facts["media"] = MEDIA
    write_manifest(person, facts, person_files(person, facts))


def main() -> None:
    """Write picture.webp, loop.mp4 and person.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--person", type=Path, required=True, help="person directory")
    parser.add_argument("--clip", type=Path, required=True, help="48 kHz wav of two channels")
    parser.add_argument("--seconds", type=positive_float, default=4.0, help="length of the loop")
    parser.add_argument("--first", type=positive_float, default=2.0, help="its begin in the clip")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--person-channel", choices=CHANNELS, default=CHANNELS[0], help="voice of the person"
    )
    options = parser.parse_args()
    first, frames = round(options.first * FRAME_RATE), round(options.seconds * FRAME_RATE)
    seconds = options.first + options.seconds
    motion = sampled_motion(
        options.person, options.clip, seconds, options.seed, options.person_channel
    )
    avatar = load_avatar(options.person, device=CPU)
    loop = looped(motion, first, frames)
    if isinstance(avatar, BlendshapeAvatar):
        weights = avatar.unit_weights(loop.face)
        look = first_look(avatar.parameter_names, avatar.unit_names, weights, loop.pose)
        loop = starting_at(loop, look)
    write_media(avatar, loop, options.person)
    name_media(options.person)


if __name__ == "__main__":
    main()
