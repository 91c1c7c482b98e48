"""The embedded Redis, and wake-ups of workers through its queue."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from cli.local import embedded_redis
from cli.local.embedded_redis import BrokerError, EmbeddedRedis, find_server
from jobs.queue.celery_app import QUEUE, WAKE, make_celery, reachable, wake
from jobs.settings import Settings

CHILD = """
import sys, time
from pathlib import Path
from cli.local.embedded_redis import EmbeddedRedis
redis = EmbeddedRedis(Path(sys.argv[1])).__enter__()
print(redis.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path / "redis") as running:
        yield running


def settings_for(url: str, folder: Path) -> Settings:
    return Settings(data=folder, broker_url=url)


def alive(pid: int) -> bool:
    """Return True if the process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.services
def test_it_responds_on_a_socket_that_only_its_user_can_open(redis: EmbeddedRedis) -> None:
    assert redis.responds()
    assert redis.alive()
    assert redis.socket.stat().st_mode & 0o777 == 0o700
    assert len(str(redis.socket)) < 100  # macOS takes 104


@pytest.mark.services
def test_it_is_stopped_and_removed_at_the_end(tmp_path: Path) -> None:
    with EmbeddedRedis() as redis:
        pid = redis.pid
        assert pid is not None
    assert not redis.alive()
    assert not redis.socket.parent.exists()
    assert not alive(pid)


@pytest.mark.services
@pytest.mark.skipif(sys.platform != "linux", reason="PDEATHSIG needs Linux")
def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},  # a killed process removes no files
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert alive(pid)

    parent.kill()
    parent.wait()
    parent.stdout.close()

    deadline = time.monotonic() + 5
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(pid)


@pytest.mark.services
def test_wake_ups_survive_a_crash_of_redis(redis: EmbeddedRedis, tmp_path: Path) -> None:
    app = make_celery(settings_for(redis.url, tmp_path))
    assert all(wake(app, f"job-{number}") for number in range(20))
    time.sleep(1.1)  # Redis syncs its file once a second
    assert redis.pid is not None
    os.kill(redis.pid, signal.SIGKILL)

    redis.start()

    with Redis(unix_socket_path=str(redis.socket)) as client:
        assert client.llen(QUEUE) == 20
    app.close()


@pytest.mark.services
def test_two_servers_cannot_use_the_same_folder(redis: EmbeddedRedis, tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="another Redis uses"):
        EmbeddedRedis(tmp_path / "redis").__enter__()
    assert redis.responds()


@pytest.mark.services
def test_a_wake_up_is_a_job_id_in_json(redis: EmbeddedRedis, tmp_path: Path) -> None:
    app = make_celery(settings_for(redis.url, tmp_path))
    assert reachable(app)
    assert wake(app, "0198")

    with app.connection_for_read() as connection, connection.SimpleQueue(QUEUE) as queue:
        message = queue.get(timeout=5)
        message.ack()
    app.close()

    assert message.content_type == "application/json"
    assert message.headers["task"] == WAKE
    assert message.payload[0] == ["0198"]


@pytest.mark.parametrize(
    "url", ["", "redis+socket:///nowhere/s?virtual_host=0", "redis://127.0.0.1:9/0"]
)
def test_waking_without_a_broker_fails_quickly(tmp_path: Path, url: str) -> None:
    app = make_celery(settings_for(url, tmp_path))
    began = time.monotonic()

    assert not wake(app, "0198")
    assert not reachable(app)

    assert time.monotonic() - began < 3
    app.close()


def test_the_queue_accepts_only_json(tmp_path: Path) -> None:
    app = make_celery(settings_for("", tmp_path))

    assert app.conf.accept_content == ["json"]
    assert app.conf.task_serializer == "json"
    assert app.conf.worker_disable_prefetch
    app.close()


def test_a_redis_on_the_path_is_preferred_to_the_one_in_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = tmp_path / "valkey-server"
    server.write_text("#!/bin/sh\n")
    server.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert find_server() == server


def test_a_missing_redis_is_reported_with_a_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(embedded_redis, "_bundled_server", lambda: None)

    with pytest.raises(BrokerError, match=r"apt install redis-server.*3.13.*VISAVIS_BROKER_URL"):
        EmbeddedRedis().__enter__()


def test_a_redis_that_does_not_start_is_reported_with_its_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = tmp_path / "redis-server"
    server.write_text("#!/bin/sh\necho out of luck today\nexit 1\n")
    server.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")

    with pytest.raises(BrokerError, match="out of luck today"):
        EmbeddedRedis().__enter__()
