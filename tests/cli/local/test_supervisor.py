"""Children are started again when they die, and end when they are told to."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.local.supervisor import Child, ChildError, Command, Supervisor

FOREVER = "import time; time.sleep(60)"


class Watch:
    """A supervisor, and what it said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.supervisor = Supervisor([], self.said.append)

    def start(self, code: str) -> Child:
        command = Command("toy", ["-c", code], {"TOY": "1"}, self.folder / "logs" / "toy.log")
        child = Child(command)
        self.supervisor.children.append(child)
        child.start()
        return child

    def tend_until_another(self, child: Child, pid: int) -> None:
        deadline = time.monotonic() + 10
        while child.process is None or child.process.pid == pid:
            assert time.monotonic() < deadline
            self.supervisor.tend()
            time.sleep(0.02)


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    made = Watch(tmp_path)
    yield made
    made.supervisor.stop()


def until(child: Child) -> int:
    assert child.process is not None
    return child.process.wait(10)


def test_a_child_that_was_killed_is_started_again_after_a_pause(watch: Watch) -> None:
    child = watch.start(FOREVER)
    assert child.process is not None
    pid = child.process.pid
    os.kill(pid, signal.SIGKILL)
    until(child)
    began = time.monotonic()

    watch.tend_until_another(child, pid)

    assert time.monotonic() - began >= 0.45
    assert watch.said == ["the toy was killed by signal 9; it is started again"]
    assert child.pause == 1.0  # the next one waits longer


def test_a_child_that_lived_long_is_started_without_a_longer_pause(watch: Watch) -> None:
    child = watch.start("")
    until(child)
    child.pause, child.started_at = 8.0, time.monotonic() - 100

    watch.supervisor.tend()

    assert child.due - time.monotonic() < 0.6
    assert watch.said == ["the toy ended with status 0; it is started again"]


def test_a_child_that_is_misused_is_not_started_for_ever(watch: Watch) -> None:
    child = watch.start("import sys; print('VISAVIS_X: is wrong'); sys.exit(2)")
    until(child)

    with pytest.raises(ChildError, match="the toy does not start: VISAVIS_X: is wrong"):
        watch.supervisor.tend()


def test_children_are_asked_before_they_are_killed(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.local.supervisor.STOP_SECONDS", 1.0)
    ready = "print('ready', flush=True); time.sleep(60)"
    polite = watch.start(f"import time; {ready}")
    deaf = f"import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); {ready}"
    stubborn = watch.start(deaf)
    deadline = time.monotonic() + 10
    while stubborn.last_words().count("ready") < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)

    watch.supervisor.stop()

    assert (polite.ended(), stubborn.ended()) == (-signal.SIGTERM, -signal.SIGKILL)


def test_a_child_has_the_environment_it_was_given(watch: Watch) -> None:
    child = watch.start("import os; print(os.environ['TOY'], os.getpid() == os.getsid(0))")
    until(child)

    assert child.last_words() == "1 True"  # in a session of its own: Ctrl-C is not for it


@pytest.mark.skipif(sys.platform != "linux", reason="a tether needs Linux")
def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    import subprocess

    code = (
        "import os, pathlib\n"
        "from cli.local.supervisor import Child, Command\n"
        f"child = Child(Command('toy', ['-c', {FOREVER!r}], {{}}, pathlib.Path('toy.log')))\n"
        "child.start()\n"
        "print(child.process.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    parent = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True)
    pid = int(parent.stdout)
    deadline = time.monotonic() + 5
    while _lives(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _lives(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()
