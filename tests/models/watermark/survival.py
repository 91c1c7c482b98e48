"""Survival of the watermark: `make watermark-survival`.

Clips of 10 s are rendered once into a folder, without a mark and without loss; then each is marked,
written as MP4, attacked, and read again in pieces of 2 s. The folder keeps the clips and the result
of each, so that a run continues where it was stopped. The report has, for each attack, the pieces
that are found, with a 95 % interval, and those whose id is read, by its check or among known ids;
the brightness error of marked frames; the scores of unmarked frames and sound, and of wrong keys.
"""

import argparse
import hashlib
import json
import math
import os
import subprocess
import sys
import time
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from imageio_ffmpeg import get_ffmpeg_exe

from jobs.request.model import GenerateRequest
from jobs.settings import Settings
from models.watermark.code import MOST_CHANCE, KeyedLines
from models.watermark.detect import PIECE_SECONDS, Media, Piece, detect_media, read_media
from models.watermark.picture import (
    ANY,
    CUT,
    WHOLE,
    FrameMarker,
    find,
    flattened,
    peak_scores,
    picture_lines,
)
from models.watermark.sound import READ_RATE, SoundMarker, find_sound, sound_lines
from tests.released_layout import PERSON, write_released_person
from worker.pipeline.media.decode import decode
from worker.pipeline.media.encode import X264, mix, voices
from worker.pipeline.persons import PersonCache, load_models
from worker.pipeline.plan import Performer, plan_of
from worker.pipeline.render import Shot, sampled_motion, take_of

ROOT = Path(__file__).resolve().parents[3]
KEY = b"the key of the survival measurement"
SETUPS: tuple[dict[str, Any], ...] = (
    {"size": "384x384"},
    {"size": "256x320", "views": ("front", "side")},
    {"size": "480x270", "background": "#d8e0e8"},
)
SECONDS = 10
FRAMES = 85  # of a clip without a mark, in which the detector should find none
LEAST = 6.1  # score at which a frame counts as marked, at one tile
IDS = [int(each) for each in np.random.default_rng(0).integers(1 << 63, size=10_000)]
CROP = "crop=trunc(iw*0.9/2)*2:trunc(ih*0.9/2)*2"
HALF = "scale=trunc(iw/4)*2:trunc(ih/4)*2"
X264_OPTIONS = ("-c:v", "libx264", "-preset", "fast", "-threads", "1")
ATTACKS: dict[str, tuple[str, ...]] = {
    "CRF 28": (*X264_OPTIONS, "-crf", "28", "-an"),
    "half size": ("-vf", HALF, *X264_OPTIONS, "-crf", "20", "-an"),
    "crop of 10 %": ("-vf", CROP, *X264_OPTIONS, "-crf", "20", "-an"),
    "24 fps": ("-r", "24", *X264_OPTIONS, "-crf", "20", "-c:a", "copy"),
    "AAC 64 kbit/s": ("-c:v", "copy", "-c:a", "aac", "-b:a", "64k"),
    "remux": ("-c", "copy"),
    "all": (
        "-vf", f"{CROP},{HALF}", "-r", "24", *X264_OPTIONS, "-crf", "28", "-c:a", "aac",
        "-b:a", "64k",
    ),
}  # fmt: skip


