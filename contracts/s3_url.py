"""URLs of objects and folders in S3 buckets: s3://bucket/key?endpoint_url=...&region=..."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from contracts.errors import InputError

S3 = "s3://"
PARTS = ("endpoint_url", "region")  # of the query


class S3Url(NamedTuple):
    """Parts of a URL. Without endpoint or region, those of the environment apply."""

    bucket: str
    key: str
    endpoint: str | None
    region: str | None


def is_s3_url(place: str) -> bool:
    """Return whether a place is an s3 URL; other places are paths."""
    return place.startswith(S3)


def read_s3_url(url: str, *, folder: bool = False) -> S3Url:
    """Split a URL. folder: it may name the whole bucket. Raises: InputError: for an invalid URL."""
    parts = urlsplit(url, allow_fragments=False)
    key = parts.path.removeprefix("/")  # as it is: keys are not quoted
    query = parse_qs(parts.query)
    invalid = not is_s3_url(url) or not parts.netloc or not (key or folder)
    if invalid or query.keys() - set(PARTS):
        raise InputError(
            f"{url}: invalid S3 URL; write s3://bucket/key, with ?endpoint_url=... if needed"
        )
    endpoint, region = (query.get(part, [None])[0] for part in PARTS)
    return S3Url(parts.netloc, key, endpoint, region)
