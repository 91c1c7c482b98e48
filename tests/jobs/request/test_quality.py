"""Levels of quality: what they stand for, what wins over them, and the digest of motion."""

from typing import Any

import pytest

from contracts.person import StudentFacts
from contracts.quality import QUALITIES, sampling_options
from contracts.samplers import SAMPLERS
from jobs.persons import PersonDefaults
from jobs.request.model import GenerateRequest, SamplerUnsupported, motion_digest
from models.motion.samplers.ddim import SAMPLER as DDIM
from worker.pipeline.plan import plan_of

PLAIN = {"steps": 50, "guidance_face": 1, "guidance_body": 1, "diversity": 0.9, "size": "64x64"}
STUDENT = StudentFacts(4, 1.0, 1.0)


def sampling(defaults: dict[str, Any] | None = None, **fields: Any) -> tuple[str, int, int]:
    """The sampler, the steps and the guidance interval that a worker uses."""
    request = GenerateRequest(seed=1, **fields)
    plan = plan_of(request, PersonDefaults(**PLAIN | (defaults or {})))
    return plan.sampling.sampler, plan.sampling.steps, plan.sampling.guidance_until


@pytest.mark.parametrize("name", QUALITIES)
def test_a_quality_stands_for_sampler_steps_and_guidance_interval(name: str) -> None:
    quality = QUALITIES[name]
    expected = (quality.sampler, quality.steps, quality.guidance_until)
    assert sampling(quality=name) == expected
    assert sampling({"quality": name}) == expected
    assert quality.sampler in SAMPLERS


def test_a_draft_has_one_sample_a_pixel_unless_the_request_says_otherwise() -> None:
    def samples(**fields: Any) -> int | None:
        request = GenerateRequest(seed=1, **fields)
        return plan_of(request, PersonDefaults(**PLAIN)).options.samples

    assert samples(quality="draft") == 1
    assert samples(quality="draft", supersampling=2) == 2
    assert samples(quality="standard") is None  # the avatar's
    assert (
        plan_of(
            GenerateRequest(seed=1), PersonDefaults(**PLAIN | {"quality": "draft"})
        ).options.samples
        == 1
    )


def test_reference_is_the_released_setting() -> None:
    assert sampling({"quality": "draft"}, quality="reference") == (DDIM.name, 100, 0)


def test_explicit_fields_win_over_the_quality() -> None:
    standard = sampling(quality="standard")
    assert sampling(quality="standard", steps=20) == (standard[0], 20, standard[2])
    assert sampling(quality="standard", sampler="unipc")[:2] == ("unipc", standard[1])
    assert sampling(quality="reference", guidance_until=0, steps=50) == ("ddim", 50, 0)
    assert sampling({"quality": "standard"}, guidance_until=300)[2] == 300


@pytest.mark.parametrize("defaults", [{}, {"quality": "standard"}])
def test_steps_alone_mean_ddim_as_before(defaults: dict[str, Any]) -> None:
    assert sampling(defaults, steps=25) == ("ddim", 25, 0)


def test_a_person_without_a_quality_is_sampled_as_before() -> None:
    assert sampling() == ("ddim", 50, 0)


def test_a_sampler_alone_takes_the_steps_that_suit_it() -> None:
    standard = QUALITIES["standard"]
    assert sampling(sampler="unipc") == ("unipc", standard.steps, standard.guidance_until)
    assert sampling({"quality": "draft"}, sampler="ddim") == ("ddim", 100, 0)


def test_a_resolved_request_holds_the_values_and_stays_the_same() -> None:
    defaults = PersonDefaults(**PLAIN | {"quality": "standard"})
    resolved = GenerateRequest(seed=1).resolved(defaults)
    assert (resolved.quality, resolved.sampler) == ("standard", QUALITIES["standard"].sampler)
    assert resolved.steps == QUALITIES["standard"].steps
    assert resolved.resolved(PersonDefaults(**PLAIN)) == resolved
    untouched = GenerateRequest(seed=1, steps=7)
    assert untouched.resolved(defaults) is untouched