@dataclass
class Count:
    """Pieces of one attack."""

    pieces: int = 0
    found: int = 0  # in picture or sound
    picture: int = 0
    sound: int = 0
    ids: int = 0  # read by their check
    known: int = 0  # read, or recognised among all ids of the measurement
    wrong_ids: int = 0

    def add(self, other: "Count") -> None:
        """Add the pieces of another clip."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


@dataclass
class Scores:
    """Scores without the watermark."""

    count: int = 0
    sum: float = 0.0
    squares: float = 0.0
    most: float = 0.0
    alarms: int = 0  # scores that the detector takes for a watermark

    def note(self, scores: Sequence[float], alarms: int = 0) -> None:
        """Add scores."""
        self.count += len(scores)
        self.sum += float(np.sum(scores))
        self.squares += float(np.square(scores).sum())
        self.most = max(self.most, *scores)
        self.alarms += alarms

    def add(self, other: "Scores") -> None:
        """Add the scores of another clip."""
        for name in ("count", "sum", "squares", "alarms"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.most = max(self.most, other.most)

    def gumbel(self) -> tuple[float, float]:
        """Fit a Gumbel distribution by moments; return its place and scale."""
        mean = self.sum / self.count
        scale = math.sqrt(6 * (self.squares / self.count - mean**2)) / math.pi
        return mean - 0.5772 * scale, scale


def interval(found: int, pieces: int) -> tuple[float, float]:
    """Return the Wilson interval of a share, 95 %."""
    share, z = found / pieces, 1.96
    middle = (share + z * z / (2 * pieces)) / (1 + z * z / pieces)
    spread = share * (1 - share) / pieces + z * z / (4 * pieces * pieces)
    half = z / (1 + z * z / pieces) * math.sqrt(spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def ffmpeg(*arguments: str | Path, given: bytes | None = None) -> None:
    """Run ffmpeg with the arguments."""
    command = [get_ffmpeg_exe(), "-v", "error", *map(str, arguments)]
    subprocess.run(command, input=given, check=True)


def recording(number: int, path: Path) -> None:
    """Write 10 s of the example at another speed, place and level, every second one exchanged."""
    with wave.open(str(ROOT / "examples" / "conversation.wav")) as file:
        rate, count = file.getframerate(), file.getnframes()
        samples = np.frombuffer(file.readframes(count), np.int16).reshape(count, -1).astype(float)
    random = np.random.default_rng(number)
    speed = random.uniform(0.85, 1.2)
    samples = np.roll(samples, -int(random.integers(count)), axis=0)
    if number % 2:
        samples = samples[:, ::-1]
    at = np.arange(SECONDS * rate) * speed % (count - 2)
    before, share = at.astype(int), (at % 1)[:, None]
    samples = samples[before] * (1 - share) + samples[before + 1] * share
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * random.uniform(0.4, 1.0)).astype(np.int16).tobytes())


def render(name: str, work: Path, persons: PersonCache, person: str) -> Path:
    """Render an unmarked clip without loss, unless it exists."""
    out, number = work / f"{name}.mkv", int(name[-2:])
    if out.exists():
        return out
    clip, draft = work / f"{name}.wav", work / f"{name}.part.mkv"
    recording(number, clip)
    setup = SETUPS[number % len(SETUPS)] if person == "demo" else {"size": "256", "steps": 2}
    request = GenerateRequest(person=person, seed=number, supersampling=1, **setup)
    if person == "demo":
        request = request.model_copy(update={"quality": "draft"})
    loaded = persons.get(person)
    plan = plan_of(request, loaded.defaults)
    audio = decode(clip, work / "sound.f32", max_seconds=SECONDS + 1)
    with sampled_motion(audio, [Performer(loaded, plan)], lambda stage, share: None) as stream:
        shot = Shot(stream.takes[0], plan, loaded.models.avatar)
        take = take_of([shot], audio, encoder=X264, progress=lambda share: None)
        with take.frames() as batches:
            frames = np.concatenate(list(batches))
        stream.finish()
    raw = raw_video(frames)
    lossless = ("-c:v", "libx264rgb", "-qp", "0", "-preset", "ultrafast", "-c:a", "pcm_f32le")
    streams = (*voices(audio), "-map", "0:v", "-map", "1:a", *mix(audio))
    ffmpeg(*raw, *streams, *lossless, "-y", draft, given=frames.tobytes())
    draft.rename(out)
    return out


def raw_video(frames: np.ndarray) -> tuple[str, ...]:
    """Input arguments of ffmpeg for frames [N, H, W, 3]."""
    size = f"{frames.shape[2]}x{frames.shape[1]}"
    return ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", "30", "-i", "pipe:0")


def contents(clip: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return frames [N, H, W, 3] and sound [S, 2] at 48 kHz of a lossless clip."""
    with av.open(str(clip)) as file:
        frames = np.stack([each.to_ndarray(format="rgb24") for each in file.decode(video=0)])
    with av.open(str(clip)) as file:
        sound = [each.to_ndarray() for each in file.decode(audio=0)]
    if sound[0].shape[0] == 2:
        return frames, np.concatenate(sound, 1).T
    return frames, np.concatenate(sound, 1).reshape(-1, 2)


