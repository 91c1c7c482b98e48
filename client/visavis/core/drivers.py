"""Drivers: perform the effects of steps with blocking or with asynchronous calls."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import httpx

from visavis.core.steps import Close, Effect, Open, Read, Send, Sleep, Steps, Stream, Work

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from visavis.core.retry import Config
    from visavis.core.steps import Request

T = TypeVar("T")

# Answers that `with_raw_response` collects in the current thread or task.
collected: ContextVar[list[httpx.Response] | None] = ContextVar("collected", default=None)


class Stopped(BaseException):
    """The steps of a batch end, because the caller or another item has stopped it."""


class Execution(Generic[T]):
    """Steps that are being performed: as a context, it keeps the error of an effect."""

    def __init__(self, steps: Steps[T]) -> None:
        self._steps = steps
        self._error: BaseException | None = None
        self.value: Any = None  # of the last effect
        self.result: Any = None  # of the steps

    def next(self) -> Effect | None:
        """Continue the steps after an effect; None at their end."""
        value, self.value = self.value, None
        error, self._error = self._error, None
        try:
            return self._steps.send(value) if error is None else self._steps.throw(error)
        except StopIteration as stop:
            self.result = stop.value
            return None

    def __enter__(self) -> None:
        return

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> bool:
        self._error = error
        return error is not None


class Driver:
    """Blocking calls. stop: once it is set, every effect raises `Stopped`."""

    def __init__(
        self, config: Config, http: httpx.Client, stop: threading.Event | None = None
    ) -> None:
        self.config = config
        self._http = http
        self._stop = stop or threading.Event()

    def run(self, steps: Steps[T]) -> T:
        """Perform all effects and return the result of the steps."""
        execution = Execution(steps)
        while (effect := execution.next()) is not None:
            with execution:
                execution.value = self._perform(effect)
        result: T = execution.result
        return result

    def run_all(self, steps: Sequence[Steps[T]], concurrency: int) -> list[T]:
        """Perform several steps at once, in threads, and return their results in order.

        The first error stops all of them, and so does an interrupt, which is not delayed by
        requests that are under way.
        """
        stop = threading.Event()
        worker = Driver(self.config, self._http, stop)
        waiting = deque(enumerate(steps))
        results: dict[int, T] = {}
        faults: list[BaseException] = []

        def work() -> None:
            while waiting and not stop.is_set():
                try:
                    place, each = waiting.popleft()
                    results[place] = worker.run(each)
                except IndexError:  # another thread took the last one
                    return
                except Stopped:
                    return
                except BaseException as error:
                    faults.append(error)
                    stop.set()

        threads = [threading.Thread(target=work, daemon=True) for _ in range(concurrency)]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            stop.set()
        if faults:
            raise faults[0]
        return [results[place] for place in range(len(steps))]

    def _perform(self, effect: Effect) -> Any:
        if self._stop.is_set() and not isinstance(effect, Close):
            raise Stopped
        match effect:
            case Send(request):
                return _collect(self._http.send(built(self._http, request, self.config)))
            case Open(request):
                response = self._http.send(
                    built(self._http, request, self.config), stream=True, follow_redirects=True
                )
                if response.is_error:
                    response.read()
                return Stream(response, response.iter_bytes())
            case Read(stream):
                return next(stream.pieces, None)
            case Close(stream):
                stream.response.close()
            case Sleep(seconds):
                self._stop.wait(seconds)
            case Work(function):
                return function()
        return None


class AsyncDriver:
    """Asynchronous calls, under asyncio."""

    def __init__(self, config: Config, http: httpx.AsyncClient) -> None:
        self.config = config
        self._http = http

    async def run(self, steps: Steps[T]) -> T:
        """Perform all effects and return the result of the steps."""
        execution = Execution(steps)
        while (effect := execution.next()) is not None:
            with execution:
                execution.value = await self._perform(effect)
        result: T = execution.result
        return result

    async def run_all(self, steps: Sequence[Steps[T]], concurrency: int) -> list[T]:
        """Perform several steps at once, and return their results in order.

        The first error stops all of them.
        """
        free = asyncio.Semaphore(concurrency)

        async def work(each: Steps[T]) -> T:
            async with free:
                return await self.run(each)

        tasks = [asyncio.create_task(work(each)) for each in steps]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _perform(self, effect: Effect) -> Any:
        match effect:
            case Send(request):
                return _collect(await self._http.send(built(self._http, request, self.config)))
            case Open(request):
                response = await self._http.send(
                    built(self._http, request, self.config), stream=True, follow_redirects=True
                )
                if response.is_error:
                    await response.aread()
                return Stream(response, response.aiter_bytes())
            case Read(stream):
                return await anext(stream.pieces, None)
            case Close(stream):
                await stream.response.aclose()
            case Sleep(seconds):
                await asyncio.sleep(seconds)
            case Work(function):
                return await asyncio.to_thread(function)
        return None


def built(
    http: httpx.Client | httpx.AsyncClient, request: Request, config: Config
) -> httpx.Request:
    """Return the request of httpx."""
    timeout = httpx.Timeout(config.timeout if request.timeout is None else request.timeout)
    if request.stream is not None:
        url = httpx.URL(request.url)
        return httpx.Request(
            request.method,
            url,
            headers={"Host": url.netloc.decode("ascii"), **request.headers},
            stream=request.stream,
            extensions={"timeout": timeout.as_dict()},
        )
    return http.build_request(
        request.method,
        request.url,
        params=request.params or None,
        headers=request.headers,
        timeout=timeout,
        **request.body,
    )


def _collect(response: httpx.Response) -> httpx.Response:
    answers = collected.get()
    if answers is not None:
        answers.append(response)
    return response
