"""Worker of a bulk run: makes one item after another in its process, by the worker's pipeline."""

from __future__ import annotations

import logging
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from contracts.errors import InputError
from contracts.files import sha256_of
from contracts.provenance import joint_digest
from jobs.storage.disk_full import is_full
from jobs.storage.errors import ObjectMissing, StorageFull
from worker.bulk.locations import fetch, open_destination, stamp
from worker.bulk.results import (
    FULL,
    File,
    Result,
    Source,
    State,
    places,
    read_result,
    request_digest,
)
from worker.pipeline.recording_outputs import Recording, Resources, make_outputs
from worker.pipeline.user_errors import ClipMissing, sentence, user_error_of

if TYPE_CHECKING:
    from jobs.settings import Settings
    from worker.bulk.manifest import Item
    from worker.bulk.results import Attempts

logger = logging.getLogger(__name__)

LONGEST_DETAIL = 500  # characters of an error


class ItemWorker:
    """Resources of one process, opened once."""

    def __init__(self, settings: Settings, place: str) -> None:
        """place: of the results. Raises: DeviceError; VideoError; InputError."""
        self._resources = Resources.open(settings)
        self._destination = open_destination(place)

    def run(self, item: Item, attempts: Attempts) -> Result:
        """Make the files of an item, and their record last; errors of the item are not raised.

        attempts: with this one, for the record that stays if this process is killed.
        """
        began = time.monotonic()
        request = item.request
        running = Result(
            item=item.name,
            line=item.line,
            state=State.RUNNING,
            person=request.person,
            seed=request.seed or 0,
            attempts=attempts.made,
            counted=attempts.counted,
            request=request.model_dump(mode="json", exclude_defaults=True),
        )
        try:
            with tempfile.TemporaryDirectory(prefix="visavis-bulk-") as folder:
                recording, running = self._read(item, running, Path(folder))
                done = self._made(item, recording, running, Path(folder))
            done = replace(done, seconds=round(time.monotonic() - began, 3))
            done.write(self._destination, item.folder)
        except Exception as error:
            return replace(self._failed(error, running), seconds=round(time.monotonic() - began, 3))
        return done

    def _read(self, item: Item, running: Result, scratch: Path) -> tuple[Recording, Result]:
        """Return the recording, and the result with its digest."""
        try:
            stamps = [tuple(stamp(place) or ()) for place in places(item)]
            paths = [fetch(place, scratch) for place in places(item)]
        except ObjectMissing as error:
            raise ClipMissing(f"no recording at {error.key}; check the path") from error
        digests = [sha256_of(path) for path in paths]
        people = [self._resources.persons.summary(name) for name in item.request.people]
        sources = [Source(*each) for each in zip(places(item), stamps, digests, strict=True)]
        digest = request_digest(item, joint_digest(each.digest for each in people), digests)
        return Recording(*paths), replace(running, digest=digest, sources=tuple(sources))

    def _made(self, item: Item, recording: Recording, running: Result, scratch: Path) -> Result:
        """Return the result after its files are stored."""
        before = read_result(self._destination, item.folder)
        # The files of `before` may change now.
        replace(running, alone=True).write(self._destination, item.folder)
        target = self._destination.folder(item.folder, scratch)
        made = make_outputs(
            recording,
            item.request,
            self._resources,
            path_of=lambda output, take, role: target / output.file_name(take, role),
            progress=lambda stage, share: None,
        )
        outputs = []
        for path in made.files:
            name = f"{item.folder}/{path.name}"
            outputs.append(File(path.name, name, path.stat().st_size, sha256_of(path)))
            self._destination.put(name, path)
        if before is not None:
            names = {each.path for each in outputs}
            self._destination.remove(each.path for each in before.outputs if each.path not in names)
        return replace(
            running,
            state=State.SUCCEEDED,
            clip_seconds=round(made.seconds, 3),
            outputs=tuple(outputs),
            watermark=made.watermark,
            warnings=tuple(asdict(each) for each in made.warnings),
        )

    def _failed(self, error: Exception, running: Result) -> Result:
        if isinstance(error, torch.OutOfMemoryError):
            self._resources.persons.clear()
        if (refusal := user_error_of(error)) is not None:
            code, detail = refusal.code, refusal.message
            state = State.REFUSED
        elif isinstance(error, InputError):
            code, detail, state = "request_unsuitable", sentence(str(error)), State.REFUSED
        else:
            logger.warning("item failed", exc_info=error, extra={"item": running.item})
            full = is_full(error) or isinstance(error, StorageFull)
            code, state = FULL if full else "internal_error", State.FAILED
            detail = sentence(f"{type(error).__name__}: {error}")
        return replace(
            running, state=state, error={"code": code, "detail": detail[:LONGEST_DETAIL]}
        )
