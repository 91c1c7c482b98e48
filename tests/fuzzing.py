"""Fuzz test of a running service with mutated audio files, reproducible by seed: `make fuzz`.

Every answer must be 202 or a 4xx problem, every accepted job must end without an internal error,
and no process may die. `tests/e2e/test_fuzz.py` does the same with fewer files.
"""

import argparse
import random
import statistics
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.audio_clips import write_clip
from tests.e2e.conftest import Stack, service_environment, started
from tests.malicious_files import encoded, with_ogg_checksums
from tests.tiny_person import write_tiny_person

CASES = Path(__file__).parent / "jobs" / "sandbox" / "cases"
SENDERS = 2
JOB_SECONDS = 120.0  # limit for the last job, once all files are sent
EXTREMES = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63 - 1,
    2**64 - 1,
)
PAUSE = "aselect=not(between(t\\,0.1\\,0.3))"  # without packets
# Formats that ffmpeg encodes beside those of `write_clip`: {name: options}.
ENCODED = {
    "u8.wav": ("-c:a", "pcm_u8"),
    "s24.wav": ("-c:a", "pcm_s24le"),
    "f32.wav": ("-c:a", "pcm_f32le"),
    "f64.wav": ("-c:a", "pcm_f64le"),
    "alaw.wav": ("-c:a", "pcm_alaw"),
    "rf64.wav": ("-rf64", "always"),
    "flac.ogg": ("-c:a", "flac"),
    "alac.m4a": ("-c:a", "alac"),
    "mp3.m4a": ("-c:a", "libmp3lame", "-f", "mp4"),
    "opus.m4a": ("-c:a", "libopus", "-f", "mp4"),
    "fragments.m4a": ("-c:a", "aac", "-movflags", "frag_keyframe+empty_moov", "-f", "mp4"),
    "vorbis.webm": ("-c:a", "libvorbis"),
    "ms.wav": ("-c:a", "adpcm_ms"),
    "ima.wav": ("-c:a", "adpcm_ima_wav"),
    "g722.wav": ("-c:a", "g722", "-ar", "16000"),
    "mp3.wav": ("-c:a", "libmp3lame"),
    "clip.w64": (),
    "clip.aiff": (),
    "pcm.caf": ("-c:a", "pcm_s16le"),
    "alac.caf": ("-c:a", "alac"),
    "clip.aac": (),
    "clip.amr": ("-c:a", "libopencore_amrnb", "-ar", "8000", "-ac", "1"),
    "amr.3gp": ("-c:a", "libopencore_amrnb", "-ar", "8000", "-ac", "1"),
    "clip.wma": ("-c:a", "wmav2"),
    "pcm.mov": ("-c:a", "pcm_s24be"),
    "aac.mkv": ("-c:a", "aac"),
    "wma.mkv": ("-c:a", "wmav1"),
    "ima.caf": ("-c:a", "adpcm_ima_qt"),
    "mulaw.mov": ("-c:a", "pcm_mulaw", "-ar", "8000"),
    "late.mp4": ("-output_ts_offset", "0.3"),
    "late.mkv": ("-output_ts_offset", "0.3"),
    "gap.webm": ("-af", PAUSE, "-c:a", "libopus"),
    "gap.mkv": ("-af", PAUSE, "-c:a", "flac"),
    "tracks.mkv": ("-map", "0", "-map", "0", "-c:a", "flac", "-ac", "1"),
    "tracks.m4a": ("-map", "0", "-map", "0", "-c:a", "aac", "-ac", "1"),
    "mono.mp3": ("-ac", "1", "-write_xing", "1", "-id3v2_version", "4", "-metadata", "title=x"),
}


@dataclass(frozen=True)
class Sent:
    """File that was sent, and the answer."""

    name: str
    status: int
    code: str  # error code; "accepted" for a job
    seconds: float
    job_id: str | None


