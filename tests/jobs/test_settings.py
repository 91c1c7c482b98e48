"""Settings come from the environment, once, and check themselves."""

import json
import logging
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import ValidationError

from jobs.persons import list_people
from jobs.request.model import GenerateRequest
from jobs.request.values import SizeUnsupported, check_width, parse_size
from jobs.settings import Settings
from jobs.telemetry import logging as logs


def test_everything_lies_below_the_data_folder_unless_said_otherwise(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "d")

    assert settings.database_url == f"sqlite:///{tmp_path}/d/visavis.db"
    assert settings.storage_url == f"file://{tmp_path}/d/objects"
    assert settings.address == "http://127.0.0.1:8000"


def test_the_environment_is_read_and_empty_means_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISAVIS_PORT", "9000")
    monkeypatch.setenv("VISAVIS_DATABASE_URL", "postgresql://db/visavis")
    monkeypatch.setenv("VISAVIS_STORAGE_URL", "")

    settings = Settings()

    assert (settings.port, settings.database_url) == (9000, "postgresql://db/visavis")
    assert settings.storage_url.startswith("file://")


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": -1},
        {"takes": 3},
        {"max_attempts": 0},
        {"reaper_seconds": 20, "lease_seconds": 15},
        {"outbound_allow": "10.0.0.0/8,http://a"},
        {"outbound_ca": __file__},
        {"outbound_ca": "/nowhere.pem"},
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(
    tmp_path: Path, wrong: dict[str, int | str]
) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Settings.model_validate({"data": tmp_path} | wrong)


def test_processes_that_start_together_share_one_secret(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: Settings(data=tmp_path / "d").signing_key(), range(16)))

    assert len(keys) == 1
    assert len(keys.pop()) >= 32
    assert stat.S_IMODE((tmp_path / "d" / "secret").stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "d").iterdir()] == ["secret"]


def test_a_secret_from_the_environment_is_used_and_never_shown(tmp_path: Path) -> None:
    settings = Settings.model_validate({"data": tmp_path, "signing_secret": "hush-hush"})

    assert settings.signing_key() == b"hush-hush"
    assert "hush-hush" not in repr(settings)
    assert not (tmp_path / "secret").exists()


@pytest.mark.parametrize(
    ("written", "meant"), [("512", (512, 512)), ("640x480", (640, 480)), ("64x2048", (64, 2048))]
)
def test_a_size_is_one_number_or_two(written: str, meant: tuple[int, int]) -> None:
    assert parse_size(written) == meant
    assert GenerateRequest(size=written).size == f"{meant[0]}x{meant[1]}"


@pytest.mark.parametrize(
    "wrong", ["511", "62", "2050", "1x1", "512x", "x", "", "9" * 99, "-64", "６４"]
)
def test_a_size_that_no_video_can_have_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_size(wrong)


def test_views_are_up_to_four_different_names() -> None:
    assert GenerateRequest().views is None
    assert GenerateRequest(views=("side", "front")).views == ("side", "front")


@pytest.mark.parametrize(
    ("views", "words"),
    [
        ((), "at least 1"),
        (tuple("abcde"), "at most 4"),
        (("front", ""), "invalid view name ''; write"),
        (("../front",), "invalid view name '../front'"),
        (("front\n",), "invalid view name"),
        (("a", "b", "a"), "view 'a' is listed 2 times; list each once"),
    ],
)
def test_views_that_make_no_picture_are_refused(views: tuple[str, ...], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        GenerateRequest(views=views)


def test_all_views_together_are_up_to_4096_pixels_wide() -> None:
    check_width("2048x64", ("a", "b"))
    check_width("1024x2048", tuple("abcd"))
    check_width("1364", tuple("abc"))

    with pytest.raises(SizeUnsupported, match=r"4098 pixels wide, .*at most 1364 wide"):
        check_width("1366", tuple("abc"))


def test_a_request_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValidationError, match="colour"):
        GenerateRequest.model_validate({"colour": "red"})
    assert GenerateRequest(outputs=("video", "video")).outputs == ("video",)


DEFAULTS = {
    "steps": 50,
    "guidance_face": 1.5,
    "guidance_body": 1.5,
    "diversity": 0.97,
    "size": "512x512",
}


def write_person(folder: Path, name: str, **changed: object) -> None:
    manifest = {
        "schema": 1,
        "name": name,
        "title": name.title(),
        "licence": "CC0-1.0",
        "limits": {"max_seconds": 20.0},
        "defaults": DEFAULTS,
        "files": {},
    } | changed
    (folder / name).mkdir(parents=True)
    (folder / name / "person.json").write_text(json.dumps(manifest))


def test_people_are_read_from_their_person_json(tmp_path: Path) -> None:
    write_person(tmp_path, "demo")
    write_person(tmp_path, "ada", limits={"max_seconds": 60})

    ada, demo = list_people(tmp_path)

    assert (ada.name, ada.max_seconds, demo.title) == ("ada", 60.0, "Demo")
    assert demo.defaults.steps == 50
    assert ada.digest != demo.digest
    assert (ada.views, ada.default_views) == ((), ())  # no cameras.json: the worker tells


def test_the_first_camera_is_shown_unless_the_person_says_otherwise(tmp_path: Path) -> None:
    for name, more in (("ada", {}), ("demo", {"views": ["side", "front"]})):
        write_person(tmp_path, name, defaults=DEFAULTS | more)
        cameras = {"cameras": [{"name": "front"}, {"name": "side"}]}
        (tmp_path / name / "cameras.json").write_text(json.dumps(cameras))

    ada, demo = list_people(tmp_path)

    assert ada.views == demo.views == ("front", "side")
    assert (ada.default_views, ada.defaults.views) == (("front",), None)
    assert demo.default_views == demo.defaults.views == ("side", "front")


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b"null", b'{"cameras": 1}', b'{"cameras": [{}]}', b'{"cameras": ["a"]}'],
)
def test_cameras_that_cannot_be_read_leave_nobody_out(tmp_path: Path, content: bytes) -> None:
    write_person(tmp_path, "demo")
    (tmp_path / "demo" / "cameras.json").write_bytes(content)

    assert [person.views for person in list_people(tmp_path)] == [()]


def test_a_broken_person_is_left_out_and_named_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_person(tmp_path, "demo")
    write_person(tmp_path, "mute", limits={})
    write_person(tmp_path, "liar")
    (tmp_path / "liar").rename(tmp_path / "moved")
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "person.json").write_bytes(b'{"name": "to\xff')

    assert [person.name for person in list_people(tmp_path)] == ["demo"]
    left_out = {Path(record.path).parent.name for record in caplog.records}
    assert left_out == {"mute", "moved", "torn"}
    assert list_people(tmp_path / "nowhere") == []


def test_a_log_line_carries_its_facts_as_json() -> None:
    record = logging.LogRecord("jobs.x", logging.INFO, "x.py", 1, "claimed", None, None)
    record.job = "0198"

    line = json.loads(logs.formatter("json").format(record))

    assert (line["event"], line["job"], line["level"], line["logger"]) == (
        "claimed",
        "0198",
        "info",
        "jobs.x",
    )
    assert "timestamp" in line


def test_a_traceback_shows_no_local_variables() -> None:
    password = "hush-hush"
    try:
        raise LookupError(f"{len(password)} letters")
    except LookupError as error:
        failed = (type(error), error, error.__traceback__)
    record = logging.LogRecord("jobs.x", logging.ERROR, "x.py", 1, "failed", None, failed)

    said = logs.formatter("console").format(record)

    assert "LookupError: 9 letters" in said
    assert "password = 'hush" not in said
    assert len(said.splitlines()) < 10
