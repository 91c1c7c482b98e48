"""The table of request fields in docs/api.md."""

from pathlib import Path

import pytest

from jobs.request.declare import declared_fields
from jobs.request.table import BEGIN, END, main, request_table, updated

DOCS = Path(__file__).parents[3] / "docs" / "api.md"


def test_the_table_in_the_docs_is_the_generated_one() -> None:
    text = DOCS.read_text(encoding="utf-8")

    assert text == updated(text), "run `make docs`"


def test_the_table_has_a_row_for_each_field() -> None:
    rows = request_table().splitlines()[2:]

    assert [row.split("`")[1] for row in rows] == [field.name for field in declared_fields()]


def test_only_the_text_between_the_markers_changes() -> None:
    text = f"before\n{BEGIN}old\n{END}after\n"

    assert updated(text) == f"before\n{BEGIN}{request_table()}{END}after\n"
    with pytest.raises(ValueError, match="not found; add them"):
        updated("no markers")


def test_the_command_updates_files_or_prints_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "api.md"
    path.write_text(f"before\n{BEGIN}old\n{END}after\n")

    main([str(path)])
    main([])

    assert path.read_text() == f"before\n{BEGIN}{request_table()}{END}after\n"
    assert capsys.readouterr().out == request_table()
