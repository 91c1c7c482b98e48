"""One recording through a running service, over HTTP, as any caller would do it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cli.progress_bars import Bars
    from jobs.request.model import GenerateRequest

POLL_SECONDS = 0.2
SILENCE_SECONDS = 60.0  # the service may be started again in between, but not for longer


class SubmitError(RuntimeError):
    """The recording was refused, or its job failed: the sentence that the service gave."""


@dataclass(frozen=True)
class Submission:
    """What to send, and where to put what comes back."""

    clip: Path
    request: GenerateRequest
    out: Path


class Caller:
    """Speaks HTTP with the service, and forgives it a restart."""

    def __init__(self, http: httpx.Client, tend: Callable[[], None]) -> None:
        """tend: called while waiting."""
        self._http = http
        self._tend = tend

    def submit(self, submission: Submission, bars: Bars) -> list[Path]:
        """Send the clip, show how its job goes, fetch what it made; answers the files."""
        job = self._send(submission)
        job = self._until_it_ends(job, bars)
        if job["state"] != "succeeded":
            raise SubmitError((job["error"] or {}).get("detail") or f"The job was {job['state']}.")
        submission.out.mkdir(parents=True, exist_ok=True)
        return [
            self._fetch(output["path"], submission.out / f"{submission.clip.stem}-{output['name']}")
            for output in job["outputs"]
        ]

    def _send(self, submission: Submission) -> dict[str, Any]:
        fields = submission.request.model_dump(exclude_none=True)
        with submission.clip.open("rb") as file:
            answer = self._http.post(
                "/generate",
                data={name: _written(value) for name, value in fields.items()},
                files={"audio": (submission.clip.name, file)},
            )
        return _body(answer)

    def _until_it_ends(self, job: dict[str, Any], bars: Bars) -> dict[str, Any]:
        while True:
            bars.show({stage["name"]: stage["progress"] for stage in job["stages"]})
            if job["state"] in ("succeeded", "failed", "canceled"):
                return job
            time.sleep(POLL_SECONDS)
            self._tend()
            job = _body(self._get(f"/jobs/{job['id']}"))

    def _get(self, path: str) -> httpx.Response:
        until = time.monotonic() + SILENCE_SECONDS
        while True:
            try:
                answer = self._http.get(path)
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                return answer
            if time.monotonic() > until:
                raise SubmitError(f"The service has not answered for {SILENCE_SECONDS:.0f} s.")
            time.sleep(POLL_SECONDS)
            self._tend()

    def _fetch(self, path: str, place: Path) -> Path:
        """Beside the place, then renamed: a broken download leaves no half file."""
        draft = place.with_name(f".{place.name}.part")
        try:
            with self._http.stream("GET", path, follow_redirects=True) as answer:
                if answer.is_error:
                    answer.read()
                    _body(answer)
                with draft.open("wb") as file:
                    for chunk in answer.iter_bytes():
                        file.write(chunk)
            return draft.replace(place)
        finally:
            draft.unlink(missing_ok=True)


def _written(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _body(answer: httpx.Response) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    if answer.is_error:
        raise SubmitError(str(body.get("detail", f"The service answered {answer.status_code}.")))
    return body
