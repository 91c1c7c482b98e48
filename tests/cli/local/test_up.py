"""Errors of `up` before it starts anything; tests/e2e runs it."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli.local.embedded_redis import BrokerError
from cli.local.submit import SubmitError
from cli.local.supervisor import ChildError
from cli.local.up import LOG_BYTES, StopSignal, _address, _rotate_logs
from tests.audio_clips import write_clip
from tests.cli.conftest import Call


def test_a_port_in_use_is_reported_with_its_setting(call: Call, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = call("up", VISAVIS_PORT=str(port))

    assert done.exit_code == 2
    assert f"VISAVIS_PORT: cannot listen on port {port} of 127.0.0.1" in done.stderr
    assert "set VISAVIS_PORT" in done.stderr
    assert not (tmp_path / "data" / "redis").exists()


def test_a_missing_clip_is_reported_before_anything_starts(call: Call) -> None:
    done = call("up", "--submit", "none.wav")

    assert (done.exit_code, done.stderr) == (2, "--submit: file not found (none.wav)\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--partner", "talk.wav"], "--partner: --submit is missing; add it with the recording"),
        (["--submit", "talk.wav", "--partner", "no.wav"], "--partner: file not found (no.wav)"),
    ],
)
def test_a_wrong_partner_is_reported_before_anything_starts(
    call: Call, tmp_path: Path, arguments: list[str], message: str
) -> None:
    write_clip(tmp_path / "talk.wav")

    done = call("up", *arguments)

    assert done.exit_code == 2
    assert done.stderr.startswith(message)


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (SubmitError("The clip is too long."), 1, "The clip is too long.\n"),
        (ChildError("the worker does not start: why"), 1, "the worker does not start: why\n"),
        (BrokerError("no redis-server found"), 1, "no redis-server found\n"),
        (StopSignal(), 130, "stopped before the video was finished\n"),
    ],
)
def test_an_error_of_a_submission_is_one_sentence(
    call: Call,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    status: int,
    message: str,
) -> None:
    @contextmanager
    def local_stack(*_: object, **__: object) -> Iterator[None]:
        raise error
        yield

    monkeypatch.setattr("cli.local.up._local_stack", local_stack)
    write_clip(tmp_path / "talk.wav")

    done = call("up", "--submit", "talk.wav")

    assert (done.exit_code, done.stderr) == (status, message)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
    ],
)
def test_local_requests_use_a_reachable_address(host: str, address: str) -> None:
    assert _address(host, 80) == address


def test_a_large_log_is_rotated(tmp_path: Path) -> None:
    with (tmp_path / "api.log").open("wb") as file:
        file.truncate(LOG_BYTES + 1)
    (tmp_path / "worker.log").touch()

    _rotate_logs(tmp_path)

    assert {path.name for path in tmp_path.iterdir()} == {"api.log.1", "worker.log"}
