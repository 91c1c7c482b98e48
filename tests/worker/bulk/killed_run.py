"""Bulk runs whose workers and commands are killed twice each: `make bulk CLIPS=200`.

Results of each engine are compared with those of the service for the same requests.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import psutil

from tests.audio_clips import write_clip
from tests.house.source import ROOT

LONGEST_SECONDS = 1200.0
POLL_SECONDS = 0.05
ENTRY = [sys.executable, "-P", "-c", "from cli.main import app; app()", "bulk"]
WORKERS = ("spawn_main", "ray::Actor")  # in the command lines of worker processes
ENGINES = ("local", "ray", "k8s")
SHARES = 4  # processes of `--engine k8s`
WATERMARK_KEY = "a key of bulk runs and the service"
SAME_MARKS = {"VISAVIS_WATERMARK_KEY": WATERMARK_KEY}


@dataclass(frozen=True)
class Found:
    """Contents of a destination."""

    rows: int
    items: int  # different ones in the table
    succeeded: int
    records: int
    files: int  # videos and motion, without their manifests
    drafts: int  # parts that a killed process left

    def complete(self, clips: int) -> bool:
        return self == Found(clips, clips, clips, clips, 2 * clips, 0)


def write_manifest(folder: Path, clips: int) -> Path:
    """Write recordings of different lengths, and a manifest of them."""
    (folder / "calls").mkdir()
    rows = []
    for number in range(clips):
        name = f"call-{number:03}"
        write_clip(folder / "calls" / f"{name}.wav", seconds=0.3 + 0.004 * number)
        rows.append({"audio": f"calls/{name}.wav", "item": name, **fields_of(number)})
    manifest = folder / "items.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return manifest


def fields_of(number: int) -> dict[str, Any]:
    """Request fields of a clip."""
    return {"seed": number, "outputs": ["video", "motion"]}


def command(manifest: Path, out: Path, engine: str, workers: int) -> list[str]:
    """Return the command line of a run."""
    options = ["--out", str(out), "--engine", engine, "--workers", str(workers)]
    return [*ENTRY, str(manifest), *options]


def environment(people: Path) -> dict[str, str]:
    """Return the environment of the command."""
    return os.environ | {
        "PYTHONPATH": str(ROOT),
        "VISAVIS_PEOPLE": str(people),
        "VISAVIS_DEVICE": "cpu",
        "VISAVIS_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        **SAME_MARKS,
    }


def run_killed(
    arguments: Sequence[str], out: Path, clips: int, people: Path, kills: int = 2
) -> list[int]:
    """Run to the end; kill a worker, then the command, `kills` times. Return results at each kill.

    Each time, another worker is killed while it starts.
    Raises: AssertionError: when the last command does not succeed.
    """
    steps = [clips * number // (2 * kills + 1) for number in range(1, 2 * kills + 1)]
    complete = []
    for at_worker, at_command in zip(steps[::2], steps[1::2], strict=True):
        driver = psutil.Popen(arguments, env=environment(people), cwd=ROOT)
        _kill_worker(driver)
        complete.append(_wait_for(at_worker, out, driver))
        _kill_worker(driver)
        complete.append(_wait_for(at_command, out, driver))
        family = driver.children(recursive=True)
        driver.kill()
        driver.wait()
        _, alive = psutil.wait_procs(family, timeout=120)
        assert not alive, f"processes outlive the command: {alive}"
    last = subprocess.run(arguments, env=environment(people), cwd=ROOT, timeout=LONGEST_SECONDS)
    assert last.returncode == 0, last
    return complete


def found(out: Path) -> Found:
    """Count what a run left."""
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    files = [path for path in (out / "items").rglob("*") if path.is_file()]
    return Found(
        rows=len(rows),
        items=len({row["item"] for row in rows}),
        succeeded=sum(row["state"] == "succeeded" for row in rows),
        records=sum(path.name == "result.json" for path in files),
        files=sum(path.name in ("take-1.mp4", "motion-1.npz") for path in files),
        drafts=sum(path.name.startswith(".") for path in files),
    )


def differences(out: Path, expected: Callable[[int, str], bytes], clips: int) -> list[str]:
    """Return files whose motion arrays or decoded frames are not the expected ones."""
    different = []
    for number in range(clips):
        folder = out / "items" / f"call-{number:03}"
        motion, video = (folder / name for name in ("motion-1.npz", "take-1.mp4"))
        if not _same_arrays(motion.read_bytes(), expected(number, motion.name)):
            different.append(str(motion))
        if not np.array_equal(_frames(video.read_bytes()), _frames(expected(number, video.name))):
            different.append(str(video))
    return different


def _same_arrays(content: bytes, expected: bytes) -> bool:
    with np.load(io.BytesIO(content)) as one, np.load(io.BytesIO(expected)) as other:
        names = {"face", "pose"} & set(one.files) or set(one.files)
        return bool(names) and all(np.array_equal(one[name], other[name]) for name in names)


def _frames(content: bytes) -> np.ndarray[Any, Any]:
    with av.open(io.BytesIO(content)) as video:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)])


def _kill_worker(driver: psutil.Popen) -> None:
    """Kill a worker process, once there is one."""
    deadline = time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < deadline:
        for child in driver.children(recursive=True):
            with suppress(psutil.Error):
                if any(word in part for word in WORKERS for part in child.cmdline()):
                    child.kill()
                    return
        time.sleep(POLL_SECONDS)
    raise AssertionError("no worker to kill")


def _wait_for(count: int, out: Path, driver: psutil.Popen) -> int:
    """Wait until this many items have succeeded; return their number."""
    deadline = time.monotonic() + LONGEST_SECONDS
    while (complete := _succeeded(out)) < count:
        assert driver.poll() is None, f"the command ended with {complete} results"
        assert time.monotonic() < deadline, f"{complete} results after {LONGEST_SECONDS:.0f} s"
        time.sleep(POLL_SECONDS)
    return complete


def _succeeded(out: Path) -> int:
    records = (out / "items").rglob("result.json")
    return sum('"state": "succeeded"' in path.read_text() for path in records)


def main() -> None:
    """Run all engines and the service, compare them, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--engines", default=",".join(ENGINES))
    options = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory(prefix="visavis-bulk-") as temporary:
        folder = Path(temporary)
        from tests.tiny_person import write_tiny_person

        write_tiny_person(folder / "people")
        manifest = write_manifest(folder, options.clips)
        outs = {}
        for engine in options.engines.split(","):
            outs[engine] = out = folder / engine
            good &= _run(engine, manifest, out, options.clips, folder / "people")
        began = time.monotonic()
        expected = _of_service(folder, options.clips)
        _say(f"service: {options.clips} jobs, {time.monotonic() - began:.0f} s")
        for engine, out in outs.items():
            different = differences(out, lambda n, name: expected[n, name], options.clips)
            good &= not different
            _say(f"{engine}: {len(different)} files differ from the service's {different[:5]}")
    sys.exit(0 if good else 1)


