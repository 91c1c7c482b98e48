"""Resource limits (setrlimit) for child processes that parse untrusted files.

`apply_limits` limits this process. As a script, `python -I -S rlimits.py LIMITS COMMAND...` limits
itself and then executes the command, because in a process with threads hardly anything is safe
between fork and exec. LIMITS has the form `CPU=30,AS=1073741824`, with the names of
`resource.RLIMIT_`. If COMMAND cannot be executed, the exit status is 126, or 127 when it does not
exist, as that of a shell: that is a fault of this machine, never of the file.
"""

import os
import resource
import sys
from collections.abc import Mapping

NOT_EXECUTABLE, NOT_FOUND = 126, 127  # exit statuses


def apply_limits(limits: Mapping[str, int]) -> None:
    """Set each limit, soft and hard, if it is tighter than the present one."""
    for name, limit in limits.items():
        which = getattr(resource, f"RLIMIT_{name}")
        # SIGXCPU comes a second before SIGKILL, so the exit status shows the reason.
        hard = limit + 1 if name == "CPU" else limit
        present = resource.getrlimit(which)[1]
        if present != resource.RLIM_INFINITY:
            hard = min(hard, present)
        try:
            resource.setrlimit(which, (min(limit, hard), hard))
        except (OSError, ValueError):  # macOS has no limit of address space; the timeout remains
            continue


def limited_command(command: list[str], limits: Mapping[str, int]) -> list[str]:
    """Return the command line that runs `command` within `limits`."""
    text = ",".join(f"{name}={limit}" for name, limit in limits.items())
    return [sys.executable, "-I", "-S", __file__, text, *command]


def main(arguments: list[str]) -> None:
    text, *command = arguments
    pairs = (pair.partition("=") for pair in text.split(","))
    apply_limits({name: int(limit) for name, _, limit in pairs})
    try:
        os.execv(command[0], command)
    except OSError as error:
        sys.stderr.write(f"{command[0]} cannot be executed: {error.strerror}\n")
        sys.exit(NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE)


if __name__ == "__main__":
    main(sys.argv[1:])
