"""Steps of one recording of a batch: submit it once, wait, fetch its files."""

from __future__ import annotations

import threading
import uuid
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visavis import errors
from visavis.batch.journal import Entry, Journal
from visavis.batch.plan import Item, plan
from visavis.batch.report import BatchProgress, BatchResult
from visavis.core.decode import parsed
from visavis.core.steps import Sleep, Work
from visavis.files.downloads import download, file_name, take_of
from visavis.jobs import requests
from visavis.jobs.submit import SubmissionUploads, submit
from visavis.jobs.wait import wait
from visavis.models import JobFields, JobWarning, OutputFields, Upload
from visavis.request import RequestFields

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from visavis.batch.plan import BatchInput
    from visavis.core.retry import Config
    from visavis.core.steps import Steps

CONCURRENCY = 8
JOURNAL = "batch.jsonl"
OUTAGE_SECONDS = 600.0
QUOTA_SECONDS = 5.0  # pause while the jobs of the tenant fill its quota
# Errors that may be caused by one recording.
OWN_FAULTS = (
    errors.BadRequestError,
    errors.ConflictError,
    errors.InvalidRequestError,
    errors.NotFoundError,
    errors.DownloadError,
)


class _Unreadable(errors.VisavisError):
    """A recording cannot be read; it is not recorded, because the next run may find it."""


class BatchOptions(RequestFields, total=False):
    """Options of `Client.batch`, beside the request fields of every recording.

    concurrency: recordings at once, by default 8. resume: the journal, by default `batch.jsonl` in
    the folder of the files. retry_failed: send again what failed in an earlier run.
    outage_seconds: a service that does not answer is waited for, by default ten minutes.
    on_progress: called after each change, from one thread at a time.
    """

    concurrency: int
    resume: str | os.PathLike[str] | None
    retry_failed: bool
    outage_seconds: float
    on_progress: Callable[[BatchProgress], object] | None


@contextmanager
def open_batch(
    config: Config,
    sources: Iterable[str | os.PathLike[str] | BatchInput],
    out: Path,
    options: BatchOptions,
) -> Iterator[list[Steps[BatchResult]]]:
    """Open the journal and yield the steps of each recording."""
    out.mkdir(parents=True, exist_ok=True)
    own = BatchOptions.__annotations__.keys() - RequestFields.__annotations__.keys()
    fields = {name: value for name, value in options.items() if name not in own}
    with Journal(Path(options.get("resume") or out / JOURNAL)) as journal:
        items = plan(sources, fields, out, journal)
        yield BatchRun(config, journal, out, items, options).steps()


