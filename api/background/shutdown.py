"""Hearing of the end: a server waits for its open answers before it tells the application."""

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
def on_shutdown(leave: Callable[[], None]) -> Iterator[None]:
    """Call `leave` when a signal asks this process to end, and then whoever handled it before.

    So streams and long polls end by themselves, and the server need not break them off. Where the
    loop runs in another thread than the main one, no signal comes, and nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = {each: signal.getsignal(each) for each in SIGNALS}

    def heard(number: signal.Signals) -> None:
        leave()
        handler = before[number]
        if callable(handler):
            handler(number, None)

    for each in SIGNALS:
        loop.add_signal_handler(each, heard, each)
    try:
        yield
    finally:
        for each, handler in before.items():
            loop.remove_signal_handler(each)
            signal.signal(each, handler)
