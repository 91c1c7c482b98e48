"""Origin of an output, and findings about the origin of a file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from contracts.consent import UNKNOWN, Consent

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


@dataclass(frozen=True)
class Clip:
    """A recording that an output is made from."""

    sha256: str
    manifest: bytes | None = field(default=None, repr=False)  # archive of its C2PA ingredient


@dataclass(frozen=True)
class ShownPerson:
    """A person in a picture or in motion."""

    name: str
    digest: str  # of person.json
    consent: Consent = UNKNOWN


@dataclass(frozen=True)
class Origin:
    """Facts of one job or command that manifest and watermark repeat."""

    request: str  # `request_digest`
    person: str
    person_digest: str  # of person.json
    consent: Consent = UNKNOWN
    clips: tuple[Clip, ...] = ()  # the person's, then the partner's
    job: str | None = None  # id; None without a service
    others: tuple[ShownPerson, ...] = ()  # further persons

    @property
    def people(self) -> tuple[ShownPerson, ...]:
        """All persons, from left to right."""
        return (ShownPerson(self.person, self.person_digest, self.consent), *self.others)

    def showing(self, places: Sequence[int]) -> Origin:
        """Return the origin of a file with some of the persons, by their places from 0."""
        first, *others = (self.people[place] for place in places)
        return replace(
            self,
            person=first.name,
            person_digest=first.digest,
            consent=first.consent,
            others=tuple(others),
        )


def joint_digest(digests: Iterable[str]) -> str:
    """Return one digest of several persons; that of one person is her own."""
    found = list(digests)
    if len(found) == 1:
        return found[0]
    return hashlib.sha256(" ".join(found).encode()).hexdigest()


def request_digest(
    request: Mapping[str, Any], person_digest: str, clips: Sequence[str] = ()
) -> str:
    """Return the SHA-256 of all that the files of a request depend on, in hex.

    request: JSON values, with the seed. person_digest: `joint_digest` of all persons. clips:
    SHA-256 of each recording. Equal digests mean equal motion and equal frames on one kind of
    device.
    """
    facts = {"request": dict(request), "person": person_digest, "clips": list(clips)}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


class ManifestState(StrEnum):
    """Validity of the manifest of a file."""

    VALID = "valid"  # signed, and the file is as it was signed
    INVALID = "invalid"  # file or manifest have changed, or the signature is wrong
    REMOVED = "removed"  # no manifest, although comment or watermark name visavis
    ABSENT = "absent"  # no manifest, and nothing names visavis


@dataclass(frozen=True)
class ManifestFinding:
    """The manifest of a file, embedded or beside it."""

    state: ManifestState
    reasons: tuple[str, ...] = ()  # sentences
    trusted: bool = False  # whether its certificate leads to one that the operator trusts
    signer: str | None = None  # name in the certificate
    signed_at: str | None = None  # only with a time stamp authority
    claims: Mapping[str, Any] = field(default_factory=dict)  # what the manifest says


@dataclass(frozen=True)
class WatermarkFinding:
    """The watermark of a file, in picture or sound: result of `models.watermark.detect`."""

    found: bool
    certainty: float = 0.0  # 0..1: 1 - the probability that an unmarked file scores as high
    id: str | None = None  # 16 hex digits; None where only the presence can be read
    where: tuple[str, ...] = ()  # "picture", "sound"


@dataclass(frozen=True)
class Report:
    """Findings in one file."""

    manifest: ManifestFinding
    watermark: WatermarkFinding | None = None  # None: not looked for
    job: str | None = None  # of this service

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return asdict(self)
