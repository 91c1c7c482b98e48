"""Tables of all settings for docs/configuration.md: `python tools/configuration.py FILE`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.settings import PREFIX, SECRETS, Group, Settings

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

BEGIN, END = "<!-- settings: begin -->\n", "<!-- settings: end -->\n"


def tables() -> str:
    """Return a table in Markdown for each group."""
    parts = []
    for group in Group:
        rows = [
            _row(name, field)
            for name, field in Settings.model_fields.items()
            if _declared(field)["group"] == group
        ]
        head = ["", f"## {group}", "", "| variable | default | meaning |", "|---|---|---|"]
        parts += [*head, *rows]
    return "\n".join(parts) + "\n\n"


def updated(text: str) -> str:
    """Return the text of a document with the tables between its markers."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"markers {BEGIN.strip()} and {END.strip()} not found; add them")
    return before + begin + tables() + end + after


def _row(name: str, field: FieldInfo) -> str:
    secret = "; also as `_FILE`" if name in SECRETS else ""
    return f"| `{PREFIX}{name.upper()}` | {_default(field)} | {field.description}{secret} |"


def _default(field: FieldInfo) -> str:
    shown = _declared(field)["shown"]
    if shown is not None:
        return str(shown)
    default = field.default
    if default is None:
        return "none"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, float) and default.is_integer():
        default = int(default)
    return f"`{default}`" if default not in ("", ()) else "empty"


def _declared(field: FieldInfo) -> dict[str, str | None]:
    extra = field.json_schema_extra
    assert isinstance(extra, dict), "declare the setting by `_setting`"
    return extra  # type: ignore[return-value]


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(updated(path.read_text(encoding="utf-8")), encoding="utf-8")
