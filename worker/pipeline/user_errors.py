"""User errors: faults of a request, with the code and the sentence that end its job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobs.request.values import SizeUnsupported
from jobs.sandbox.audio_probe import MediaError
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
    MotionError: "clip_unsuitable",
    CameraUnknown: "view_unknown",  # listed before its base class
    CameraError: "size_unsupported",
    SizeUnsupported: "size_unsupported",
}


@dataclass(frozen=True)
class UserError:
    """A fault of the request; another attempt would fail as well."""

    code: str
    sentence: str


def user_error_of(error: Exception) -> UserError | None:
    """Return the user error for an exception; None for a fault of the service."""
    if isinstance(error, MediaError):
        return UserError(error.code, sentence(error.detail))
    for kind, code in CODES.items():
        if isinstance(error, kind):
            return UserError(code, sentence(str(error)))
    return None


def sentence(words: str) -> str:
    """Return the text with a capital at the start and one full stop at the end."""
    return words[:1].upper() + words[1:].rstrip(".") + "."
