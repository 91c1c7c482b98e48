"""Tables and pictures of docs/scaling.md, between the comments `begin NAME` and `end NAME`.

Measured figures are in docs/scaling/*.json. Simulated ones are computed here; each has a seed, so
the same versions give the same page.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from bench.simulation import pictures
from bench.simulation.costs import demo_costs
from bench.simulation.loads import OFFICE_DAY, Load
from bench.simulation.rates import measured_rates
from bench.simulation.sizing import (
    P95_WAITS,
    RATES,
    SPEEDS,
    answers,
    fairness,
    offered,
    preemptions,
    scale_to_zero,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from bench.simulation.sizing import ScalingAnswer

PERCENTILES = ("p50", "p95")
PICTURES = "pictures/scaling"  # beside the page


def write(page: Path) -> None:
    """Write all tables and pictures of the page. Raises: InputError: without matplotlib."""
    text = page.read_text(encoding="utf-8")
    figures = page.with_suffix("")
    for name, table in TABLES.items():
        text = with_table(text, name, table(figures))
    page.write_text(text, encoding="utf-8")
    pictures.write(page.parent / PICTURES, figures)


def with_table(text: str, name: str, rows: Iterable[str]) -> str:
    """Replace the table between two comments. Raises: ValueError: when the page has none."""
    begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
    pattern = re.compile(f"({re.escape(begin)}).*?({re.escape(end)})", re.DOTALL)
    content = "\n".join(rows)
    found, count = pattern.subn(lambda match: f"{match[1]}{content}\n{match[2]}", text)
    if count != 1:
        raise ValueError(f"the page has no comments {begin.strip()} and {end}")
    return found


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Rows of a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def seconds(value: float) -> str:
    """Format seconds with two digits."""
    if value < 0.05:
        return "0 s"
    return f"{value:.2g} s" if value < 100 else f"{value:.0f} s"


def workers_table(_figures: Path) -> list[str]:
    """Workers for rates and waits, for two speeds."""
    rows = []
    for name, costs in SPEEDS.items():
        for rate in RATES:
            found = [answers()[name, rate, wait] for wait in P95_WAITS]
            cells = [f"{each.workers} ({100 * each.busy:.0f} %)" for each in found]
            rows.append([name, f"{rate}", f"{offered(Load(rate), costs):.1f}", *cells])
    head = ("speed", "clips an hour", "busy on average", *(f"p95 {wait} s" for wait in P95_WAITS))
    return table(head, rows)


def scaling_rows(days: Iterable[ScalingAnswer]) -> list[str]:
    """Table of days with scaled workers."""
    return table(
        (
            "workers",
            "worker hours",
            "busy hours",
            "starts",
            "wait p50",
            "p95",
            "waited for a start",
        ),
        [
            [
                each.name,
                f"{each.worker_hours:.1f}",
                f"{each.busy_hours:.1f}",
                str(each.starts),
                seconds(each.p50),
                seconds(each.p95),
                f"{100 * each.delayed:.1f} %",
            ]
            for each in days
        ],
    )


def scale_table(_figures: Path) -> list[str]:
    """A day at three rates, scaled to zero or to one."""
    rows: list[str] = []
    for rate in (2, 20, 200):
        days = scale_to_zero(Load(rate, day=OFFICE_DAY), demo_costs())
        named = [replace(each, name=f"{rate} clips an hour, {each.name}") for each in days]
        rows += scaling_rows(named)[2 if rows else 0 :]
    return rows


def preemption_table(_figures: Path) -> list[str]:
    """A day on machines that are taken away."""
    days = preemptions(Load(300), demo_costs(), 4)
    rows = [
        [
            each.name,
            str(each.preempted),
            f"{each.busy_hours:.1f}",
            seconds(each.p50),
            seconds(each.p95),
        ]
        for each in days
    ]
    return table(
        ("a machine is taken away", "jobs handed back", "busy hours", "wait p50", "p95"), rows
    )


def fairness_table(_figures: Path) -> list[str]:
    """Jobs of a tenant beside a batch."""
    rows = [
        [each.name, seconds(each.p50), seconds(each.p95), f"{each.batch_minutes:.0f} min"]
        for each in fairness(Load(120), demo_costs(), 3, 200)
    ]
    return table(("120 clips an hour, 3 workers", "wait p50", "p95", "200 jobs done after"), rows)


def check_table(figures: Path) -> list[str]:
    """Percentiles of real runs and of their simulations."""
    rows = []
    if not (paths := sorted(figures.glob("check-*.json"))):
        return ["No comparison on an idle machine has been recorded yet."]
    for path in paths:
        content = json.loads(path.read_text(encoding="utf-8"))
        rows += [
            [
                content["setup"],
                f"{row['load']:.1f}",
                str(row["workers"]),
                str(row.get("seed", "mean")),
                *(_compared(row[name]) for name in PERCENTILES),
            ]
            for row in content["rows"] + means_over_seeds(content["rows"])
        ]
    head = ("set-up", "load", "workers", "seed", "p50 real, simulated", "p95 real, simulated")
    return table(head, rows)


def means_over_seeds(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means of real and of simulated percentiles for each load and number of workers."""
    groups: dict[tuple[float, int], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["load"], row["workers"]), []).append(row)
    means = []
    for (load, workers), group in groups.items():
        mean: dict[str, Any] = {"load": load, "workers": workers}
        for name in PERCENTILES:
            real, simulated = (
                fmean(row[name][key] for row in group) for key in ("real", "simulated")
            )
            mean[name] = {"real": real, "simulated": simulated, "error": simulated / real - 1}
        means.append(mean)
    return means


def _compared(cell: dict[str, Any]) -> str:
    return f"{cell['real']:.2f} s, {cell['simulated']:.2f} s ({100 * cell['error']:+.0f} %)"


def rates_table(figures: Path) -> list[str]:
    """Rates of each server, in operations a second, by operation."""
    found = measured_rates(figures)
    processes = sorted({count for rates in found.values() for count in rates})
    rows = [
        [
            operation,
            server,
            *(f"{rates[count]:.0f}" if count in rates else "" for count in processes),
        ]
        for (operation, server), rates in found.items()
    ]
    counts = (f"{count} process{'es' * (count > 1)}" for count in processes)
    return table(("a second", "server", *counts), rows)


def machine_lines(figures: Path) -> list[str]:
    """Machine and versions of the measurements."""
    lines = []
    for path in sorted(figures.glob("*.json")):
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        facts = content.get("machine", {}) | {
            "load": content.get("load", content.get("machine", {}).get("load"))
        }
        lines.append(
            f"- `{path.name}`: " + ", ".join(f"{name} {value}" for name, value in facts.items())
        )
    return lines


TABLES: dict[str, Callable[[Path], list[str]]] = {
    "workers": workers_table,
    "scale-to-zero": scale_table,
    "preemption": preemption_table,
    "fairness": fairness_table,
    "check": check_table,
    "rates": rates_table,
    "machine": machine_lines,
}
