"""The persons that the service can show: person.json and camera names, without torch."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.json_schema import SkipJsonSchema

from contracts.avatar_kinds import AVATAR_KINDS, FAST
from contracts.consent import COMMERCIAL, UNKNOWN, Consent
from contracts.errors import InputError
from contracts.outputs import supported_kinds
from contracts.person import CONTROLS, DRAFT, MANIFEST, MEDIA, StudentFacts, read_manifest
from contracts.samplers import SAMPLERS, STUDENT
from jobs.request.declare import declared_fields
from jobs.request.values import Views

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

logger = logging.getLogger(__name__)

FIRST_DEFAULTS = {"steps", "guidance_face", "guidance_body", "diversity", "size"}


def _default_fields() -> dict[str, Any]:
    """Return the fields of `PersonDefaults`: request fields whose default a person may set.

    Persons of the first release have all of that release's fields; a later field may be missing.
    """
    fields: dict[str, Any] = {}
    for field in declared_fields():
        if not field.person_default:
            continue
        if field.name == "views":  # GET /people returns them as `default_views`
            fields["views"] = (Views | None, Field(default=None, exclude=True))
        elif field.name in FIRST_DEFAULTS:
            fields[field.name] = (field.type, ...)
        else:
            fields[field.name] = (field.optional_annotation, None)
    hidden: Any = SkipJsonSchema
    fields["student"] = (hidden[StudentFacts | None], Field(default=None, exclude=True))
    return fields


if TYPE_CHECKING:

    class PersonDefaults(BaseModel):
        """Values of request fields that a request leaves empty."""

        steps: int
        guidance_face: float
        guidance_body: float
        diversity: float
        size: str
        views: Views | None = None
        quality: str | None = None
        student: StudentFacts | None = None

else:
    PersonDefaults = create_model(
        "PersonDefaults",
        __config__=ConfigDict(frozen=True),
        __doc__="Values of request fields that a request leaves empty.",
        __module__=__name__,
        **_default_fields(),
    )


@dataclass(frozen=True)
class PersonFile:
    """A picture or film in the person's directory that shows her before any job."""

    kind: str  # of `contracts.person.MEDIA`
    name: str
    sha256: str

    @property
    def content_type(self) -> str:
        """Its media type."""
        return MEDIA[self.kind][PurePath(self.name).suffix]


class PersonSummary(BaseModel):
    """A person as the API describes it."""

    model_config = ConfigDict(frozen=True)

    name: str
    title: str
    licence: str
    max_seconds: float
    views: tuple[str, ...] = Field(description="All names that `views` of a request may contain.")
    default_views: tuple[str, ...] = Field(description="The views of a request that names none.")
    defaults: PersonDefaults
    outputs: tuple[str, ...] = Field(
        description="Values of `outputs` that this person has: `csv` needs a face with units."
    )
    consent: Consent = Field(
        default=UNKNOWN, description="Agreement to show the person, with the uses it covers."
    )
    samplers: tuple[str, ...] = Field(
        description="Values of `sampler` that this person has: `student` needs further networks."
    )
    controls: tuple[str, ...] = Field(
        description="Request fields that this person supports: `expressiveness`, `gestures`."
    )
    shadings: tuple[str, ...] = Field(
        description="Values of `shading` that this person has: `full` needs a painted mesh."
    )
    digest: str  # SHA-256 of person.json
    files: SkipJsonSchema[tuple[PersonFile, ...]] = Field(default=(), exclude=True)

    def check_outputs(self, kinds: Iterable[str]) -> None:
        """Raises: OutputUnsupported: when this person does not have one of the outputs."""
        for kind in kinds:
            if kind not in self.outputs:
                raise OutputUnsupported(
                    f"outputs: {self.name!r} has no {kind}, which needs a face with units; choose "
                    f"from {', '.join(self.outputs)}"
                )

    def check_controls(self, request: BaseModel) -> None:
        """Raises: ControlUnsupported: when the request sets a field that needs finishing."""
        for name in CONTROLS:
            if getattr(request, name) != 1 and name not in self.controls:
                raise ControlUnsupported(name, f"{self.name!r} does not support it; leave it out")

    def check_shading(self, shading: str) -> None:
        """Raises: ShadingUnsupported: when this person does not have the shading."""
        if shading not in self.shadings:
            raise ShadingUnsupported(
                f"shading: {self.name!r} has only {', '.join(self.shadings)}, because this "
                "person's picture is learned; leave shading out"
            )

    def check_use(self, use: str | None, service: str | None) -> None:
        """Raises: ConsentRefused: when the consent has ended, or does not cover the use."""
        check_use(self.name, self.consent, use, service)


