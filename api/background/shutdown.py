"""Graceful shutdown: end long polls and event streams on SIGINT and SIGTERM.

uvicorn waits for open responses before it runs the lifespan shutdown.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def on_shutdown(close: Callable[[], None]) -> Iterator[None]:
    """Call `close` on SIGINT or SIGTERM, and then the previous handler of the signal.

    Outside the main thread there are no signals, and this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    previous = {each: signal.getsignal(each) for each in SIGNALS}

    def handle(number: signal.Signals) -> None:
        close()
        handler = previous[number]
        if callable(handler):
            handler(number, None)

    for each in SIGNALS:
        loop.add_signal_handler(each, handle, each)
    try:
        yield
    finally:
        for each, handler in previous.items():
            loop.remove_signal_handler(each)
            signal.signal(each, handler)
