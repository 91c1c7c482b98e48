"""`python -m bench NAME`: one for each of motion, avatar, samplers, service, bulk and others."""

from __future__ import annotations

import os
import sys

# `python -m` searches the working directory first, where a user may have files with the names of
# modules (models/, jobs.py). This must come before all other imports.
if (
    __name__ == "__main__"
    and not sys.flags.safe_path
    and __file__ != f"{sys.path[0]}/bench/__main__.py"
):
    del sys.path[0]

from contracts.imports import quick_imports

# Threads of torch sleep while they wait, as in workers; OpenMP reads it when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

with quick_imports():
    from bench import (
        avatar,
        bulk,
        motion,
        queue,
        training,
    )
    from bench.latency import first_second, time_left
    from bench.performance import job, page, service
    from bench.provenance import manifest, watermark
    from bench.sampling import samplers, seams
    from bench.simulation import command as simulate
    from training.commands.console import one_line_errors
    from training.commands.options import Parser

MEASURES = {
    "motion": motion,
    "avatar": avatar,
    "job": job,
    "page": page,
    "provenance": manifest,
    "samplers": samplers,
    "seams": seams,
    "service": service,
    "bulk": bulk,
    "first-second": first_second,
    "queue": queue,
    "simulate": simulate,
    "time-left": time_left,
    "training": training,
    "watermark": watermark,
}


def parser() -> Parser:
    """Return the command line: one subcommand for each module."""
    result = Parser(prog="python -m bench", description=__doc__)
    commands = result.add_subparsers(dest="measure", required=True)
    for name, module in MEASURES.items():
        summary = (module.__doc__ or "").partition(":")[0]
        command = commands.add_parser(name, help=summary, description=module.__doc__)
        module.add_arguments(command)
    return result


def main() -> None:
    """Run the benchmark that the command line names."""
    arguments = parser().parse_args()
    with one_line_errors("python -m bench"):
        MEASURES[arguments.measure].run(arguments)


if __name__ == "__main__":
    main()