@dataclass(frozen=True)
class Report:
    """Outcome of all files."""

    sent: Sequence[Sent]
    ends: Counter[str]  # "succeeded", or the error code of a failed job
    faults: Sequence[str]  # violations of the contract
    restarts: int

    def lines(self) -> Iterator[str]:
        """Summary as text."""
        answers = Counter((each.status, each.code) for each in self.sent)
        for (status, code), count in sorted(answers.items()):
            yield f"{count:6d}  {status}  {code}"
        for end, count in sorted(self.ends.items()):
            yield f"{count:6d}  job  {end}"
        refused = [each.seconds for each in self.sent if each.job_id is None]
        accepted = [each.seconds for each in self.sent if each.job_id is not None]
        for name, seconds in (("refused", refused), ("accepted", accepted)):
            if len(seconds) > 1:
                cuts = statistics.quantiles(seconds, n=100, method="inclusive")
                times = f"p50 {cuts[49]:.3f} s, p99 {cuts[98]:.3f} s, max {max(seconds):.3f} s"
                yield f"{name}: {times}"
        yield f"restarts of worker or API: {self.restarts}"
        yield from (f"FAULT  {fault}" for fault in self.faults)


def seeds(folder: Path) -> dict[str, bytes]:
    """Return short clips of every accepted format."""
    written = {
        f"{channels}.{ending}": write_clip(
            folder / f"{channels}.{ending}", seconds=0.4, channels=channels
        ).read_bytes()
        for ending in ("wav", "flac", "mp3", "ogg", "opus", "m4a", "webm")
        for channels in (1, 2)
    }
    source = "sine=f=300:r=48000"
    kinds = written | {
        name: encoded(folder / name, source, 0.4, *options) for name, options in ENCODED.items()
    }
    return kinds | {
        "chained.opus": kinds["1.opus"] + kinds["2.opus"],
        "joined.webm": kinds["1.webm"] + kinds["2.webm"],
        "joined.aac": kinds["clip.aac"] + kinds["clip.aac"],
        "joined.wav": kinds["1.wav"] + kinds["ms.wav"] + kinds["2.wav"],
        "joined.mp3": kinds["1.mp3"] + kinds["2.mp3"],
        "joined.flac": kinds["1.flac"] + kinds["2.flac"],
        "joined.m4a": kinds["1.m4a"] + kinds["alac.m4a"],
        "zeros.mp3": bytes(3000) + kinds["2.mp3"],
        "id3.flac": b"ID3\4\0\0\0\0\0\x20" + bytes(32) + kinds["2.flac"],
        "gsm.wav": (CASES / "gsm610.wav").read_bytes()[:1360],  # ffmpeg has no encoder for it
        "picture.mp4": encoded(
            folder / "picture.mp4", source, 0.4, "-f", "lavfi", "-i", "testsrc=s=32x32:r=10",
            "-pix_fmt", "yuv420p",
        ),
    }  # fmt: skip


