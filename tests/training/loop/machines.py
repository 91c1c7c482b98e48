"""Training on two machines without a shared folder, of which one is lost: `make training-machines`.

Each machine is an elastic agent with its own folders; the bucket is on a real S3 server. After a
checkpoint the second machine is killed and replaced by an empty one, and after another one the
process of the first machine is killed. The end has the bits of an undisturbed run of two processes.
"""

import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psutil

from tests.house.source import ROOT
from tests.s3_server import CREDENTIALS, s3_server
from tests.training import tiny_training
from tests.training.loop.test_engines import STEPS, TIMEOUT, run
from training.loop.object_storage import ObjectStorage


def start(machine: Path, recipe: Path, url: str, port: int) -> psutil.Popen:
    """Start the agent of a machine, whose folders are empty."""
    shutil.rmtree(machine, ignore_errors=True)
    machine.mkdir()
    arguments = tiny_training.arguments_of(machine, "face", recipe, machine / "work", STEPS)
    with machine.with_suffix(".log").open("a") as log:
        return psutil.Popen(
            [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1",
             "--max-restarts=5", "--rdzv-backend=c10d", f"--rdzv-endpoint=localhost:{port}",
             "--module", "training", *arguments, "--storage", url],
            cwd=ROOT,
            env=os.environ | {
                "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT),
                "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
            },
            stdout=log,
            stderr=log,
        )  # fmt: skip


def kill(*processes: psutil.Process) -> None:
    """Kill processes with their children."""
    family = [*processes, *(each for one in processes for each in one.children(recursive=True))]
    for each in family:
        each.kill()
    psutil.wait_procs(family)


def wait(condition: Callable[[], object], machines: list[psutil.Popen]) -> None:
    """Wait for a condition while the machines run."""
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert all(each.poll() is None for each in machines) and time.monotonic() < end
        time.sleep(0.05)


def disturb(folder: Path, recipe: Path, url: str) -> list[int]:
    """Run on two machines with the kills; return the steps of the checkpoints before them."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    storage = ObjectStorage(url)
    places = [folder / "machine-0", folder / "machine-1"]

    def latest() -> int:
        names = [name for name in storage.names("work/face") if name.endswith(".state")]
        return max((int(name[-14:-6]) for name in names), default=0)

    with ExitStack() as stack:
        machines = [start(place, recipe, url, port) for place in places]
        stack.callback(lambda: kill(*(each for each in machines if each.poll() is None)))
        wait(latest, machines)
        steps = [latest()]
        kill(machines[1])
        machines[1] = start(places[1], recipe, url, port)
        wait(lambda: latest() > steps[0], machines)
        steps.append(latest())
        kill(*machines[0].children())
        assert [each.wait(TIMEOUT) for each in machines] == [0, 0]
    return steps


def main() -> None:
    """Compare the disturbed run with the undisturbed one, and print the result."""
    os.environ |= CREDENTIALS
    with (
        tempfile.TemporaryDirectory(prefix="visavis-machines-") as temporary,
        s3_server("runs") as s3,
    ):
        folder = Path(temporary)
        url = f"s3://runs/ada?endpoint_url={s3}"
        tiny_training.write_person(folder)
        recipe = tiny_training.write_recipe(folder / "recipe.toml", "face", save_seconds=0.1)
        ObjectStorage(url).push(folder / "data", "data")
        steps = disturb(folder, recipe, url)
        for path in sorted(folder.glob("machine-*.log")):
            resumed = path.read_text().count("resumed at step")
            sys.stdout.write(f"{path.stem}: resumed {resumed} times as the first process\n")
        run(folder, "torchrun", recipe, folder / "whole", kill=None)
        for name in ("work", "person"):
            ObjectStorage(url).pull(name, folder / "bucket" / name)
        ends = [
            tiny_training.end_of(place, "face", STEPS)
            for place in (folder / "bucket" / "work", folder / "whole")
        ]
        published = [
            (place / "face.safetensors").read_bytes()
            for place in (folder / "bucket" / "person", folder / "ada")
        ]
    good = tiny_training.same(*ends) and published[0] == published[1]
    answer = "same bits" if good else "other bits"
    sys.stdout.write(f"killed after checkpoints at steps {steps}; at step {STEPS}: {answer}\n")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
