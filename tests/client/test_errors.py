"""Errors: the members of a problem, and one class for each kind."""

import httpx
import pytest

import visavis

PROBLEM = {
    "status": 422,
    "code": "invalid_request",
    "detail": "takes: should be at most 10, not '11'; ask for fewer.",
    "errors": [{"field": "takes", "detail": "should be at most 10, not '11'"}],
}


def error_of(response: httpx.Response) -> visavis.APIStatusError:
    transport = httpx.MockTransport(lambda _request: response)
    with (
        visavis.Client(transport=transport, max_retries=0) as client,
        pytest.raises(visavis.APIStatusError) as caught,
    ):
        client.people.list()
    return caught.value


def test_an_error_has_the_members_of_the_problem() -> None:
    error = error_of(httpx.Response(422, json=PROBLEM, headers={"X-Request-ID": "r-17"}))

    assert isinstance(error, visavis.InvalidRequestError)
    assert (error.status, error.code, error.request_id) == (422, "invalid_request", "r-17")
    assert error.detail == PROBLEM["detail"]
    assert error.hint == "ask for fewer."
    assert error.errors == PROBLEM["errors"]
    assert error.incident is None
    assert "invalid_request" in str(error) and "at most 10" in str(error)


def test_an_internal_error_has_its_incident() -> None:
    body = {"code": "internal_error", "detail": "Internal error.", "incident": "0198c0ffee12"}

    error = error_of(httpx.Response(500, json=body))

    assert isinstance(error, visavis.ServerError)
    assert error.incident == "0198c0ffee12"


def test_a_quota_has_its_numbers() -> None:
    quota = {"limit": 5.0, "used": 5.0, "asked": 1.0}

    error = error_of(httpx.Response(429, json={"code": "quota_bytes", "quota": quota}))

    assert isinstance(error, visavis.QuotaError)
    assert error.quota == quota


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, visavis.BadRequestError),
        (401, visavis.AuthenticationError),
        (403, visavis.PermissionDeniedError),
        (404, visavis.NotFoundError),
        (409, visavis.ConflictError),
        (410, visavis.NotFoundError),
        (413, visavis.InvalidRequestError),
        (415, visavis.InvalidRequestError),
        (418, visavis.APIStatusError),
        (422, visavis.InvalidRequestError),
        (429, visavis.RateLimitError),
        (500, visavis.ServerError),
        (507, visavis.ServerError),
    ],
)
def test_each_status_has_its_class(status: int, kind: type[visavis.APIStatusError]) -> None:
    """Also without a problem in the body, as for the page of a proxy."""
    error = error_of(httpx.Response(status, html="<p>Sorry</p>"))

    assert type(error) is kind
    assert (error.code, error.errors) == ("", [])
    assert str(status) in str(error)
