"""Commands of the child process that reads clips, called in this process."""

import json
import resource
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.sandbox import audio_probe, rlimits
from jobs.sandbox.audio_formats import MediaError, MediaLimits
from jobs.sandbox.audio_probe import SAMPLE_RATE, info_of, main
from tests.audio_clips import write_clip

LIMITS = MediaLimits(min_seconds=0.1, max_seconds=5.0)

Applied = list[dict[str, int]]


@pytest.fixture
def applied(monkeypatch: pytest.MonkeyPatch) -> Applied:
    """Limits that the child would set; this process keeps its own."""
    calls: Applied = []
    monkeypatch.setattr(audio_probe, "apply_limits", lambda limits: calls.append(dict(limits)))
    return calls


def run(command: str, *paths: Path) -> None:
    main([command, json.dumps(asdict(LIMITS)), *(str(path) for path in paths)])


def test_a_probe_limits_itself_and_prints_one_line(
    tmp_path: Path, applied: Applied, capsys: pytest.CaptureFixture[str]
) -> None:
    run("probe", write_clip(tmp_path / "clip.flac", seconds=1.5))

    (line,) = capsys.readouterr().out.splitlines()
    info = info_of(json.loads(line))
    assert (info.container, info.channels, info.seconds) == ("flac", 2, 1.5)
    (limits,) = applied
    assert limits["AS"] == LIMITS.memory_bytes
    assert limits["CPU"] == LIMITS.probe_cpu_seconds
    assert limits["FSIZE"] == 0


@pytest.mark.parametrize("command", ["probe", "read"])
def test_an_invalid_file_is_a_code_and_a_detail(
    tmp_path: Path, applied: Applied, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "text.wav"
    path.write_text("text without any audio")

    run(command, path)

    captured = capsys.readouterr()
    (line,) = (captured.out if command == "probe" else captured.err).splitlines()
    with pytest.raises(MediaError) as caught:
        info_of(json.loads(line))
    assert caught.value.code == "audio_type_unsupported"
    assert len(applied) == (command == "probe")  # the caller of `read` sets the limits


def test_audio_goes_to_stdout_and_its_description_to_stderr(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    left = write_clip(tmp_path / "left.wav", seconds=1.0, channels=1)
    right = write_clip(tmp_path / "right.wav", seconds=2.5, channels=1)

    run("read", left, right)

    captured = capfdbinary.readouterr()
    samples = np.frombuffer(captured.out, np.float32).reshape(-1, 2)  # [samples, channels]
    info = info_of(json.loads(captured.err))
    assert len(samples) == round(2.5 * SAMPLE_RATE) == round(info.seconds * SAMPLE_RATE)
    assert np.abs(samples[: SAMPLE_RATE // 2, 0]).max() > 0.01
    assert not samples[round(1.01 * SAMPLE_RATE) :, 0].any()
    assert [warning.code for warning in info.warnings] == ["lengths_differ"]


def test_audio_longer_than_the_limit_is_not_written(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    run("read", write_clip(tmp_path / "long.wav", seconds=6.0, channels=1))

    written = len(capfdbinary.readouterr().out) // 8  # samples of two float32 channels
    assert written == round(LIMITS.max_seconds * SAMPLE_RATE)


def test_limits_are_only_tightened(monkeypatch: pytest.MonkeyPatch) -> None:
    present = {
        resource.RLIMIT_NOFILE: (1000, 32),
        resource.RLIMIT_FSIZE: (resource.RLIM_INFINITY,) * 2,
        resource.RLIMIT_CPU: (resource.RLIM_INFINITY,) * 2,
    }
    changed: dict[int, Any] = {}
    monkeypatch.setattr(resource, "getrlimit", present.__getitem__)
    monkeypatch.setattr(resource, "setrlimit", changed.__setitem__)

    rlimits.apply_limits({"NOFILE": 64, "FSIZE": 0, "CPU": 3})

    assert changed == {
        resource.RLIMIT_NOFILE: (32, 32),
        resource.RLIMIT_FSIZE: (0, 0),
        resource.RLIMIT_CPU: (3, 4),  # SIGXCPU, and SIGKILL a second later
    }


def test_a_limit_that_the_system_does_not_have_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    changed: list[int] = []

    def setrlimit(which: int, _limits: tuple[int, int]) -> None:
        if which == resource.RLIMIT_AS:
            raise ValueError("not supported")
        changed.append(which)

    monkeypatch.setattr(resource, "setrlimit", setrlimit)

    rlimits.apply_limits({"AS": 1 << 40, "CORE": 0})

    assert changed == [resource.RLIMIT_CORE]


def test_a_limited_command_runs_within_its_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    applied: Applied = []
    started: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(rlimits, "apply_limits", lambda limits: applied.append(dict(limits)))
    monkeypatch.setattr("os.execv", lambda path, command: started.append((path, command)))
    _python, *_options, text, tool, argument = rlimits.limited_command(
        ["/bin/tool", "-x"], {"CPU": 3, "AS": 100}
    )

    rlimits.main([text, tool, argument])

    assert applied == [{"CPU": 3, "AS": 100}]
    assert started == [("/bin/tool", ["/bin/tool", "-x"])]


@pytest.mark.parametrize(("mode", "status"), [(None, rlimits.NOT_FOUND), (0o644, 126)])
def test_a_program_that_cannot_be_executed_has_a_status_of_its_own(
    tmp_path: Path, mode: int | None, status: int
) -> None:
    program = tmp_path / "decoder"
    if mode is not None:
        program.write_text("#!/bin/sh\n")
        program.chmod(mode)
    command = rlimits.limited_command([str(program)], {"CORE": 0})

    done = subprocess.run(command, capture_output=True, check=False)

    assert done.returncode == status
    assert done.stderr.decode().startswith(f"{program} cannot be executed: ")


def test_a_machine_that_reads_no_clip_refuses_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = write_clip(tmp_path / "clip.wav")
    monkeypatch.setattr(audio_probe, "_command", lambda *arguments: ["/bin/false"])

    with pytest.raises(audio_probe.SandboxError):
        audio_probe.probe(clip, limits=LIMITS)


def test_the_child_imports_no_large_library_except_av() -> None:
    """Each upload waits for these imports, and so does each attempt."""
    large = {"asyncio", "httpx", "numpy", "pydantic", "rich", "sqlalchemy", "structlog", "torch"}
    code = "import sys, jobs.sandbox.audio_probe, av; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=audio_probe.ROOT, env={}, capture_output=True, check=True)

    imported = set(done.stdout.decode().split())
    assert {"av", "jobs.model"} <= imported
    assert imported & large == set()
