"""Storage keys of a job's objects."""

from __future__ import annotations

JOBS_FOLDER = "jobs"
IDENTITY_KEY = "database.txt"  # the identity of the database that owns the storage


def job_folder(job_id: str) -> str:
    """Return the folder of all objects of a job."""
    return f"{JOBS_FOLDER}/{job_id}"


def input_folder(job_id: str) -> str:
    """Return the folder of a job's clips."""
    return f"{job_folder(job_id)}/input"


def attempt_folder(job_id: str, attempt: int) -> str:
    """Return the folder of the objects that an attempt stores."""
    return f"{job_folder(job_id)}/attempt-{attempt}"


def job_of(key: str) -> str:
    """Return the id of the job that an object belongs to: "jobs/<id>/..."."""
    return key.removeprefix(f"{JOBS_FOLDER}/").partition("/")[0]


def input_key(job_id: str, extension: str) -> str:
    """Return the key of a job's clip; `extension` is the container that the probe found."""
    return f"{input_folder(job_id)}/audio.{extension}"


def partner_key(job_id: str, extension: str) -> str:
    """Return the key of the partner's clip, when each person has a file."""
    return f"{input_folder(job_id)}/partner.{extension}"


def attempt_key(job_id: str, attempt: int, name: str) -> str:
    """Return the key of the file `name` of an attempt.

    Published files can be of several attempts, because finished takes are not rendered again.
    """
    return f"{attempt_folder(job_id, attempt)}/{name}"
