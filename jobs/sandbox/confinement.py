"""Confinement of a child process that parses untrusted files: Landlock and seccomp, without root.

Landlock (Linux 5.13) leaves it some folders to read and nothing to write, remove or connect to.
Seccomp takes away calls that Landlock does not cover: sockets, new programs, other processes. Both
last for the life of the process. Where the kernel lacks one, the other one still applies.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 4, 22, 38
SECCOMP_MODE_FILTER = 2
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # on all architectures
RULESET_VERSION = 1
RULE_PATH_BENEATH = 1
EXECUTE, READ_FILE, READ_DIR = 1 << 0, 1 << 2, 1 << 3
NETWORK = 0b11  # bind and connect TCP
SCOPES = 0b11  # abstract Unix sockets, and signals to other processes
LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache", "/dev/null")
PACKAGES = ("jobs", "contracts")  # modules of the child
DEPENDENCIES = ("av", "numpy")  # installers may link them from a folder outside the environment

# Numbers of the system calls that are refused, by machine, and its architecture for seccomp.
REFUSED = {
    # socket, socketpair, connect, execve, execveat, fork, vfork, kill, ptrace, process_vm_readv,
    # process_vm_writev, io_uring_setup
    "x86_64": (0xC000003E, (41, 53, 42, 59, 322, 57, 58, 62, 101, 310, 311, 425)),
    "aarch64": (0xC00000B7, (198, 199, 203, 221, 281, 129, 117, 270, 271, 425)),
}
LOAD, JUMP_EQUAL, JUMP_GREATER, RETURN = 0x20, 0x15, 0x35, 0x06
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050001, 0x80000000  # REFUSE: EPERM
X32 = 0x40000000  # calls of the x32 ABI have other numbers


def hide_from_children() -> None:
    """Deny other processes of this user the memory and environment of this one (Linux).

    A child starts with the default again.
    """
    if sys.platform == "linux":
        _libc().prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def confine(
    files: Iterable[Path],
    *,
    packages: Iterable[str] = PACKAGES,
    dependencies: Iterable[str] = DEPENDENCIES,
) -> tuple[bool, bool]:
    """Leave this process only these files and Python's to read.

    packages: of this project. dependencies: other packages that the process imports.
    Returns whether Landlock and seccomp apply.
    """
    if sys.platform != "linux":
        return False, False
    libc = _libc()
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False, False
    root = Path(__file__).resolve().parents[2]
    folders = {sys.prefix, sys.base_prefix, *LIBRARIES, *(str(root / each) for each in packages)}
    readable = [*map(Path, folders), *_folders_of(dependencies), *files]
    return _restrict_files(libc, readable), _restrict_calls(libc)


def _folders_of(dependencies: Iterable[str]) -> Iterator[Path]:
    for name in dependencies:
        found = importlib.util.find_spec(name)
        if found is not None and found.origin is not None:
            yield Path(found.origin).resolve().parents[1]  # its shared libraries are beside it


def landlock_version() -> int:
    """Version of Landlock in this kernel; 0 without it."""
    if sys.platform != "linux":
        return 0
    return max(0, int(_libc().syscall(CREATE_RULESET, None, 0, RULESET_VERSION)))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _restrict_files(libc: ctypes.CDLL, readable: Iterable[Path]) -> bool:
    version = landlock_version()
    if not version:
        return False
    accesses = {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)  # number of file accesses
    attributes = struct.pack(
        "QQQ",
        (1 << accesses) - 1,
        NETWORK if version >= 4 else 0,
        SCOPES if version >= 6 else 0,
    )
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = libc.syscall(CREATE_RULESET, attributes, size, 0)
    if ruleset < 0:
        return False
    try:
        for path in readable:
            _allow(libc, ruleset, path)
        return bool(libc.syscall(RESTRICT_SELF, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path) -> None:
    """Allow to read a file, or everything below a folder; a missing one is ignored."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    access = EXECUTE | READ_FILE | (READ_DIR if path.is_dir() else 0)
    try:
        rule = struct.pack("=Qi", access, descriptor)
        libc.syscall(ADD_RULE, ruleset, RULE_PATH_BENEATH, rule, 0)
    finally:
        os.close(descriptor)


def _restrict_calls(libc: ctypes.CDLL) -> bool:
    if platform.machine() not in REFUSED:
        return False
    architecture, numbers = REFUSED[platform.machine()]
    program = b"".join(
        (
            _instruction(LOAD, 4),  # the architecture
            _instruction(JUMP_EQUAL, architecture, 1, 0),
            _instruction(RETURN, KILL),
            _instruction(LOAD, 0),  # the number of the call
            _instruction(JUMP_GREATER, X32, len(numbers) + 1, 0),
            *(
                _instruction(JUMP_EQUAL, number, len(numbers) - place, 0)
                for place, number in enumerate(numbers)
            ),
            _instruction(RETURN, ALLOW),
            _instruction(RETURN, REFUSE),
        )
    )
    buffer = ctypes.create_string_buffer(program)
    filter_ = struct.pack("HP", len(program) // 8, ctypes.addressof(buffer))
    return bool(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter_, 0, 0) == 0)


def _instruction(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, operand)
