"""HTTP gateway on loopback that cuts connections, loses answers, and answers 429 and 503."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import httpx

HOP = frozenset(("connection", "content-length", "host", "keep-alive", "transfer-encoding"))


@dataclass(frozen=True)
class Request:
    """A request that the gateway received. count: its number among those of its method and path."""

    method: str
    path: str
    count: int


Faults = Callable[[Request], str]


@dataclass
class Gateway:
    """Address and requests of the gateway.

    Faults: "" passes the request on; "refuse" cuts the connection before, "lose" after it was
    passed on, "cut" within the answer; "503" or "429 1" answer so, with a `Retry-After`.
    """

    url: str
    requests: list[Request] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def received(self, method: str, path: str) -> Request:
        with self.lock:
            count = sum((each.method, each.path) == (method, path) for each in self.requests) + 1
            request = Request(method, path, count)
            self.requests.append(request)
            return request


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore broken connections."""


@contextmanager
def running(upstream: str, faults: Faults) -> Iterator[Gateway]:
    """Run a gateway before the service at `upstream`."""
    with httpx.Client(base_url=upstream, timeout=30, verify=False) as http:

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_arguments: object) -> None:
                pass

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                self.close_connection = True
                fault = faults(gateway.received(self.command, urlsplit(self.path).path))
                if fault == "refuse":
                    self.cut()
                elif fault[:1].isdigit():
                    self.refuse(*fault.split(" "))
                else:
                    self.pass_on(body, fault)

            do_GET = do_POST = do_PUT = do_DELETE = handle_any

            def refuse(self, status: str, seconds: str = "") -> None:
                self.send_response(int(status))
                if seconds:
                    self.send_header("Retry-After", seconds)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def pass_on(self, body: bytes, fault: str) -> None:
                headers = {
                    name: value
                    for name, value in self.headers.items()
                    if name.lower() not in HOP and name.lower() != "accept-encoding"
                }
                headers["Host"] = urlsplit(gateway.url).netloc
                with http.stream(self.command, self.path, content=body, headers=headers) as answer:
                    if fault == "lose":
                        answer.read()
                        self.cut()
                        return
                    self.send_response(answer.status_code)
                    for name, value in answer.headers.items():
                        if name not in HOP or name == "content-length":
                            self.send_header(name, value)
                    self.end_headers()
                    for piece in answer.iter_raw():
                        self.wfile.write(piece[: len(piece) // 2] if fault == "cut" else piece)
                        if fault == "cut":
                            self.cut()
                            return

            def cut(self) -> None:
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)

        server = _Server(("127.0.0.1", 0), Handler)
        gateway = Gateway(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield gateway
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
