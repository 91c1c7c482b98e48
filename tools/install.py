"""Install packages into the environment of this repository, with lines of progress.

`make` runs it with the Python of the system, before anything is installed: standard library only.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
CHOICE = ".torch"  # in the environment: the build of torch that was chosen
LINE_SECONDS = 5.0  # between two lines of a log, which has no line that changes
DRAW_SECONDS = 0.5  # between two states of the changing line of a terminal
LAST_LINES = 15  # of pip's output, printed when it fails
INTERRUPTED = 130
UNKNOWN = "0 MB"  # size that has not been measured yet


class Progress:
    """Progress of one child process: a changing line on a terminal, a line every 5 s in a log."""

    def __init__(self) -> None:
        self._began = self._printed_at = time.monotonic()

    def show(self, text: str) -> None:
        """Show the current step: at once on a terminal, in a log when a line is due."""
        if sys.stdout.isatty():
            width = os.get_terminal_size().columns - 1
            self._write(f"\r\x1b[K{self._stamped(text)[:width]}")
        elif time.monotonic() - self._printed_at >= LINE_SECONDS:
            self.say(text)

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._printed_at = time.monotonic()
        clear = "\r\x1b[K" if sys.stdout.isatty() else ""
        self._write(f"{clear}{self._stamped(text)}\n")

    def _stamped(self, text: str) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        return f"  {minutes}:{seconds:02d}  {text}"

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


class Child:
    """A child process whose output is collected, while `run` shows what it does."""

    def __init__(self, command: Sequence[str], environment: Path, temporary: Path) -> None:
        self.lines: list[str] = []
        self._folders = (environment, temporary)
        self._sizes = (UNKNOWN, UNKNOWN)  # of the folders
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )

    def run(self, progress: Progress, start: str) -> int:
        """Wait for the end, and return the exit status. start: the step before the first line."""
        reader = threading.Thread(target=self._read, daemon=True)
        reader.start()
        threading.Thread(target=self._measure, daemon=True).start()
        with self._process:
            try:
                while reader.is_alive():
                    progress.show(self._step(start))
                    reader.join(DRAW_SECONDS)
            except KeyboardInterrupt:
                self._process.terminate()
                raise
        return self._process.returncode

    @property
    def installed(self) -> str:
        """Size of the environment when it was last measured."""
        return self._sizes[0]

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.rstrip())

    def _measure(self) -> None:
        """Update the sizes; it takes seconds on a slow disk, and must not delay a line."""
        while self._process.returncode is None:
            environment, temporary = (_size(_bytes_below(folder)) for folder in self._folders)
            self._sizes = (environment, temporary)
            time.sleep(DRAW_SECONDS)

    def _step(self, start: str) -> str:
        """Return the current step from the last line that names one."""
        for line in reversed(self.lines):
            words = line.split()
            if line.startswith("Installing collected packages:"):
                packages = words[3] if len(words) == 4 else f"{len(words) - 3} packages"
                return f"installing {packages}: {self._sizes[0]} on disk"
            if line.lstrip().startswith("Downloading "):
                return f"downloading {' '.join(words[1:])}: {self._sizes[1]} in total so far"
            if line.startswith(("Collecting ", "Processing ")):
                return f"collecting {Path(words[1]).name}"
            if line.startswith("Obtaining "):
                return "preparing this repository"
        return start


def install(environment: Path, requirements: Sequence[str], torch: str, torch_index: str) -> int:
    """Create the environment if needed, install the requirements, and return the exit status.

    torch: "cpu" for the CPU build, "default" for the build that pip selects. torch_index: URL of a
    package index with CPU builds, asked if the index of pip's configuration has none.
    """
    progress = Progress()
    with tempfile.TemporaryDirectory(prefix="visavis-setup-") as folder:
        temporary = Path(folder)
        if not (environment / "bin" / "pip").exists():
            command = [sys.executable, "-m", "venv", str(environment)]
            child = Child(command, environment, temporary)
            if child.run(progress, f"creating {environment.name}"):
                return _failed(progress, "creating the environment", child)
        python = str(environment / "bin" / "python")
        pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--no-input"]
        pip += ["--progress-bar", "off", "-c", str(CONSTRAINTS)]
        if torch == "cpu":
            _install_torch_for_cpu(pip, environment, temporary, torch_index, progress)
        child = Child([*pip, *requirements], environment, temporary)
        if child.run(progress, "starting pip"):
            return _failed(progress, "installing the packages", child)
    (environment / CHOICE).write_text(f"{torch}\n")
    size = "" if child.installed == UNKNOWN else f", {child.installed}"
    progress.say(f"installed into {environment.name}{size}")
    return 0


def _install_torch_for_cpu(
    pip: Sequence[str], environment: Path, temporary: Path, index: str, progress: Progress
) -> None:
    if platform.system() == "Darwin":  # all builds for macOS are without CUDA
        return
    release = re.search(r"^torch==(\S+)$", CONSTRAINTS.read_text(), re.MULTILINE)
    assert release is not None, "constraints.txt pins torch"
    build = f"torch=={release[1]}+cpu"
    choices = {
        "the package index of pip's configuration": [],
        index: ["--index-url", index, "--retries", "1", "--timeout", "15"],
    }
    for name, options in choices.items():
        # The other packages, also those that torch needs, come from the usual index afterwards.
        child = Child([*pip, "--no-deps", *options, build], environment, temporary)
        if child.run(progress, f"looking for {build}") == 0:
            progress.say(f"{build} installed from {name}")
            return
        progress.say(f"{build} is not available from {name}")
    progress.say("installing the default build of torch instead, which may include CUDA")


def _failed(progress: Progress, step: str, child: Child) -> int:
    progress.say(f"{step} failed; the end of the output:")
    for line in child.lines[-LAST_LINES:]:
        sys.stderr.write(f"    {line}\n")
    return 1


def _bytes_below(folder: Path) -> int:
    """Bytes of the files below a folder, which changes meanwhile."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(parent) / name).lstat().st_size
            except FileNotFoundError:
                continue
    return total


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def main() -> int:
    """Run `python tools/install.py --environment .venv REQUIREMENTS`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--environment", type=Path, required=True)
    parser.add_argument("--torch", choices=("cpu", "default"), default="default")
    parser.add_argument("--torch-index", default="")
    # Requirements may start with a dash: `-e .`
    options, requirements = parser.parse_known_args()
    try:
        return install(
            options.environment.absolute(), requirements, options.torch, options.torch_index
        )
    except KeyboardInterrupt:
        sys.stdout.write("\nstopped; the same command continues\n")
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