def _run(engine: str, manifest: Path, out: Path, clips: int, people: Path) -> bool:
    began = time.monotonic()
    kills: list[int] = []
    if engine == "k8s":
        run_shares(manifest, out, people)
    else:
        kills = run_killed(command(manifest, out, engine, 2), out, clips, people)
    result = found(out)
    _say(
        f"{engine}: {clips} clips, {time.monotonic() - began:.0f} s; worker and command killed in "
        f"turn at {kills} results; {result}"
    )
    return result.complete(clips)


def run_shares(manifest: Path, out: Path, people: Path) -> None:
    """Run the command of the Indexed Job in one process for each index, all at once."""
    pods = []
    for index in range(SHARES):
        share = {"JOB_COMPLETION_INDEX": str(index), "JOB_COMPLETION_COUNT": str(SHARES)}
        arguments = command(manifest, out, "k8s", 1)
        pods.append(subprocess.Popen(arguments, env=environment(people) | share, cwd=ROOT))
    statuses = [pod.wait(LONGEST_SECONDS) for pod in pods]
    assert statuses == [0] * SHARES, statuses


def _of_service(folder: Path, clips: int) -> dict[tuple[int, str], bytes]:
    """Return the outputs of a real API and worker for the same requests."""
    from tests.chaos.cluster import running_cluster

    limits = {"VISAVIS_WRITES_PER_MINUTE": "0", "VISAVIS_READS_PER_MINUTE": "0"}
    outputs = {}
    with (
        running_cluster(
            "embedded",
            workers=1,
            apis=1,
            environment=limits | SAME_MARKS | {"VISAVIS_THREADS": "1"},
        ) as cluster,
        httpx.Client(base_url=cluster.addresses[0], timeout=60, trust_env=False) as http,
    ):
        _wait_until_ready(http)
        for number in range(clips):
            body = {"audio": (folder / "calls" / f"call-{number:03}.wav").read_bytes()}
            fields = {name: _text(value) for name, value in fields_of(number).items()}
            answer = http.post("/generate", data=fields, files=body)
            assert answer.status_code == 202, answer.text
            place = answer.headers["location"]
            job = http.get(place, headers={"prefer": "wait=30"}).json()
            while job["state"] in ("queued", "running"):
                job = http.get(place, headers={"prefer": "wait=30"}).json()
            assert job["state"] == "succeeded", job
            for output in job["outputs"]:
                outputs[number, output["name"]] = http.get(output["path"]).content
    return outputs


def _wait_until_ready(http: httpx.Client) -> None:
    deadline = time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < deadline:
        with suppress(httpx.HTTPError):
            if http.get("/healthz").status_code == 200:
                return
        time.sleep(POLL_SECONDS)
    raise AssertionError("the API did not start")


def _text(value: Any) -> str:
    return ",".join(value) if isinstance(value, list) else str(value)


def _say(line: str) -> None:
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    sys.stdout.write(f"{line} (load {load})\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
