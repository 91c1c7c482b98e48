"""Retries: pauses that the service asks for, limits, and the error at their end."""

import email.utils
import time

import httpx
import pytest

import visavis
from visavis.testing import FakeService, Fault

PAGE = "<html><h1>502 Bad Gateway</h1></html>"


def people(fake: httpx.MockTransport, **options: int) -> list[visavis.Person]:
    with visavis.Client(transport=fake, **options) as client:
        return client.people.list()


def test_retry_after_is_obeyed_in_seconds(pauses: list[float]) -> None:
    fake = FakeService()
    fake.add_faults(Fault(429, "7"), Fault(503, "30"))

    assert people(fake)

    assert 7 <= pauses[0] <= 8
    assert 30 <= pauses[1] <= 31


def test_retry_after_is_obeyed_as_a_date(pauses: list[float]) -> None:
    fake = FakeService()
    fake.add_faults(Fault(503, email.utils.formatdate(time.time() + 40, usegmt=True)))

    assert people(fake)

    assert 35 < pauses[0] <= 41


def test_pauses_grow_and_differ(pauses: list[float]) -> None:
    fake = FakeService()
    for _ in range(2):
        fake.add_faults(*[Fault(503)] * 5)
        assert people(fake)

    first, second = pauses[:5], pauses[5:]
    assert all(before < after for before, after in zip(first[:4:2], first[2::2], strict=True))
    assert max(pauses) <= 8
    assert first != second


def test_the_last_error_is_raised(pauses: list[float]) -> None:
    fake = FakeService()
    fake.add_faults(*[Fault(503)] * 3)

    with pytest.raises(visavis.ServerError) as caught:
        people(fake, max_retries=2)

    assert (caught.value.status, caught.value.tries) == (503, 3)
    assert len(pauses) == 2


def test_a_long_retry_after_is_left_to_the_caller(pauses: list[float]) -> None:
    fake = FakeService()
    fake.add_faults(Fault(429, "3600"))

    with pytest.raises(visavis.RateLimitError) as caught:
        people(fake)

    assert caught.value.retry_after == 3600
    assert pauses == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 500, 507])
def test_other_errors_are_not_repeated(status: int, pauses: list[float]) -> None:
    fake = FakeService()
    fake.add_faults(Fault(status))

    with pytest.raises(visavis.APIStatusError) as caught:
        people(fake)

    assert caught.value.status == status
    assert len(fake.requests) == 1
    assert pauses == []


@pytest.mark.parametrize(
    ("code", "retry_after", "requests"),
    [("quota_jobs", None, 2), ("quota_seconds", "5", 2), ("quota_seconds", None, 1)],
)
def test_a_quota_is_waited_for_when_waiting_can_help(
    code: str, retry_after: str | None, requests: int, pauses: list[float]
) -> None:
    fake = FakeService()
    fake.add_faults(*[Fault(429, retry_after, code=code)] * 2)

    with pytest.raises(visavis.QuotaError) as caught:
        people(fake, max_retries=1)

    assert caught.value.code == code
    assert len(fake.requests) == requests


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (httpx.ConnectError("refused"), visavis.APIConnectionError),
        (httpx.ReadTimeout("slow"), visavis.APITimeoutError),
        (httpx.RemoteProtocolError("cut"), visavis.APIConnectionError),
    ],
)
def test_a_service_that_is_away_is_an_error_after_the_retries(
    fault: httpx.TransportError, kind: type[Exception], pauses: list[float]
) -> None:
    requests = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        raise fault

    with pytest.raises(kind) as caught:
        people(httpx.MockTransport(answer))

    assert len(requests) == 6
    assert caught.value.__cause__ is fault


def test_the_page_of_a_proxy_is_repeated(pauses: list[float]) -> None:
    answers = [httpx.Response(502, html=PAGE), httpx.Response(200, json={"people": []})]

    assert people(httpx.MockTransport(lambda _request: answers.pop(0))) == []

    assert len(pauses) == 1


def test_an_address_that_cannot_be_used_is_an_error_at_once(pauses: list[float]) -> None:
    with visavis.Client("ftp://127.0.0.1") as client, pytest.raises(visavis.APIConnectionError):
        client.people.list()

    assert pauses == []
