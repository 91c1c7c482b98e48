"""Requests: valid values, and the digest of motion."""

import pytest
from pydantic import ValidationError

from jobs.request.model import GenerateRequest, motion_digest
from jobs.request.values import SizeUnsupported, check_width, parse_colour, parse_size


@pytest.mark.parametrize(
    ("written", "kept"), [("#20242C", "#20242c"), ("#abc", "#aabbcc"), ("#000000", "#000000")]
)
def test_a_colour_is_normalised(written: str, kept: str) -> None:
    request = GenerateRequest(background=written)
    assert (request.background, request.effective_background) == (kept, kept)


def test_a_colour_is_three_bytes() -> None:
    assert parse_colour("#20242c") == parse_colour("#20242C") == (32, 36, 44)
    assert parse_colour("#fa0") == (255, 170, 0)


@pytest.mark.parametrize("written", ["red", "#12", "#12345", "20242c", "#20242c80", "", "#gggggg"])
def test_an_invalid_colour_is_rejected(written: str) -> None:
    with pytest.raises(ValidationError, match='; write "#20242c" or "transparent"'):
        GenerateRequest(background=written)


@pytest.mark.parametrize("form", ["mov", "webm", "png"])
def test_formats_with_alpha_are_transparent_by_default(form: str) -> None:
    asked = {"format": form}
    assert GenerateRequest.model_validate(asked).effective_background == "transparent"
    clear = GenerateRequest.model_validate(asked | {"background": "transparent"})
    assert clear.effective_background == "transparent"
    assert (
        GenerateRequest.model_validate(asked | {"background": "#123"}).effective_background
        == "#112233"
    )
    assert GenerateRequest().effective_background is None


def test_the_error_for_a_transparent_mp4_lists_other_formats() -> None:
    words = "mp4 cannot be transparent; ask for format mov, webm or png"
    with pytest.raises(ValidationError, match=words) as refused:
        GenerateRequest(background="transparent")
    assert refused.value.errors()[0]["loc"] == ("background",)


def test_motion_does_not_depend_on_render_options() -> None:
    plain = GenerateRequest(seed=3)
    looks = GenerateRequest(seed=3, background="#123", format="mov", supersampling=3)
    assert motion_digest(plain, "d") == motion_digest(looks, "d")
    assert motion_digest(plain, "d") != motion_digest(GenerateRequest(seed=4), "d")


@pytest.mark.parametrize(
    ("written", "meant"), [("512", (512, 512)), ("640x480", (640, 480)), ("64x2048", (64, 2048))]
)
def test_a_size_is_one_number_or_two(written: str, meant: tuple[int, int]) -> None:
    assert parse_size(written) == meant
    assert GenerateRequest(size=written).size == f"{meant[0]}x{meant[1]}"


@pytest.mark.parametrize(
    "wrong", ["511", "62", "2050", "1x1", "512x", "x", "", "9" * 99, "-64", "６４"]
)
def test_an_invalid_size_is_rejected(wrong: str) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_size(wrong)


def test_views_are_up_to_four_different_names() -> None:
    assert GenerateRequest().views is None
    assert GenerateRequest(views=("side", "front")).views == ("side", "front")


@pytest.mark.parametrize(
    ("views", "words"),
    [
        ((), "at least 1"),
        (tuple("abcde"), "at most 4"),
        (("front", ""), "invalid view name ''; write"),
        (("../front",), "invalid view name '../front'"),
        (("front\n",), "invalid view name"),
        (("a", "b", "a"), "view 'a' is listed 2 times; list each once"),
    ],
)
def test_invalid_views_are_rejected(views: tuple[str, ...], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        GenerateRequest(views=views)


def test_all_views_together_are_up_to_4096_pixels_wide() -> None:
    check_width("2048x64", ("a", "b"))
    check_width("1024x2048", tuple("abcd"))
    check_width("1364", tuple("abc"))

    with pytest.raises(SizeUnsupported, match=r"4098 pixels wide, .*at most 1364 wide"):
        check_width("1366", tuple("abc"))


def test_a_request_with_an_unknown_field_is_rejected() -> None:
    with pytest.raises(ValidationError, match="colour"):
        GenerateRequest.model_validate({"colour": "red"})
    assert GenerateRequest(outputs=("video", "video")).outputs == ("video",)


def test_the_motion_digest_ignores_render_options() -> None:
    plain = GenerateRequest(seed=1)

    bigger = plain.model_copy(update={"size": "1024x1024", "outputs": ("motion",)})
    other = plain.model_copy(update={"seed": 2})
    assert motion_digest(bigger, "p") == motion_digest(plain, "p")
    assert motion_digest(other, "p") != motion_digest(plain, "p")
