"""`doctor` says what is there, and what to do about what is not."""

import json
from pathlib import Path

import pytest

from cli.commands.doctor import CheckResult, Mark, examine
from jobs.db.migrate import upgrade
from jobs.settings import Settings
from tests.cli.conftest import Call


def findings(settings: Settings) -> dict[str, CheckResult]:
    return {finding.thing: finding for finding in examine(settings)}


@pytest.fixture
def settings(tmp_path: Path, people: Path) -> Settings:
    return Settings(data=tmp_path / "data", people=people, device="cpu")


def test_a_machine_with_everything_is_well(call: Call, people: Path) -> None:
    done = call("doctor", VISAVIS_PEOPLE=str(people))

    assert done.exit_code == 0, done.stdout
    things = [line.split()[1] for line in done.stdout.splitlines()]
    assert things == [
        "python", "api", "torch", "device", "ffmpeg", "encoder", "broker", "database", "storage",
        "person",
    ]  # fmt: skip
    assert all(line.startswith("ok ") for line in done.stdout.splitlines())


def test_something_bad_is_said_and_is_the_exit_status(call: Call, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    done = call("doctor", VISAVIS_PEOPLE=str(tmp_path / "empty"), VISAVIS_DEVICE="cuda:77")

    assert done.exit_code == 1
    bad = [line for line in done.stdout.splitlines() if line.startswith("bad")]
    assert len(bad) == 2
    assert "use auto" in bad[0]
    assert "set VISAVIS_PEOPLE" in bad[1]


def test_nothing_is_made_by_looking(settings: Settings) -> None:
    assert findings(settings)["database"].mark is Mark.OK
    assert not (settings.data / "visavis.db").exists()


def test_a_database_with_jobs_is_counted_and_an_empty_one_is_told(settings: Settings) -> None:
    settings.data.mkdir()
    (settings.data / "visavis.db").touch()
    assert findings(settings)["database"].mark is Mark.WARN

    upgrade(settings.database_url)

    assert findings(settings)["database"].found.endswith("0 jobs")


def test_addresses_that_do_not_answer_are_bad_and_passwords_are_not_shown(
    settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    wrong = {
        "broker_url": "redis://127.0.0.1:1/0",
        "database_url": "postgresql://me:secret@127.0.0.1:1/visavis",
        "storage_url": f"file://{tmp_path}/file/objects",
    }

    found = findings(settings.model_copy(update=wrong))

    for thing, variable in (
        ("broker", "VISAVIS_BROKER_URL"),
        ("database", "VISAVIS_DATABASE_URL"),
        ("storage", "VISAVIS_STORAGE_URL"),
    ):
        assert (found[thing].mark, variable in found[thing].found) == (Mark.BAD, True), found
    assert "secret" not in found["database"].found


def test_each_person_is_held_against_its_digests(settings: Settings, tmp_path: Path) -> None:
    for name in ("broken", "damaged", "short"):
        folder = tmp_path / "people" / name
        folder.mkdir(parents=True)
        manifest = json.loads((settings.people / "demo" / "person.json").read_text())
        (folder / "person.json").write_text(json.dumps(manifest | {"name": name}))
        for file in (settings.people / "demo").iterdir():
            if file.name != "person.json":
                (folder / file.name).write_bytes(file.read_bytes())
    (tmp_path / "people" / "broken" / "person.json").write_text("{}")
    (tmp_path / "people" / "damaged" / "guide.safetensors").write_bytes(b"x")
    (tmp_path / "people" / "short" / "stats.json").unlink()

    found = findings(settings.model_copy(update={"people": tmp_path / "people"}))

    assert all(found[f"person {name}"].mark is Mark.BAD for name in ("broken", "damaged", "short"))
    assert "guide.safetensors" in found["person damaged"].found
    assert "lacks stats.json" in found["person short"].found


def test_a_secret_that_others_may_read_is_told(call: Call, people: Path, tmp_path: Path) -> None:
    path = tmp_path / "secret.txt"
    path.write_text("hush-hush")
    path.chmod(0o644)

    done = call("doctor", VISAVIS_PEOPLE=str(people), VISAVIS_SIGNING_SECRET_FILE=str(path))
    path.chmod(0o600)
    careful = call("doctor", VISAVIS_PEOPLE=str(people), VISAVIS_SIGNING_SECRET_FILE=str(path))

    assert done.exit_code == 0, done.output
    (told,) = (line for line in done.stdout.splitlines() if line.startswith("warn"))
    assert "may be read by others (0644)" in told
    assert "hush-hush" not in done.output
    assert "chmod" not in careful.stdout


def test_no_password_is_shown(call: Call, people: Path) -> None:
    done = call(
        "doctor",
        VISAVIS_PEOPLE=str(people),
        VISAVIS_DATABASE_URL="postgresql://me:hush-hush@127.0.0.1:1/x",
        VISAVIS_BROKER_URL="redis://:hush-hush@127.0.0.1:1/0",
        VISAVIS_STORAGE_URL="ftp://me:hush-hush@127.0.0.1/x",
    )

    assert done.exit_code == 1
    assert done.stdout.count("does not answer") == 2
    assert "me:***@127.0.0.1" in done.stdout
    assert "hush-hush" not in done.output
