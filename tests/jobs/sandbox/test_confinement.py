"""Confinement of the child that reads clips, tried in a child process on this kernel."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.sandbox.audio_probe import ROOT
from jobs.sandbox.confinement import landlock_version

CHILD = """
import ctypes, os, socket, sys
from pathlib import Path
from jobs.sandbox.confinement import confine

clip, secret = Path(sys.argv[1]), Path(sys.argv[2])
print("applies", confine([clip]))
tries = {
    "clip": lambda: clip.read_bytes(),
    "library": lambda: __import__("wave"),
    "secret": lambda: secret.read_bytes(),
    "list": lambda: os.listdir(secret.parent),
    "unlink": lambda: secret.unlink(),
    "unlink clip": lambda: clip.unlink(),
    "overwrite": lambda: clip.write_bytes(b""),
    "create": lambda: (clip.parent / "new").write_bytes(b"x"),
    "environment": lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
    "tcp": lambda: socket.create_connection(("127.0.0.1", int(sys.argv[3]))),
    "udp": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    "unix": lambda: socket.socket(socket.AF_UNIX),
    "program": lambda: os.execv("/bin/true", ["true"]),
    "signal": lambda: os.kill(os.getppid(), 0),
}
for name, call in tries.items():
    try:
        call()
        print(name, "yes")
    except OSError as error:
        print(name, "no")
"""

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not landlock_version(), reason="needs Landlock (Linux 5.13)"
)


def test_the_child_reads_its_clip_and_can_do_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    clip, secret = tmp_path / "clip", tmp_path / "data" / "visavis.db"
    clip.write_bytes(b"audio")
    secret.write_bytes(b"the jobs of all tenants")

    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(clip), str(secret), "9"],
        cwd=ROOT,
        env={},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    applies, *lines = done.stdout.splitlines()
    assert applies == "applies (True, True)"
    found = dict(line.rsplit(" ", 1) for line in lines)
    assert {name for name, result in found.items() if result == "yes"} == {"clip", "library"}
    assert len(found) == 14
    assert secret.exists()


HIDDEN = """
import ctypes, os, subprocess, sys
from jobs.sandbox.confinement import PR_SET_DUMPABLE, hide_from_children

os.setuid(65534)
ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # as a process that began as this user
if sys.argv[1] == "hidden":
    hide_from_children()
command = ["/bin/cat", f"/proc/{os.getpid()}/environ"]
print(subprocess.run(command, capture_output=True, text=True).stdout.strip())
"""


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to be another user")
@pytest.mark.parametrize("mode", ["open", "hidden"])
def test_a_child_of_the_same_user_cannot_read_the_environment_of_a_hidden_process(
    mode: str,
) -> None:
    environment = {"VISAVIS_DATABASE_URL": "postgresql://me:hush@db/x", "PATH": "/usr/bin:/bin"}

    done = subprocess.run(
        [sys.executable, "-c", HIDDEN, mode],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    assert (done.stdout.strip() == "") == (mode == "hidden")
