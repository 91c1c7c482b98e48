"""Commands as children of one process that has imported them, so that none waits for torch.

`python -m tests.docs.fork_server SOCKET` answers the programs that `write_programs` writes: each
sends its arguments, environment, folder and open files, and receives its exit status.
"""

import gc
import json
import os
import runpy
import signal
import socket
import stat
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

PROGRAMS = ("python", "visavis", "visavis-server")
FAILED = 70
PROGRAM = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    socket.send_fds(server, [b"!"], [0, 1, 2])
    server.sendall(json.dumps([[{name!r}, *sys.argv[1:]], os.getcwd(), dict(os.environ)]).encode())
    server.shutdown(socket.SHUT_WR)
    sys.exit(int(server.recv(16) or b"{failed}"))
"""


def write_programs(folder: Path, address: Path) -> None:
    """Write an executable for each program; put the folder first in PATH."""
    folder.mkdir()
    for name in PROGRAMS:
        program = folder / name
        program.write_text(
            PROGRAM.format(python=sys.executable, address=str(address), name=name, failed=FAILED)
        )
        program.chmod(program.stat().st_mode | stat.S_IXUSR)


def main(address: str) -> None:
    """Import the programs, print a line, and serve until the process is stopped."""
    _import_programs()
    gc.freeze()
    signal.signal(signal.SIGCHLD, _collect)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen(16)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            connection, _ = server.accept()
            if os.fork() == 0:
                server.close()
                _answer(connection)
            connection.close()


def _import_programs() -> None:
    import av  # noqa: F401
    import httpx  # noqa: F401
    import matplotlib.figure  # noqa: F401
    import torch
    import torch._dynamo  # an optimiser imports it

    import cli.commands.generate
    import cli.commands.operate.doctor
    import cli.commands.render
    import cli.main  # noqa: F401
    import training.__main__
    import training.evaluation.plots  # noqa: F401
    import visavis  # noqa: F401
    from tests.docs.small import use_small_engines

    torch.set_num_threads(1)
    use_small_engines()


def _collect(*_signal: object) -> None:
    """Wait for children that have ended, so that their time counts as that of this process."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _answer(connection: socket.socket) -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _, files, _, _ = socket.recv_fds(connection, 1, 3)
    content = b"".join(iter(lambda: connection.recv(2**16), b""))
    arguments, folder, environment = json.loads(content)
    for number, file in enumerate(files):
        os.dup2(file, number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    status = FAILED
    try:
        status = _run(arguments)
    except SystemExit as ended:
        if isinstance(ended.code, str):
            sys.stderr.write(f"{ended.code}\n")
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        connection.sendall(str(status).encode())
        os._exit(status)


def _run(arguments: Sequence[str]) -> int:
    name, *rest = arguments
    sys.argv = [name, *rest]
    match name, rest:
        case "visavis-server", _:
            from cli.main import app

            app()
        case "visavis", _:
            from visavis.command import main as command

            command()
        case "python", ["-m", module, *_]:
            sys.argv = sys.argv[2:]
            sys.modules.pop(f"{module}.__main__", None)
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        case "python", ["-c", code, *_]:
            sys.argv = sys.argv[1:]
            exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
        case "python", [file, *_]:
            sys.argv = sys.argv[1:]
            runpy.run_path(file, run_name="__main__")
        case _:
            raise SystemExit("an interactive Python is not supported")
    return 0


if __name__ == "__main__":
    main(sys.argv[1])
