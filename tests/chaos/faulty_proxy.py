"""A proxy on loopback before an S3 that does what storages do on bad days."""

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager

CHUNK = 65_536
CUT_AFTER = 700  # bytes of an answer: past its header, within a clip or a video

REFUSALS = {
    "error": (503, "Slow Down", "SlowDown"),
    "full": (507, "Insufficient Storage", "XMinioStorageFull"),
}


class Proxy(socketserver.ThreadingTCPServer):
    """Passes on what comes, unless `mode` is error, stall, truncate or full (uploads only)."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, upstream: tuple[str, int]) -> None:
        self.upstream = upstream
        self.mode = "pass"
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Connection)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def turn(self, mode: str) -> None:
        """Be in another mode; what is under way is cut."""
        self.mode = mode
        with self._lock:
            cut, self._open = self._open, set()
        for each in cut:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def keep(self, *sockets: socket.socket) -> None:
        """Know them, to cut them."""
        with self._lock:
            self._open.update(sockets)

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections that break are what this is for."""


class _Connection(socketserver.BaseRequestHandler):
    server: Proxy

    def handle(self) -> None:
        mode, client = self.server.mode, self.request
        self.server.keep(client)
        if mode == "stall":
            with contextlib.suppress(OSError):
                while client.recv(CHUNK):  # heard and never answered, until the mode turns
                    continue
            return
        head = client.recv(CHUNK)
        if not head:
            return
        if mode == "error" or (mode == "full" and head.startswith((b"PUT", b"POST"))):
            client.sendall(_refusal(*REFUSALS[mode]))
            return
        with socket.create_connection(self.server.upstream) as upstream:
            self.server.keep(upstream)
            upstream.sendall(head)
            there = threading.Thread(target=_pump, args=(client, upstream, None), daemon=True)
            there.start()
            _pump(upstream, client, CUT_AFTER if mode == "truncate" else None)
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
            there.join(5)


def _pump(source: socket.socket, target: socket.socket, most: int | None) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(CHUNK):
            target.sendall(data if most is None else data[:most])
            if most is not None:
                return


def _refusal(status: int, phrase: str, code: str) -> bytes:
    body = f"<Error><Code>{code}</Code><Message>chaos</Message></Error>".encode()
    head = f"HTTP/1.1 {status} {phrase}\r\nContent-Type: application/xml\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@contextmanager
def running(upstream: tuple[str, int]) -> Iterator[Proxy]:
    """A proxy until the block ends."""
    with Proxy(upstream) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.turn("error")
            proxy.shutdown()
            thread.join()
