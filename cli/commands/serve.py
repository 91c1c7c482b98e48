"""`visavis-server api` and `visavis-server worker`: one process of the API or a worker."""

from __future__ import annotations

import faulthandler
import signal
import sys
from typing import TYPE_CHECKING, Any

import typer

from cli.commands.operate.migrate import prepare_database
from cli.console import MISUSED, fail, needing, read_settings, wait_without_spinning
from jobs.sandbox.confinement import hide_from_children

if TYPE_CHECKING:
    from jobs.settings import Settings

GRACE_SECONDS = 5  # for requests that are running at a shutdown
STDERR = 2  # file descriptor
SWITCH_SECONDS = 0.001  # after which a thread of a request lets the event loop go on
KEEP_ALIVE_SECONDS = 75  # longer than the polling interval of clients and the timeout of proxies


def run_api() -> None:
    """Serve HTTP until a signal."""
    settings = read_settings()
    with needing("api"):
        import uvicorn

        from api.app import create_app
        from api.bounds.connection import BoundedConnection, raise_file_limit
    from jobs.telemetry import logging as logs

    logs.configure(settings)
    hide_from_children()  # of which some parse untrusted files
    check_keys(settings)
    _check_traces(settings)
    raise_file_limit()
    sys.setswitchinterval(SWITCH_SECONDS)
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,  # configured by jobs/telemetry/logging.py
        access_log=False,  # written by api/middleware/access_log.py
        http=BoundedConnection,
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


def _check_traces(settings: Settings) -> None:
    """Exit with the command that installs OpenTelemetry, if traces are on without it."""
    from jobs.telemetry.traces import TracesError, check_traces

    try:
        check_traces(settings)
    except TracesError as error:
        fail(str(error), MISUSED)


def run_one_worker() -> None:
    """Run jobs until a signal."""
    settings = read_settings()
    signal.signal(signal.SIGTERM, _leave)  # until the worker has installed its own handler
    faulthandler.register(signal.SIGUSR1, file=STDERR)  # prints the stacks of all threads
    wait_without_spinning()
    with needing("worker"):
        from worker.pipeline.device import DeviceError
        from worker.process.worker_loop import run_worker
    from jobs.telemetry import logging as logs

    logs.configure(settings)
    hide_from_children()
    prepare_database(settings)
    _check_traces(settings)
    try:
        status = run_worker(settings)
    except DeviceError as error:
        fail(str(error), MISUSED)
    raise typer.Exit(status)


def _leave(*_: Any) -> None:
    """End a worker that still starts and has no job.

    As the first process of a container it has no default action for SIGTERM: without a handler it
    would start, claim a job, and be killed with it at the end of the grace period.
    """
    sys.exit(0)