def mark(clip: Path, mark_id: int, out: Path) -> float:
    """Write a marked clip as MP4 with the product's settings; return the PSNR of its frames."""
    frames, sound = contents(clip)
    marked = FrameMarker(KEY, mark_id).mark(frames)
    error = np.mean((marked[::30].astype(np.float32) - frames[::30]) ** 2)
    audible = SoundMarker(KEY, mark_id).marked(sound)
    raw = out.with_suffix(".f32")
    audible.astype(np.float32).tofile(raw)
    ffmpeg(
        *raw_video(frames), "-f", "f32le", "-ar", "48000", "-ac", "2", "-i", raw,
        "-vf", "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p", "-colorspace", "bt709",
        "-color_range", "tv", *X264_OPTIONS, "-crf", "20", "-c:a", "aac", "-b:a", "160k", "-y", out,
        given=marked.tobytes(),
    )  # fmt: skip
    raw.unlink()
    return float(10 * np.log10(255**2 / error))


def judge(media: Media, mark_id: int, count: Count) -> None:
    """Read each piece alone, and count it."""
    size = int(PIECE_SECONDS * READ_RATE)
    for number, piece in enumerate(media.pieces[: SECONDS // int(PIECE_SECONDS)]):
        part = media.sound[number * size : (number + 1) * size]
        _judge_piece(Media((piece,), part), mark_id, count)


def _judge_piece(media: Media, mark_id: int, count: Count) -> None:
    finding = detect_media(media, [KEY])
    count.pieces += 1
    count.found += finding.found
    count.picture += "picture" in finding.where
    count.sound += "sound" in finding.where
    count.ids += finding.id == f"{mark_id:016x}"
    if finding.found and finding.id is None:
        finding = detect_media(media, [KEY], IDS)
    count.known += finding.id == f"{mark_id:016x}"
    count.wrong_ids += finding.id not in (None, f"{mark_id:016x}")


def screenshots(video: Path, mark_id: int, count: Count) -> None:
    """Read one frame of each piece."""
    for piece in read_media(video).pieces[:5]:
        _judge_piece(Media((Piece(piece.planes[7:8]),)), mark_id, count)


def measure(clip: Path, mark_id: int, work: Path, keys: Sequence[KeyedLines]) -> dict[str, Any]:
    """Measure one clip. keys: wrong ones; they are tried with two frames."""
    counts = {name: Count() for name in (*ATTACKS, "screenshot")}
    frame_scores, sound_scores, wrong = Scores(), Scores(), Scores()
    marked, attacked = work / "marked.mp4", work / "attacked.mkv"
    quality = mark(clip, mark_id, marked)
    for name, options in ATTACKS.items():
        ffmpeg("-i", marked, *options, "-y", attacked)
        judge(read_media(attacked), mark_id, counts[name])
    screenshots(marked, mark_id, counts["screenshot"])
    frames, sound = contents(clip)
    gray = [flattened([plane]) for plane in frames[:: len(frames) // FRAMES, :, :, 1][:FRAMES]]
    for number, flat in enumerate(gray):
        tiles = [WHOLE, CUT, *([ANY] if number % (FRAMES // 5) == 0 else [])]
        readings = [find(flat, picture_lines(KEY), each) for each in tiles]
        best = max(reading.score for reading in readings)
        frame_scores.note([best], any(each.chance <= MOST_CHANCE for each in readings))
    heard = sound.mean(1)[::3]
    for start in range(0, len(heard) - 2 * READ_RATE + 1, READ_RATE):
        found = find_sound(heard[start : start + 2 * READ_RATE], sound_lines(KEY))
        sound_scores.note([found.score], found.chance <= MOST_CHANCE)
    for flat in (gray[0], gray[len(gray) // 2]):
        wrong.note(peak_scores(flat, keys))
    return {
        "attacks": {name: vars(count) for name, count in counts.items()},
        "quality": quality,
        "frames": vars(frame_scores),
        "sounds": vars(sound_scores),
        "wrong": vars(wrong),
    }


def codec_people(work: Path) -> Path:
    """Write a small codec person in the tests' layout, unless it exists; return its folder."""
    people = work / "people"
    if not people.exists():
        source = write_released_person(work / "released")
        program = Path(sys.executable).with_name("visavis-server")
        out = ("--out", people / PERSON)
        subprocess.run([program, "import-person", source, "--person", PERSON, *out], check=True)
    return people


def names_of(demo: int, codec: int) -> list[str]:
    """Return the names of the clips; those of the codec person are spread among the others."""
    places = [((n + 0.5) / demo, f"demo-{n:02d}") for n in range(demo)]
    places += [((n + 0.5) / codec, f"codec-{n:02d}") for n in range(codec)]
    return [name for _, name in sorted(places)]


def version() -> str:
    """Return a digest of the watermark and of the attacks: results of another one do not count."""
    files = sorted((ROOT / "models" / "watermark").glob("*.py"))
    sources = b"".join(path.read_bytes() for path in files)
    return hashlib.sha256(sources + repr(ATTACKS).encode()).hexdigest()


def main() -> None:
    """Render and measure what the folder lacks, and print the report after each clip."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder of clips and results")
    parser.add_argument("--demo", type=int, default=54, help="clips of the demo person")
    parser.add_argument("--codec", type=int, default=6, help="clips of a small codec person")
    parser.add_argument(
        "--keys", type=int, default=1000, help="wrong keys, with 2 frames of a clip"
    )
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no clip after this")
    arguments = parser.parse_args()
    work: Path = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    persons = {}
    for kind in ("demo", "codec"):
        settings = Settings(data=work / "data")
        load = partial(load_models, device=torch.device("cpu"), settings=settings)
        people = codec_people(work) if kind == "codec" and arguments.codec else settings.people
        persons[kind] = PersonCache(people, load=load)
    wrong = [picture_lines(b"wrong key %d" % number) for number in range(arguments.keys)]
    began, results = time.monotonic(), list[dict[str, Any]]()
    for name in names_of(arguments.demo, arguments.codec):
        kept = work / f"{name}-{version()[:12]}.json"
        if not kept.exists() and time.monotonic() - began < arguments.seconds:
            kind = name.split("-")[0]
            person = PERSON if kind == "codec" else "demo"
            clip = render(name, work, persons[kind], person)
            mark_id = IDS[int(name[-2:]) + (50 if kind == "codec" else 100)]
            result = measure(clip, mark_id, work, wrong)
            kept.write_text(json.dumps(result))
            sys.stdout.write(f"{name}, {time.monotonic() - began:.0f} s\n")
        if kept.exists():
            results.append(json.loads(kept.read_text()))
    report(results)


def report(results: Sequence[dict[str, Any]]) -> None:
    """Print the sums over all clips."""
    counts = {name: Count() for name in (*ATTACKS, "screenshot")}
    scores = {name: Scores() for name in ("frames", "sounds", "wrong")}
    for result in results:
        for name, count in counts.items():
            count.add(Count(**result["attacks"][name]))
        for name, each in scores.items():
            each.add(Scores(**result[name]))
    lines = [f"{len(results)} clips, load {os.getloadavg()[0]:.1f}"]
    for name, count in counts.items():
        low, high = interval(count.found, count.pieces)
        lines.append(
            f"{name}: found {count.found} of {count.pieces} ({100 * low:.1f} to {100 * high:.1f} %)"
            f", in picture {count.picture}, in sound {count.sound}, id {count.ids}, among known "
            f"ids {count.known}, wrong id {count.wrong_ids}"
        )
    frames, sounds, wrong = scores.values()
    place, scale = wrong.gumbel()
    chance = 1 - math.exp(-math.exp((place - LEAST) / scale))
    lines += [
        f"PSNR {min(result['quality'] for result in results):.1f} dB or more",
        f"unmarked: {frames.count} frames, score at most {frames.most:.2f}, {frames.alarms} false "
        f"alarms; {sounds.count} sounds, at most {sounds.most:.2f}, {sounds.alarms} false alarms",
        f"wrong keys: {wrong.count} pairs, score at most {wrong.most:.2f}; Gumbel fit {place:.3f} "
        f"+ {scale:.3f} x: {chance:.1e} above {LEAST:.2f}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
