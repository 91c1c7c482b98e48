"""Tenant isolation: jobs of other tenants are missing in every operation."""

from collections.abc import Callable

import pytest

from jobs.database import Database
from jobs.model import State
from jobs.store.job_rows import JobMissing
from jobs.store.pagination import JobFilter
from tests.jobs.rows import claim, submit

OPERATIONS: dict[str, Callable[[Database, str, str | None], object]] = {
    "get": lambda database, job, tenant: database.jobs.get(job, tenant=tenant),
    "cancel": lambda database, job, tenant: database.jobs.cancel(job, tenant=tenant),
    "retry": lambda database, job, tenant: database.jobs.retry(job, tenant=tenant),
    "delete": lambda database, job, tenant: database.jobs.delete(job, tenant=tenant),
}


@pytest.mark.parametrize("state", [State.QUEUED, State.RUNNING, State.FAILED])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_job_is_invisible_to_other_tenants(
    database: Database, operation: str, state: State
) -> None:
    job = submit(database, tenant="acme")
    if state is not State.QUEUED:
        claim(database)
    if state is State.FAILED:
        database.attempts.fail(job.id, 1, "clip_silent", "The clip is silent.")
    before = database.jobs.get(job.id)

    try:
        assert OPERATIONS[operation](database, job.id, "rival") is False
    except JobMissing as error:
        assert error.job_id == job.id

    assert database.jobs.get(job.id) == before
    assert database.jobs.get(job.id, tenant="acme") == before
    assert OPERATIONS[operation](database, job.id, "acme") is not None


def test_a_job_without_a_tenant_is_local(database: Database) -> None:
    local, theirs = submit(database), submit(database, tenant="acme")

    assert (local.tenant, theirs.tenant) == ("local", "acme")
    assert database.jobs.page(JobFilter(tenant="acme")).jobs == [theirs]
    assert database.jobs.page(JobFilter()).jobs == [theirs, local]
