"""Runner of the documents' blocks: one environment, one server, one process that forks commands."""

import base64
import json
import os
import re
import subprocess
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import yaml

from cli.local import parent_death
from tests.docs.blocks import Block, blocks
from tests.docs.fork_server import write_programs
from tests.docs.results import CHECKS
from tests.docs.small import MAKING_PEOPLE, prepare, write_downloads
from tests.docs.substitutions import SUBSTITUTIONS
from tests.house.source import ROOT

SECONDS = 120.0  # limit of a block
PLACEHOLDER = re.compile(r"<(job|upload|batch|key)>")
API_KEY = re.compile(r"vv_([0-9a-f]+)_")
UNTIL_FINAL = re.compile(r"#.*until .*final")
ASSIGNMENTS = re.compile(r"([A-Z_]+=.*\n)+")
CHECK_SETTINGS = 'python -c "from jobs.settings import Settings; Settings()"\n'
ENDED = ("succeeded", "failed", "canceled")
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
CREATE_KEY = ["visavis-server", "keys", "create", "--tenant", "local", "--scope", "admin"]
CREATE_KEY += ["--name", "docs"]
CURL = "fail-with-body\nshow-error\n"  # a refused request is a failed command


class BlockFailed(AssertionError):
    """A block did not run; the message has its output."""


