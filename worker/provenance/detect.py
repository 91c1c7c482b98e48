"""Detection in a child process: manifest and watermark of one untrusted file, as JSON.

`python -m worker.provenance.detect detect FILE [SIDECAR]` reads JSON from its input;
`... parent FILE` and `... input FILE` write the file's manifest for another one. No command
writes a file or opens a URL (`jobs/sandbox/confinement.py`).
"""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contracts.provenance import ManifestState, Report
from jobs.sandbox.confinement import confine
from jobs.sandbox.rlimits import apply_limits
from models.watermark import detect as watermark
from worker.provenance.reader import ingredient, read_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from contracts.provenance import WatermarkFinding

PACKAGES = ("contracts", "jobs", "models", "worker")
DEPENDENCIES = ("av", "numpy", "c2pa", "scipy")
LIMITS = {"CPU": 120, "AS": 8 << 30, "FSIZE": 0, "CORE": 0, "NPROC": 0}
RELATIONSHIPS = {"parent": "parentOf", "input": "inputTo"}  # of C2PA, by command
REMOVED = "the watermark names visavis but the file has no manifest: it was removed"


def examine(path: Path, sidecar: Path | None, facts: Mapping[str, Any]) -> Report:
    """Return the findings about a file."""
    manifest = read_manifest(
        path,
        sidecar=None if sidecar is None else sidecar.read_bytes(),
        name=str(facts.get("name") or path.name),
        trusted=str(facts.get("trusted") or ""),
    )
    mark = watermark_of(path, facts)
    if mark is not None and mark.found and manifest.state is ManifestState.ABSENT:
        manifest = replace(manifest, state=ManifestState.REMOVED, reasons=(REMOVED,))
    return Report(manifest, mark)


def watermark_of(path: Path, facts: Mapping[str, Any]) -> WatermarkFinding | None:
    """Return the watermark of a file; None without a key to look for one."""
    keys = facts.get("watermark_keys") or []
    known = [int(each, 16) for each in facts.get("watermark_ids") or ()]
    return watermark.detect(path, [bytes.fromhex(key) for key in keys], known) if keys else None


def main(arguments: list[str]) -> None:
    """Run a command and write its result to stdout."""
    command, *paths = arguments
    if command in RELATIONSHIPS:
        sys.stdout.buffer.write(ingredient(Path(paths[0]), RELATIONSHIPS[command]))
        return
    facts = json.loads(sys.stdin.buffer.read() or b"{}")
    report = examine(Path(paths[0]), Path(paths[1]) if paths[1:] else None, facts)
    sys.stdout.write(json.dumps(report.to_json()) + "\n")


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    apply_limits(LIMITS)
    confine(map(Path, sys.argv[2:]), packages=PACKAGES, dependencies=DEPENDENCIES)
    main(sys.argv[1:])
