"""Rate limits: separate for each key, shared by all processes, and local without Redis."""

from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest

from api import rate_limits as rates
from api.rate_limits import Allowance, RateLimits
from cli.local.embedded_redis import EmbeddedRedis
from jobs.settings import Settings
from jobs.store.api_keys import Scope
from tests.api_server import Served, serving
from tests.problems import problem


@pytest.fixture(scope="module")
def redis() -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis() as running:
        yield running


def limited_settings(settings: Settings, **changed: object) -> Settings:
    limits = {"reads_per_minute": 5, "writes_per_minute": 2}
    return settings.model_copy(update=limits | changed)


def taken(counter: RateLimits, key: str, kind: str = "read") -> Allowance:
    allowance = counter.take(key, kind)
    assert allowance is not None
    return allowance


def test_each_key_has_a_separate_limit(settings: Settings) -> None:
    with closing(RateLimits(limited_settings(settings))) as counter:
        reads = [taken(counter, "a") for _ in range(7)]

        assert [each.exceeded for each in reads] == [False] * 5 + [True] * 2
        assert [each.remaining for each in reads] == [4, 3, 2, 1, 0, 0, 0]
        assert all(1 <= each.reset_seconds <= 120 for each in reads)
        assert not taken(counter, "b").exceeded
        assert taken(counter, "a", "write").limit == 2


def test_requests_are_not_counted_without_a_limit(settings: Settings) -> None:
    with closing(RateLimits(limited_settings(settings, reads_per_minute=0))) as counter:
        assert counter.take("a", "read") is None


@pytest.mark.services
def test_processes_count_together(settings: Settings, redis: EmbeddedRedis) -> None:
    shared = limited_settings(settings, broker_url=redis.url)
    with closing(RateLimits(shared)) as one, closing(RateLimits(shared)) as other:
        spent = [taken(each, "together").exceeded for each in (one, other) * 4]

    assert spent == [False] * 5 + [True] * 3


@pytest.mark.services
def test_an_unavailable_redis_refuses_no_requests(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "AWAY_SECONDS", 0.0)
    with (
        EmbeddedRedis() as redis,
        closing(RateLimits(limited_settings(settings, broker_url=redis.url))) as counter,
    ):
        before = taken(counter, "gone").remaining
        redis.stop()
        while_gone = [taken(counter, "gone").remaining for _ in range(2)]
        redis.start()
        after = taken(counter, "gone").remaining

    assert (before, while_gone) == (4, [4, 3])
    assert after == 3  # Redis did not count the requests of its outage


def test_another_kind_of_broker_is_not_used(settings: Settings) -> None:
    for url in ("", "sentinel://a:1", "amqp://a"):
        with closing(RateLimits(limited_settings(settings, broker_url=url))) as counter:
            assert taken(counter, "a").remaining == 4


@pytest.fixture(scope="module")
def limited(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("rates")
    with serving(limited_settings(settings, database_url=f"sqlite:///{folder / 'v.db'}")) as served:
        yield served


def test_responses_have_rate_limit_headers(limited: Served) -> None:
    made = limited.services.database.api_keys.create("acme", "a test", [Scope.READ])
    headers = {"Authorization": f"Bearer {made.token}"}

    def read() -> httpx.Response:
        return limited.http.get("/jobs", headers=headers)

    answers = [read() for _ in range(5)]
    refusal = read()

    assert [answer.headers["ratelimit-remaining"] for answer in answers] == [*"43210"]
    body = problem(refusal, 429, "rate_limited")
    assert f"in {refusal.headers['retry-after']} s." in body["detail"]
    assert refusal.headers["ratelimit-remaining"] == "0"
    assert refusal.headers["ratelimit-limit"] == "5"
    refused = [limited.http.post("/jobs/x/cancel", headers=headers) for _ in range(3)]
    assert [answer.status_code for answer in refused] == [403, 403, 429]


def test_local_callers_have_no_rate_limit(limited: Served) -> None:
    answers = [limited.http.get("/jobs") for _ in range(8)]

    assert {answer.status_code for answer in answers} == {200}
    assert "ratelimit-limit" not in answers[0].headers
