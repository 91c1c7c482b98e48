"""A stored file on its way out: with `Range`, and with problems instead of plain refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi.responses import FileResponse

from api.errors import answer
from contracts.outputs import OUTPUTS

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

KINDS = {output.content_type for output in OUTPUTS}
FOUND: dict[int | str, dict[str, Any]] = {  # for the documents of routes that answer with a file
    200: {"description": "The file.", "content": {kind: {} for kind in sorted(KINDS)}},
    206: {
        "description": "The part that `Range` asks for.",
        "content": {kind: {} for kind in sorted(KINDS)},
    },
}
REFUSED = (400, 416)  # a Range that makes no sense, or lies beyond the end


class Download(FileResponse):
    """FileResponse whose refusals are problem+json like everybody's."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = False

        async def send_or_explain(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start" and message["status"] in REFUSED:
                refused = True
                problem = answer(
                    416,
                    "range_not_satisfiable",
                    "The file has no such part; ask for less, or for all of it without Range.",
                    {"Content-Range": f"bytes */{self.headers.get('content-length', '*')}"},
                )
                await problem(scope, receive, send)
            elif not refused:
                await send(message)

        await super().__call__(scope, receive, send_or_explain)
