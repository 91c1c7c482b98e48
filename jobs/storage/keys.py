"""Storage keys of a job's objects."""

from __future__ import annotations

JOBS_FOLDER = "jobs"


def job_folder(job_id: str) -> str:
    """Everything that is stored of a job lies below this."""
    return f"{JOBS_FOLDER}/{job_id}"


def input_folder(job_id: str) -> str:
    """The clip of a job lies below this."""
    return f"{job_folder(job_id)}/input"


def attempt_folder(job_id: str, attempt: int) -> str:
    """What an attempt has stored lies below this."""
    return f"{job_folder(job_id)}/attempt-{attempt}"


def job_of(key: str) -> str:
    """The id of the job that an object belongs to: "jobs/<id>/..."."""
    return key.removeprefix(f"{JOBS_FOLDER}/").partition("/")[0]


def input_key(job_id: str, extension: str) -> str:
    """Where the clip of a job lies; `extension` without a dot, from the probe and not the name."""
    return f"{input_folder(job_id)}/audio.{extension}"


def attempt_key(job_id: str, attempt: int, name: str) -> str:
    """Where an attempt puts the file `name`: no two attempts share a place.

    What is published may come from several: takes that were finished before are not made again.
    """
    return f"{attempt_folder(job_id, attempt)}/{name}"
