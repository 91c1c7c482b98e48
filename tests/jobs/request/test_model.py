"""What may be asked for, and what motion depends on."""

import pytest
from pydantic import ValidationError

from jobs.request.model import GenerateRequest, motion_digest
from jobs.request.values import parse_colour


@pytest.mark.parametrize(
    ("written", "kept"), [("#20242C", "#20242c"), ("#abc", "#aabbcc"), ("#000000", "#000000")]
)
def test_a_colour_is_kept_in_one_way(written: str, kept: str) -> None:
    request = GenerateRequest(background=written)
    assert (request.background, request.effective_background) == (kept, kept)


def test_a_colour_is_three_bytes() -> None:
    assert parse_colour("#20242c") == parse_colour("#20242C") == (32, 36, 44)
    assert parse_colour("#fa0") == (255, 170, 0)


@pytest.mark.parametrize("written", ["red", "#12", "#12345", "20242c", "#20242c80", "", "#gggggg"])
def test_what_is_no_colour_is_refused(written: str) -> None:
    with pytest.raises(ValidationError, match='; write "#20242c" or "transparent"'):
        GenerateRequest(background=written)


@pytest.mark.parametrize("form", ["mov", "webm", "png"])
def test_formats_with_alpha_are_transparent_unless_a_colour_is_asked_for(form: str) -> None:
    asked = {"format": form}
    assert GenerateRequest.model_validate(asked).effective_background == "transparent"
    clear = GenerateRequest.model_validate(asked | {"background": "transparent"})
    assert clear.effective_background == "transparent"
    assert (
        GenerateRequest.model_validate(asked | {"background": "#123"}).effective_background
        == "#112233"
    )
    assert GenerateRequest().effective_background is None


def test_an_mp4_cannot_be_transparent_and_the_answer_tells_what_can() -> None:
    words = "mp4 cannot be transparent; ask for format mov, webm or png"
    with pytest.raises(ValidationError, match=words) as refused:
        GenerateRequest(background="transparent")
    assert refused.value.errors()[0]["loc"] == ("background",)


def test_motion_does_not_depend_on_what_it_looks_like() -> None:
    plain = GenerateRequest(seed=3)
    looks = GenerateRequest(seed=3, background="#123", format="mov", supersampling=3)
    assert motion_digest(plain, "d") == motion_digest(looks, "d")
    assert motion_digest(plain, "d") != motion_digest(GenerateRequest(seed=4), "d")
