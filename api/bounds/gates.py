"""Gates: a few requests with the same name pass at a time, so a burst of one delays no other."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Gates:
    """Gates by name, for example of a key or a tenant; the others wait here and in no thread."""

    def __init__(self, at_once: int) -> None:
        """at_once: requests with one name at a time."""
        self._at_once = at_once
        self._gates: dict[str, asyncio.Semaphore] = {}
        self._users: Counter[str] = Counter()

    @asynccontextmanager
    async def of(self, name: str) -> AsyncIterator[None]:
        """Pass the gate of this name; requests without one do not wait."""
        if not name:
            yield
            return
        gate = self._gates.setdefault(name, asyncio.Semaphore(self._at_once))
        self._users[name] += 1
        try:
            async with gate:
                yield
        finally:
            self._users[name] -= 1
            if not self._users[name]:
                del self._users[name], self._gates[name]
