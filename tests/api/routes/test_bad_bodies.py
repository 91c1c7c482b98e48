"""Bodies as people send them by mistake: each gets a sentence with the field and the fix."""

import base64
import re
import textwrap
from typing import Any

import httpx
import pytest

from tests.api_server import Served
from tests.problems import problem

pytestmark = pytest.mark.usefixtures("queue")

Parts = list[tuple[str, tuple[str | None, bytes | str]]]

# Names of Python types and of classes: "int", "UploadFile", "GenerateBody", "<class 'str'>".
TYPE_NAMES = re.compile(
    r"<class|\b(?:str|int|dict|tuple|bytes|bytearray|bool|NoneType|Tuple|Dictionary|instance)\b"
    r"|\b[A-Z][a-z]+[A-Z][a-z]\w*|function-|pydantic|starlette|fastapi"
)


def send_form(served: Served, parts: Parts) -> httpx.Response:
    return served.http.post("/generate", files=parts)


def test_two_files_in_one_field_are_refused_with_its_name(served: Served, clip: bytes) -> None:
    parts: Parts = [("audio", ("a.wav", clip)), ("audio", ("b.wav", clip))]

    body = problem(send_form(served, parts), 422, "invalid_request")

    assert body["detail"] == "audio: came 2 times; send it once."
    assert body["errors"] == [{"field": "audio", "detail": "came 2 times; send it once"}]


def test_a_text_field_that_came_twice_is_refused(served: Served, clip: bytes) -> None:
    parts: Parts = [("audio", ("a.wav", clip)), ("seed", (None, "1")), ("seed", (None, "2"))]

    body = problem(send_form(served, parts), 422, "invalid_request")

    assert body["detail"] == "seed: came 2 times; send it once."


def test_text_instead_of_a_file_is_refused_with_the_option_of_curl(served: Served) -> None:
    body = problem(send_form(served, [("audio", (None, "hello"))]), 422, "invalid_request")

    assert body["detail"] == "audio: must be a file; with curl write audio=@FILE."


def test_a_file_instead_of_text_is_refused_with_the_option_of_curl(
    served: Served, clip: bytes
) -> None:
    parts: Parts = [("audio", ("a.wav", clip)), ("views", ("views.txt", b"front"))]

    body = problem(send_form(served, parts), 422, "invalid_request")

    assert body["detail"] == "views: must be text and not a file; with curl write views=VALUE."


def test_a_file_input_without_a_file_counts_as_left_out(served: Served, clip: bytes) -> None:
    boundary, empty = "x", 'form-data; name="audio"; filename=""'
    content = f"--{boundary}\r\nContent-Disposition: {empty}\r\n\r\n\r\n--{boundary}--\r\n"
    headers = {"content-type": f"multipart/form-data; boundary={boundary}"}

    answer = served.http.post("/generate", content=content, headers=headers)

    assert "audio: is missing; send it" in problem(answer, 422, "invalid_request")["detail"]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\n  "])
@pytest.mark.parametrize("prefix", ["", "data:audio/wav;base64,", "data:;base64,"])
def test_base64_may_have_line_breaks_and_a_prefix(
    served: Served, clip: bytes, newline: str, prefix: str
) -> None:
    lines = textwrap.wrap(base64.b64encode(clip).decode(), 76)

    answer = served.http.post("/generate", json={"audio": prefix + newline.join(lines) + newline})

    assert answer.status_code == 202, answer.text
    key = served.services.database.jobs.get(answer.json()["id"]).input_key
    assert b"".join(served.services.storage.open(key)) == clip


BAD_JSON: list[Any] = [
    [],
    "text",
    7,
    {"audio": 7},
    {"audio": ["AAAA"]},
    {"audio": "data:audio/wav,AAAA"},
    {"audio": "ÄÖÜ"},
    {"audio": "AAAA", "takes": "many"},
    {"audio": "AAAA", "takes": [1]},
    {"audio": "AAAA", "takes": 1.5},
    {"audio": "AAAA", "takes": None},
    {"audio": "AAAA", "seed": {}},
    {"audio": "AAAA", "person": 5},
    {"audio": "AAAA", "person": None},
    {"audio": "AAAA", "size": [512]},
    {"audio": "AAAA", "views": 3},
    {"audio": "AAAA", "views": "front"},
    {"audio": "AAAA", "views": []},
    {"audio": "AAAA", "views": list("abcde")},
    {"audio": "AAAA", "views": [1]},
    {"audio": "AAAA", "outputs": {"video": True}},
    {"audio": "AAAA", "outputs": ["gif"]},
    {"audio": "AAAA", "format": 4},
    {"audio": "AAAA", "background": 0},
    {"audio": "AAAA", "metadata": "{}"},
    {"audio": "AAAA", "metadata": []},
    {"audio": "AAAA", "metadata": {"a": 1}},
    {"audio": "AAAA", "metadata": {str(number): "" for number in range(17)}},
    {"audio": "AAAA", "callback_url": 1},
    {"audio": "AAAA", "priority": "high"},
    {"audio": "AAAA", "colour": {"red": 1}},
    {"upload_id": 5},
    {"upload_id": "x"},
    {"audio_url": []},
    {"audio_url": "a" * 3000},
]
BAD_FORMS: list[Parts] = [
    [("audio", (None, "hello"))],
    [("audio", ("a", b"x")), ("audio", (None, "hello"))],
    [("audio", ("a", b"x")), ("sound", ("b", b"y"))],
    *(
        [("audio", ("a", b"x")), (name, ("b", b"y"))]
        for name in ("takes", "size", "views", "outputs", "metadata", "upload_id", "priority")
    ),
    *(
        [("audio", ("a", b"x")), (name, (None, value))]
        for name, value in (
            ("takes", "many"),
            ("metadata", "{"),
            ("metadata", "[]"),
            ("metadata", '{"a": 1}'),
            ("views", "a,b,c,d,e"),
            ("outputs", "gif"),
            ("seed", "1e3"),
        )
    ),
]
BAD_BATCHES: list[Any] = [[], {}, {"items": {}}, {"items": [1]}, {"items": [{"audio": "AAAA"}]}]


@pytest.mark.parametrize("body", BAD_JSON)
def test_answers_to_json_name_no_python_type(served: Served, body: object) -> None:
    answer = served.http.post("/generate", json=body)

    assert TYPE_NAMES.findall(problem(answer, 422, "invalid_request")["detail"]) == []


@pytest.mark.parametrize("parts", BAD_FORMS)
def test_answers_to_forms_name_no_python_type(served: Served, parts: Parts) -> None:
    detail = problem(send_form(served, parts), 422, "invalid_request")["detail"]

    assert TYPE_NAMES.findall(detail) == []


@pytest.mark.parametrize("body", BAD_BATCHES)
def test_answers_to_batches_name_no_python_type(served: Served, body: object) -> None:
    detail = problem(served.http.post("/batches", json=body), 422, "invalid_request")["detail"]

    assert TYPE_NAMES.findall(detail) == []


@pytest.mark.parametrize("path", ["/uploads", "/jobs/0/render"])
@pytest.mark.parametrize("body", [[], "text", 7])
def test_answers_of_other_routes_name_no_python_type(
    served: Served, path: str, body: object
) -> None:
    detail = problem(served.http.post(path, json=body), 422, "invalid_request")["detail"]

    assert TYPE_NAMES.findall(detail) == []
