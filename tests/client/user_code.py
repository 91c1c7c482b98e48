"""Code of a user, checked by `mypy --strict`; an unneeded `type: ignore` is an error, too."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import visavis
from visavis.testing import FakeService

if TYPE_CHECKING:
    from datetime import datetime


def one(path: Path) -> Path:
    with visavis.Client("http://localhost:8000", api_key="vv_...", timeout=30) as client:
        job: visavis.Job = client.generate(
            path,
            partner=b"RIFF",
            person="demo",
            takes=3,
            seed=None,
            views=["front", "side"],
            format="webm",
            metadata={"order": "17"},
            cancel_after=600,
            webhook_events=["job.failed"],
        )
        job = job.wait(progress=lambda each: print(each.stage, each.progress), timeout=60)
        finished: datetime | None = job.finished_at
        print(finished, [warning.code for warning in job.warnings])
        return job.takes[0].download("out.mp4")


def wrong(client: visavis.Client) -> None:
    client.generate("talk.wav", takes="three")  # type: ignore[arg-type]
    client.generate("talk.wav", format="avi")  # type: ignore[arg-type]
    client.generate("talk.wav", tekes=3)  # type: ignore[call-arg]
    client.generate(17)  # type: ignore[arg-type]


def many(client: visavis.Client, folder: Path) -> int:
    report: visavis.BatchReport = client.batch(
        folder.glob("*.wav"),
        out="videos",
        concurrency=8,
        resume="batch.jsonl",
        on_progress=lambda progress: print(progress.succeeded, progress.total),
        takes=2,
    )
    states = {result.audio.name: result.state for result in report.results}
    print(states)
    return len(report.raise_for_failures().succeeded)


def listed(client: visavis.Client) -> list[str]:
    failed = client.jobs.list(state=["failed", "canceled"], limit=50)
    return [f"{job.id}: {job.error.code}" for job in failed if job.error is not None]


def raw(client: visavis.Client) -> str | None:
    answer: visavis.RawResponse[visavis.Job] = client.with_raw_response.generate(
        "talk.wav", takes=2
    )
    job: visavis.Job = answer.parse()
    return answer.request_id or job.id


def errors(client: visavis.Client) -> str:
    try:
        client.generate("talk.wav").wait()
    except visavis.QuotaError as error:
        return f"{error.code}: {error.quota['used']:g}"
    except visavis.APIStatusError as error:
        return f"{error.status} {error.code} {error.hint} {error.errors} {error.incident}"
    except visavis.JobFailed as error:
        return f"{error.job.id} {error.code}"
    return ""


def hook(client: visavis.Client, body: bytes, headers: dict[str, str]) -> visavis.State:
    event = client.webhooks.unwrap(body, headers, "whsec_...")
    return event.job.state


async def asynchronous(path: Path) -> list[Path]:
    async with visavis.AsyncClient(transport=FakeService()) as client:
        jobs: list[visavis.AsyncJob] = [await client.generate(path) for _ in range(2)]
        await asyncio.gather(*(job.wait() for job in jobs))
        upload: visavis.Upload = await client.uploads.create(path)
        await client.batches.create([{"upload_id": upload.id, "takes": 2}])
        return [await job.takes[0].download() for job in jobs]
