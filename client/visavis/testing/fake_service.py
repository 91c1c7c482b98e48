"""A service in memory, as a transport of httpx."""

from __future__ import annotations

import email.parser
import email.policy
import json
import re
import threading
import uuid
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Literal

import httpx

from visavis.models import FINAL
from visavis.request import LISTS, JobAttributes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Content = dict[str, Any]
    Outcome = Literal["succeeded", "failed"]

STAGES = ("queued", "decode", "speech", "face", "guide", "body", "render", "publish")
PERSON = {
    "name": "demo",
    "title": "Demo person",
    "licence": "CC0-1.0",
    "max_seconds": 3600.0,
    "views": ["front", "side"],
    "default_views": ["front"],
    "defaults": {
        "steps": 50,
        "guidance_face": 1.5,
        "guidance_body": 1.5,
        "diversity": 0.97,
        "size": "512x512",
    },
    "outputs": ["video", "motion", "bvh", "glb", "csv", "vrma", "obj"],
    "samplers": ["ddim", "dpm-solver", "unipc"],
    "controls": ["expressiveness", "gestures"],
    "shadings": ["fast", "full"],
    "digest": "0" * 64,
}
SUFFIXES = {"mp4": "mp4", "fmp4": "mp4", "mov": "mov", "webm": "webm", "png": "zip"}
NUMBERS = ("takes", "seed", "steps", "guidance_until", "supersampling", "frame", "priority")
SWITCHES = ("both", "watermark")
DECIMALS = ("diversity", "guidance_face", "guidance_body", "mesh_rate", "cancel_after",
            "expressiveness", "gestures")  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """Fault of one request. status: of the answer; None: the connection is cut.

    lost: only after the request had its effect, so that its answer is lost.
    """

    status: int | None = None
    retry_after: str | None = None
    lost: bool = False
    code: str = "fault"


@dataclass
class _Upload:
    size: int
    parts: dict[int, bytes] = field(default_factory=dict)
    ready: bool = False


