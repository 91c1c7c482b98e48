"""Waiting for a job: by server-sent events, else by long polls, else by polls."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from visavis import errors
from visavis.core.events import EventDecoder
from visavis.core.retry import (
    TRANSIENT,
    Config,
    Patience,
    call,
    connection_error,
    get,
    json_of,
    open_stream,
    post,
    segment,
)
from visavis.core.steps import Read, Sleep, Stream, closing
from visavis.models import FINAL

if TYPE_CHECKING:
    from collections.abc import Callable

    from visavis.core.steps import Steps

    Content = dict[str, Any]

OUTAGE_SECONDS = 120.0  # a service that restarts is waited for
SILENCE_SECONDS = 20.0  # the service sends a comment every 15 s
LONG_POLL_SECONDS = 10  # progress alone does not end a long poll
POLL_SECONDS = 2.0
CANCEL_SECONDS = 5.0
INTERRUPTS = (KeyboardInterrupt, asyncio.CancelledError)


@dataclass
class Watched:
    """A job that is waited for. seen: called with each new state."""

    config: Config
    id: str
    seen: Callable[[Content], None]
    content: Content | None = None
    event_id: str | None = None  # of the last event

    @property
    def path(self) -> str:
        return f"/jobs/{segment(self.id)}"

    @property
    def ended(self) -> bool:
        return self.content is not None and self.content["state"] in FINAL

    def left(self, seconds: float) -> float:
        """Return `seconds`, or the shorter time that is left."""
        deadline = self.config.deadline
        return seconds if deadline is None else max(0.05, min(seconds, deadline - time.monotonic()))

    def take(self, content: Content) -> None:
        """Report a state."""
        self.seen(content)
        self.content = content

    def check(self) -> None:
        """Raises: TimeoutError: after the deadline."""
        deadline = self.config.deadline
        if deadline is not None and time.monotonic() >= deadline and not self.ended:
            raise TimeoutError


def wait(
    config: Config,
    job_id: str,
    seen: Callable[[Content], None],
    *,
    timeout: float | None,
    cancel_on_interrupt: bool,
) -> Steps[None]:
    """Wait until a job has ended.

    seen: called with each new state of the job, as JSON.

    Raises:
        TimeoutError: after `timeout` seconds.
        NotFoundError: when the job was deleted.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    outage = max(config.outage_seconds, OUTAGE_SECONDS)
    watched = Watched(replace(config, outage_seconds=outage, deadline=deadline), job_id, seen)
    try:
        yield from _until_ended(watched)
    except errors.APIConnectionError:
        watched.check()
        raise
    except INTERRUPTS:
        if cancel_on_interrupt:
            impatient = replace(
                config, max_retries=1, outage_seconds=0, timeout=min(config.timeout, CANCEL_SECONDS)
            )
            with suppress(errors.VisavisError):  # it has ended, or the service is away
                yield from post(impatient, f"{watched.path}/cancel")
        raise


def _until_ended(watched: Watched) -> Steps[None]:
    streams = True
    while streams and not watched.ended:
        streams = yield from _events(watched)
    tag = ""
    while not watched.ended:
        tag = yield from _poll(watched, tag)


def _events(watched: Watched) -> Steps[bool]:
    """Follow the stream of events until it ends; False when the service has no usable stream."""
    patience = Patience(watched.config)
    while True:
        known = watched.event_id
        try:
            usable = yield from _stream(watched)
        except TRANSIENT as fault:
            watched.check()
            request = watched.config.request("GET", f"{watched.path}/events")
            cut = connection_error(fault, request)
        except errors.APIStatusError as error:
            if isinstance(error, errors.NotFoundError) and error.code != "job_not_found":
                return False  # a proxy or an older service without this route
            raise
        else:
            if watched.ended or not usable:
                return usable
            cut = errors.APIConnectionError(f"job {watched.id}: the stream of events has ended")
        if watched.event_id == known and patience.failures:
            return False  # twice without an event: something on the way holds them back
        if watched.event_id != known:
            patience.reset()
        yield patience.pause(cut)


def _stream(watched: Watched) -> Steps[bool]:
    """Read one stream; False when the answer is not a stream of events."""
    headers = {"Accept": "text/event-stream"}
    if watched.event_id:
        headers["Last-Event-ID"] = watched.event_id
    request = watched.config.request(
        "GET", f"{watched.path}/events", headers=headers, timeout=watched.left(SILENCE_SECONDS)
    )
    stream = yield from open_stream(watched.config, request)
    return (yield from closing(stream, _followed(watched, stream)))


def _followed(watched: Watched, stream: Stream) -> Steps[bool]:
    if stream.response.status_code == 204:  # ended, and nothing new since the last event
        watched.take((yield from get(watched.config, watched.path)))
        return True
    if not stream.response.headers.get("content-type", "").startswith("text/event-stream"):
        return False
    decoder = EventDecoder()
    while not watched.ended and (piece := (yield Read(stream))) is not None:
        for event in decoder.feed(piece):
            if event.name == "deleted":
                yield from get(watched.config, watched.path)  # raises NotFoundError
            elif event.name == "job":
                watched.event_id = event.id
                watched.take(_content(event.data))
        watched.check()
    return True


def _content(text: str) -> Content:
    """Return the job of an event. Raises: APIError: when it is not a JSON object."""
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise errors.APIError("the stream of events contains something other than a job")
    return content


def _poll(watched: Watched, tag: str) -> Steps[str]:
    """Read the job once, by a long poll where the service has them; return its tag."""
    watched.check()
    seconds = int(watched.left(LONG_POLL_SECONDS))
    headers = {"Prefer": f"wait={seconds}"} | ({"If-None-Match": tag} if tag else {})
    config = watched.config
    longest = watched.left(max(config.timeout, seconds + SILENCE_SECONDS)) + 1
    request = config.request("GET", watched.path, headers=headers, timeout=longest)
    response = yield from call(config, request)
    if response.status_code != 304:
        watched.take(json_of(response))
    if not watched.ended and "preference-applied" not in response.headers:
        pause = errors.retry_after(response) or POLL_SECONDS
        yield Sleep(watched.left(pause))
    return str(response.headers.get("etag", tag))
