"""Watchdog of an attempt: ends a stage that shows no progress for too long.

The attempt ends at its next step. If there is no next step, because the thread hangs in a driver or
a file system and cannot be interrupted, the watchdog releases the job and ends the process; a
supervisor should start a new one.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from contracts.stages import STAGE_SECONDS
from worker.process.liveness.background_thread import BackgroundThread
from worker.process.outcomes import StageStuck

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

logger = logging.getLogger(__name__)

STUCK = 71  # exit status of a process whose thread cannot be interrupted
SHORT_CLIP_SECONDS = 20.0  # the limits apply up to this length and grow in proportion above it
RELEASE_SECONDS = 10.0  # to release the job before the process ends
CHECKS = 4  # per shortest limit


@dataclass(frozen=True)
class Limits:
    """Time limit of each stage without progress."""

    stages: Mapping[str, float] = field(default_factory=lambda: STAGE_SECONDS)
    grace_seconds: float = 30.0  # for a stopped attempt to reach its next step

    def for_clip(self, seconds: float) -> Mapping[str, float]:
        """Return the limits for a clip of this length."""
        longer = max(1.0, seconds / SHORT_CLIP_SECONDS)
        return {stage: longer * limit for stage, limit in self.stages.items()}


class Watchdog(BackgroundThread):
    """`with Watchdog(stages, ...) as watchdog:`; `check` raises once a stage has taken too long.

    release: releases the job when the attempt itself hangs. exit_process: ends the process.
    """

    def __init__(
        self,
        stages: Mapping[str, float],
        *,
        grace_seconds: float,
        release: Callable[[StageStuck], None],
        exit_process: Callable[[], None],
    ) -> None:
        super().__init__("watchdog")
        self._stages = stages
        self._grace = grace_seconds
        self._release = release
        self._exit_process = exit_process
        self._sign = ("", time.monotonic())  # the stage and the time of its last progress
        self._stuck: StageStuck | None = None
        self._interval = min(1.0, *(s / CHECKS for s in (grace_seconds, *stages.values())))

    def check(self) -> None:
        """Check the stage. Raises: StageStuck: when the attempt has to end."""
        if self._stuck is not None:
            raise self._stuck

    def sign(self, stage: str) -> None:
        """Record that `stage` makes progress."""
        self._sign = (stage, time.monotonic())

    def _run(self) -> None:
        while not self._ended.wait(self._interval):
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
        release = threading.Thread(target=self._release, args=(stuck,), daemon=True)
        release.start()
        release.join(RELEASE_SECONDS)  # the database may hang, too
        self._exit_process()


def exit_at_once() -> NoReturn:
    """End this process although one of its threads hangs."""
    os._exit(STUCK)