def test_the_digest_contains_the_resolved_values() -> None:
    defaults = PersonDefaults(**PLAIN)
    digests = {
        motion_digest(GenerateRequest(seed=1, quality=name).resolved(defaults), "p")
        for name in QUALITIES
    }
    assert len(digests) == len(QUALITIES)
    more = GenerateRequest(seed=1, quality="draft", guidance_until=500).resolved(defaults)
    assert motion_digest(more, "p") not in digests


def test_the_digest_of_an_earlier_request_is_that_of_an_earlier_release() -> None:
    request = GenerateRequest(seed=1, steps=50)
    assert motion_digest(request, "p") == (
        "738f9b01ba0e9d264cdeec33997f437f18aea98eeab07790782f06e860df4e91"
    )


def test_training_samples_as_the_worker_does() -> None:
    assert sampling_options({"steps": 50, "quality": "draft"}) == {
        "sampler": QUALITIES["draft"].sampler,
        "steps": QUALITIES["draft"].steps,
        "guidance_until": QUALITIES["draft"].guidance_until,
    }
    assert sampling_options({"steps": 50}) == {"sampler": "ddim", "steps": 50}
    assert sampling_options({"steps": 50, "quality": "draft"}, 10) == {
        "sampler": "ddim",
        "steps": 10,
    }


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"quality": "draft"}, ("student", 4, 0)),
        ({"sampler": "student"}, ("student", 4, 0)),
        ({"quality": "draft", "steps": 4}, ("student", 4, 0)),
        ({"quality": "draft", "guidance_face": 1}, ("student", 4, 0)),
        ({"quality": "draft", "steps": 9}, ("unipc", 9, 25)),
        ({"quality": "draft", "guidance_face": 2}, ("unipc", 7, 25)),
        ({"quality": "draft", "guidance_until": 300}, ("unipc", 7, 300)),
        ({"quality": "draft", "sampler": "ddim"}, ("ddim", 7, 25)),
        ({"quality": "standard"}, ("unipc", 11, 300)),
        ({}, ("ddim", 50, 0)),
    ],
)
def test_a_student_is_used_where_quality_or_sampler_say_so(
    fields: dict[str, Any], expected: tuple[str, int, int]
) -> None:
    assert sampling({"student": STUDENT}, **fields) == expected


@pytest.mark.parametrize(
    ("student", "fields", "message"),
    [
        (None, {}, r"sampler: 'demo' has no student; make one with `python -m training distill`"),
        (STUDENT, {"steps": 5}, "steps: the student of 'demo' was made for 4; leave steps out"),
        (STUDENT, {"guidance_body": 2}, "guidance_body: the student of 'demo' was made for 1"),
        (STUDENT, {"guidance_until": 9}, "guidance_until: .* made for 0"),
    ],
)
def test_a_student_that_a_person_does_not_have_is_refused(
    student: StudentFacts | None, fields: dict[str, Any], message: str
) -> None:
    request = GenerateRequest(seed=1, sampler="student", **fields)
    with pytest.raises(SamplerUnsupported, match=message):
        request.check_sampler(PersonDefaults(**PLAIN, student=student))
    GenerateRequest(seed=1, sampler="student").check_sampler(
        PersonDefaults(**PLAIN, student=STUDENT)
    )


def test_training_samples_with_a_student_as_the_worker_does() -> None:
    defaults = {**PLAIN, "quality": "draft"}
    assert sampling_options(defaults, student=STUDENT) == {"sampler": "student", "steps": 4}
    other = {**defaults, "guidance_face": 2}
    assert sampling_options(other, student=STUDENT)["sampler"] == QUALITIES["draft"].sampler
    assert sampling_options(PLAIN, student=STUDENT)["sampler"] == "ddim"
