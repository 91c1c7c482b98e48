"""A host of files on loopback that breaks off, forgets ranges, and answers with pages."""

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Who asks may leave before the answer is whole."""


class Host:
    """Files over HTTP on loopback. `behave` is what goes wrong, one word for each request."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files, self.asked, self.behave = files, [], iter(())
        self.tag = '"first"'
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host.asked.append((self.path, self.headers.get("Range")))
                host.answer(self, next(host.behave, "well"))

            def log_message(self, *_arguments: object) -> None:
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler, how: str) -> None:
        content = self.files.get(request.path.lstrip("/"))
        status, start = 200, 0
        if content is None or how.isdigit():
            request.send_error(int(how) if how.isdigit() else 404)
            return
        asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range") or "")
        same = request.headers.get("If-Range", self.tag) == self.tag
        if asked and same and how != "no ranges":
            start, status = int(asked[1]), 206
        if start >= len(content):
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(content)}")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        body = content[start:]
        request.send_response(status)
        request.send_header("ETag", self.tag)
        request.send_header("Content-Type", "text/html" if how == "page" else "application/x-tar")
        request.send_header("Content-Length", str(len(body)))
        if status == 206:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.end_headers()
        request.wfile.write(body[: len(body) // 2] if how == "break" else body)
        request.close_connection = True
