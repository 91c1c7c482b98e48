"""HTTP file server on loopback with faults: broken connections, missing ranges, error pages."""

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that close the connection early."""


class FaultyHttpServer:
    """Files over HTTP on loopback. `faults` names the fault of each request, in order; "" is none.

    Faults: a status code, "break" (half of the body), "no ranges", "page" (a web page).
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files, self.requests, self.faults = files, [], iter(())
        self.tag = '"first"'
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner.requests.append((self.path, self.headers.get("Range")))
                owner.answer(self, next(owner.faults, ""))

            def log_message(self, *_arguments: object) -> None:
                pass

        self.server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Stop the server. Closing its socket alone would leave a thread that polls it for ever."""
        self.server.shutdown()
        self.server.server_close()

    def answer(self, request: BaseHTTPRequestHandler, fault: str) -> None:
        content = self.files.get(request.path.lstrip("/"))
        status, start = 200, 0
        if content is None or fault.isdigit():
            request.send_error(int(fault) if fault.isdigit() else 404)
            return
        byte_range = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range") or "")
        unchanged = request.headers.get("If-Range", self.tag) == self.tag
        if byte_range and unchanged and fault != "no ranges":
            start, status = int(byte_range[1]), 206
        if start >= len(content):
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(content)}")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        body = content[start:]
        content_type = "text/html" if fault == "page" else "application/x-tar"
        request.send_response(status)
        request.send_header("ETag", self.tag)
        request.send_header("Content-Type", content_type)
        request.send_header("Content-Length", str(len(body)))
        if status == 206:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.end_headers()
        request.wfile.write(body[: len(body) // 2] if fault == "break" else body)
        request.close_connection = True
