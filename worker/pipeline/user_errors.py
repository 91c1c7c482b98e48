"""Which errors are the caller's, with the code and the sentence that their job ends with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobs.request import SizeUnsupported
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
    CameraUnknown: "view_unknown",  # before what it is a kind of
    CameraError: "size_unsupported",
    SizeUnsupported: "size_unsupported",
}


@dataclass(frozen=True)
class UserError:
    """Why a job cannot be done, however often it is tried."""

    code: str
    sentence: str


def user_error_of(error: Exception) -> UserError | None:
    """The refusal that an error means; None where the error is ours."""
    if isinstance(error, MediaError):
        return UserError(error.code, sentence(error.detail))
    for kind, code in CODES.items():
        if isinstance(error, kind):
            return UserError(code, sentence(str(error)))
    return None


def sentence(words: str) -> str:
    """Words as people read them: a capital at the start, one full stop at the end."""
    return words[:1].upper() + words[1:].rstrip(".") + "."
