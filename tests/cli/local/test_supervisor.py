"""The supervisor restarts its children and stops them."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.local.supervisor import Child, ChildError, Command, Supervisor

FOREVER = "import time; time.sleep(60)"


class Recorder:
    """A supervisor with a record of its log lines."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines: list[str] = []
        self.supervisor = Supervisor([], self.lines.append)

    def start(self, code: str) -> Child:
        command = Command("toy", ["-c", code], {"TOY": "1"}, self.folder / "logs" / "toy.log")
        child = Child(command)
        self.supervisor.children.append(child)
        child.start()
        return child

    def tend_until_restarted(self, child: Child, pid: int) -> None:
        deadline = time.monotonic() + 10
        while child.process is None or child.process.pid == pid:
            assert time.monotonic() < deadline
            self.supervisor.tend()
            time.sleep(0.02)


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    recorder = Recorder(tmp_path)
    yield recorder
    recorder.supervisor.stop()


def wait_for(child: Child) -> int:
    assert child.process is not None
    return child.process.wait(10)


def test_a_killed_child_is_restarted_after_a_pause(recorder: Recorder) -> None:
    child = recorder.start(FOREVER)
    assert child.process is not None
    pid = child.process.pid
    os.kill(pid, signal.SIGKILL)
    wait_for(child)
    began = time.monotonic()

    recorder.tend_until_restarted(child, pid)

    assert time.monotonic() - began >= 0.45
    assert recorder.lines == ["the toy was killed by signal 9; restarting it"]
    assert child.pause == 1.0  # the next one waits longer


def test_a_child_that_ran_for_long_is_restarted_after_the_shortest_pause(
    recorder: Recorder,
) -> None:
    child = recorder.start("")
    wait_for(child)
    child.pause, child.started_at = 8.0, time.monotonic() - 100

    recorder.supervisor.tend()

    assert child.due - time.monotonic() < 0.6
    assert recorder.lines == ["the toy exited with status 0; restarting it"]


def test_a_misconfigured_child_is_not_restarted(recorder: Recorder) -> None:
    child = recorder.start("import sys; print('VISAVIS_X: is wrong'); sys.exit(2)")
    wait_for(child)

    with pytest.raises(ChildError, match="the toy does not start: VISAVIS_X: is wrong"):
        recorder.supervisor.tend()


def test_children_are_terminated_before_they_are_killed(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.local.supervisor.STOP_SECONDS", 1.0)
    ready = "print('ready', flush=True); time.sleep(60)"
    cooperative = recorder.start(f"import time; {ready}")
    ignoring = f"import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); {ready}"
    stubborn = recorder.start(ignoring)
    deadline = time.monotonic() + 10
    while stubborn.log_tail().count("ready") < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)

    recorder.supervisor.stop()

    assert (cooperative.ended(), stubborn.ended()) == (-signal.SIGTERM, -signal.SIGKILL)


def test_a_child_gets_its_environment(recorder: Recorder) -> None:
    child = recorder.start("import os; print(os.environ['TOY'], os.getpid() == os.getsid(0))")
    wait_for(child)

    assert child.log_tail() == "1 True"  # in its own session, which Ctrl-C does not reach


@pytest.mark.skipif(sys.platform != "linux", reason="PDEATHSIG needs Linux")
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
