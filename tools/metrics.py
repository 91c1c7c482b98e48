"""Table of all metrics for docs/monitoring.md: `python tools/metrics.py FILE`."""

from __future__ import annotations

import sys
from pathlib import Path

from jobs.telemetry.metrics import METRICS, Metric

BEGIN, END = "<!-- metrics: begin -->\n", "<!-- metrics: end -->\n"


def table() -> str:
    """Return one row in Markdown for each metric."""
    head = ["", "| metric | kind | labels | process | meaning |", "|---|---|---|---|---|"]
    return "\n".join([*head, *(_row(metric) for metric in METRICS)]) + "\n\n"


def updated(text: str) -> str:
    """Return the text of a document with the table between its markers."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"markers {BEGIN.strip()} and {END.strip()} not found; add them")
    return before + begin + table() + end + after


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    processes = ", ".join(metric.processes)
    return f"| `{metric.name}` | {metric.kind} | {labels} | {processes} | {metric.help} |"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(updated(path.read_text(encoding="utf-8")), encoding="utf-8")
