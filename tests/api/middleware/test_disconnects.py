"""A client that hangs up is logged as what it is: no error, no traceback, no incident."""

import logging
import socket

import pytest

from tests.api_server import Served

FORM = (
    "POST /generate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5000\r\n"
    "Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
)
JSON = (
    "POST /uploads HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n"
    'Content-Type: application/json\r\n\r\n{"bytes"'
)


@pytest.mark.parametrize("head", [FORM, JSON])
def test_a_client_that_hangs_up_in_its_body_is_no_error(
    served: Served, caplog: pytest.LogCaptureFixture, head: str
) -> None:
    caplog.set_level(logging.INFO)
    url = served.http.base_url
    for _ in range(5):
        with socket.create_connection((url.host, url.port), timeout=20) as connection:
            connection.sendall(head.encode())
            served.http.get("/healthz")  # the server has begun to read the body

    lines = [each for each in caplog.records if getattr(each, "method", "") == "POST"]
    while len(lines) < 5:
        served.http.get("/healthz")
        lines = [each for each in caplog.records if getattr(each, "method", "") == "POST"]

    assert {each.levelname for each in lines} == {"INFO"}
    assert {each.status for each in lines} <= {499, 400}
    assert not [each for each in caplog.records if each.exc_info or each.levelno >= logging.WARNING]
