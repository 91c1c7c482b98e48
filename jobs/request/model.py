"""The request of a job: all declared fields of motion and look."""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from contracts.errors import InputError
from contracts.outputs import Output, alpha_formats, selected_outputs
from contracts.person import GUIDANCE
from contracts.quality import QUALITIES, REFERENCE, STANDARD
from contracts.samplers import DEFAULT_SAMPLER, SAMPLERS, STUDENT
from jobs.request.declare import FIELD_SETS, Group, declared_fields
from jobs.request.values import SEED_LIMIT, SIDE, TRANSPARENT, partner_seed

if TYPE_CHECKING:
    from typing import Self

    from contracts.person import StudentFacts
    from jobs.persons import PersonDefaults
    from jobs.request.fields.amplitude import AmplitudeFields
    from jobs.request.fields.look import LookFields
    from jobs.request.fields.motion import MotionFields
    from jobs.request.fields.partner import PartnerFields
    from jobs.request.fields.sampling import SamplingFields

    class _Declared(LookFields, AmplitudeFields, SamplingFields, PartnerFields, MotionFields):
        """The sets that this project declares; a set in another file adds its fields to these."""

else:
    # The last base is the first in the order of fields.
    _SETS = [fields.model for fields in FIELD_SETS if fields.group is not Group.JOB]
    _Declared = create_model("_Declared", __base__=tuple(reversed(_SETS)))


PARTNER = "partner"  # role of the second person
# Fields of two persons; a request of one has the digest that it had before they existed.
OF_TWO = frozenset({"both", "partner_person", "layout"})
OTHER_CHANNEL = {"left": "right", "right": "left"}


