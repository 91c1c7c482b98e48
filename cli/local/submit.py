"""Submission of one clip to a running service, over HTTP."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from contracts.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cli.progress_bars import Bars
    from jobs.request.model import GenerateRequest

POLL_SECONDS = 0.2
OUTAGE_SECONDS = 60.0  # longest time without a response, for example during a restart


class SubmitError(RuntimeError):
    """The service rejected the clip or the job failed; the message is that of the service."""


@dataclass(frozen=True)
class Submission:
    """A clip, its request, and the folder for the outputs."""

    clip: Path
    request: GenerateRequest
    out: Path
    partner: Path | None = None  # clip of the partner, if each person has a file


class Client:
    """HTTP client of the service, which waits during a restart."""

    def __init__(
        self, http: httpx.Client, tend: Callable[[], None], warn: Callable[[str], None]
    ) -> None:
        """tend: called between polls. warn: called with each warning of the ended job."""
        self._http = http
        self._tend = tend
        self._warn = warn

    def submit(self, submission: Submission, bars: Bars) -> list[Path]:
        """Submit the clip, show the progress of its job, and return the downloaded outputs.

        Raises: SubmitError: when the clip is rejected, the job fails or the service is down.
        """
        job = self._send(submission)
        job = self._wait_until_final(job, bars)
        for warning in job["warnings"]:
            self._warn(warning["detail"])
        if job["state"] != "succeeded":
            raise SubmitError((job["error"] or {}).get("detail") or f"The job was {job['state']}.")
        submission.out.mkdir(parents=True, exist_ok=True)
        return [
            self._download(
                output["path"], submission.out / f"{submission.clip.stem}-{output['name']}"
            )
            for output in job["outputs"]
        ]

    def _send(self, submission: Submission) -> dict[str, Any]:
        fields = submission.request.model_dump(exclude_none=True)
        paths = {"audio": submission.clip, "partner": submission.partner}
        with ExitStack() as stack:
            files = {
                name: (path.name, stack.enter_context(path.open("rb")))
                for name, path in paths.items()
                if path is not None
            }
            response = self._http.post(
                "/generate",
                data={name: _form_value(value) for name, value in fields.items()},
                files=files,
            )
        return _body(response)

    def _wait_until_final(self, job: dict[str, Any], bars: Bars) -> dict[str, Any]:
        while True:
            stages = {stage["name"]: stage["progress"] for stage in job["stages"]}
            bars.show(stages, job.get("seconds_left"))
            if job["state"] in ("succeeded", "failed", "canceled"):
                return job
            time.sleep(POLL_SECONDS)
            self._tend()
            job = _body(self._get(f"/jobs/{job['id']}"))

    def _get(self, path: str) -> httpx.Response:
        until = time.monotonic() + OUTAGE_SECONDS
        while True:
            try:
                response = self._http.get(path)
            except httpx.TransportError:
                response = None
            if response is not None and response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                return response
            if time.monotonic() > until:
                raise SubmitError(f"No response from the service for {OUTAGE_SECONDS:.0f} s.")
            time.sleep(POLL_SECONDS)
            self._tend()

    def _download(self, path: str, target: Path) -> Path:
        """Download a file atomically, so that an aborted download leaves no partial file."""
        with (
            write_atomically(target) as draft,
            self._http.stream("GET", path, follow_redirects=True) as response,
        ):
            if response.is_error:
                response.read()
                _body(response)
            with draft.open("wb") as file:
                for chunk in response.iter_bytes():
                    file.write(chunk)
        return target


def _form_value(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _body(response: httpx.Response) -> dict[str, Any]:
    body: dict[str, Any] = response.json()
    if response.is_error:
        detail = f"The service responded with {response.status_code}."
        raise SubmitError(str(body.get("detail", detail)))
    return body
