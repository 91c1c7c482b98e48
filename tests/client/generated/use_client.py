"""Use a generated client as its users would: `python use_client.py FOLDER`.

FOLDER contains the package `generated`. The service is $VISAVIS_URL, with $VISAVIS_API_KEY, and
$CLIP the file to send. Prints the downloads as JSON: digests by job and name.
"""

# ruff: noqa: T201 -- its output is its result

import hashlib
import json
import os
import sys
import time
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

sys.path.insert(0, sys.argv[1])

from generated import AuthenticatedClient
from generated.api.files import upload_part
from generated.api.jobs import cancel_job, download_output, generate, get_job, list_jobs
from generated.api.people import list_people
from generated.api.uploads import complete_upload, create_upload
from generated.models import (
    GenerateBody,
    GenerateForm,
    JobView,
    Problem,
    ProblemCode,
    State,
    UploadAnnouncement,
)
from generated.types import File

client = AuthenticatedClient(os.environ["VISAVIS_URL"], os.environ["VISAVIS_API_KEY"], timeout=30)
clip = Path(os.environ["CLIP"])


def ended(job: object) -> JobView:
    assert isinstance(job, JobView), job
    while job.state in (State.QUEUED, State.RUNNING):
        job = get_job.sync(job.id, client=client, prefer="wait=10")
        assert isinstance(job, JobView), job
        time.sleep(0.01)
    return job


def digests(job: JobView) -> dict[str, str]:
    found = {}
    for output in job.outputs:
        file = download_output.sync(job.id, output.name, client=client)
        assert isinstance(file, File), file
        found[output.name] = hashlib.sha256(file.payload.read()).hexdigest()
    return found


def upload() -> str:
    content = clip.read_bytes()
    made = create_upload.sync(client=client, body=UploadAnnouncement(bytes_=len(content)))
    for part in made.parts:
        link = urlsplit(part.url)
        query = {name: values[0] for name, values in parse_qs(link.query).items()}
        answer = upload_part.sync_detailed(
            unquote(link.path.removeprefix("/files/")),
            client=client,
            body=File(content[part.first : part.first + part.bytes_]),
            bytes_=int(query["bytes"]),
            expires=query["expires"],
            signature=query["signature"],
        )
        assert answer.status_code == 204, answer.content
    assert complete_upload.sync(made.id, client=client).state == "ready"
    return made.id


(person,) = list_people.sync(client=client).people
with clip.open("rb") as audio:
    form = GenerateForm(audio=File(audio, clip.name), person=person.name, takes=2, seed=7)
    first = ended(generate.sync(client=client, body=form, idempotency_key="generated-1"))
second = ended(generate.sync(client=client, body=GenerateBody(upload_id=upload())))
assert first.state == second.state == State.SUCCEEDED
assert first.request.seed == 7

problem = generate.sync(client=client, body=GenerateBody(upload_id="0" * 32))
assert isinstance(problem, Problem), problem
assert problem.code == ProblemCode.UPLOAD_UNKNOWN

with clip.open("rb") as audio:
    form = GenerateForm(audio=File(audio, clip.name), metadata='{"outcome": "held"}')
    third = generate.sync(client=client, body=form)
assert cancel_job.sync(third.id, client=client).state == State.CANCELED
listed = [job.id for job in list_jobs.sync(client=client, state=[State.SUCCEEDED]).jobs]
assert {first.id, second.id} <= set(listed)
print(json.dumps({job.id: digests(job) for job in (first, second)}))
