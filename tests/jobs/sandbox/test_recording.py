"""Files and channels of a recording that fit together, and those that do not."""

import pytest

from jobs.sandbox.audio_formats import MediaError
from jobs.sandbox.recording import check_channels, length_warnings


@pytest.mark.parametrize(
    ("channel", "channels", "partner", "partner_channels"),
    [
        ("left", 1, False, None),
        ("left", 2, False, None),
        ("right", 2, False, None),
        ("right", None, False, None),
        ("left", 1, True, 1),
        ("right", 1, True, 1),
        ("left", None, True, None),
    ],
)
def test_recordings_that_fit_are_accepted(
    channel: str, channels: int | None, *, partner: bool, partner_channels: int | None
) -> None:
    check_channels(channel, channels, partner=partner, partner_channels=partner_channels)


@pytest.mark.parametrize(
    ("channels", "partner_channels", "start"),
    [
        (2, 1, "audio has 2 channels and partner 1 channel; send two mono files"),
        (1, 2, "audio has 1 channel and partner 2 channels; send two mono files"),
        (2, 2, "audio has 2 channels and partner 2 channels; send two mono files"),
    ],
)
def test_two_files_must_be_mono(channels: int, partner_channels: int, start: str) -> None:
    with pytest.raises(MediaError, match=f"^{start}") as caught:
        check_channels("left", channels, partner=True, partner_channels=partner_channels)

    assert caught.value.code == "partner_channels"


def test_a_mono_file_has_no_right_channel() -> None:
    with pytest.raises(MediaError, match=r"^audio has 1 channel and person_channel is right") as no:
        check_channels("right", 1, partner=False)

    assert no.value.code == "audio_channels"


def test_lengths_that_differ_by_more_than_a_second_give_a_warning() -> None:
    assert length_warnings(5.0, 6.0) == length_warnings(6.0, 5.0) == ()
    (short_audio,), (short_partner,) = length_warnings(5.0, 6.5), length_warnings(6.25, 5.0)

    assert (short_audio.code, short_partner.code) == ("lengths_differ", "lengths_differ")
    assert short_audio.detail.startswith("The file in audio is 1.50 s shorter")
    assert short_partner.detail.startswith("The file in partner is 1.25 s shorter")
