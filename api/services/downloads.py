"""Serve stored files with `Range` support; errors are problems instead of plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi.responses import FileResponse

from api.problems import Problem, problem_response
from contracts.outputs import OUTPUTS, SIDECAR_TYPE

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

    from jobs.model import Job

KINDS = {output.content_type for output in OUTPUTS} | {SIDECAR_TYPE}
FILE = {
    "schema": {"type": "string", "format": "binary"}
}  # the form that generators of clients know
FILE_HEADERS: dict[str, Any] = {
    name: {"description": text, "schema": {"type": "string"}}
    for name, text in (
        ("Content-Disposition", "File name for saving."),
        ("Accept-Ranges", "`bytes`: parts of the file can be requested by `Range`."),
        ("ETag", "Identifies the file, for `If-Range`."),
    )
}
FILE_RESPONSES: dict[int | str, dict[str, Any]] = {  # of routes that answer with a file
    200: {
        "description": "The file.",
        "content": {kind: FILE for kind in sorted(KINDS)},
        "headers": FILE_HEADERS,
    },
    206: {
        "description": "The requested `Range` of the file.",
        "content": {kind: FILE for kind in sorted(KINDS)},
        "headers": FILE_HEADERS
        | {
            "Content-Range": {
                "description": "`bytes first-last/size`.",
                "schema": {"type": "string"},
            }
        },
    },
}
REFUSED = (400, 416)  # an invalid Range, or one beyond the end of the file


class Download(FileResponse):
    """FileResponse whose errors are problem+json."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = False

        async def send_or_refuse(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start" and message["status"] in REFUSED:
                refused = True
                size = self.headers.get("content-length", "*")
                headers = {"Content-Range": f"bytes */{size}"}
                problem = problem_response("range_not_satisfiable", headers=headers)
                await problem(scope, receive, send)
            elif not refused:
                await send(message)

        await super().__call__(scope, receive, send_or_refuse)


def outputs_expired(job: Job) -> Problem:
    """410: the files of the job were removed by age."""
    day = f"{job.outputs_expired_at:%Y-%m-%d}"
    detail = f"The files of this job were kept until {day}; send the recording again."
    return Problem("output_expired", detail)
