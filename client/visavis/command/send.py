"""`visavis send`: one recording, from the upload to its files."""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import visavis
from visavis.client import INLINE_BYTES
from visavis.command.bars import Bar, JobClock, Step
from visavis.command.console import CommandError, ExitStatus, command_error, interrupted
from visavis.command.files import check_free, download, target_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from visavis import Client, Job
    from visavis.command.console import Output
    from visavis.command.files import Target
    from visavis.command.session import Session

URL_SCHEMES = ("https://", "http://")


def run_send(
    session: Session,
    file: str,
    partner: Path | None,
    out: str | None,
    fields: dict[str, Any],
    *,
    timeout: float | None,
    wait: bool,
    overwrite: bool,
) -> int:
    """Send a recording, wait for its job, write its files, and return the exit status."""
    is_url = file.startswith(URL_SCHEMES)
    for path in (None if is_url else Path(file), partner):
        if path is not None and not path.is_file():
            raise CommandError(f"no recording at {path}; check the path", code="file")
    if not wait and out is not None:
        raise CommandError("--out: --no-wait fetches no files; use `visavis wait JOB --out FOLDER`")
    stem = Path(urlsplit(file).path if is_url else file).stem or "recording"
    target = target_of(out, stem, fields)
    if wait:
        check_free(target, fields, overwrite=overwrite)
    with session.client() as client:
        with Bar(session.output) as bar:
            job = _submit(client, file, partner, fields, bar)
            if not wait:
                session.output.result(job.raw, job.id)
                return ExitStatus.DONE
            with _canceled_on_interrupt(client, job):
                ended = wait_for(job, bar, session.output, timeout)
        return finish(session.output, job, target if ended else None, overwrite=overwrite)


def wait_for(job: Job, bar: Bar, output: Output, timeout: float | None) -> bool:
    """Wait for the end of a job, print its warnings, and return whether it has succeeded.

    Raises: WaitTimeout.
    """
    clock = JobClock()

    def show(state: Job) -> None:
        bar.show(clock.step(state, state.raw, time.monotonic()))

    with suppress(visavis.JobFailed, visavis.JobCanceled):  # `finish` prints the reason
        job.wait(progress=show, timeout=timeout, cancel_on_interrupt=False)
    for warning in job.warnings:
        output.warn(f"warning: {warning.code}: {warning.detail}")
    return job.state == "succeeded"


def finish(output: Output, job: Job, target: Target | None, *, overwrite: bool) -> int:
    """Write the files of a job that has ended, print the result, and return the exit status.

    target: None writes nothing.
    """
    paths = [] if target is None else _written(job, target, overwrite=overwrite)
    text = "\n".join(str(path) for path in paths)
    if job.state == "succeeded" and target is None:
        text = f"{job.id} succeeded"
    output.result({**job.raw, "files": [str(path) for path in paths]}, text)
    if job.state == "succeeded":
        return ExitStatus.DONE
    ended = "failed" if job.state == "failed" else "was canceled"
    reason = f": {job.error.code}: {job.error.detail}" if job.error else ""
    sentence = f"job {job.id} {ended}{reason}".rstrip(".")
    output.warn(f"{sentence}; `visavis retry {job.id}` runs it again")
    return ExitStatus.JOB_ENDED


def _written(job: Job, target: Target, *, overwrite: bool) -> list[Path]:
    """Write the files; an error names the command that fetches them later."""
    try:
        return list(download(job, target, overwrite=overwrite))
    except (OSError, visavis.VisavisError) as error:
        expected = command_error(error)
        assert expected is not None
        sentence = f"{expected}; then fetch the files by `visavis wait {job.id} -o FOLDER`"
        raise CommandError(
            sentence, code=expected.code, status=expected.status, job=job.id
        ) from error


def _submit(
    client: Client,
    file: str,
    partner: Path | None,
    fields: dict[str, Any],
    bar: Bar,
) -> Job:
    """Send the recordings, large ones in parts with their progress, and return the job."""
    sources: dict[str, Any] = {"audio": file, "partner": partner}
    paths = {
        name: Path(source)
        for name, source in sources.items()
        if source is not None and not str(source).startswith(URL_SCHEMES)
    }
    try:
        bar.show(Step("sending", 0.0))
        if sum(path.stat().st_size for path in paths.values()) > INLINE_BYTES:
            for name, path in paths.items():
                sources[name] = client.uploads.create(path, progress=_Sent(bar))
        return client.generate(sources["audio"], partner=sources["partner"], **fields)
    except KeyboardInterrupt:
        raise interrupted(
            "stopped while the recording was sent; if the service has it, `visavis jobs` shows it"
        ) from None


class _Sent:
    """Progress of an upload, with its rate and the time left."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._began = time.monotonic()

    def __call__(self, sent: int, total: int) -> None:
        seconds = time.monotonic() - self._began
        step = Step("sending", sent / total if total else 1.0)
        if sent and seconds >= 1.0:
            left = (total - sent) * seconds / sent
            rate = f"{sent / seconds / 1e6:.1f} MB/s"
            step = replace(step, rate=rate, left=f"about {left:.0f} s left")
        self._bar.show(step)


@contextmanager
def _canceled_on_interrupt(client: Client, job: Job) -> Iterator[None]:
    """Cancel the job after Ctrl-C; after a second Ctrl-C, leave it.

    Raises: CommandError: that says what has become of the job.
    """
    try:
        yield
    except KeyboardInterrupt:
        try:
            client.with_options(max_retries=1).jobs.cancel(job.id)
        except (visavis.VisavisError, KeyboardInterrupt) as error:
            reason = str(error) or "stopped"
            sentence = f"job {job.id} may run on ({reason}); `visavis cancel {job.id}` cancels it"
            raise interrupted(sentence, job.id) from None
        raise interrupted(f"canceled job {job.id}", job.id) from None
