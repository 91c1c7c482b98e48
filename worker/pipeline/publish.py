"""Finished files of takes: written, signed, and complete or not there."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from contracts.consent import NOT_STATED
from contracts.files import CHUNK, write_atomically
from contracts.provenance import Clip, Origin, ShownPerson, joint_digest, request_digest
from jobs.model import JobWarning
from jobs.sandbox.manifests import ingredient_of
from worker.provenance.manifest import sidecar_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from contracts.consent import Consent
    from contracts.outputs import Output
    from jobs.request.model import GenerateRequest
    from worker.pipeline.plan import Cast
    from worker.pipeline.take import Take
    from worker.provenance.manifest import ManifestSigner

MARK = b"c2pa"  # in every file with a manifest
CONSENT_UNKNOWN = JobWarning(
    "consent_unknown",
    "person.json of this person states no consent, so only non-commercial use is allowed; its "
    "operator can add it.",
)


def write_output(
    output: Output, take: Take, path: Path, signer: ManifestSigner | None
) -> tuple[Path, ...]:
    """Write a take as one kind of file, and sign it; every file that leaves the pipeline does.

    signer: None where the operator has turned manifests off. Returns the file and, where it cannot
    hold its manifest, the sidecar beside it. They appear when they are complete.
    Raises: OSError: when the disk is full. Errors of the writer.
    """
    with write_atomically(path) as draft:
        output.write(take, draft)
        if signer is None:
            return (path,)
        assert take.origin is not None, "take_of(origin=...)"
        facts: dict[str, Any] = {"seed": take.seed}
        if len(take.seeds) > 1:
            facts["seeds"] = list(take.seeds)
        if output.frames and take.watermark is not None:
            facts["watermark"] = take.watermark
        beside = signer.sign(draft, output, take.origin, facts)
        if beside:
            sidecar_of(draft).replace(sidecar_of(path))
    return (path, sidecar_of(path)) if beside else (path,)


def consent_warnings(consents: Iterable[Consent]) -> tuple[JobWarning, ...]:
    """Return the warning about persons of whom one person.json states no consent."""
    unknown = any(consent.kind == NOT_STATED for consent in consents)
    return (CONSENT_UNKNOWN,) if unknown else ()


def origin_of(
    request: GenerateRequest,
    people: Sequence[ShownPerson],
    recordings: Sequence[Path] = (),
    job: str | None = None,
) -> Origin:
    """Return the origin of the files of a request.

    request: with its seed, and resolved with the defaults of the persons. people: all of them.
    recordings: files as they were sent, of the person, then of the partner.
    """
    clips: list[Clip] = []
    for path in recordings:  # a manifest has one parent
        clips.append(read_clip(path, parent=all(clip.manifest is None for clip in clips)))
    joint = joint_digest(each.digest for each in people)
    digest = request_digest(request.digest_facts(), joint, [clip.sha256 for clip in clips])
    first, *others = people
    return Origin(digest, first.name, first.digest, first.consent, tuple(clips), job, tuple(others))


def shown_in(cast: Cast) -> list[ShownPerson]:
    """Return the persons of a job as its manifests name them."""
    people = [each.person for each in cast.performers]
    return [ShownPerson(each.name, each.digest, each.consent) for each in people]


def read_clip(path: Path, *, parent: bool = True) -> Clip:
    """Return the digest of a recording, with its manifest if it has one.

    parent: whether that is named as the parent, or else as an input.
    """
    digest, marked, tail = hashlib.sha256(), False, b""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            marked = marked or MARK in tail + chunk
            tail = chunk[-len(MARK) :]
    return Clip(digest.hexdigest(), ingredient_of(path, parent=parent) if marked else None)
