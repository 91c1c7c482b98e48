"""Measured rates of databases, broker and storage: docs/scaling/queue-*.json."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    Rates = dict[tuple[str, str], dict[int, float]]


def measured_rates(figures: Path) -> Rates:
    """Return operations per second by (operation, server), then by number of processes.

    Operations have the order of their first file; servers of one operation are together.
    """
    found: Rates = {}
    for path in sorted(figures.glob("queue-*.json")):
        for rate in json.loads(path.read_text(encoding="utf-8"))["rates"]:
            rates = found.setdefault((rate["operation"], rate["server"]), {})
            rates[rate["processes"]] = rate["rate"]
    operations = list(dict.fromkeys(operation for operation, _ in found))
    return dict(sorted(found.items(), key=lambda each: operations.index(each[0][0])))
