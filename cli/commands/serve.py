"""`visavis-server api` and `visavis-server worker`: the two doors, one process each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from cli.commands.migrate import prepare_database
from cli.console import MISUSED, fail, needing, read_settings, wait_without_spinning

if TYPE_CHECKING:
    from jobs.settings import Settings

GRACE_SECONDS = 5  # for requests that run when the API is asked to leave
KEEP_ALIVE_SECONDS = 75  # longer than callers wait between polls, and than proxies keep theirs


def run_api() -> None:
    """Serve until a signal."""
    settings = read_settings()
    with needing("api"):
        import uvicorn

        from api.app import create_app
    from jobs.telemetry import logging as logs

    logs.configure(settings)
    check_keys(settings)
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,  # ours: jobs/telemetry/logging.py
        access_log=False,  # ours: api/middleware/access_log.py
        ws="none",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


def check_keys(settings: Settings) -> None:
    """Leave, with the command that makes a key, where nobody could call without one.

    The database is brought up to date for it, as the API does when it starts.
    """
    from jobs.store.api_keys import NoKeys, require_keys

    prepare_database(settings)
    try:
        require_keys(settings)
    except NoKeys as error:
        fail(str(error), MISUSED)


def run_one_worker() -> None:
    """Work until a signal."""
    settings = read_settings()
    if not settings.broker_url:
        fail(
            "VISAVIS_BROKER_URL is not set, so nothing would wake this worker; set it to a Redis, "
            "or start everything with `visavis-server up`",
            MISUSED,
        )
    wait_without_spinning()
    with needing("worker"):
        from worker.pipeline.device import DeviceError
        from worker.process.celery_worker import run_worker
    from jobs.telemetry import logging as logs

    logs.configure(settings)
    prepare_database(settings)
    try:
        status = run_worker(settings)
    except DeviceError as error:
        fail(str(error), MISUSED)
    raise typer.Exit(status)
