"""The watchdog of an attempt: a stage that gives no sign of progress for too long is ended.

First the attempt is told, and ends at its next step. Where there is no next step, because the
thread hangs in a driver or a file system and nothing can interrupt it, the job is put back from
here and the process leaves: whoever watches over it starts a new one.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from contracts.stages import STAGE_SECONDS
from worker.process.background_thread import BackgroundThread
from worker.process.outcomes import StageStuck

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

logger = logging.getLogger(__name__)

STUCK = 71  # exit status of a process whose thread cannot be interrupted
SHORT_CLIP_SECONDS = 20.0  # limits are for clips up to this; longer ones get as much more
LAST_WORDS_SECONDS = 10.0  # for putting the job back, before the process leaves
LOOKS = 4  # in the shortest time that is waited for


@dataclass(frozen=True)
class Limits:
    """How long each stage may go without a sign of progress."""

    stages: Mapping[str, float] = field(default_factory=lambda: STAGE_SECONDS)
    grace_seconds: float = 30.0  # for an attempt that was told, to reach its next step

    def for_clip(self, seconds: float) -> Mapping[str, float]:
        """The limits for a clip so long."""
        longer = max(1.0, seconds / SHORT_CLIP_SECONDS)
        return {stage: longer * limit for stage, limit in self.stages.items()}


class Watchdog(BackgroundThread):
    """`with Watchdog(limits, ...) as watchdog:`; `check` raises once a stage has taken too long.

    put_back: gives the job back with this reason, where the attempt cannot do so any more.
    leave: ends the process.
    """

    def __init__(
        self,
        stages: Mapping[str, float],
        *,
        grace_seconds: float,
        put_back: Callable[[StageStuck], None],
        leave: Callable[[], None],
    ) -> None:
        super().__init__("watchdog")
        self._stages = stages
        self._grace = grace_seconds
        self._put_back = put_back
        self._leave = leave
        self._sign = ("", time.monotonic())  # the stage, and when it last gave a sign
        self._stuck: StageStuck | None = None
        self._look_seconds = min(1.0, grace_seconds / LOOKS, *(s / LOOKS for s in stages.values()))

    def check(self) -> None:
        """Raises StageStuck when the attempt has to end."""
        if self._stuck is not None:
            raise self._stuck

    def sign(self, stage: str) -> None:
        """The attempt lives, and is at `stage`."""
        self._sign = (stage, time.monotonic())

    def _run(self) -> None:
        while not self._ended.wait(self._look_seconds):
            stage, since = self._sign
            limit = self._stages.get(stage)
            if limit is None or time.monotonic() - since < limit:
                continue
            self._stuck = StageStuck(stage, limit)
            logger.error("stage stuck", extra={"stage": stage, "seconds": limit})
            if not self._ended.wait(self._grace):
                self._give_up(self._stuck)
            return

    def _give_up(self, stuck: StageStuck) -> None:
        logger.error("the attempt cannot be ended; this process ends", extra={"stage": stuck.stage})
        words = threading.Thread(target=self._put_back, args=(stuck,), daemon=True)
        words.start()
        words.join(LAST_WORDS_SECONDS)  # a database that hangs, too, must not keep us
        self._leave()


def leave_at_once() -> NoReturn:
    """End this process though a thread of it hangs."""
    os._exit(STUCK)
