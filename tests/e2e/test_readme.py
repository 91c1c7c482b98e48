"""README: its commands exist, and its snippets run against a real `up`."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import av
import pytest

from tests.e2e.conftest import Environment, Stack, command, started

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
ADDRESS = "http://127.0.0.1:8000"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def lines() -> list[str]:
    """Return every command of the README without its comment."""
    commands = [line.split("#")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [command for command in commands if command]


@pytest.fixture(scope="module")
def stack(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    larger = {"VISAVIS_MAX_UPLOAD_BYTES": "10000000"}
    data = {"VISAVIS_DATA": str(tmp_path_factory.mktemp("data"))}
    with started({**environment, **larger, **data}, tmp_path_factory.mktemp("logs")) as running:
        yield running


def test_every_named_make_target_exists() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = re.findall(r"(?:^|`)make ([a-z-]+)", README, re.MULTILINE)

    assert named
    assert set(named) <= set(targets)


def test_every_linked_file_exists() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]

    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.services
def test_the_upload_by_curl_creates_a_job(stack: Stack) -> None:
    (line,) = (line for line in lines() if line.startswith("curl "))
    arguments = shlex.split(line)
    fields = dict(value.split("=", 1) for flag, value in pairwise(arguments) if flag == "-F")
    clip = ROOT / fields.pop("audio").removeprefix("@")

    answer = stack.http.post(
        arguments[-1].removeprefix(ADDRESS), data=fields, files={"audio": clip.read_bytes()}
    )

    job = answer.json()
    assert (answer.status_code, job["state"], job["request"]["takes"]) == (202, "queued", 2)


@pytest.mark.services
def test_the_python_snippet_downloads_a_video(stack: Stack, tmp_path: Path) -> None:
    (snippet,) = blocks("python")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    code = snippet.replace(ADDRESS, str(stack.http.base_url).rstrip("/"))

    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=120)

    with av.open(str(tmp_path / "take-1.mp4")) as video:
        assert video.streams.video[0].codec_context.name == "h264"


def test_the_server_commands_run(environment: Environment, tmp_path: Path) -> None:
    server_lines = [line for line in lines() if line.startswith(".venv/bin/visavis-server ")]
    assert len(server_lines) == 2
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    for line in server_lines:
        arguments = command(*shlex.split(line)[1:])
        done = subprocess.run(
            arguments, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr

    assert (tmp_path / "hello.mp4").stat().st_size > 1000
