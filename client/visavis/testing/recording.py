"""Answers of a real service in a file, and their replay."""

from __future__ import annotations

import base64
import json
from collections import defaultdict, deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    import os

LEFT_OUT = frozenset(("connection", "content-encoding", "content-length", "date", "server"))


class RecordingTransport(httpx.BaseTransport):
    """Transport of the blocking client that writes every answer to a file, as JSON lines.

    path: the file, which is replaced. transport: to the service, by default of httpx. Requests are
    written without headers, so the file contains no key; it contains the signed links of the
    answers, which expire.
    """

    def __init__(
        self, path: str | os.PathLike[str], transport: httpx.BaseTransport | None = None
    ) -> None:
        self._file = Path(path).open("w", encoding="utf-8")  # noqa: SIM115 - closed by `close`
        self._transport = transport or httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, and record its answer."""
        answer = self._transport.handle_request(request)
        content = answer.read()
        headers = {name: value for name, value in answer.headers.items() if name not in LEFT_OUT}
        line = {
            "method": request.method,
            "path": request.url.path,
            "status": answer.status_code,
            "headers": headers,
            "content": base64.b64encode(content).decode("ascii"),
        }
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        return httpx.Response(answer.status_code, headers=headers, content=content)

    def close(self) -> None:
        """Close the file and the connections."""
        self._file.close()
        self._transport.close()


class ReplayTransport(httpx.MockTransport):
    """Transport of both clients that answers as `RecordingTransport` has recorded.

    Requests of one method and path get their answers in the recorded order, and then the last one
    again. requests: those that were sent.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(self._answer)
        self.requests: list[httpx.Request] = []
        self._answers: dict[tuple[str, str], deque[dict[str, Any]]] = defaultdict(deque)
        for text in Path(path).read_text(encoding="utf-8").splitlines():
            line = json.loads(text)
            self._answers[line["method"], line["path"]].append(line)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        answers = self._answers.get((request.method, request.url.path))
        if not answers:
            raise LookupError(f"{request.method} {request.url.path} was not recorded")
        line = answers.popleft() if len(answers) > 1 else answers[0]
        content = base64.b64decode(line["content"])
        return httpx.Response(line["status"], headers=line["headers"], content=content)
