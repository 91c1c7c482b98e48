"""Checks of a recording as a whole: the channel of the person, and one file for each person."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from jobs.model import JobWarning
from jobs.sandbox.audio_formats import MediaError

if TYPE_CHECKING:
    from collections.abc import Iterable

SLACK_SECONDS = 1.0  # two files of one conversation may differ so much without a warning


def check_channels(
    person_channel: str, channels: int | None, *, partner: bool, partner_channels: int | None = None
) -> None:
    """Check that the files and the channel of the person fit together.

    partner: whether the partner has a file. Numbers of channels are None when they are unknown.

    Raises: MediaError: when they do not.
    """
    if partner and max(channels or 1, partner_channels or 1) > 1:
        raise MediaError(
            "partner_channels",
            f"audio has {_count(channels)} and partner {_count(partner_channels)}; send two mono "
            "files, or one file of two channels without partner",
        )
    if person_channel == "right" and channels == 1 and not partner:
        raise MediaError(
            "audio_channels",
            "audio has 1 channel and person_channel is right; send two channels, or leave out "
            "person_channel",
        )


def of_partner(warnings: Iterable[JobWarning]) -> tuple[JobWarning, ...]:
    """Return the warnings about the partner's file with its name."""
    return tuple(replace(each, detail=f"In partner: {each.detail}") for each in warnings)


def length_warnings(seconds: float, partner_seconds: float) -> tuple[JobWarning, ...]:
    """Return a warning when one file is much shorter than the other."""
    difference = abs(seconds - partner_seconds)
    if difference <= SLACK_SECONDS:
        return ()
    shorter = "audio" if seconds < partner_seconds else "partner"
    detail = (
        f"The file in {shorter} is {difference:.2f} s shorter than the other; it ends in silence."
    )
    return (JobWarning("lengths_differ", detail),)


def _count(channels: int | None) -> str:
    return "1 channel" if (channels or 1) == 1 else f"{channels} channels"
