"""`admin`: jobs are listed, shown, requeued; claims are paused and workers drained."""

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.database import Database, open_database
from jobs.db.migrate import upgrade
from jobs.model import Job, NewJob, State, new_job_id
from jobs.queue.pauses import PauseScope, PauseTarget
from jobs.request.model import GenerateRequest
from jobs.settings import Settings
from jobs.storage.factory import open_storage
from jobs.storage.keys import input_key
from tests.chaos.cluster import postgresql
from tests.cli.conftest import Call
from tests.new_database import create_database


@pytest.fixture
def database(call: Call) -> Iterator[Database]:
    settings = Settings()
    create_database(settings.database_url)
    opened = open_database(settings)
    yield opened
    opened.close()


def submit(database: Database, tenant: str = "acme", person: str = "demo", **fields: str) -> Job:
    job_id = new_job_id()
    request = GenerateRequest(person=person)
    key = input_key(job_id, "wav")
    return database.jobs.submit(
        NewJob(job_id, request, key, clip_seconds=2.5, tenant=tenant, **fields)
    )


def fail_next(database: Database, code: str) -> Job:
    job = database.attempts.claim("gpu-1-77")
    assert job is not None
    assert database.attempts.fail(job.id, job.attempt, code, "It did not work.")
    return database.jobs.get(job.id)


def listed(call: Call, *options: str) -> list[str]:
    return [row["id"] for row in json.loads(call("admin", "jobs", "--json", *options).stdout)]


def test_jobs_are_listed_by_every_filter(call: Call, database: Database) -> None:
    failed = submit(database)
    fail_next(database, "disk_full")
    running = submit(database, person="anna")
    database.attempts.claim("gpu-1-77")
    queued = submit(database, tenant="other")

    assert listed(call) == [queued.id, running.id, failed.id]
    assert listed(call, "--state", "queued,running") == [queued.id, running.id]
    assert listed(call, "--tenant", "other") == [queued.id]
    assert listed(call, "--person", "anna") == [running.id]
    assert listed(call, "--error-code", "disk_full") == [failed.id]
    assert listed(call, "--older-than", "1h") == []
    assert len(listed(call, "--newer-than", "1h")) == 3
    done = call("admin", "jobs", "--limit", "1")
    assert queued.id in done.stdout and running.id not in done.stdout
    assert "1 shown; there are more" in done.stderr
    table = call("admin", "jobs").stdout
    assert "running, decode 0%" in table and "gpu-1-77" in table and "disk_full" in table


def test_a_job_of_a_dead_worker_is_recognised(call: Call, database: Database) -> None:
    job = submit(database)
    database.attempts.lease_seconds = -18_000.0
    database.attempts.claim("gpu-1-77")

    assert "running, decode 0%, lease expired" in call("admin", "jobs").stdout
    assert re.search("expired 5h.* ago; the reaper requeues", call("admin", "job", job.id).stdout)


def test_one_job_is_shown_with_its_webhooks_and_objects(
    call: Call, database: Database, tmp_path: Path
) -> None:
    job = submit(database, callback_url="https://hooks.example/done")
    (tmp_path / "clip.wav").write_bytes(b"audio")
    storage = open_storage(Settings())
    storage.make_root("identity")
    storage.put(job.input_key, tmp_path / "clip.wav", "audio/wav")
    storage.close()
    fail_next(database, "disk_full")

    text = call("admin", "job", job.id).stdout
    row = json.loads(call("admin", "job", job.id, "--json").stdout)

    for part in ("failed", "1 of 3", "disk_full: It did not work.", "person=demo",
                 "first claimed by a worker", "webhook job.failed to hooks.example: pending",
                 f"{job.input_key}  5 bytes"):  # fmt: skip
        assert part in text
    assert row["objects"] == [{"key": job.input_key, "bytes": 5, "content_type": "audio/wav"}]
    assert [each["state"] for each in row["deliveries"]] == ["pending"]
    assert (row["state"], row["request"]["person"]) == ("failed", "demo")


def test_failed_jobs_are_requeued_by_filter_and_by_id(call: Call, database: Database) -> None:
    for code in ("disk_full", "disk_full", "stage_timeout"):
        submit(database)
        last = fail_next(database, code)

    dry = call("admin", "requeue", "--error-code", "disk_full", "--since", "1h", "--dry-run")
    assert dry.stdout == "would be requeued: 2 jobs (disk_full: 2)\n"
    assert listed(call, "--state", "queued") == []

    done = call("admin", "requeue", "--error-code", "disk_full", "--since", "1h")
    assert done.stdout == "requeued: 2 jobs (disk_full: 2)\n"
    assert call("admin", "requeue", last.id).stdout == "requeued: 1 job (stage_timeout: 1)\n"
    assert len(listed(call, "--state", "queued")) == 3
    assert "queued again" in call("admin", "job", last.id).stdout
    again = call("admin", "requeue", last.id)
    assert (again.exit_code, again.stdout) == (
        1,
        f"requeued: 0 jobs\nskipped {last.id}: it is queued\n",
    )


def test_a_job_above_its_quota_is_skipped_with_the_reason(call: Call, database: Database) -> None:
    submit(database)
    fail_next(database, "disk_full")
    submit(database)

    done = call("admin", "requeue", "--all", "--json", VISAVIS_QUOTA_JOBS_IN_FLIGHT="1")

    (reason,) = json.loads(done.stdout)["skipped"].values()
    assert reason == "tenant acme has too many jobs in flight"


