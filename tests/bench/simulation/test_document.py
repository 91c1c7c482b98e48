"""The page docs/scaling.md has the measured figures of its JSON files, and every table."""

from pathlib import Path

import pytest

from bench.simulation.document import (
    TABLES,
    check_table,
    machine_lines,
    rates_table,
    with_table,
)

PAGE = Path(__file__).parents[3] / "docs" / "scaling.md"


def test_the_page_has_the_measured_figures() -> None:
    text = PAGE.read_text()
    for name, rows in (
        ("check", check_table(PAGE.with_suffix(""))),
        ("rates", rates_table(PAGE.with_suffix(""))),
        ("machine", machine_lines(PAGE.with_suffix(""))),
    ):
        assert len(rows) > 0
        assert with_table(text, name, rows) == text, name


def test_every_table_has_its_place_on_the_page() -> None:
    text = PAGE.read_text()
    for name in TABLES:
        assert text.partition(f"<!-- begin {name} -->")[2].partition("<!-- end")[0].strip(), name
    with pytest.raises(ValueError, match="no comments"):
        with_table(text, "unknown", [])
