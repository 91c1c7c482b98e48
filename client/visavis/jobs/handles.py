"""Jobs, takes and outputs: their state, and what can be done with them."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from visavis import errors
from visavis.core.decode import parsed
from visavis.files.downloads import (
    PREVIEW,
    SIDECAR,
    download,
    is_partners,
    take_of,
    target_of,
)
from visavis.jobs import requests
from visavis.jobs.progress import ProgressLine
from visavis.jobs.wait import wait
from visavis.models import Delivery, JobFields, OutputFields

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from typing_extensions import Self, Unpack

    from visavis.core.drivers import AsyncDriver, Driver
    from visavis.core.retry import Config
    from visavis.core.steps import Steps
    from visavis.request import RenderFields

    Target = str | os.PathLike[str] | None

OutputT = TypeVar("OutputT", bound=OutputFields)
VIDEO = "take-"  # prefix of the names of videos


class ClipWarning(UserWarning):
    """A defect of the clip with which its job has run: shown by `Job.wait`."""


class Output(OutputFields):
    """One output file of a job."""

    def __init__(self, driver: Driver, content: dict[str, Any]) -> None:
        vars(self).update(vars(parsed(OutputFields, content)))
        self._driver = driver

    def download(self, path: Target = None) -> Path:
        """Write the file and return its path.

        path: a file, which is replaced, or a folder; by default the current folder. The file
        appears when it is complete; cut connections are continued.

        Raises:
            DownloadError: when its size is not the announced one.
            NotFoundError: when it was deleted or has expired.
        """
        return self._driver.run(download(self._driver.config, self, target_of(self, path)))


class AsyncOutput(OutputFields):
    """One output file of a job."""

    def __init__(self, driver: AsyncDriver, content: dict[str, Any]) -> None:
        vars(self).update(vars(parsed(OutputFields, content)))
        self._driver = driver

    async def download(self, path: Target = None) -> Path:
        """Write the file and return its path, as `Output.download`."""
        return await self._driver.run(download(self._driver.config, self, target_of(self, path)))


@dataclass(frozen=True)
class TakeFiles(Generic[OutputT]):
    """Files of one take. number: of the take, from 1."""

    number: int
    outputs: list[OutputT]

    @property
    def video(self) -> OutputT | None:
        """The video of the person, or of both; None when only the motion was requested."""
        return self._video(of_partner=False)

    @property
    def partner_video(self) -> OutputT | None:
        """The video of the second person; None unless each person has a video."""
        return self._video(of_partner=True)

    def _video(self, *, of_partner: bool) -> OutputT | None:
        return next(
            (
                each
                for each in self.outputs
                if each.name.startswith(VIDEO)
                and not each.name.endswith(SIDECAR)
                and is_partners(each.name) is of_partner
            ),
            None,
        )

    @property
    def preview(self) -> OutputT | None:
        """The preview, which a running job may have already; None when none was requested."""
        return next((each for each in self.outputs if each.name.startswith(PREVIEW)), None)

    @property
    def main(self) -> OutputT:
        """The video, else the first file."""
        return self.video or self.outputs[0]


class Take(TakeFiles[Output]):
    """One take of a job that has succeeded."""

    def download(self, path: Target = None) -> Path:
        """Write the video, or the motion if there is no video, as `Output.download`."""
        return self.main.download(path)


class AsyncTake(TakeFiles[AsyncOutput]):
    """One take of a job that has succeeded."""

    async def download(self, path: Target = None) -> Path:
        """Write the video, or the motion if there is no video, as `Output.download`."""
        return await self.main.download(path)


class JobState(JobFields, ABC, Generic[OutputT]):
    """State of a job. outputs: its files; before it has succeeded, previews. raw: its JSON."""

    outputs: list[OutputT]
    raw: dict[str, Any]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.state} {100 * self.progress:.0f} %>"

    @abstractmethod
    def _output(self, content: dict[str, Any]) -> OutputT:
        """Return the handle of one output."""

    def _set(self, content: dict[str, Any]) -> Self:
        vars(self).update(vars(parsed(JobFields, content)))
        self.raw = content
        self.outputs = [self._output(each) for each in content.get("outputs", ())]
        return self

    def _by_take(self) -> dict[int, list[OutputT]]:
        takes: dict[int, list[OutputT]] = {}
        for output in self.outputs:
            if (number := take_of(output.name)) is not None:
                takes.setdefault(number, []).append(output)
        return takes

    def _waiting(
        self,
        config: Config,
        *,
        progress: bool | Callable[[Self], object],
        timeout: float | None,
        cancel_on_interrupt: bool,
    ) -> Steps[None]:
        """Wait for the end. Raises: JobFailed, JobCanceled or WaitTimeout."""
        show: Callable[[Self], object] | None = ProgressLine() if progress is True else None
        if callable(progress):
            show = progress

        def seen(content: dict[str, Any]) -> None:
            self._set(content)
            if show is not None:
                show(self)

        try:
            yield from wait(
                config, self.id, seen, timeout=timeout, cancel_on_interrupt=cancel_on_interrupt
            )
        except TimeoutError as error:
            raise errors.WaitTimeout(self, timeout or 0.0) from error
        if self.state == "failed":
            raise errors.JobFailed(self)
        if self.state == "canceled":
            raise errors.JobCanceled(self)

    def _warn(self, progress: object) -> Self:
        """Show the warnings of the clip, unless the line of progress has shown them."""
        if progress is not True:
            for each in self.warnings:
                message = f"job {self.id}: {each.code}: {each.detail}"
                warnings.warn(message, ClipWarning, stacklevel=3)
        return self


class Job(JobState[Output]):
    """A job: `docs/api.md` explains its members; `refresh` and `wait` update them."""

    def __init__(self, driver: Driver, content: dict[str, Any]) -> None:
        self._driver = driver
        self._set(content)

    def _output(self, content: dict[str, Any]) -> Output:
        return Output(self._driver, content)

    @property
    def takes(self) -> list[Take]:
        """The takes, once the job has succeeded, or once they have previews."""
        return [Take(number, outputs) for number, outputs in sorted(self._by_take().items())]

    def refresh(self) -> Self:
        """Read the job again."""
        return self._set(self._driver.run(requests.read(self._driver.config, self.id)))

    def wait(
        self,
        *,
        progress: bool | Callable[[Self], object] = False,
        timeout: float | None = None,
        cancel_on_interrupt: bool = True,
    ) -> Self:
        """Wait until the job has succeeded, and return it.

        It follows the events of the service; where something on the way holds them back, it polls.
        Outages of up to two minutes are waited for. Warnings of the clip are shown: with
        `progress=True` below the line, else as Python warnings, `ClipWarning`.

        progress: True writes a line to standard error; a function is called with the job after
        each change. timeout: seconds; None: no limit. cancel_on_interrupt: Ctrl-C, or the end of
        the asynchronous task, cancels the job; False leaves it running.

        Raises:
            JobFailed: with the code and the reason.
            JobCanceled: when somebody canceled it.
            WaitTimeout: after `timeout` seconds; the job runs on.
        """
        steps = self._waiting(
            self._driver.config,
            progress=progress,
            timeout=timeout,
            cancel_on_interrupt=cancel_on_interrupt,
        )
        self._driver.run(steps)
        return self._warn(progress)

    def cancel(self) -> Self:
        """Cancel the job. Raises: ConflictError: when it has ended otherwise."""
        return self._set(self._driver.run(requests.cancel(self._driver.config, self.id)))

    def retry(self) -> Self:
        """Queue the job again. Raises: ConflictError: unless it has failed or was canceled."""
        return self._set(self._driver.run(requests.retry(self._driver.config, self.id)))

    def delete(self) -> None:
        """Delete the job with its recording and its files; a running job is stopped."""
        self._driver.run(requests.delete(self._driver.config, self.id))

    def render(
        self,
        *,
        takes: Sequence[int] | None = None,
        idempotency_key: str | None = None,
        **fields: Unpack[RenderFields],
    ) -> Job:
        """Render the motion again, as a new job, with another look."""
        steps = requests.render(self._driver.config, self.id, takes, fields, idempotency_key)
        return Job(self._driver, self._driver.run(steps))

    def deliveries(self) -> list[Delivery]:
        """Return the webhook deliveries of the job, oldest first."""
        return self._driver.run(requests.deliveries(self._driver.config, self.id))


class AsyncJob(JobState[AsyncOutput]):
    """A job, with the members of `Job`."""

    def __init__(self, driver: AsyncDriver, content: dict[str, Any]) -> None:
        self._driver = driver
        self._set(content)

    def _output(self, content: dict[str, Any]) -> AsyncOutput:
        return AsyncOutput(self._driver, content)

    @property
    def takes(self) -> list[AsyncTake]:
        """The takes, once the job has succeeded, or once they have previews."""
        return [AsyncTake(number, files) for number, files in sorted(self._by_take().items())]

    async def refresh(self) -> Self:
        """Read the job again."""
        return self._set(await self._driver.run(requests.read(self._driver.config, self.id)))

    async def wait(
        self,
        *,
        progress: bool | Callable[[Self], object] = False,
        timeout: float | None = None,
        cancel_on_interrupt: bool = True,
    ) -> Self:
        """Wait until the job has succeeded, and return it, as `Job.wait`."""
        steps = self._waiting(
            self._driver.config,
            progress=progress,
            timeout=timeout,
            cancel_on_interrupt=cancel_on_interrupt,
        )
        await self._driver.run(steps)
        return self._warn(progress)

    async def cancel(self) -> Self:
        """Cancel the job. Raises: ConflictError: when it has ended otherwise."""
        return self._set(await self._driver.run(requests.cancel(self._driver.config, self.id)))

    async def retry(self) -> Self:
        """Queue the job again. Raises: ConflictError: unless it has failed or was canceled."""
        return self._set(await self._driver.run(requests.retry(self._driver.config, self.id)))

    async def delete(self) -> None:
        """Delete the job with its recording and its files; a running job is stopped."""
        await self._driver.run(requests.delete(self._driver.config, self.id))

    async def render(
        self,
        *,
        takes: Sequence[int] | None = None,
        idempotency_key: str | None = None,
        **fields: Unpack[RenderFields],
    ) -> AsyncJob:
        """Render the motion again, as a new job, with another look."""
        steps = requests.render(self._driver.config, self.id, takes, fields, idempotency_key)
        return AsyncJob(self._driver, await self._driver.run(steps))

    async def deliveries(self) -> list[Delivery]:
        """Return the webhook deliveries of the job, oldest first."""
        return await self._driver.run(requests.deliveries(self._driver.config, self.id))