@pytest.mark.parametrize(
    ("option", "scope", "name"),
    [((), PauseScope.ALL, ""), (("--tenant", "acme"), PauseScope.TENANT, "acme")],
)
def test_claims_are_paused_until_they_are_resumed(
    call: Call, database: Database, option: tuple[str, ...], scope: PauseScope, name: str
) -> None:
    submit(database)
    what = str(PauseTarget(scope, name))

    done = call("admin", "pause", *option, "--note", "disk is being replaced")
    assert done.stdout == f"paused: claims of {what}; queued: 1, running to their end: 0\n"
    assert database.attempts.claim("worker-1") is None
    shown = call("admin", "pause", "--list").stdout
    assert f"UTC: {what} (disk is being replaced)" in shown
    (row,) = json.loads(call("admin", "pause", "--list", "--json").stdout)
    assert (row["scope"], row["name"]) == (scope, name)
    doctor = " ".join(call("doctor").stdout.split())
    assert f"{what} not claimed since" in doctor

    assert call("admin", "pause", *option, "--resume").stdout == f"resumed: claims of {what}\n"
    assert database.attempts.claim("worker-1") is not None
    assert call("admin", "pause", "--list").stdout == "nothing is paused\n"


def test_a_drain_waits_for_the_running_job_and_leaves_the_rest_queued(
    call: Call, database: Database
) -> None:
    submit(database)
    submit(database)
    running = database.attempts.claim("gpu-1-77")
    assert running is not None
    end = threading.Timer(0.5, database.attempts.succeed, [running.id, running.attempt, []])
    end.start()

    done = call("admin", "drain", "--timeout", "60s")
    end.join()

    assert done.exit_code == 0
    assert "waiting for 1 job" in done.stderr
    assert "drained: no job is running; claims stay paused until" in done.stdout
    assert database.jobs.get(running.id).state is State.SUCCEEDED
    assert database.attempts.claim("gpu-1-77") is None


def test_one_worker_is_drained_and_others_go_on(call: Call, database: Database) -> None:
    submit(database)
    submit(database)
    running = database.attempts.claim("gpu-1-77")

    done = call("admin", "drain", "--worker", "gpu-1", "--timeout", "0s")

    assert running is not None and done.exit_code == 1
    assert "1 job of worker gpu-1 not finished in time; claims stay paused until" in done.stderr
    assert "admin pause --worker gpu-1 --resume" in " ".join(done.stderr.split())
    assert database.attempts.claim("gpu-1-78") is None
    assert database.attempts.claim("gpu-2-77") is not None


def test_waiting_for_an_empty_queue_pauses_nothing(call: Call, database: Database) -> None:
    waiting = submit(database)
    assert call("admin", "drain", "--until-empty", "--timeout", "0s").exit_code == 1
    database.jobs.cancel(waiting.id)

    done = call("admin", "drain", "--until-empty")

    assert done.stdout == "drained: no job is queued or running\n"
    assert database.pauses.all() == []


@pytest.mark.services
def test_the_commands_work_on_postgresql(call: Call) -> None:
    with postgresql() as url:
        upgrade(url)
        database = open_database(Settings(database_url=url))
        submit(database)
        failed = fail_next(database, "disk_full")
        waiting = submit(database)
        database.attempts.claim("gpu-1-77")

        def admin(*arguments: str) -> str:
            done = call("admin", *arguments, VISAVIS_DATABASE_URL=url)
            assert done.exit_code == 0, done.stderr
            return done.stdout

        assert failed.id in admin("jobs", "--error-code", "disk_full", "--newer-than", "1h")
        assert "running, decode 0%" in admin("job", waiting.id)
        assert "requeued: 1 job" in admin("requeue", "--since", "1h")
        assert "queued: 1, running to their end: 1" in admin("pause", "--note", "upgrade")
        assert database.attempts.claim("gpu-1-77") is None
        database.jobs.cancel(waiting.id)
        assert "drained: no job is running" in admin("drain")
        assert "resumed" in admin("pause", "--resume")
        assert database.attempts.claim("gpu-1-77") is not None
        database.close()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("jobs", "--state", "broken"), "--state: invalid state 'broken'; use queued, running"),
        (("jobs", "--older-than", "soon"), "--older-than: invalid duration 'soon'; use 90d"),
        (("job", "unknown"), "job not found: unknown; `visavis-server admin jobs`"),
        (("requeue",), "no jobs selected; name ids, or use --error-code"),
        (("requeue", "a", "--all"), "ids, filters and --all exclude each other"),
        (("requeue", "unknown"), "job not found: unknown; nothing was requeued"),
        (("pause", "--tenant", "a", "--person", "b"), "exclude each other; use one of them"),
        (("pause", "--worker", " "), "--worker: empty name; leave the option out"),
        (("pause", "--resume"), "no pause of all jobs; `visavis-server admin pause --list`"),
        (("drain", "--until-empty", "--worker", "a"), "--until-empty: a worker has no queue"),
    ],
)
def test_a_mistake_is_one_sentence(
    call: Call, database: Database, arguments: tuple[str, ...], sentence: str
) -> None:
    done = call("admin", *arguments)

    assert done.exit_code == 2
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
