"""Malicious files become short audio or a user error."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jobs.sandbox.audio_formats import MediaError
from jobs.sandbox.rlimits import limited_command
from tests.malicious_files import Attack
from tests.worker.fakes import use_decoder
from worker.pipeline.media.decode import SAMPLE_RATE, decode
from worker.pipeline.media.ffmpeg import ChildError

SECONDS = 2.0


def test_every_malicious_file_is_short_audio_or_a_user_error(
    malicious_files: dict[str, Attack], tmp_path: Path
) -> None:
    """Files that the API rejects are included, because the storage is not trusted either."""
    decoded = 0
    for content, _ in malicious_files.values():
        (tmp_path / "clip").write_bytes(content)
        try:
            audio = decode(tmp_path / "clip", tmp_path / "raw", max_seconds=SECONDS)
        except MediaError as error:
            assert str(tmp_path) not in error.detail
            continue
        decoded += 1
        assert len(audio.samples) <= SECONDS * SAMPLE_RATE
        assert np.isfinite(audio.samples).all()

    assert decoded > 8


@pytest.mark.parametrize(
    ("limit", "code"),
    [
        ("FSIZE=10", "open('out', 'wb', 0).write(bytes(20)); open('out', 'ab', 0).write(b'.')"),
        ("NOFILE=8", "[open('/dev/null') for _ in range(9)]"),
        pytest.param(
            "AS=100000000",
            "bytes(200_000_000)",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="macOS does not limit it"),
        ),
    ],
)
def test_resource_limits_persist_across_exec(tmp_path: Path, limit: str, code: str) -> None:
    name, _, most = limit.partition("=")
    command = limited_command([sys.executable, "-I", "-S", "-c", code], {name: int(most)})

    limited = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60)
    harmless = limited_command([sys.executable, "-I", "-S", "-c", "print(1)"], {name: int(most)})

    assert limited.returncode != 0
    assert subprocess.run(harmless, capture_output=True).stdout == b"1\n"


def decoder_killed_by(signal_name: str, folder: Path) -> Path:
    program = folder / "decoder"
    program.write_text(f"#!/bin/sh\nkill -s {signal_name} $$\n")
    program.chmod(0o755)
    (folder / "clip").write_bytes(b"fLaC" + bytes(100))
    return program


@pytest.mark.parametrize("signal_name", ["XCPU", "SEGV", "ABRT"])
def test_a_decoder_killed_for_its_own_fault_is_a_user_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signal_name: str
) -> None:
    use_decoder(monkeypatch, decoder_killed_by(signal_name, tmp_path))

    with pytest.raises(MediaError) as caught:
        decode(tmp_path / "clip", tmp_path / "raw", max_seconds=1)

    assert caught.value.code == "audio_unreadable"


def test_a_decoder_killed_from_outside_is_not_a_user_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_decoder(monkeypatch, decoder_killed_by("KILL", tmp_path))

    with pytest.raises(ChildError):
        decode(tmp_path / "clip", tmp_path / "raw", max_seconds=1)


def test_a_cpu_limit_has_its_own_signal() -> None:
    busy = limited_command([sys.executable, "-I", "-S", "-c", "while True: pass"], {"CPU": 1})

    assert subprocess.run(busy, timeout=60).returncode == -signal.SIGXCPU


def test_a_decoder_gets_no_environment_variables_except_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = tmp_path / "decoder"
    spy.write_text("#!/bin/sh\nenv >&2\nexit 1\n")
    spy.chmod(0o755)
    use_decoder(monkeypatch, spy)
    monkeypatch.setenv("VISAVIS_SIGNING_SECRET", "hush-hush")
    (tmp_path / "clip").write_bytes(b"fLaC" + bytes(100))

    with pytest.raises(MediaError) as caught:
        decode(tmp_path / "clip", tmp_path / "raw", max_seconds=1)

    assert "hush-hush" not in str(caught.value.__cause__)
    assert "PATH=" in str(caught.value.__cause__)