class GenerateRequest(_Declared):
    """Request for a clip; None selects the person's default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    def effective_background(self) -> str | None:
        """Background with its default: transparent for formats with an alpha channel."""
        if self.background is None and self.format in alpha_formats():
            return TRANSPARENT
        return self.background

    @property
    def people(self) -> tuple[str, ...]:
        """Names of the persons that are shown, from left to right."""
        return (self.person, self.partner_person or self.person) if self.both else (self.person,)

    @property
    def performers(self) -> tuple[Self, ...]:
        """The request that shows each of the persons alone, with the same motion.

        The partner has the other channel of the recording, and another seed.
        """
        if not self.both:
            return (self,)
        alone = {"both": False, "partner_person": None, "layout": SIDE}
        partner = {
            "person": self.people[1],
            "person_channel": OTHER_CHANNEL[self.person_channel],
            "seed": None if self.seed is None else partner_seed(self.seed),
        }
        return (
            self.model_copy(update=alone),
            self.model_copy(update=alone | partner),
        )

    @property
    def roles(self) -> tuple[str, ...]:
        """The part of each performer in names of files; empty for the first."""
        return ("", PARTNER)[: len(self.people)]

    def digest_facts(self) -> dict[str, Any]:
        """Return the JSON values that the files of a take depend on; a take is alike in all jobs.

        Fields of two persons are left out of a request of one.
        """
        return self.model_dump(mode="json", exclude={"shown"} | (set() if self.both else OF_TWO))

    def selected_outputs(self) -> tuple[Output, ...]:
        """Return the outputs to write for each take."""
        return tuple(selected_outputs(self.outputs, self.format))

    def seeded(self) -> GenerateRequest:
        """Return the request with a seed, so that every attempt gives the same motion."""
        if self.seed is not None:
            return self
        return self.model_copy(update={"seed": secrets.randbelow(SEED_LIMIT)})

    def resolved(self, defaults: PersonDefaults, *partner: PersonDefaults) -> Self:
        """Return the request with the values that its quality stands for.

        partner: defaults of the second person, if there is one. Quality and size are those of the
        first person, and a student is used if both have one for the same number of steps.

        Fields that the request sets win. Without any quality, and so in every request of a
        release without qualities, nothing changes: DDIM, with the person's steps by default.
        """
        request = self
        if partner and self.size is None:  # pictures of both have one height
            request = self.model_copy(update={"size": defaults.size})
        if (name := self._quality_name(defaults)) is None:
            return request
        quality = QUALITIES[name]
        sampler, steps, until = quality.sampler, quality.steps, quality.guidance_until
        wanted = self.sampler or (quality.student and STUDENT)
        students = [self._fitting_student(each) for each in (defaults, *partner)]
        if wanted == STUDENT and len(set(students)) == 1 and students[0] is not None:
            sampler, steps, until = STUDENT, students[0], 0
        values = {
            "quality": self.quality or name,
            "sampler": self.sampler or sampler,
            "steps": self.steps or steps,
            "guidance_until": until if self.guidance_until is None else self.guidance_until,
            "supersampling": self.supersampling or quality.supersampling,
        }
        return request.model_copy(update=values)

    def check_sampler(self, *defaults: PersonDefaults) -> None:
        """Check the sampler for each person.

        Raises: SamplerUnsupported: when one has no student with these options.
        """
        if self.sampler != STUDENT:
            return
        for performer, each in zip(self.performers, defaults, strict=True):
            performer._check_student(each)
        if len({self.steps or each.student.steps for each in defaults if each.student}) > 1:
            raise SamplerUnsupported(
                "sampler",
                f"the students of {' and '.join(map(repr, self.people))} were made for different "
                "numbers of steps; choose another sampler",
            )

    def _check_student(self, defaults: PersonDefaults) -> None:
        if (student := defaults.student) is None:
            others = ", ".join(name for name in SAMPLERS.by_name if name != STUDENT)
            raise SamplerUnsupported(
                "sampler",
                f"{self.person!r} has no student; make one with `python -m training distill`, or "
                f"choose from {others}",
            )
        if field := self._conflict(student, defaults):
            made = {**vars(student), "guidance_until": 0}[field]
            raise SamplerUnsupported(
                field,
                f"the student of {self.person!r} was made for {made:g}; leave {field} out, or "
                "choose another sampler",
            )

    def _fitting_student(self, defaults: PersonDefaults) -> int | None:
        """Return the steps of a person's student, if it was made for the request's options."""
        student = defaults.student
        return None if student is None or self._conflict(student, defaults) else student.steps

    def _conflict(self, student: StudentFacts, defaults: PersonDefaults) -> str | None:
        """Return the name of a field for which the student was not made."""
        if self.steps not in (None, student.steps):
            return "steps"
        if self.guidance_until not in (None, 0):
            return "guidance_until"
        for name in GUIDANCE:
            given = getattr(self, name)
            if (getattr(defaults, name) if given is None else given) != getattr(student, name):
                return name
        return None

    def _quality_name(self, defaults: PersonDefaults) -> str | None:
        if self.quality is not None:
            return self.quality
        if self.steps is not None:
            return None
        if self.sampler is not None:
            return (REFERENCE if self.sampler == DEFAULT_SAMPLER else STANDARD).name
        return defaults.quality


class SamplerUnsupported(InputError):
    """A sampler that a person does not have, or not with these options."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(f"{field}: {text}")
        self.field = field


class JobRequest(GenerateRequest):
    """The stored request of a job, with the takes that are made into files."""

    shown: tuple[int, ...] | None = Field(
        default=None, description="Numbers of the takes that are made into files; null: all."
    )

    def shows(self, take: int) -> bool:
        """Return whether this take, counted from 1, is made into files."""
        return self.shown is None or take in self.shown


def declared_values(request: GenerateRequest, group: Group, defaults: BaseModel) -> dict[str, Any]:
    """Return the values of a group's fields, empty ones replaced by the person's defaults."""
    values = {}
    for field in declared_fields(group):
        value = getattr(request, field.name)
        if value is None and field.person_default:
            value = getattr(defaults, field.name)
        values[field.name] = value
    return values


def motion_digest(request: GenerateRequest, person_digest: str) -> str:
    """Return the SHA-256 of everything that motion depends on; equal digests mean equal motion.

    person_digest: `contracts.provenance.joint_digest` of all persons.
    """
    values = request.model_dump()
    facts: dict[str, Any] = {
        field.name: values[field.name]
        for field in declared_fields(Group.MOTION)
        if field.declared.get("always_in_digest") or values[field.name] != field.info.default
    }
    facts["person_digest"] = person_digest
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