class ControlUnsupported(InputError):
    """A request field that this person does not support."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(f"{field}: {text}")
        self.field = field


class ConsentRefused(InputError):
    """A use of a person that her consent does not cover."""


def check_use(person: str, consent: Consent, use: str | None, service: str | None) -> None:
    """Check a use of a person.

    use: of the request. service: `VISAVIS_USE`; one of both makes the use commercial.
    Raises: ConsentRefused: when the consent has ended, or does not cover the use.
    """
    stated = COMMERCIAL if COMMERCIAL in (use, service) else use or service
    if (refusal := consent.refusal(person, stated)) is not None:
        raise ConsentRefused(refusal)


class ShadingUnsupported(InputError):
    """A shading that a person does not have."""


class OutputUnsupported(InputError):
    """An output that a person does not have."""


@dataclass(frozen=True)
class People:
    """Every person below a folder."""

    valid: tuple[PersonSummary, ...]  # by name
    left_out: Mapping[str, str]  # name of the folder -> reason, for the operator

    def reason(self, name: str) -> str:
        """Return the reason why a person is left out, else those of all; empty without any."""
        chosen = [name] if name in self.left_out else list(self.left_out)
        return "; ".join(f"{each} is left out: {self.left_out[each]}" for each in chosen)


class PeopleMissing(RuntimeError):
    """The folder of people is missing, or contains no valid person."""


# Last valid version of each directory: person.json is invalid while a copy replaces it.
_last_valid: dict[Path, PersonSummary] = {}


def require_people(folder: Path) -> People:
    """Read every person below `folder`.

    Raises: PeopleMissing: without any person, as on an unmounted disk.
    """
    people = read_people(folder)
    if people.valid:
        return people
    if not folder.is_dir():
        raise PeopleMissing(f"{folder} is missing; mount it, or correct VISAVIS_PEOPLE")
    reason = people.reason("") or "add a person directory, or correct VISAVIS_PEOPLE"
    raise PeopleMissing(f"no valid person in {folder}; {reason}")


def read_people(folder: Path) -> People:
    """Read every person below `folder`, with the reasons why some are left out.

    A person whose person.json has become invalid keeps the version that this process read before.
    """
    valid, left_out = [], {}
    for draft in folder.glob(f"*/{DRAFT}"):
        left_out[draft.parent.name] = (
            f"its training is not complete, it has {DRAFT} but no {MANIFEST}; its trainers "
            "(`python -m training`) name the next step"
        )
    for manifest in sorted(folder.glob(f"*/{MANIFEST}")):
        try:
            valid.append(_read(manifest.parent))
            _last_valid[manifest.parent] = valid[-1]
            left_out.pop(manifest.parent.name, None)
        except ValidationError as error:
            faults = [f"defaults.{each['loc'][0]}: {each['msg']}" for each in error.errors()]
            left_out[manifest.parent.name] = f"{manifest}: {', '.join(faults)}"
        except (OSError, ValueError) as error:
            text = str(error)
            named = text if str(manifest) in text else f"{manifest}: {text}"
            left_out[manifest.parent.name] = named
    kept = [_last_valid[folder / name] for name in left_out if folder / name in _last_valid]
    valid = sorted([*valid, *kept], key=lambda person: person.name)
    return People(tuple(valid), dict(sorted(left_out.items())))


def list_people(folder: Path) -> list[PersonSummary]:
    """Return every person below `folder`, by name; one with an invalid person.json is logged."""
    people = read_people(folder)
    for name, reason in people.left_out.items():
        path = folder / name / MANIFEST
        if path.exists():
            logger.warning("person left out", extra={"path": str(path), "reason": reason})
    return list(people.valid)


def _read(folder: Path) -> PersonSummary:
    manifest = read_manifest(folder)
    if manifest.name != folder.name:
        raise ValueError(f"name: {manifest.name!r} is not the name of its folder")
    if not manifest.max_seconds > 0:
        raise ValueError(f"limits.max_seconds: must be above 0 ({manifest.max_seconds})")
    for member in ("title", "licence"):
        if getattr(manifest, member) is None:
            raise ValueError(f"{member}: missing; add it to {MANIFEST}")
    views = _cameras(folder / "cameras.json")
    defaults = PersonDefaults(**manifest.defaults, student=manifest.student)
    return PersonSummary(
        name=manifest.name,
        title=manifest.title or "",
        licence=manifest.licence or "",
        max_seconds=manifest.max_seconds,
        views=views,
        default_views=defaults.views or views[:1],
        defaults=defaults,
        outputs=supported_kinds(face_units=_has_face_units(manifest.avatar_kind)),
        consent=manifest.consent,
        shadings=_shadings(manifest.avatar_kind),
        samplers=tuple(name for name in SAMPLERS.by_name if manifest.student or name != STUDENT),
        controls=manifest.controls,
        digest=manifest.digest,
        files=tuple(
            PersonFile(kind, name, manifest.files[name]) for kind, name in manifest.media.items()
        ),
    )


def _has_face_units(kind: str | None) -> bool:
    return kind in AVATAR_KINDS and AVATAR_KINDS[kind or ""].face_units


def _shadings(kind: str | None) -> tuple[str, ...]:
    return AVATAR_KINDS[kind or ""].shadings if kind in AVATAR_KINDS else (FAST,)


def _cameras(path: Path) -> tuple[str, ...]:
    """Return camera names in order; empty for an invalid file, which the worker reports."""
    try:
        entries = json.loads(path.read_bytes())["cameras"]
        return tuple(str(entry["name"]) for entry in entries)
    except (OSError, ValueError, KeyError, TypeError):
        return ()