class FakeService(httpx.MockTransport):
    """Transport of httpx for both clients, with jobs in memory.

        fake = FakeService()
        with visavis.Client(transport=fake) as client:
            job = client.generate("talk.wav", takes=2).wait()
        assert fake.jobs[job.id]["request"]["takes"] == 2

    It accepts any bytes as a recording. requests: those that were sent. jobs: by id, as JSON.
    recordings: by job.

    outcome: of every job, or a function of its request. content: of every output file.
    part_bytes: of an upload. events: False answers 404 to streams, as an old proxy would.
    """

    def __init__(
        self,
        *,
        outcome: Outcome | Callable[[Content], Outcome] = "succeeded",
        content: bytes = b"video",
        part_bytes: int = 100 * 2**20,
        events: bool = True,
    ) -> None:
        super().__init__(self._handle)
        self.requests: list[httpx.Request] = []
        self.jobs: dict[str, Content] = {}
        self.recordings: dict[str, bytes] = {}  # by job
        self._outcome = outcome
        self._content = content
        self._part_bytes = part_bytes
        self._events = events
        self._keys: dict[str, str] = {}
        self._uploads: dict[str, _Upload] = {}
        self._faults: deque[Fault] = deque()
        self._lock = threading.RLock()

    def add_faults(self, *faults: Fault) -> None:
        """Let the next requests fail, one for each fault."""
        self._faults.extend(faults)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        with self._lock:
            request.read()
            self.requests.append(request)
            fault = self._faults.popleft() if self._faults else None
            if fault is None:
                return self._answer(request)
            if fault.lost:
                self._answer(request)
            if fault.status is None:
                raise httpx.ReadError("the connection was cut", request=request)
            headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
            return _problem(fault.status, fault.code, "fault of a test", headers)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        method, path = request.method, request.url.path
        for allowed, pattern, answer in ROUTES:
            if method == allowed and (found := re.fullmatch(pattern, path)):
                return answer(self, request, *found.groups())
        return _problem(404, "route_not_found", f"Nothing found at {path}.")

    def _generate(self, request: httpx.Request) -> httpx.Response:
        key = request.headers.get("idempotency-key", str(uuid.uuid4()))
        if key in self._keys:
            return self._job(self._keys[key], 202, {"Idempotent-Replayed": "true"})
        fields, files = _body(request)
        upload = fields.pop("upload_id", None)
        fields.pop("partner_upload_id", None)
        if upload is not None and upload not in self._uploads:
            return _problem(422, "upload_unknown", f"Upload {upload!r} not found; send it again.")
        if upload is not None:
            parts = self._uploads[upload].parts
            files["audio"] = b"".join(parts[number] for number in sorted(parts))
        if "audio" not in files and "audio_url" not in fields:
            return _problem(422, "invalid_request", "audio: is missing; send it.", field="audio")
        job = self._new_job(fields)
        self._keys[key] = job["id"]
        self.recordings[job["id"]] = files.get("audio", b"")
        return self._job(job["id"], 202)

    def _new_job(self, fields: Content) -> Content:
        attributes = {
            name: fields.pop(name) for name in JobAttributes.__annotations__ if name in fields
        }
        now = _now()
        job: Content = {
            "id": uuid.uuid4().hex,
            "tenant": "local",
            "state": "queued",
            "stage": "queued",
            "progress": 0.0,
            "stages": [{"name": name, "progress": 0.0} for name in STAGES],
            "position": 1,
            "attempt": 0,
            "max_attempts": 3,
            "created_at": now,
            "started_at": None,
            "finished_at": None,
            "clip_seconds": 1.0,
            "priority": 0,
            "metadata": {},
            "batch": None,
            "callback_url": None,
            "webhook_events": ["job.succeeded", "job.failed", "job.canceled"],
            "cancel_after": None,
            "cancel_at": None,
            "request": {"person": "demo", "takes": 1, "format": "mp4", **fields},
            "outputs": [],
            "warnings": [],
            "expires_at": None,
            "expired": False,
            "error": None,
            **attributes,
        }
        self.jobs[job["id"]] = job
        return job

    def _advance(self, job: Content) -> None:
        """Move a job one state on: queued, running, ended."""
        if job["state"] == "queued":
            job |= {"state": "running", "stage": "render", "progress": 0.5, "position": None}
            job |= {"attempt": job["attempt"] + 1, "started_at": _now()}
        elif job["state"] == "running":
            request = job["request"]
            outcome = self._outcome if isinstance(self._outcome, str) else self._outcome(request)
            job |= {"state": outcome, "finished_at": _now()}
            if outcome == "failed":
                job["error"] = {"code": "clip_unsuitable", "detail": "the fake service refuses it"}
            else:
                job |= {"stage": "publish", "progress": 1.0, "outputs": self._outputs(job)}

    def _outputs(self, job: Content) -> list[Content]:
        request = job["request"]
        suffix = SUFFIXES[request["format"]]
        kinds = {"video": f"take-{{}}.{suffix}", "preview": "preview-{}.mp4"}
        names = [
            kinds.get(kind, "motion-{}.npz").format(take)
            for take in range(1, request["takes"] + 1)
            for kind in request.get("outputs", ["video"])
        ]
        if request.get("both"):
            names = [each for name in names for each in _of_both(name, request)]
        return [
            {
                "name": name,
                "content_type": "application/octet-stream",
                "bytes": len(self._content),
                "url": f"http://fake/jobs/{job['id']}/outputs/{name}",
                "path": f"/jobs/{job['id']}/outputs/{name}",
            }
            for name in names
        ]

    def _job(
        self, job_id: str, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        if job_id not in self.jobs:
            return _problem(404, "job_not_found", f"Job {job_id!r} not found.")
        return httpx.Response(status, json=self.jobs[job_id], headers=headers)

    def _read(self, _request: httpx.Request, job_id: str) -> httpx.Response:
        if job_id in self.jobs:
            self._advance(self.jobs[job_id])
        return self._job(job_id)

    def _stream(self, _request: httpx.Request, job_id: str) -> httpx.Response:
        job = self.jobs.get(job_id)
        if job is None or not self._events:
            code = "route_not_found" if job else "job_not_found"
            return _problem(404, code, "Nothing found.")
        text = f"event: job\nid: {job['state']}\ndata: {json.dumps(job)}\n\n"
        while job["state"] not in FINAL:
            self._advance(job)
            text += f"event: job\nid: {job['state']}\ndata: {json.dumps(job)}\n\n"
        return httpx.Response(200, text=text, headers={"Content-Type": "text/event-stream"})

    def _list(self, request: httpx.Request) -> httpx.Response:
        query = request.url.params
        states = query.get_list("state")
        jobs = [
            job
            for job in reversed(list(self.jobs.values()))
            if not states or job["state"] in states
        ]
        first, limit = int(query.get("cursor", "0")), int(query.get("limit", "20"))
        following = first + limit if first + limit < len(jobs) else None
        page = {"jobs": jobs[first : first + limit], "next": following and str(following)}
        return httpx.Response(200, json=page)

    def _cancel(self, _request: httpx.Request, job_id: str) -> httpx.Response:
        job = self.jobs.get(job_id)
        if job is not None and job["state"] in ("succeeded", "failed"):
            return _problem(409, "job_has_ended", f"The job has {job['state']}.")
        if job is not None:
            job |= {"state": "canceled", "finished_at": _now()}
        return self._job(job_id)

    def _retry(self, _request: httpx.Request, job_id: str) -> httpx.Response:
        job = self.jobs.get(job_id)
        if job is not None and job["state"] not in ("failed", "canceled"):
            return _problem(409, "job_not_retryable", f"The job is {job['state']}.")
        if job is not None:
            job |= {"state": "queued", "error": None, "finished_at": None}
        return self._job(job_id, 202)

    def _delete(self, _request: httpx.Request, job_id: str) -> httpx.Response:
        if job_id not in self.jobs:
            return self._job(job_id)
        del self.jobs[job_id]
        return httpx.Response(204)

    def _render(self, request: httpx.Request, job_id: str) -> httpx.Response:
        key = request.headers.get("idempotency-key", str(uuid.uuid4()))
        if job_id not in self.jobs or key in self._keys:
            return self._job(self._keys.get(key, job_id), 202)
        fields = json.loads(request.content)
        fields.pop("takes", None)
        job = self._new_job({**self.jobs[job_id]["request"], **fields})
        self._keys[key] = job["id"]
        return self._job(job["id"], 202)

    def _output(self, request: httpx.Request, job_id: str, name: str) -> httpx.Response:
        job = self.jobs.get(job_id)
        if job is None or name not in [each["name"] for each in job["outputs"]]:
            return _problem(404, "output_not_found", f"Output {name!r} not found.")
        content, headers = self._content, {"ETag": '"fake"'}
        asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
        if asked is None:
            return httpx.Response(200, content=content, headers=headers)
        first = int(asked[1])
        headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        return httpx.Response(206, content=content[first:], headers=headers)

    def _announce(self, request: httpx.Request) -> httpx.Response:
        upload_id = uuid.uuid4().hex
        self._uploads[upload_id] = _Upload(json.loads(request.content)["bytes"])
        return self._upload(request, upload_id, 201)

    def _upload(self, _request: httpx.Request, upload_id: str, status: int = 200) -> httpx.Response:
        upload = self._uploads.get(upload_id)
        if upload is None:
            return _problem(404, "upload_not_found", f"Upload {upload_id!r} not found.")
        size, step = upload.size, self._part_bytes
        parts = [
            {
                "number": first // step + 1,
                "first": first,
                "bytes": min(step, size - first),
                "url": f"http://fake/files/{upload_id}/{first // step + 1}",
            }
            for first in range(0, size, step)
        ]
        expires = datetime.now(timezone.utc) + timedelta(hours=1)
        content = {
            "id": upload_id,
            "state": "ready" if upload.ready else "open",
            "bytes": size,
            "created_at": _now(),
            "expires_at": expires.isoformat(),
            "clip_seconds": 1.0 if upload.ready else None,
            "parts": [] if upload.ready else parts,
        }
        return httpx.Response(status, json=content)

    def _put(self, request: httpx.Request, upload_id: str, number: str) -> httpx.Response:
        self._uploads[upload_id].parts[int(number)] = request.content
        return httpx.Response(204)

    def _complete(self, request: httpx.Request, upload_id: str) -> httpx.Response:
        upload = self._uploads.get(upload_id)
        if upload is not None:
            count = -(-upload.size // self._part_bytes)
            missing = next((n for n in range(1, count + 1) if n not in upload.parts), None)
            if missing is not None:
                detail = f"Part {missing} is missing; PUT it, then complete the upload."
                return _problem(409, "part_missing", detail, field=f"parts.{missing}")
            upload.ready = True
        return self._upload(request, upload_id)

    def _people(self, _request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"people": [PERSON]})


ROUTES: tuple[tuple[str, str, Callable[..., httpx.Response]], ...] = (
    ("POST", "/generate", FakeService._generate),
    ("GET", "/jobs", FakeService._list),
    ("GET", "/jobs/([^/]+)", FakeService._read),
    ("GET", "/jobs/([^/]+)/events", FakeService._stream),
    ("POST", "/jobs/([^/]+)/cancel", FakeService._cancel),
    ("POST", "/jobs/([^/]+)/retry", FakeService._retry),
    ("POST", "/jobs/([^/]+)/render", FakeService._render),
    ("DELETE", "/jobs/([^/]+)", FakeService._delete),
    ("GET", "/jobs/([^/]+)/outputs/([^/]+)", FakeService._output),
    ("POST", "/uploads", FakeService._announce),
    ("GET", "/uploads/([^/]+)", FakeService._upload),
    ("PUT", "/files/([^/]+)/([^/]+)", FakeService._put),
    ("POST", "/uploads/([^/]+)/complete", FakeService._complete),
    ("GET", "/people", FakeService._people),
)


def _of_both(name: str, request: Content) -> list[str]:
    """Return the files of both persons: one video side by side, else one for each of them."""
    if not name.startswith("motion") and request.get("layout") != "files":
        return [name]
    stem, _, suffix = name.rpartition(".")
    return [name, f"{stem}-partner.{suffix}"]


def _now() -> str:
    return datetime.now(timezone.utc).isoformat()


def _problem(
    status: int,
    code: str,
    detail: str,
    headers: Mapping[str, str] | None = None,
    *,
    field: str | None = None,
) -> httpx.Response:
    body: Content = {"status": status, "code": code, "detail": detail}
    if field is not None:
        body["errors"] = [{"field": field, "detail": detail}]
    return httpx.Response(status, json=body, headers=headers)


def _body(request: httpx.Request) -> tuple[Content, dict[str, bytes]]:
    """Return the fields and the files of a request."""
    kind = request.headers.get("content-type", "")
    if not kind.startswith("multipart/"):
        return json.loads(request.content), {}
    head = f"Content-Type: {kind}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + request.content)
    fields: Content = {}
    files: dict[str, bytes] = {}
    for part in message.iter_parts():
        name = str(part.get_param("name", header="content-disposition"))
        content = part.get_payload(decode=True)
        if part.get_filename() is not None:
            files[name] = bytes(content)
        else:
            fields[name] = _value(name, bytes(content).decode())
    return fields, files


def _value(name: str, text: str) -> Any:
    if name in LISTS:
        return text.split(",")
    if name in NUMBERS:
        return int(text)
    if name in DECIMALS:
        return float(text)
    if name in SWITCHES:
        return text.lower() == "true"
    return json.loads(text) if name == "metadata" else text
