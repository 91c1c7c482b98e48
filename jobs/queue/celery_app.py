"""Celery app of the queue: its messages only wake workers, which then query the database."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from celery import Celery
from kombu.exceptions import OperationalError

from jobs.telemetry.metrics import WAKE_UPS
from jobs.telemetry.prometheus import count

if TYPE_CHECKING:
    from jobs.settings import Settings

logger = logging.getLogger(__name__)

WAKE = "visavis.wake"  # the only task; its argument is a job id
QUEUE = "visavis"
CONNECT_SECONDS = 1

# Redis restores unacknowledged messages within seconds instead of every 100 s. The visibility
# timeout can be short, because a wake-up that is delivered twice finds nothing to claim.
TRANSPORT_OPTIONS: dict[str, Any] = {
    "visibility_timeout": 3600,
    "unacked_restore_interval": 2,
    "unacked_restore_throttle": 1,
    "socket_connect_timeout": CONNECT_SECONDS,
    "socket_timeout": 30.0,
    "max_retries": 0,
}


def make_celery(settings: Settings) -> Celery:
    """Create a Celery app for `settings.broker_url` that accepts JSON only."""
    app = Celery("visavis", set_as_current=False)
    app.conf.update(
        broker_url=settings.broker_url or None,
        broker_transport_options=TRANSPORT_OPTIONS,
        broker_connection_timeout=CONNECT_SECONDS,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # a worker waits for its broker without limit
        redis_socket_connect_timeout=CONNECT_SECONDS,
        task_publish_retry=False,  # the reaper sends lost wake-ups again
        task_serializer="json",
        accept_content=["json"],
        result_backend=None,
        task_ignore_result=True,
        task_default_queue=QUEUE,
        task_acks_late=False,  # a lost wake-up is harmless: the job is a row
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_concurrency=1,
        worker_hijack_root_logger=False,  # jobs/telemetry/logging.py configures it
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        enable_utc=True,
    )
    return app


def wake(app: Celery, job_id: str, passed_on: int = 0) -> bool:
    """Wake a worker. Returns False, within two seconds, when the broker is unavailable.

    passed_on: number of workers that had no use for this wake-up.
    """
    if not app.conf.broker_url:
        return False
    try:
        arguments = [job_id, passed_on] if passed_on else [job_id]
        app.send_task(WAKE, args=arguments, ignore_result=True, retry=False)
    except (OperationalError, OSError) as error:
        logger.warning("no wake-up sent", extra={"job": job_id, "reason": str(error)})
        count(WAKE_UPS, outcome="failed")
        return False
    count(WAKE_UPS, outcome="sent")
    return True


def reachable(app: Celery) -> bool:
    """Return whether the broker answers now."""
    if not app.conf.broker_url:
        return False
    try:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_max=0)
    except (OperationalError, OSError):
        return False
    return True
