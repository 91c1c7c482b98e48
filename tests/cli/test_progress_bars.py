"""Progress of stages, as bars on a terminal and as lines in a log."""

import io

import pytest
from rich.console import Console

from cli.progress_bars import SHOWN, Bars


def make_console(*, terminal: bool) -> tuple[Console, io.StringIO]:
    output = io.StringIO()
    return Console(file=output, force_terminal=terminal, width=100), output


def test_a_log_gets_one_line_for_each_finished_stage() -> None:
    console, output = make_console(terminal=False)
    with Bars(console) as bars:
        for stage in SHOWN:
            for step in range(101):
                bars.report(stage, step / 100)

    lines = output.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == list(SHOWN)
    assert all("100 %" in line for line in lines)


def test_a_long_stage_gets_several_lines_in_a_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.progress_bars.LINE_SECONDS", -1.0)
    console, output = make_console(terminal=False)
    with Bars(console) as bars:
        bars.show({"render": 0.25, "face": 0.0})
        bars.show({"render": 0.25})
        bars.show({"render": 0.5})

    assert [line.split()[1] for line in output.getvalue().splitlines()] == ["25", "50"]


def test_a_log_gets_a_line_also_while_nothing_progresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.progress_bars.SILENT_SECONDS", -1.0)
    console, output = make_console(terminal=False)
    with Bars(console) as bars:
        bars.show({"render": 0.0})
        bars.show({"render": 0.25})
        bars.show({"render": 0.25})

    lines = [line.rsplit(maxsplit=2)[0].strip() for line in output.getvalue().splitlines()]
    assert lines == ["waiting for a worker", "render    25 %", "render    25 %"]


def test_a_terminal_shows_a_bar_for_each_stage() -> None:
    console, output = make_console(terminal=True)
    with Bars(console) as bars:
        bars.show(dict.fromkeys(SHOWN, 1.0))

    assert all(stage in output.getvalue() for stage in SHOWN)
    assert "100%" in output.getvalue()
