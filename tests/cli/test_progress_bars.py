"""Stages are shown as bars to people and as a few lines to logs."""

import io

import pytest
from rich.console import Console

from cli.progress_bars import SHOWN, Bars


def shown(*, terminal: bool) -> tuple[Console, io.StringIO]:
    said = io.StringIO()
    return Console(file=said, force_terminal=terminal, width=100), said


def test_a_log_gets_one_line_for_each_stage_that_ended() -> None:
    console, said = shown(terminal=False)
    with Bars(console) as bars:
        for stage in SHOWN:
            for step in range(101):
                bars.tell(stage, step / 100)

    lines = said.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == list(SHOWN)
    assert all("100 %" in line for line in lines)


def test_a_long_stage_is_heard_of_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.progress_bars.LINE_SECONDS", -1.0)
    console, said = shown(terminal=False)
    with Bars(console) as bars:
        bars.show({"render": 0.25, "face": 0.0})
        bars.show({"render": 0.25})
        bars.show({"render": 0.5})

    assert [line.split()[1] for line in said.getvalue().splitlines()] == ["25", "50"]


def test_people_see_a_bar_for_each_stage() -> None:
    console, said = shown(terminal=True)
    with Bars(console) as bars:
        bars.show(dict.fromkeys(SHOWN, 1.0))

    assert all(stage in said.getvalue() for stage in SHOWN)
    assert "100%" in said.getvalue()
