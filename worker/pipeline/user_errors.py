"""User errors: exceptions that fail a job at once, with a code and a message for its owner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobs.persons import ConsentRefused
from jobs.request.values import SizeUnsupported
from jobs.sandbox.audio_formats import MediaError
from models.animation.figure import AnimationError
from models.avatar.camera import CameraError, CameraUnknown
from models.motion.pipeline import MotionError
from worker.pipeline.persons import PersonUnknown

if TYPE_CHECKING:
    from collections.abc import Mapping


class ClipMissing(LookupError):
    """The clip of a job is no longer stored."""


CODES: Mapping[type[Exception], str] = {
    ClipMissing: "clip_missing",
    PersonUnknown: "person_unknown",
    ConsentRefused: "consent_refused",
    MotionError: "clip_unsuitable",
    CameraUnknown: "view_unknown",  # before its base class CameraError
    CameraError: "size_unsupported",
    SizeUnsupported: "size_unsupported",
    AnimationError: "output_unsupported",
}


@dataclass(frozen=True)
class UserError:
    """Code and message of a job that fails without a retry."""

    code: str
    message: str


def user_error_of(error: Exception) -> UserError | None:
    """Return the user error behind an exception, or None for other errors."""
    if isinstance(error, MediaError):
        return UserError(error.code, sentence(error.detail))
    for kind, code in CODES.items():
        if isinstance(error, kind):
            return UserError(code, sentence(str(error)))
    return None


def sentence(text: str) -> str:
    """Return the text with a capital letter at the start and one full stop at the end."""
    return text[:1].upper() + text[1:].rstrip(".") + "."