def mutated(kinds: Mapping[str, bytes], *, seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """Yield `count` files with their mutation in their name; equal seeds give equal files."""
    names = sorted(kinds)
    for number in range(count):
        rng = random.Random(f"{seed}-{number}")
        name, mutation = names[number % len(names)], rng.choice(sorted(MUTATIONS))
        content = MUTATIONS[mutation](kinds[name], kinds[rng.choice(names)], rng)
        if content[:4] == b"OggS" and rng.random() < 0.7:  # else decoders skip the page
            content = with_ogg_checksums(content)
        yield f"{number}-{mutation}-{name}", content


def _flipped(content: bytes, _other: bytes, rng: random.Random) -> bytes:
    result = bytearray(content)
    for _ in range(2 ** rng.randint(0, 7)):
        result[rng.randrange(len(result))] ^= 1 << rng.randrange(8)
    return bytes(result)


def _flipped_header(content: bytes, _other: bytes, rng: random.Random) -> bytes:
    result = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        result[rng.randrange(min(len(result), 400))] = rng.randrange(256)
    return bytes(result)


def _cut(content: bytes, _other: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def _without_middle(content: bytes, _other: bytes, rng: random.Random) -> bytes:
    start, end = _range(content, rng)
    return content[:start] + content[end:]


def _doubled(content: bytes, _other: bytes, rng: random.Random) -> bytes:
    start, end = _range(content, rng)
    return content[:end] + content[start:end] * rng.randint(1, 20) + content[end:]


def _swapped(content: bytes, _other: bytes, rng: random.Random) -> bytes:
    a, b = sorted(rng.randrange(len(content)) for _ in range(2))
    size = rng.randint(1, max(1, min(b - a, len(content) - b)))
    return (
        content[:a]
        + content[b : b + size]
        + content[a + size : b]
        + content[a : a + size]
        + content[b + size :]
    )


def _length_fields(content: bytes, _other: bytes, rng: random.Random) -> bytes:
    result = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        size, order = rng.choice([("H", 2), ("I", 4), ("Q", 8)]), rng.choice("<>")
        within = len(result) if rng.random() < 0.3 else min(len(result), 1000)
        at = rng.randrange(max(1, within - 8))
        value = rng.choice(EXTREMES) & (256 ** size[1] - 1)
        result[at : at + size[1]] = struct.pack(order + size[0], value)
    return bytes(result)


def _spliced(content: bytes, other: bytes, rng: random.Random) -> bytes:
    return content[: rng.randint(12, len(content))] + other[rng.randrange(len(other)) :]


def _stuffed(content: bytes, _other: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(content))
    return content[:at] + rng.randbytes(2 ** rng.randint(0, 14)) + content[at:]


def _range(content: bytes, rng: random.Random) -> tuple[int, int]:
    start, end = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    return start, end


MUTATIONS: Mapping[str, Callable[[bytes, bytes, random.Random], bytes]] = {
    "flipped": _flipped,
    "header": _flipped_header,
    "cut": _cut,
    "hole": _without_middle,
    "doubled": _doubled,
    "swapped": _swapped,
    "lengths": _length_fields,
    "spliced": _spliced,
    "stuffed": _stuffed,
}


def fuzz(stack: Stack, files: Iterator[tuple[str, bytes]]) -> Report:
    """Send all files and wait for the jobs of the accepted ones."""
    earlier = _restarts(stack)
    with ThreadPoolExecutor(SENDERS) as pool:
        sent = list(pool.map(lambda file: _send(stack.http, *file), files))
    faults = [f"{each.name}: {each.status} {each.code}" for each in sent if _is_fault(each)]
    ends: Counter[str] = Counter()
    deadline = time.monotonic() + JOB_SECONDS + 0.5 * len(sent)
    for each in sent:
        if each.job_id is None:
            continue
        end = _end_of(stack, each.job_id, deadline)
        ends[end] += 1
        if end not in ("succeeded", "clip_unsuitable") and not end.startswith("audio_"):
            faults.append(f"{each.name}: job {end}")
    return Report(sent, ends, faults, _restarts(stack) - earlier)


def _restarts(stack: Stack) -> int:
    return stack.log.read_text().count("restarting it")


def _send(http: httpx.Client, name: str, content: bytes) -> Sent:
    outputs = "video" if name.startswith(("1", "7")) else "motion"
    began = time.perf_counter()
    answer = http.post(
        "/generate", files={"audio": ("talk.wav", content)}, data={"outputs": outputs}
    )
    seconds = time.perf_counter() - began
    body = answer.json()
    if answer.status_code == 202:
        return Sent(name, 202, "accepted", seconds, body["id"])
    return Sent(name, answer.status_code, body["code"], seconds, None)


def _is_fault(sent: Sent) -> bool:
    media = sent.code.startswith(("audio_", "clip_too_"))
    return sent.status != 202 and not (sent.status in (415, 422) and media)


def _end_of(stack: Stack, job_id: str, deadline: float) -> str:
    while time.monotonic() < deadline:
        job = stack.job(job_id)
        if job["state"] in ("succeeded", "failed", "canceled"):
            return str(job["error"]["code"] if job["error"] else job["state"])
        time.sleep(0.1)
    return "did not end"


def main() -> None:
    """Fuzz a new service; exit status 1 after a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="visavis-fuzz-") as name:
        folder = Path(name)
        write_tiny_person(folder / "people", max_seconds=5.0)
        environment = service_environment(folder / "people", folder / "data")
        files = mutated(seeds(folder), seed=options.seed, count=options.files)
        with started(environment, folder) as stack:
            report = fuzz(stack, files)
    for line in report.lines():
        print(line)
    sys.exit(1 if report.faults or report.restarts else 0)


if __name__ == "__main__":
    main()
