"""Simulation of the queue: `python -m bench simulate --clips-per-hour 1000 --wait 60`.

It answers how many workers (GPUs) keep the p95 wait in the queue below `--wait` seconds, and with
`--scale-to-zero` what workers that scale to zero save and cost. The costs of a job are those of the
demo person on two idle CPU cores, or `--job-seconds` and `--clip-rate`, or a file that
`bench.simulation.costs` describes. The order of claims is the product's.

With `--document` it writes the tables and pictures of docs/scaling.md.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from contracts.errors import InputError
from training.commands.options import positive_float, positive_int

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--clips-per-hour", type=positive_float, default=1000.0)
    parser.add_argument("--wait", type=positive_float, default=60.0, help="p95, in seconds")
    parser.add_argument("--clip-seconds", type=positive_float, default=10.0, help="median")
    parser.add_argument("--costs", type=Path, help="JSON file of costs")
    parser.add_argument("--job-seconds", type=positive_float, help="whatever the clip's length")
    parser.add_argument("--clip-rate", type=positive_float, help="for each second of the clip")
    parser.add_argument("--start-seconds", type=positive_float, help="of a new worker")
    parser.add_argument("--scale-to-zero", action="store_true", help="a day with and without")
    parser.add_argument("--most", type=positive_int, default=8, help="workers of --scale-to-zero")
    parser.add_argument("--seed", type=positive_int, default=1)
    parser.add_argument("--document", type=Path, metavar="PAGE", help="write the tables of a page")


def run(arguments: argparse.Namespace) -> None:
    """Print the answer, or write the page.

    Raises: InputError: without SimPy, or for a file without costs.
    """
    try:
        from bench.simulation import document, sizing
        from bench.simulation.costs import demo_costs, read_costs
        from bench.simulation.loads import OFFICE_DAY, Load
    except ModuleNotFoundError as error:
        raise InputError(
            f'{error.name}: not installed; pip install "visavis-server[simulation]"'
        ) from error
    if arguments.document:
        document.write(arguments.document)
        return
    try:
        costs = read_costs(arguments.costs) if arguments.costs else demo_costs()
    except (OSError, ValueError) as error:
        raise InputError(f"--costs: {error}") from error
    options = {
        "job": arguments.job_seconds,
        "clip": arguments.clip_rate,
        "start": arguments.start_seconds,
    }
    costs = replace(costs, **{name: value for name, value in options.items() if value is not None})
    load = Load(arguments.clips_per_hour, arguments.clip_seconds)
    if arguments.scale_to_zero:
        day = replace(load, day=OFFICE_DAY)
        rows = document.scaling_rows(sizing.scale_to_zero(day, costs, arguments.most))
        sys.stdout.write("\n".join(rows) + "\n")
        return
    found = sizing.workers_for(load, costs, arguments.wait, arguments.seed)
    sys.stdout.write(
        f"{found.workers} workers, busy {100 * found.busy:.0f} %: wait p50 {found.p50:.1f} s, "
        f"p95 {found.p95:.1f} s\n"
    )