class BatchRun:
    """The recordings of a batch that runs, with its journal and its results."""

    def __init__(
        self,
        config: Config,
        journal: Journal,
        out: Path,
        items: Sequence[Item],
        options: BatchOptions,
    ) -> None:
        self._config = replace(config, outage_seconds=options.get("outage_seconds", OUTAGE_SECONDS))
        self._journal = journal
        self._out = out
        self._items = items
        self._options = options
        self._succeeded = self._failed = 0
        self._reporting = threading.Lock()

    def steps(self) -> list[Steps[BatchResult]]:
        """Return the steps of each recording, for drivers that perform several at once."""
        return [self._item(item) for item in self._items]

    def _item(self, item: Item) -> Steps[BatchResult]:
        try:
            digest = yield Work(item.digest)
        except OSError as error:  # not recorded: the file may be there in the next run
            return self._report(item, _unreadable(item, error))
        entry = self._journal.find(str(item.audio), _text(item.partner), digest)
        if entry is not None and entry.ended and self._stands(entry):
            return self._report(item, _result(item, entry, self._out, resumed=True))
        if entry is None or (entry.ended and entry.ended["state"] != "succeeded"):
            entry = Entry(
                key=str(uuid.uuid4()),
                audio=str(item.audio),
                partner=_text(item.partner),
                digest=digest,
                name=item.name,
                fields=item.fields,
            )
            yield Work(partial(self._journal.intend, entry))
        try:
            outcome = yield from self._outcome(item, entry)
        except _Unreadable as error:
            return self._report(item, _unreadable(item, error))
        except OWN_FAULTS as error:
            outcome = {"state": "failed", **_reason(error)}
        yield Work(partial(self._journal.ended, entry, outcome))
        return self._report(item, _result(item, entry, self._out, resumed=False))

    def _stands(self, entry: Entry) -> bool:
        """Return whether an outcome of an earlier run needs no further work."""
        if entry.ended["state"] != "succeeded":
            return not self._options.get("retry_failed")
        return all(
            (self._out / each["name"]).is_file()
            and (self._out / each["name"]).stat().st_size == each["bytes"]
            for each in entry.ended["files"]
        )

    def _outcome(self, item: Item, entry: Entry) -> Steps[dict[str, Any]]:
        if entry.job is None:
            job = yield from self._submitted(item, entry)
            job_id = parsed(JobFields, job).id
            yield Work(partial(self._journal.submitted, entry, job_id))
        else:
            job = yield from requests.read(self._config, entry.job)
        last = job

        def seen(content: dict[str, Any]) -> None:
            nonlocal last
            last = content
            self._tell(item, parsed(JobFields, content))

        seen(job)
        yield from wait(self._config, job["id"], seen, timeout=None, cancel_on_interrupt=False)
        outcome: dict[str, Any] = {"state": last["state"], "warnings": last["warnings"]}
        if last["state"] == "succeeded":
            return outcome | {"files": (yield from self._files(entry, last))}
        error = last["error"] or {"code": last["state"], "detail": f"The job was {last['state']}."}
        return outcome | error

    def _submitted(self, item: Item, entry: Entry) -> Steps[dict[str, Any]]:
        """Send the recording with the fields and the key of its intention."""

        def announced(name: str, upload: Upload) -> None:
            self._journal.announced(entry, name, upload.id)

        uploads = SubmissionUploads(entry.uploads, announced)
        while True:
            try:
                return (
                    yield from submit(
                        self._config, item.audio, item.partner, entry.fields, entry.key, uploads
                    )
                )
            except OSError as error:
                raise _Unreadable(str(error)) from error
            except errors.QuotaError as error:
                if error.code != "quota_jobs":
                    raise
                yield Sleep(QUOTA_SECONDS)  # until jobs of this batch, or of others, have ended

    def _files(self, entry: Entry, job: dict[str, Any]) -> Steps[list[dict[str, Any]]]:
        outputs = [parsed(OutputFields, each) for each in job["outputs"]]
        takes = len({take_of(output.name) for output in outputs})
        files = []
        for output in outputs:
            name = file_name(entry.name, output.name, takes=takes)
            draft = self._out / f".{entry.key}.part"  # the next run overwrites what a kill leaves
            yield from download(self._config, output, self._out / name, draft=draft)
            files.append({"name": name, "bytes": output.bytes})
        return files

    def _report(self, item: Item, result: BatchResult) -> BatchResult:
        with self._reporting:
            self._succeeded += result.state == "succeeded"
            self._failed += result.state != "succeeded"
        self._tell(item, None, result)
        return result

    def _tell(self, item: Item, job: JobFields | None, result: BatchResult | None = None) -> None:
        """Call `on_progress`, from one thread at a time."""
        on_progress = self._options.get("on_progress")
        if on_progress is None:
            return
        with self._reporting:
            on_progress(
                BatchProgress(
                    total=len(self._items),
                    succeeded=self._succeeded,
                    failed=self._failed,
                    audio=item.audio,
                    job=job,
                    result=result,
                )
            )


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _reason(error: errors.VisavisError) -> dict[str, str]:
    """Return the reason of a failed recording.

    Raises:
        VisavisError: an error that every recording would get, such as an answer of a proxy.
    """
    if isinstance(error, errors.APIStatusError):
        if error.code in ("", "route_not_found"):
            raise error
        return {"code": error.code, "detail": error.detail}
    return {"code": "download_incomplete", "detail": str(error)}


def _unreadable(item: Item, error: Exception) -> BatchResult:
    return BatchResult(
        item.audio, item.partner, "failed", None, code="file_unreadable", detail=str(error)
    )


def _result(item: Item, entry: Entry, out: Path, *, resumed: bool) -> BatchResult:
    ended = entry.ended
    return BatchResult(
        audio=item.audio,
        partner=item.partner,
        state=ended["state"],
        job_id=entry.job,
        files=tuple(out / each["name"] for each in ended.get("files", ())),
        code=ended.get("code", ""),
        detail=ended.get("detail", ""),
        warnings=tuple(parsed(JobWarning, each) for each in ended.get("warnings", ())),
        resumed=resumed,
    )
