"""Requests that show both people: who performs, what is refused, and which digests stay."""

from typing import Any

import pytest
from pydantic import ValidationError

from contracts.person import StudentFacts
from jobs.persons import PersonDefaults
from jobs.request.model import GenerateRequest, SamplerUnsupported, motion_digest
from jobs.request.values import SEED_LIMIT, partner_seed

PLAIN = {"steps": 100, "guidance_face": 1, "guidance_body": 1, "diversity": 0.9, "size": "512x512"}


def defaults(*, steps: int | None = None, **values: Any) -> PersonDefaults:
    student = None if steps is None else StudentFacts(steps, guidance_face=1, guidance_body=1)
    return PersonDefaults(**PLAIN | values, student=student)


def test_each_performer_is_a_request_of_one_person_with_one_voice_and_one_seed() -> None:
    both = GenerateRequest(
        seed=5, person="ada", both=True, partner_person="bob", layout="files", steps=7, takes=2
    )

    first, second = both.performers

    assert first == GenerateRequest(seed=5, person="ada", steps=7, takes=2)
    assert second == GenerateRequest(
        seed=partner_seed(5), person="bob", person_channel="right", steps=7, takes=2
    )
    assert (both.people, both.roles) == (("ada", "bob"), ("", "partner"))
    assert 0 <= partner_seed(SEED_LIMIT - 1) < SEED_LIMIT
    exchanged = GenerateRequest(seed=5, both=True, person_channel="right")
    assert [each.person_channel for each in exchanged.performers] == ["right", "left"]
    assert exchanged.people == ("demo", "demo")


@pytest.mark.parametrize("fields", [{"partner_person": "bob"}, {"layout": "files"}])
def test_fields_of_two_people_need_both(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="needs both=true"):
        GenerateRequest.model_validate(fields)

    GenerateRequest.model_validate(fields | {"both": True})


def test_requests_of_one_person_keep_their_digests() -> None:
    one = GenerateRequest(seed=1)

    assert motion_digest(one, "p") == (
        "abdda7043e5f1d42dbb04af2cf4a77a968b31639551766e0dc7b1fc43e1b987b"
    )
    assert {"both", "partner_person", "layout"}.isdisjoint(one.digest_facts())
    both = GenerateRequest(seed=1, both=True)
    named = both.model_copy(update={"partner_person": "bob"})
    assert len({motion_digest(each, "p") for each in (one, both, named)}) == 3
    files = both.model_copy(update={"layout": "files"})
    assert motion_digest(files, "p") == motion_digest(both, "p")
    assert files.digest_facts() != both.digest_facts()


def test_both_have_the_size_and_the_quality_of_the_first_and_a_student_only_together() -> None:
    both = GenerateRequest(seed=1, both=True, quality="draft")
    with_student, other = defaults(steps=4, size="256x256"), defaults(steps=2)

    assert both.resolved(with_student, with_student).sampler == "student"
    assert both.resolved(with_student, defaults()).sampler == "unipc"
    assert both.resolved(with_student, other).sampler == "unipc"
    assert both.resolved(with_student, other).size == "256x256"
    chosen = GenerateRequest(seed=1, both=True, sampler="student")
    chosen.check_sampler(with_student, with_student)
    with pytest.raises(SamplerUnsupported, match="different numbers of steps"):
        chosen.check_sampler(with_student, other)
    with pytest.raises(SamplerUnsupported, match="has no student"):
        chosen.check_sampler(with_student, defaults())
