"""Options of request fields: those of the service, in the types of the client."""

import json
from pathlib import Path

import pytest

from jobs.request.declare import declared_fields
from jobs.request.export import exported
from tests.client.command.conftest import Call
from visavis.command.options import FIELDS
from visavis.request import RequestFields
from visavis.testing import FakeService

EXPORTED = Path(__file__).parents[3] / "client" / "visavis" / "command" / "fields.json"


def test_the_options_are_generated_from_the_fields_of_the_service() -> None:
    assert EXPORTED.read_text(encoding="utf-8") == exported(), "run `make docs`"
    names = [field.name for field in declared_fields()]

    assert [field.name for field in FIELDS] == names
    assert set(names) == RequestFields.__optional_keys__ | RequestFields.__required_keys__


@pytest.mark.parametrize("command", ["send", "batch"])
def test_every_field_is_an_option_with_its_limits_in_the_help(
    call: Call, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    text = " ".join(call(command, "--help").stdout.split())

    assert [field.option for field in FIELDS if f"{field.option} " not in text] == []
    assert [field.limits for field in FIELDS if field.limits not in text] == []
    assert "<bool>" not in text and "GET /people" not in text


def test_values_are_sent_in_their_types(call: Call, service: FakeService) -> None:
    options = ["--takes", "2", "--diversity", "0.5", "--views", "front, side"]
    options += ["--metadata", "order=17", "--metadata", "note=a=b", "--priority", "0"]

    (job,) = call("send", "talk.wav", "--json", *options).documents

    request = service.jobs[job["id"]]["request"]
    assert (request["takes"], request["diversity"], request["views"]) == (2, 0.5, ["front", "side"])
    assert job["metadata"] == {"order": "17", "note": "a=b"}
    assert job["priority"] == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--takes", "11"], "--takes: 11 is outside of 1..10"),
        (
            ["--format", "avi"],
            "--format: unknown value 'avi'; use one of mp4, fmp4, mov, webm, png",
        ),
        (["--outputs", "video,film"], "--outputs: unknown value 'film'; use one of video, motion"),
        (["--metadata", "order"], "--metadata: 'order' has no name and value; write name=value"),
        (["--takes", "many"], "Invalid value for '--takes': "),
        (["--takse", "2"], "No such option: --takse "),
        (["--partner", "none.wav"], "no recording at none.wav; check the path"),
    ],
)
def test_a_mistake_is_one_sentence_before_anything_is_sent(
    call: Call, service: FakeService, arguments: list[str], sentence: str
) -> None:
    text = call("send", "talk.wav", *arguments)
    document = call("send", "talk.wav", "--json", *arguments)

    assert (text.status, text.stdout, text.stderr.count("\n")) == (2, "", 1)
    assert text.stderr.startswith(sentence)
    assert (document.status, document.stderr) == (2, "")
    assert document.documents[0]["error"]["detail"].startswith(sentence)
    assert service.requests == []


def test_the_shell_completes_commands_and_options(
    call: Call, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_VISAVIS_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "visavis send --guid")
    monkeypatch.setenv("COMP_CWORD", "2")
    with pytest.raises(SystemExit):
        call()

    assert capsys.readouterr().out.split() == [
        "--guidance-face",
        "--guidance-body",
        "--guidance-until",
    ]
    assert json.loads(EXPORTED.read_text())["fields"]
