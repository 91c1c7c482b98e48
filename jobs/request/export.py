"""Declared request fields and outputs as JSON, for the command of the client.

`python -m jobs.request.export FILE` writes the file; the client is a distribution to itself and
cannot import the declarations.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from contracts.outputs import OUTPUTS
from jobs.request.declare import declared_fields

if TYPE_CHECKING:
    from jobs.request.declare import RequestField

TYPES = {tuple: "list", dict: "map", Literal: "str"}


def exported() -> str:
    """Return the fields and the outputs in the order of their declaration."""
    content = {
        "fields": [_field(field) for field in declared_fields()],
        "outputs": [
            {"name": output.name, "kind": output.kind, "suffix": output.suffix}
            for output in OUTPUTS
        ],
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _field(field: RequestField) -> dict[str, Any]:
    default = field.info.default
    content = {
        "name": field.name,
        "group": field.group.value,
        "type": TYPES.get(field.type, field.type.__name__),
        "help": field.help,
        "limits": field.limits,
        "choices": list(field.choices),
        "default": list(default) if isinstance(default, tuple) else default,
        "person_default": field.person_default,
    }
    return {name: value for name, value in content.items() if not _is_empty(value)}


def _is_empty(value: Any) -> bool:
    return value is None or value is False or value in ("", [], {})


def main(arguments: list[str]) -> None:
    """Write the given files."""
    for name in arguments:
        Path(name).write_text(exported(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
