"""Exit statuses, errors and JSON of every command."""

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import httpx
import pytest

import visavis
from tests.client.command.conftest import Call
from visavis.command.console import ExitStatus, command_error
from visavis.testing import FakeService

DOCUMENT = Path(__file__).parents[3] / "docs" / "client-command.md"
REFUSED, UNREACHED, KEY = ExitStatus.REFUSED, ExitStatus.UNREACHED, ExitStatus.KEY


def problem(status: int, code: str) -> httpx.Response:
    detail = "The key is unknown." if status == 401 else "a fault of the test"
    return httpx.Response(status, json={"status": status, "code": code, "detail": detail})


def test_the_statuses_of_the_documentation_are_those_of_the_command() -> None:
    table = re.findall(r"^\| (\d+) \|", DOCUMENT.read_text(), re.MULTILINE)

    assert [int(status) for status in table] == sorted(ExitStatus)


@pytest.mark.parametrize(
    ("answer", "status", "sentence"),
    [
        (problem(401, "key_unknown"), KEY, "key_unknown: The key is unknown; `visavis login` "),
        (problem(403, "scope_missing"), KEY, "scope_missing: a fault of the test"),
        (problem(404, "job_not_found"), REFUSED, "job_not_found: a fault of the test; `visavis j"),
        (problem(409, "conflict"), REFUSED, "conflict: a fault of the test"),
        (problem(429, "rate_limited"), UNREACHED, "rate_limited: a fault of the test"),
        (problem(503, "full"), UNREACHED, "full: a fault of the test"),
        (httpx.Response(502, html="<p>bad gateway</p>"), UNREACHED, "http_502: Bad Gateway"),
        (httpx.Response(200, html="<p>hello</p>"), REFUSED, "http://127.0.0.1:8000/"),
        (httpx.ConnectError("refused"), UNREACHED, "no connection to the service (GET http"),
        (httpx.ReadTimeout("late"), UNREACHED, "no connection to the service (GET http"),
        (httpx.Response(200, json={"jobs": 7}), REFUSED, "the answer has no list jobs; check"),
        (RuntimeError("odd"), ExitStatus.INTERNAL, "internal error: RuntimeError: odd"),
    ],
)
def test_each_error_is_one_sentence_with_its_status(
    call: Call,
    answer: httpx.Response | Exception,
    status: ExitStatus,
    sentence: str,
) -> None:
    def answered(_request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    text = call("jobs", transport=answered)
    document = call("jobs", "--json", transport=answered)

    assert (text.status, text.stdout, text.stderr.count("\n")) == (status, "", 1)
    assert text.stderr.startswith(sentence)
    assert (document.status, document.stderr) == (status, "")
    assert document.documents[0]["error"]["detail"] == text.stderr.strip()


def test_several_invalid_fields_have_a_line_each(call: Call) -> None:
    errors = [{"field": "size", "detail": "too odd"}, {"field": "views", "detail": "unknown"}]
    body = {"status": 422, "code": "invalid_request", "detail": "x", "errors": errors}

    ended = call("send", "talk.wav", "-q", transport=lambda _: httpx.Response(422, json=body))

    assert ended.status == 2
    assert ended.stderr.splitlines() == [
        "invalid_request: size: too odd",
        "invalid_request: views: unknown",
    ]


@pytest.mark.parametrize("arguments", [[], ["send"], ["sned"], ["people", "--url", "nowhere"]])
def test_a_wrong_command_line_ends_with_2(call: Call, arguments: list[str]) -> None:
    ended = call(*arguments)

    assert ended.status == 2
    assert "Traceback" not in ended.stderr


def test_a_repeated_request_is_shown(call: Call, service: FakeService) -> None:
    def restarting(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events"):
            return problem(503, "starting")
        return service.handle_request(request)

    ended = call("wait", _submitted(call), "--timeout", "1.5", transport=restarting)

    assert ended.status == UNREACHED
    first, *_, last = ended.stderr.splitlines()
    assert first.startswith("try 2 in 0.")
    assert last == "starting: a fault of the test"


def test_every_command_writes_only_json_lines(call: Call) -> None:
    job_id = _submitted(call)
    commands = (
        ["send", "talk.wav", "-o", "a.mp4"],
        ["batch", "talk.wav", "-o", "videos"],
        ["wait", job_id, "-o", "waited"],
        ["jobs"],
        ["jobs", job_id, "missing"],
        ["cancel", "missing"],
        ["retry", "missing"],
        ["people"],
        ["login"],
        ["logout"],
        ["send", "none.wav"],
    )
    for arguments in commands:
        ended = call(*arguments, "--json")
        assert ended.stderr == "", arguments
        assert ended.documents, arguments
        assert all("error" in each or each for each in ended.documents)


def test_without_the_extra_the_command_says_how_to_install_it() -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('click', 'rich', 'typer')))\n"
        "import visavis, visavis.command; visavis.command.main()"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        'visavis: the command needs rich and typer; run: pip install "visavis[cli]"\n'
    )


def _submitted(call: Call) -> str:
    return call("send", "talk.wav", "--no-wait", "-q").stdout.strip()


def test_a_job_that_ended_has_the_code_of_its_reason() -> None:
    late = visavis.Failure(code="cancel_after", detail="the job did not end within 5 s")
    job = SimpleNamespace(id="a1", state="canceled", error=late)

    error = command_error(visavis.JobCanceled(cast("visavis.JobFields", job)))

    assert error is not None
    assert (error.code, error.status) == ("cancel_after", ExitStatus.JOB_ENDED)
    assert str(error) == "job a1 cancel_after: the job did not end within 5 s"
