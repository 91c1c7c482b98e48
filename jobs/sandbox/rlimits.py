"""A short rope for a child that reads a stranger's file: limits of the operating system.

`tie` binds this process. As a script, `python -I -S rope.py LIMITS COMMAND...` ties itself and then
becomes the command, because between fork and exec of a process with threads hardly anything is
safe. LIMITS is written `CPU=30,AS=1073741824`, with the names of `resource.RLIMIT_`.
"""

import os
import resource
import sys
from collections.abc import Mapping


def tie(limits: Mapping[str, int]) -> None:
    """Set each limit, soft and hard, where it is tighter than what holds already."""
    for name, wanted in limits.items():
        which = getattr(resource, f"RLIMIT_{name}")
        # A second more until SIGKILL: SIGXCPU before it tells why.
        last = wanted + 1 if name == "CPU" else wanted
        hard = resource.getrlimit(which)[1]
        if hard != resource.RLIM_INFINITY:
            last = min(last, hard)
        try:
            resource.setrlimit(which, (min(wanted, last), last))
        except (OSError, ValueError):  # macOS does not limit address space; the wall clock stays
            continue


def roped(command: list[str], limits: Mapping[str, int]) -> list[str]:
    """The command line that runs `command` within `limits`."""
    written = ",".join(f"{name}={most}" for name, most in limits.items())
    return [sys.executable, "-I", "-S", __file__, written, *command]


def main(arguments: list[str]) -> None:
    written, *command = arguments
    tie({name: int(most) for name, _, most in (each.partition("=") for each in written.split(","))})
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
