"""`doctor` checks a machine and its settings."""

import json
from pathlib import Path

import pytest

from cli.commands.operate.doctor import CheckResult, Status, run_checks
from jobs.db.migrate import upgrade
from jobs.settings import Settings
from tests.cli.conftest import Call


def check(settings: Settings) -> dict[str, CheckResult]:
    return {result.subject: result for result in run_checks(settings)}


@pytest.fixture
def settings(tmp_path: Path, people: Path) -> Settings:
    return Settings(data=tmp_path / "data", people=people, device="cpu")


def test_every_check_is_ok_on_a_complete_machine(call: Call, people: Path) -> None:
    done = call("doctor", VISAVIS_PEOPLE=str(people))

    assert done.exit_code == 0, done.stdout
    *lines, last = done.stdout.splitlines()
    subjects = [line.split()[1] for line in lines]
    assert subjects == [
        "python", "api", "torch", "device", "ffmpeg", "encoder", "manifests", "watermark", "broker",
        "database", "storage", "person",
    ]  # fmt: skip
    assert all(line.startswith("ok ") for line in lines)
    assert last == "all well; next: `visavis-server up` starts the service"


def test_a_failed_check_is_printed_and_sets_the_exit_status(call: Call, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    done = call("doctor", VISAVIS_PEOPLE=str(tmp_path / "empty"), VISAVIS_DEVICE="cuda:77")

    assert done.exit_code == 1
    bad = [line for line in done.stdout.splitlines() if line.startswith("bad")]
    assert len(bad) == 2
    assert done.stdout.splitlines()[-1].startswith("problems: 2; fix them")
    assert "use auto" in bad[0]
    assert "set VISAVIS_PEOPLE" in bad[1]


def test_checks_create_no_files(settings: Settings) -> None:
    assert check(settings)["database"].status is Status.OK
    assert not (settings.data / "visavis.db").exists()


def test_jobs_are_counted_and_an_empty_database_is_a_warning(settings: Settings) -> None:
    settings.data.mkdir()
    (settings.data / "visavis.db").touch()
    assert check(settings)["database"].status is Status.WARN

    upgrade(settings.database_url)

    assert check(settings)["database"].text.endswith("0 jobs")


def test_unreachable_services_are_bad_and_passwords_are_not_shown(
    settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    unreachable = {
        "broker_url": "redis://127.0.0.1:1/0",
        "database_url": "postgresql://me:secret@127.0.0.1:1/visavis",
        "storage_url": f"file://{tmp_path}/file/objects",
    }

    results = check(settings.model_copy(update=unreachable))

    for subject, variable in (
        ("broker", "VISAVIS_BROKER_URL"),
        ("database", "VISAVIS_DATABASE_URL"),
        ("storage", "VISAVIS_STORAGE_URL"),
    ):
        result = results[subject]
        assert (result.status, variable in result.text) == (Status.BAD, True), results
    assert "secret" not in results["database"].text
    assert "onnection refused" in results["database"].text  # the reason
    assert "sqlalche.me" not in results["database"].text


@pytest.mark.parametrize("command", ["doctor", "api", "worker"])
@pytest.mark.parametrize("password", ["ssWO/RD2", "12/34", "a/b:c", "x]y[z/"])
def test_a_malformed_broker_url_is_one_sentence_without_the_password(
    call: Call, command: str, password: str
) -> None:
    done = call(command, VISAVIS_BROKER_URL=f"redis://:{password}@broker.example:6379/0")

    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("VISAVIS_BROKER_URL: cannot be parsed; in user names and passwords")
    assert not any(piece in line for piece in password.split("/") if len(piece) > 1)


def test_files_of_each_person_are_compared_with_their_digests(
    settings: Settings, tmp_path: Path
) -> None:
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

    results = check(settings.model_copy(update={"people": tmp_path / "people"}))

    people = ("broken", "damaged", "short")
    assert all(results[f"person {name}"].status is Status.BAD for name in people)
    assert "guide.safetensors" in results["person damaged"].text
    assert "lacks stats.json" in results["person short"].text
    assert results["person broken"].text.startswith("left out: ")
    assert "broken/person.json is damaged or lacks a member" in results["person broken"].text


def test_a_secret_file_that_others_can_read_is_a_warning(
    call: Call, people: Path, tmp_path: Path
) -> None:
    path = tmp_path / "secret.txt"
    path.write_text("hush-hush")
    path.chmod(0o644)

    done = call("doctor", VISAVIS_PEOPLE=str(people), VISAVIS_SIGNING_SECRET_FILE=str(path))
    path.chmod(0o600)
    careful = call("doctor", VISAVIS_PEOPLE=str(people), VISAVIS_SIGNING_SECRET_FILE=str(path))

    assert done.exit_code == 0, done.output
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("warn")] == [
        "secret"
    ]
    text = " ".join(done.stdout.split())  # long paths are wrapped
    assert f"other users can read {path} (0644)" in text
    assert "hush-hush" not in done.output
    assert "chmod" not in careful.stdout


def test_no_password_is_printed(call: Call, people: Path) -> None:
    done = call(
        "doctor",
        VISAVIS_PEOPLE=str(people),
        VISAVIS_DATABASE_URL="postgresql://me:hush-hush@127.0.0.1:1/x",
        VISAVIS_BROKER_URL="redis://:hush-hush@127.0.0.1:1/0",
        VISAVIS_STORAGE_URL="ftp://me:hush-hush@127.0.0.1/x",
    )

    assert done.exit_code == 1
    assert done.stdout.count("does not respond") == 2
    assert "me:***@127.0.0.1" in done.stdout
    assert "hush-hush" not in done.output
