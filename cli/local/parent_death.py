"""Run a command that is killed when its parent dies.

Usage: `python -I -S parent_death.py PARENT COMMAND...`, where PARENT is the process id of the
parent. It is a script instead of a `preexec_fn`, because hardly anything is safe between fork and
exec in a process with threads. It imports only the standard library and starts in 20 ms.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h; it persists across exec


def main() -> None:
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(parent):  # the parent died before the call above
            sys.exit(1)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
