"""Table of the request fields for docs/api.md: `python -m jobs.request.table FILE` updates it."""

from __future__ import annotations

import sys
from pathlib import Path

from jobs.request.declare import RequestField, declared_fields

BEGIN, END = "<!-- request fields: begin -->\n", "<!-- request fields: end -->\n"


def request_table() -> str:
    """Return the table in Markdown, one row for each field."""
    rows = [_row(field) for field in declared_fields()]
    return "\n".join(["| field | values | default | meaning |", "|---|---|---|---|", *rows]) + "\n"


def updated(text: str) -> str:
    """Return the text of a document with the table between its markers."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"markers {BEGIN.strip()} and {END.strip()} not found; add them")
    return before + begin + request_table() + end + after


def _row(field: RequestField) -> str:
    return f"| `{field.name}` | {_values(field)} | {_default(field)} | {field.help} |"


def _values(field: RequestField) -> str:
    values = ("true", "false") if field.type is bool else field.choices
    choices = ", ".join(f"`{value}`" for value in values)
    return field.declared.get("values") or field.limits or choices or "text"


def _default(field: RequestField) -> str:
    default = field.info.default
    if default is None:
        placeholder = field.declared.get("form", {}).get("placeholder")
        return "the person's" if field.person_default else placeholder or "none"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{','.join(default) if isinstance(default, tuple) else default}`"


def main(arguments: list[str]) -> None:
    """Print the table, or update it in the given files."""
    if not arguments:
        sys.stdout.write(request_table())
    for name in arguments:
        path = Path(name)
        path.write_text(updated(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