@dataclass
class Page:
    """State of one page: its folder, its variables, and identifiers in answers to its commands."""

    name: str
    folder: Path
    known: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Runner:
    """Runs pages.

    environment: of the commands. values: of substitutions. used: names of substitutions that
    changed a block. ran: number of blocks of each language.
    """

    environment: Mapping[str, str]
    values: dict[str, str]
    people: Path
    folder: Path
    used: set[str] = field(default_factory=set)
    ran: Counter[str] = field(default_factory=Counter)

    def run(self, path: Path) -> list[str]:
        """Run all blocks of a page in order, and return what failed."""
        page = None
        failures = []
        for block in blocks(path):
            if block.reason is not None:
                continue
            if page is None and block.language in RUN:
                page = self._open(block.page)
            try:
                self._run(block, page)
            except (BlockFailed, ValueError, yaml.YAMLError, subprocess.TimeoutExpired) as error:
                failures.append(f"{block}: {error}")
            self.ran[block.language] += 1
        if page is not None:
            failures += self._check(page)
        return failures

    def _check(self, page: Page) -> list[str]:
        failures = []
        for check in CHECKS.get(page.name, ()):
            try:
                check(page.folder)
            except (AssertionError, OSError, ValueError) as error:
                failures.append(f"{page.name}: {type(error).__name__}: {error}")
        return failures

    def _open(self, name: str) -> Page:
        folder = self.folder / name.replace("/", "-").removesuffix(".md")
        folder.mkdir()
        prepare(name, folder, self.people)
        (folder / "key.txt").write_text(self.environment["VISAVIS_API_KEY"])
        binaries = folder / ".venv" / "bin"
        binaries.mkdir(parents=True)
        programs = self.environment["PATH"].partition(":")[0]
        (binaries / "activate").write_text(f'PATH="{programs}:$PATH"\n')
        people = {"VISAVIS_PEOPLE": str(folder / "people")} if name in MAKING_PEOPLE else {}
        return Page(name, folder, people)

    def _run(self, block: Block, page: Page | None) -> None:
        if block.language not in RUN:
            PARSED[block.language](block.text)
            return
        assert page is not None
        text = self._substituted(block)
        if block.language == "python":
            file = page.folder / f"line_{block.line}.py"
            file.write_text(text)
            self._bash(page, f"python {file.name}")
        elif PLACEHOLDER.search(text):
            for command in commands(text):
                self._command(page, command)
        elif ASSIGNMENTS.fullmatch(text):
            self._bash(page, f"set -a\n{text}{CHECK_SETTINGS}")
        else:
            self._remember(page, self._bash(page, text))

    def _substituted(self, block: Block) -> str:
        text = block.text
        for substitution in SUBSTITUTIONS:
            changed = substitution(block.page, text, self.values)
            if changed != text:
                self.used.add(substitution.name)
            text = changed
        return text

    def _command(self, page: Page, command: str) -> None:
        """Run a command with identifiers of earlier answers in place of `<job>` and the like."""
        filled = PLACEHOLDER.sub(lambda name: page.known[name[1]], command)
        deadline = time.monotonic() + SECONDS
        while True:
            answer = self._remember(page, self._bash(page, filled))
            if not UNTIL_FINAL.search(command) or answer.get("state") in ENDED:
                return
            if time.monotonic() > deadline:
                raise BlockFailed(f"{filled}\nis not final: {answer}")
            time.sleep(0.2)

    def _bash(self, page: Page, script: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=page.folder,
            env={**self.environment, **_variables(page)},
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        if done.returncode != 0:
            raise BlockFailed(f"{script}\n{done.stdout[-2000:]}{done.stderr[-3000:]}")
        return done.stdout

    def _remember(self, page: Page, output: str) -> Mapping[str, Any]:
        """Keep the identifiers of the last JSON object of an output, and return it."""
        answer: Mapping[str, Any] = {}
        for line in output.splitlines():
            if line.startswith("{"):
                answer, _ = json.JSONDecoder().raw_decode(line)
        for kind, member in (("job", "stages"), ("upload", "parts"), ("batch", "counts")):
            if member in answer:
                page.known[kind] = answer["id"]
        if key := API_KEY.search(output):
            page.known["key"] = key[1]
        if answer.get("parts"):
            page.known["URL"] = answer["parts"][0]["url"]
        return answer


def _variables(page: Page) -> dict[str, str]:
    return {name: value for name, value in page.known.items() if name.isupper()}


def commands(text: str) -> list[str]:
    """Divide a block into commands: lines, with the lines that they continue on."""
    joined = text.replace("\\\n", " ")
    return [line for line in joined.splitlines() if line.strip()]


def _nothing(_text: str) -> None:
    """Shown text has no syntax; TypeScript is compiled and run where its tools are.

    See tests/client/generated/test_typescript.py.
    """


RUN = ("sh", "python")
PARSED = {
    "json": json.loads,
    "toml": tomllib.loads,
    "yaml": lambda text: list(yaml.safe_load_all(text)),
    "text": _nothing,
    "ts": _nothing,
}


@contextmanager
def fork_server(folder: Path, environment: Mapping[str, str]) -> Iterator[Path]:
    """Run the process that forks commands, and yield the folder of their programs."""
    address = folder / "socket"
    write_programs(folder / "bin", address)
    (folder / "bin" / "ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    server = [sys.executable, "-P", "-m", "tests.docs.fork_server", str(address)]
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", parent_death.__file__, str(os.getpid()), *server],
        cwd=ROOT,
        env={**environment, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        yield folder / "bin"
    finally:
        process.terminate()
        process.wait()
        assert process.stdout
        process.stdout.close()


def shell_environment(
    service: Mapping[str, str], programs: Path, home: Path, address: str
) -> dict[str, str]:
    """Environment of the blocks: the service's settings, the programs, and an empty home.

    Compiled kernels and lists of fonts are those of earlier runs.
    """
    home.mkdir()
    write_downloads(home / "Downloads")
    (home / ".curlrc").write_text(CURL)
    environment = {
        **service,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": str(home),
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")),
        "TMPDIR": str(home),
        "VISAVIS_BASE_URL": address,
        "VISAVIS_WEBHOOK_SECRET": SECRET,
    }
    key = subprocess.run(CREATE_KEY, env=environment, check=True, capture_output=True, text=True)
    return {**environment, "VISAVIS_API_KEY": key.stdout.strip()}
