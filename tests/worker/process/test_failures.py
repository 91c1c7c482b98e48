"""Every failure has a class; a refusal and a bug are believed only on a healthy worker."""

import errno

import pytest
import torch
from sqlalchemy.exc import IntegrityError, OperationalError

from contracts.person import PersonError
from jobs.sandbox.audio_formats import MediaError
from jobs.storage.factory import ObjectMissing, StorageError, StorageFull
from models.avatar.camera import CameraUnknown
from models.motion.pipeline import MotionError
from worker.pipeline.media.encode import VideoError
from worker.pipeline.media.ffmpeg import ChildError, FfmpegError
from worker.pipeline.persons import NoPeople, PersonDamaged, PersonUnknown
from worker.pipeline.user_errors import ClipMissing
from worker.process.faults.failures import FailureClass, classify
from worker.process.faults.health import Obstacle
from worker.process.outcomes import AttemptOutcome

CALLER, WORKER, SHARED, BUG = FailureClass


def video_error_without_ffmpeg() -> Exception:
    error = VideoError("libx264 failed")
    error.__cause__ = FfmpegError("ffmpeg cannot be started", status=127)
    return error


CERTAIN = [
    (StorageError("no answer"), SHARED),
    (OperationalError("select", {}, Exception("away")), SHARED),
    (NoPeople("available: none"), SHARED),
    (StorageFull("no room"), WORKER),
    (OSError(errno.ENOSPC, "no room"), WORKER),
    (FileNotFoundError(errno.ENOENT, "scratch"), WORKER),
    (PersonDamaged("left out"), WORKER),
    (PersonError("does not match"), WORKER),
    (ChildError("no such program", status=127), WORKER),
    (ChildError("not executable", status=126), WORKER),
    (video_error_without_ffmpeg(), WORKER),
]
REFUSALS = [
    MediaError("audio_unreadable", "it could not be decoded"),
    ClipMissing("no longer stored"),
    MotionError("too long"),
    CameraUnknown("no such view"),
]
BUGS = [
    RuntimeError("a bug"),
    VideoError("libx264 failed at frame 3"),
    ChildError("killed", status=-9),
    torch.OutOfMemoryError("CUDA out of memory"),
    IntegrityError("insert", {}, Exception("a bug in a query")),
    ObjectMissing("jobs/a/motion.npz"),
]


def healthy() -> None:
    return None


def sick(part: str) -> Obstacle:
    return Obstacle(part, "why")


@pytest.mark.parametrize(("error", "kind"), CERTAIN)
def test_some_errors_are_never_the_callers(error: Exception, kind: FailureClass) -> None:
    assert classify(error, healthy).kind is kind


@pytest.mark.parametrize("error", REFUSALS)
def test_a_healthy_worker_refuses(error: Exception) -> None:
    failure = classify(error, healthy)

    assert (failure.kind, failure.outcome) == (CALLER, AttemptOutcome.USER_ERROR)
    assert failure.reason[0].isupper()


@pytest.mark.parametrize("error", BUGS)
def test_any_other_error_on_a_healthy_worker_counts(error: Exception) -> None:
    assert classify(error, healthy).kind is BUG


@pytest.mark.parametrize("error", [*REFUSALS, *BUGS, PersonUnknown("available: ada")])
def test_a_sick_worker_neither_refuses_nor_counts(error: Exception) -> None:
    for part in ("scratch", "decoder", "encoder", "device"):
        failure = classify(error, lambda part=part: sick(part))  # type: ignore[misc]
        assert (failure.kind, failure.outcome) == (WORKER, AttemptOutcome.UNFIT)
    for part in ("storage", "people"):
        failure = classify(error, lambda part=part: sick(part))  # type: ignore[misc]
        assert (failure.kind, failure.outcome) == (SHARED, AttemptOutcome.OUTAGE)


def test_a_person_that_this_worker_does_not_have_may_be_on_another() -> None:
    failure = classify(PersonUnknown("unknown person 'bob'; available: ada"), healthy)

    assert (failure.kind, failure.outcome) == (WORKER, AttemptOutcome.PERSON_MISSING)
    assert (failure.code, failure.most) == ("person_unknown", 6)
