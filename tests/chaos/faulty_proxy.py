"""TCP proxy on loopback between the service and S3 that injects faults."""

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager

CHUNK = 65_536
CUT_AFTER = 700  # bytes of a response: after its header, within the content

ERROR_RESPONSES = {
    "error": (503, "Slow Down", "SlowDown"),
    "full": (507, "Insufficient Storage", "XMinioStorageFull"),
}


class Proxy(socketserver.ThreadingTCPServer):
    """Forwards connections; `mode` is "pass", "error", "stall", "truncate" or "full" (uploads)."""

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

    def switch(self, mode: str) -> None:
        """Set the mode and close all open connections."""
        self.mode = mode
        with self._lock:
            closing, self._open = self._open, set()
        for each in closing:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def track(self, *sockets: socket.socket) -> None:
        """Remember sockets for `switch`."""
        with self._lock:
            self._open.update(sockets)

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore broken connections."""


class _Connection(socketserver.BaseRequestHandler):
    server: Proxy

    def handle(self) -> None:
        mode, client = self.server.mode, self.request
        self.server.track(client)
        if mode == "stall":
            with contextlib.suppress(OSError):
                while client.recv(CHUNK):  # receive without an answer until `switch`
                    continue
            return
        head = client.recv(CHUNK)
        if not head:
            return
        if mode == "error" or (mode == "full" and head.startswith((b"PUT", b"POST"))):
            client.sendall(_error_response(*ERROR_RESPONSES[mode]))
            return
        with socket.create_connection(self.server.upstream) as upstream:
            self.server.track(upstream)
            upstream.sendall(head)
            upload = threading.Thread(target=_pump, args=(client, upstream, None), daemon=True)
            upload.start()
            _pump(upstream, client, CUT_AFTER if mode == "truncate" else None)
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
            upload.join(5)


def _pump(source: socket.socket, target: socket.socket, limit: int | None) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(CHUNK):
            target.sendall(data if limit is None else data[:limit])
            if limit is not None:
                return


def _error_response(status: int, phrase: str, code: str) -> bytes:
    body = f"<Error><Code>{code}</Code><Message>chaos</Message></Error>".encode()
    head = f"HTTP/1.1 {status} {phrase}\r\nContent-Type: application/xml\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@contextmanager
def running(upstream: tuple[str, int]) -> Iterator[Proxy]:
    """Run a proxy in a thread."""
    with Proxy(upstream) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.switch("error")
            proxy.shutdown()
            thread.join()
