"""Examples of bodies for the OpenAPI document, made of the models of these bodies."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from api.schemas.batches import BatchView, Counts, ItemView
from api.schemas.detect import DetectionView, ManifestView
from api.schemas.jobs import (
    ErrorView,
    Health,
    JobList,
    JobView,
    OutputView,
    People,
    PersonView,
    Readiness,
    StageView,
    UsageView,
)
from contracts.avatar_kinds import SHADINGS
from contracts.outputs import output_kinds
from contracts.person import CONTROLS
from contracts.provenance import ManifestState
from contracts.samplers import SAMPLERS
from contracts.stages import STAGE_NAMES, overall_progress
from jobs.model import LOCAL, State
from jobs.persons import PersonDefaults
from jobs.request.model import JobRequest
from jobs.store.uploads import PART_BYTES
from jobs.webhooks.events import WEBHOOK_EVENTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

HOST = "https://visavis.example.com"
JOB_ID = "0198c0ffee127000a1b2c3d4e5f60718"
OTHER_JOB_ID = "0198c0ffee127000a1b2c3d4e5f60719"
BATCH_ID = "0198c0ffee137000b1c2d3e4f5061728"
UPLOAD_ID = "0198c0ffee117000c1d2e3f405162738"
CREATED = datetime(2026, 5, 4, 12, tzinfo=UTC)
CALLBACK_URL = "https://example.com/hook"
UPLOAD_BYTES = 150_000_000
SYNTHETIC_CONSENT = {"kind": "synthetic", "uses": ["non-commercial", "commercial"]}


def job_example(state: State) -> JobView:
    """A job in this state: canceled and failed ones have ended while they were queued."""
    running, succeeded = state is State.RUNNING, state is State.SUCCEEDED
    started, stage = running or succeeded, {State.SUCCEEDED: "publish", State.RUNNING: "body"}
    return JobView(
        id=JOB_ID,
        tenant=LOCAL,
        state=state,
        stage=stage.get(state, "queued"),
        progress=1.0 if succeeded else round(overall_progress("body", 0.5), 4) if running else 0.0,
        stages=_stages(state),
        seconds_left=31.5 if running else None,
        position=1 if state is State.QUEUED else None,
        attempt=int(started),
        max_attempts=3,
        created_at=CREATED,
        started_at=CREATED + timedelta(seconds=1) if started else None,
        finished_at=CREATED + timedelta(seconds=48) if state.final else None,
        filename="conversation.wav",
        clip_seconds=12.0,
        priority=0,
        metadata={"order": "17"},
        batch=None,
        callback_url=CALLBACK_URL,
        webhook_events=WEBHOOK_EVENTS,
        cancel_after=600.0,
        cancel_at=CREATED + timedelta(seconds=600),
        request=JobRequest(seed=7, size="512"),
        outputs=[_output()] if succeeded else [],
        consent=SYNTHETIC_CONSENT,
        partner_consent=None,
        live=[],
        usage=_usage() if started else None,
        warnings=[],
        expires_at=None,
        expired=False,
        error=(
            ErrorView(code="audio_damaged", detail="The clip cannot be decoded.")
            if state is State.FAILED
            else None
        ),
    )


def _usage() -> UsageView:
    return UsageView(device="cuda", device_seconds=46.2, cost=0.032083, currency="USD")


def _detection() -> DetectionView:
    claims = {"software": "visavis 0.1.0", "person": {"name": "demo"}, "job": JOB_ID, "seed": 7}
    manifest = ManifestView(
        state=ManifestState.VALID,
        reasons=(),
        trusted=True,
        signer="Example Ltd",
        signed_at=None,
        claims=claims,
    )
    return DetectionView(manifest=manifest, watermark=None, job=JOB_ID)


def response_examples(operation: str, status: str) -> Mapping[str, Any]:
    """Example of each model that an operation answers with, as JSON."""
    examples: dict[str, BaseModel] = {
        "JobView": job_example(_state_after(operation, status)),
        "JobList": JobList(jobs=[job_example(State.SUCCEEDED)], next=None),
        "BatchView": _batch(canceled=operation == "cancel_batch"),
        "People": People(people=[_person()]),
        "DetectionView": _detection(),
        "Health": Health(status="ok"),
        "Readiness": Readiness(
            status="ready", checks={"database": "ok", "broker": "ok", "storage": "ok"}
        ),
    }
    upload = _upload(ready=operation == "complete_upload")
    delivery = _delivery(delivered=operation == "list_deliveries")
    return {name: each.model_dump(mode="json") for name, each in examples.items()} | {
        "UploadView": upload,
        "DeliveryView": delivery,
        "DeliveryList": {"deliveries": [delivery]},
    }


REQUEST_EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "GenerateBody": {"upload_id": UPLOAD_ID, "person": "demo", "takes": 2, "seed": 7},
    "RenderAsked": {"size": "1024", "views": ["front", "side"], "takes": [1]},
    "BatchRequest": {
        "items": [
            {"upload_id": UPLOAD_ID, "seed": 1},
            {"upload_id": UPLOAD_ID, "seed": 2, "metadata": {"order": "17"}},
        ]
    },
    "UploadAnnouncement": {"bytes": UPLOAD_BYTES},
}


def _state_after(operation: str, status: str) -> State:
    if operation == "cancel_job":
        return State.CANCELED
    return State.QUEUED if status == "202" else State.SUCCEEDED


def _stages(state: State) -> list[StageView]:
    done = {State.SUCCEEDED: len(STAGE_NAMES), State.RUNNING: STAGE_NAMES.index("body")}
    finished = done.get(state, 0)
    progress = [float(number < finished) for number in range(len(STAGE_NAMES))]
    if state is State.RUNNING:
        progress[finished] = 0.5
    return [
        StageView(name=name, progress=each)
        for name, each in zip(STAGE_NAMES, progress, strict=True)
    ]


def _output() -> OutputView:
    return OutputView(
        name="take-1.mp4",
        content_type="video/mp4",
        bytes=1_843_200,
        url=f"{HOST}/files/jobs/{JOB_ID}/attempt-1/take-1.mp4?name=conversation-take-1.mp4"
        "&expires=1777900000&signature=7d5a",
        path=f"/jobs/{JOB_ID}/outputs/take-1.mp4",
    )


def _batch(*, canceled: bool) -> BatchView:
    state = State.CANCELED if canceled else State.QUEUED
    counts = dict.fromkeys([each.value for each in State], 0) | {state.value: 2}
    return BatchView(
        id=BATCH_ID,
        tenant=LOCAL,
        created_at=CREATED,
        size=2,
        ended=canceled,
        counts=Counts(deleted=0, **counts),
        items=[
            ItemView(place=place, job=job, state=state, error=None)
            for place, job in enumerate((JOB_ID, OTHER_JOB_ID), 1)
        ],
    )


def _person() -> PersonView:
    defaults = {"steps": 50, "guidance_face": 1.5, "guidance_body": 1.5, "diversity": 0.97}
    url = f"{HOST}/people/demo/{{}}?version={hashlib.sha256(b'').hexdigest()}"
    return PersonView(
        name="demo",
        title="The demo person",
        licence="CC0-1.0",
        max_seconds=600.0,
        views=("front", "side"),
        default_views=("front",),
        defaults=PersonDefaults.model_validate(defaults | {"size": "512x512"}),
        outputs=output_kinds(),
        samplers=tuple(SAMPLERS.by_name),
        controls=CONTROLS,
        shadings=SHADINGS,
        digest=hashlib.sha256(b"person.json").hexdigest(),
        picture=url.format("picture.webp"),
        loop=url.format("loop.mp4"),
    )


def _upload(*, ready: bool) -> dict[str, Any]:
    link = f"{HOST}/files/uploads/{UPLOAD_ID}/parts/{{}}?bytes={{}}&expires=1777900000&signature=1f"
    parts = [(1, 0, PART_BYTES), (2, PART_BYTES, UPLOAD_BYTES - PART_BYTES)]
    return {
        "id": UPLOAD_ID,
        "state": "ready" if ready else "open",
        "bytes": UPLOAD_BYTES,
        "created_at": CREATED.isoformat(),
        "expires_at": (CREATED + timedelta(days=1)).isoformat(),
        "clip_seconds": 390.6 if ready else None,
        "parts": [
            {"number": number, "first": first, "bytes": size, "url": link.format(number, size)}
            for number, first, size in parts
            if not ready
        ],
    }


def _delivery(*, delivered: bool) -> dict[str, Any]:
    at = (CREATED + timedelta(seconds=49)).isoformat()
    answered = {"at": at, "status": 204, "milliseconds": 61.5, "error": None}
    refused = {"at": at, "status": 500, "milliseconds": 40.2, "error": "status 500"}
    return {
        "id": "0198c0ffee147000d1e2f30415263748",
        "type": "job.succeeded",
        "state": "delivered" if delivered else "pending",
        "url": CALLBACK_URL,
        "created_at": at,
        "next_try_at": None if delivered else at,
        "tries": [answered if delivered else refused],
    }
