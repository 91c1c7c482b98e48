"""`visavis-server api` and `visavis-server worker`: one process of the API or a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from cli.commands.migrate import prepare_database
from cli.console import MISUSED, fail, needing, read_settings, wait_without_spinning

if TYPE_CHECKING:
    from jobs.settings import Settings

GRACE_SECONDS = 5  # for requests that are running at a shutdown
KEEP_ALIVE_SECONDS = 75  # longer than the polling interval of clients and the timeout of proxies


def run_api() -> None:
    """Serve HTTP until a signal."""
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
        log_config=None,  # configured by jobs/telemetry/logging.py
        access_log=False,  # written by api/middleware/access_log.py
        ws="none",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


def check_keys(settings: Settings) -> None:
    """Exit with the command that creates a key, if keys are required and there are none.

    The database is migrated first, as the API does when it starts.
    """
    from jobs.store.api_keys import NoKeys, require_keys

    prepare_database(settings)
    try:
        require_keys(settings)
    except NoKeys as error:
        fail(str(error), MISUSED)


def run_one_worker() -> None:
    """Run jobs until a signal."""
    settings = read_settings()
    if not settings.broker_url:
        fail(
            "VISAVIS_BROKER_URL: not set, so nothing would wake this worker; set it to a Redis, or "
            "start everything with `visavis-server up`",
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
