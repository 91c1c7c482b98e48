"""Progress callback of the pipeline."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, float], None]  # (stage, fraction 0..1); what it raises ends the work
