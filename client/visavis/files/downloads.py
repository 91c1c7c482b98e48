"""Files of jobs: resumed after cut connections, and complete or not there."""

from __future__ import annotations

import os
import re
import secrets
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

from visavis import errors
from visavis.core.retry import TRANSIENT, Config, Patience, connection_error, open_stream
from visavis.core.steps import Read, Stream, Work, closing

if TYPE_CHECKING:
    from visavis.core.steps import Request, Steps
    from visavis.models import OutputFields


PREVIEW = "preview-"  # prefix of the names of previews
PARTNER = "-partner"
SIDECAR = ".c2pa"  # of a manifest beside the file that it is about
# In the names of outputs: take-2.mp4, motion-2.npz, and take-2-partner.mp4 of the second person.
TAKE = re.compile(r"-(\d+)(-partner)?\.")


def take_of(output: str) -> int | None:
    """Return the number of the take in the name of an output; None without one."""
    found = TAKE.search(output)
    return int(found[1]) if found else None


def is_partners(output: str) -> bool:
    """Return whether an output shows only the second person, by its name."""
    found = TAKE.search(output)
    return found is not None and found[2] is not None


def file_name(stem: str, output: str, *, takes: int) -> str:
    """Return the name of an output as a file: "talk.mp4", or "talk-take-2.mp4" of several takes.

    A preview is "talk-preview.mp4", so that it is not that of the video, and a file of the second
    person alone is "talk-partner.mp4". A manifest that is not in its file is "talk.webm.c2pa".
    """
    if output.endswith(SIDECAR):
        return file_name(stem, output[: -len(SIDECAR)], takes=takes) + SIDECAR
    take = take_of(output)
    number = f"-take-{take}" if take is not None and takes > 1 else ""
    kind = "-preview" if output.startswith(PREVIEW) else ""
    role = PARTNER if is_partners(output) else ""
    return f"{stem}{number}{kind}{role}{Path(output).suffix}"


@dataclass
class _Draft:
    """File that becomes the target once it is complete. tag: version of the received bytes."""

    path: Path
    file: IO[bytes]
    received: int = 0
    tag: str = ""

    def write(self, piece: bytes) -> None:
        self.file.write(piece)
        self.received += len(piece)

    def restart(self) -> None:
        self.file.seek(0)
        self.file.truncate()
        self.received = 0

    def publish(self, target: Path) -> None:
        """Replace the target by the draft, so that a power failure leaves one of them."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        self.path.replace(target)

    def discard(self) -> None:
        self.file.close()
        self.path.unlink(missing_ok=True)


def download(
    config: Config, output: OutputFields, target: Path, *, draft: Path | None = None
) -> Steps[Path]:
    """Write a file of a job to `target`, and return it.

    draft: place of the incomplete file; default: a new name beside the target.

    Raises:
        DownloadError: when the file has another size than announced.
        NotFoundError: when it was removed.
        OSError: when it cannot be written.
    """
    open_draft = _draft_for(target, draft)
    try:
        yield from _received(config, output, open_draft)
        if open_draft.received != output.bytes:
            raise errors.DownloadError(
                f"{output.name} has {open_draft.received} bytes, not {output.bytes} as announced; "
                "read the job again"
            )
        yield Work(lambda: open_draft.publish(target))
    except BaseException:
        open_draft.discard()
        raise
    return target


def target_of(output: OutputFields, path: str | os.PathLike[str] | None) -> Path:
    """Return the path of a file to write: in a folder, and by default in the current one."""
    target = Path(path) if path is not None else Path()
    return target / output.name if target.is_dir() else target


def _received(config: Config, output: OutputFields, draft: _Draft) -> Steps[None]:
    patience = Patience(config)
    while True:
        before = draft.received
        request = _rest_of(config, output, draft)
        try:
            yield from _append(config, request, draft)
        except TRANSIENT as fault:
            error = connection_error(fault, request)
        else:
            if draft.received >= output.bytes:
                return
            error = errors.APIConnectionError(f"{output.name}: the connection was cut")
        if draft.received > before:
            patience.reset()
        yield patience.pause(error)


def _rest_of(config: Config, output: OutputFields, draft: _Draft) -> Request:
    headers = {"Accept-Encoding": "identity"}
    if draft.received:
        headers["Range"] = f"bytes={draft.received}-"
        if draft.tag:
            headers["If-Range"] = draft.tag
    return config.request("GET", output.path, headers=headers)


def _append(config: Config, request: Request, draft: _Draft) -> Steps[None]:
    stream = yield from open_stream(config, request)
    yield from closing(stream, _written(stream, draft))


def _written(stream: Stream, draft: _Draft) -> Steps[None]:
    headers = stream.response.headers
    start = re.match(r"bytes (\d+)-", headers.get("content-range", ""))
    if stream.response.status_code != 206 or not start or int(start[1]) != draft.received:
        yield Work(draft.restart)
    draft.tag = headers.get("etag", "")
    while (piece := (yield Read(stream))) is not None:
        yield Work(partial(draft.write, piece))


def _draft_for(target: Path, draft: Path | None) -> _Draft:
    if draft is not None:
        return _Draft(draft, draft.open("wb"))
    target.parent.mkdir(parents=True, exist_ok=True)
    path = target.with_name(f".{secrets.token_hex(8)}.part")
    return _Draft(path, path.open("xb"))
