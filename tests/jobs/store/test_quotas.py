"""Whose a job is: to every other tenant it is not there, whatever is asked of it."""

from collections.abc import Callable

import pytest

from jobs.model import State
from jobs.store.jobs import JobMissing, Store
from jobs.store.pagination import JobFilter
from tests.jobs.rows import claim, submit

ASKED: dict[str, Callable[[Store, str, str | None], object]] = {
    "get": lambda store, job, tenant: store.get(job, tenant=tenant),
    "cancel": lambda store, job, tenant: store.cancel(job, tenant=tenant),
    "retry": lambda store, job, tenant: store.retry(job, tenant=tenant),
    "delete": lambda store, job, tenant: store.delete(job, tenant=tenant),
}


@pytest.mark.parametrize("state", [State.QUEUED, State.RUNNING, State.FAILED])
@pytest.mark.parametrize("what", ASKED)
def test_another_s_job_is_not_there(store: Store, what: str, state: State) -> None:
    job = submit(store, tenant="acme")
    if state is not State.QUEUED:
        claim(store)
    if state is State.FAILED:
        store.fail(job.id, 1, "clip_silent", "The clip is silent.")
    before = store.get(job.id)

    try:
        assert ASKED[what](store, job.id, "rival") is False
    except JobMissing as error:
        assert error.job_id == job.id

    assert store.get(job.id) == before
    assert store.get(job.id, tenant="acme") == before
    assert ASKED[what](store, job.id, "acme") is not None


def test_a_job_is_local_unless_it_is_somebody_s(store: Store) -> None:
    local, theirs = submit(store), submit(store, tenant="acme")

    assert (local.tenant, theirs.tenant) == ("local", "acme")
    assert store.page(JobFilter(tenant="acme")).jobs == [theirs]
    assert store.page(JobFilter()).jobs == [theirs, local]
