"""Manifests and watermarks of untrusted files, read in a child process with resource limits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contracts.errors import InputError
from contracts.provenance import ManifestFinding, ManifestState, Report, WatermarkFinding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobs.settings import Settings

FOLDER = "signing"  # in the data folder: the key that a machine has made for itself
CERTIFICATES = "certificates.pem"  # of that key, its own first
ROOT = Path(__file__).resolve().parents[2]
MODULE = "worker.provenance.detect"  # started as a program, never imported here
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # small products are quicker so
WALL_SECONDS = 120.0
REPORT_BYTES = 4 << 20
MANIFEST_BYTES = 64 << 20


class DetectionError(InputError):
    """A file that cannot be examined within the limits."""


def detect(
    path: Path, *, sidecar: Path | None = None, facts: dict[str, Any] | None = None
) -> Report:
    """Examine a file.

    sidecar: its manifest, where it has one beside it. facts: what the child must know, as JSON
    values: `trusted`, PEM texts of certificates, and settings of the watermark.
    Raises: DetectionError: when the file takes more than the limits.
    """
    arguments = [path] if sidecar is None else [path, sidecar]
    output = _output("detect", arguments, json.dumps(facts or {}).encode(), REPORT_BYTES)
    try:
        return report_of(json.loads(output))
    except (KeyError, TypeError, ValueError) as error:
        raise DetectionError(
            "file: could not be examined within the limits of time and memory; send a shorter part"
        ) from error


def facts_of(settings: Settings) -> dict[str, Any]:
    """Return the facts that detection needs: certificates that this service trusts, and its keys.

    They reach the child through a pipe, and are never printed. A member `watermark_ids` may be
    added: ids of jobs, which are then recognised in files that have suffered.
    """
    paths: list[Path | None] = [settings.trust, settings.sign_certificate]
    paths += [folder / CERTIFICATES for folder in (settings.data / FOLDER, user_folder())]
    texts = [path.read_text() for path in paths if path is not None and path.is_file()]
    keys = [key.hex() for key in settings.marking_keys()]
    return {"trusted": "\n".join(texts), "watermark_keys": keys}


def user_folder() -> Path:
    """Folder of the key of commands that have no data folder (XDG base directories)."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "visavis" / FOLDER


def ingredient_of(path: Path, *, parent: bool) -> bytes | None:
    """Return the archive of a file with a manifest, as an ingredient; None without a manifest.

    parent: whether the file is the parent, of which a manifest has one, or else an input.
    """
    return _output("parent" if parent else "input", [path], b"", MANIFEST_BYTES) or None


def report_of(values: dict[str, Any]) -> Report:
    """Return a report from its JSON values."""
    manifest, mark = dict(values["manifest"]), values.get("watermark")
    manifest["state"] = ManifestState(manifest["state"])
    manifest["reasons"] = tuple(manifest["reasons"])
    if mark is not None:
        mark = WatermarkFinding(**mark | {"where": tuple(mark["where"])})
    return Report(ManifestFinding(**manifest), mark, values.get("job"))


def _output(command: str, paths: Sequence[Path], given: bytes, most: int) -> bytes:
    """Return the output of the child; empty if it was killed or said too much."""
    arguments = [sys.executable, "-m", MODULE, command, *(str(path.resolve()) for path in paths)]
    try:
        done = subprocess.run(
            arguments,
            cwd=ROOT,
            env=ONE_THREAD,  # no secret of the environment reaches an untrusted file
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=WALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return b""
    return done.stdout if done.returncode == 0 and len(done.stdout) <= most else b""
