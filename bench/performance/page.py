"""The page about speed, generated from reports: `python -m bench page docs`.

The folder has the JSON reports of the benchmarks motion, avatar, job, queue and training in
`performance`, each named after its benchmark; the page and `pictures` with its plots are written
into it.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from contracts.errors import InputError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    Facts = Mapping[str, Any]

MEASURES = ("motion", "avatar", "job", "queue", "training")
CURVES = {
    "seconds": "clip length",
    "takes": "takes of a clip",
    "steps": "steps of UniPC",
    "batch": "frames of a batch",
}
INTRODUCTION = """\
# Performance

`make performance` measures everything on this page again and writes the page;
`docs/performance/` has the reports. Each section names the machine, its load and the versions.
A figure of repeated measurements is the median, with the smallest and the largest in brackets.
*Plain* is straightforward code for the same work, timed in the same run; a ratio of CPU seconds
is less sensitive to other processes than a time. Load above the number of cores, or a priority
above 0, means that wall-clock times were longer than on an idle machine.
"""
JOB = """\
The clip of `make run`, made in one process: decoding, motion, frames, video and manifest. In
the whole job the stages run beside each other; below, each stage runs alone. `quality=draft` is
the option with faster frames: one sample a pixel, and fewer steps. The last line is the sampler
that the demo person had before there were levels of quality.
"""
FLOOR = """\
The floor is the larger of two times: counted floating-point operations at the rate of a matrix
product on this machine, and bytes at the rate of a copy, with all threads. Bytes of the motion
are the tensors that each operation reads and writes, those of the renderer the keys of its
samples and its pixels, and those of the encoder what it is sent. The renderer's arithmetic and
the encoder's search are not counted, so their floors are low.
"""
MOTION = """\
Networks of the released sizes with random weights, one thread, 100 steps of DDIM:
`python -m bench motion`.
"""
AVATAR = "The demo person with the shading `fast`: `python -m bench avatar`.\n"
QUEUE = "Operations a second of each server alone: `python -m bench queue`.\n"
TRAINING = "One step of training at the released sizes: `python -m bench training`.\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `python -m bench page`."""
    parser.add_argument("folder", type=Path, help="folder of the documents")


def run(arguments: argparse.Namespace) -> None:
    """Write the page and its plots."""
    from bench.performance.plots import write_curves

    folder: Path = arguments.folder
    reports = read_reports(folder / "performance")
    (folder / "performance.md").write_text(page(reports), encoding="utf-8")
    write_curves(reports["job"]["curves"], CURVES, folder / "pictures")


def read_reports(folder: Path) -> dict[str, Any]:
    """Read the reports. Raises: InputError: when one is missing."""
    reports = {}
    for name in MEASURES:
        path = folder / f"{name}.json"
        if not path.is_file():
            command = f"python -m bench {name} --json {path}"
            raise InputError(f"{path}: missing; make it with `{command}`")
        reports[name] = json.loads(path.read_text(encoding="utf-8"))
    return reports


def page(reports: Facts) -> str:
    """Return the page."""
    sections = (
        INTRODUCTION,
        *_job(reports["job"]),
        *_motion(reports["motion"]),
        *_avatar(reports["avatar"]),
        *_queue(reports["queue"]),
        *_training(reports["training"]),
    )
    return "\n".join(sections)


def _job(report: Facts) -> Iterator[str]:
    yield _heading(f"One job of {report['seconds']:.1f} s", report)
    yield JOB
    yield _table(
        ("whole job", "CPU seconds", "seconds", "frames a second"),
        (
            (
                job["name"],
                _range(job["cost"]["cpu"]),
                _range(job["cost"]["wall"]),
                f"{job['frames'] / median(job['cost']['wall']):.1f}",
            )
            for job in report["jobs"]
        ),
    )
    memory = f"Peak memory of the process: {report['peak_megabytes']} MB."
    if report["gpu_peak_megabytes"]:
        memory += f" Peak memory of the GPU: {report['gpu_peak_megabytes']} MB."
    yield memory + "\n"
    yield _table(
        ("stage", "CPU seconds", "seconds", "plain, CPU seconds", "plain / ours", ""),
        (
            (
                stage["name"],
                _range(stage["ours"]["cpu"]),
                _range(stage["ours"]["wall"]),
                *_plain(stage["ours"]["cpu"], stage["plain"]["cpu"]),
                stage["note"],
            )
            for stage in report["stages"]
        ),
    )
    if report["transfers"]:
        yield _table(
            ("copy from the GPU", "MB", "milliseconds"),
            (
                (each["name"], f"{each['megabytes']:.1f}", f"{each['milliseconds']:.2f}")
                for each in report["transfers"]
            ),
        )
    yield "### Operations and bytes\n"
    rates = report["rates"]
    yield FLOOR
    yield (
        f"This machine: {rates['gflop_a_second']:.0f} GFLOP a second, "
        f"{rates['gigabytes_a_second']:.1f} GB a second.\n"
    )
    yield _table(
        ("stage", "GFLOP", "MB", "floor, seconds", "measured, seconds"),
        (
            (
                each["name"],
                f"{each['counted']['gflop']:.1f}" if each["counted"]["gflop"] else "not counted",
                f"{each['counted']['megabytes']:.0f}",
                f"{each['floor_seconds']:.3f}",
                f"{each['measured_seconds']:.2f}",
            )
            for each in report["floors"]
        ),
    )
    yield "### Cost against length, takes, steps and batch\n"
    yield (
        "Motion against clip length, takes and steps, and frames against the size of a batch, in "
        "CPU seconds.\n"
    )
    for name, label in CURVES.items():
        points = report["curves"][name]
        yield f"![CPU seconds against {label}](pictures/performance-{name}.webp)\n"
        yield _table(
            (label, *(f"{point['x']:g}" for point in points)),
            [("CPU seconds", *(_range(point["cost"]["cpu"]) for point in points))],
        )


def _motion(report: Facts) -> Iterator[str]:
    yield _heading("Motion networks of the released sizes", report)
    yield MOTION
    yield _table(
        ("part", "unit", "ours, CPU seconds", "plain, CPU seconds", "plain / ours", "in all"),
        (
            (
                f"{row['part']} of {row['seconds']:g} s",
                row["unit"],
                _three_digits(row["ours"]["cpu"]),
                _three_digits(row["plain"]["cpu"]),
                f"{row['times']:.1f}",
                f"{row['times_in_all']:.1f}",
            )
            for row in report["rows"]
        ),
    )


def _avatar(report: Facts) -> Iterator[str]:
    yield _heading("Renderer", report)
    yield AVATAR
    for size in report["sizes"]:
        yield _table(
            (f"{size['size']}", "CPU ms a frame", "ms", "frames a second", "plain / ours by time"),
            (
                (
                    method["name"],
                    f"{method['cpu_milliseconds']:.1f}",
                    f"{method['milliseconds']:.1f}",
                    f"{method['frames_per_second']:.1f}",
                    f"{method['times_plain']:.1f}",
                )
                for method in size["methods"]
            ),
        )
        costs = ", ".join(
            f"{name} {cost:.1f}" for name, cost in size["stages_cpu_milliseconds"].items()
        )
        memory = size["peak_megabytes"]
        yield f"Stages on one thread, CPU ms a frame: {costs}. Peak memory {memory} MB.\n"


def _queue(report: Facts) -> Iterator[str]:
    yield _heading("Queue", report)
    yield QUEUE
    yield _table(
        ("operation", "server", "processes", "a second"),
        (
            (rate["operation"], rate["server"], str(rate["processes"]), f"{rate['rate']:.0f}")
            for rate in report["rates"]
        ),
    )


def _training(report: Facts) -> Iterator[str]:
    yield _heading("Training", report)
    yield TRAINING
    yield _table(
        ("part", "batch", "ours, CPU seconds", "plain, CPU seconds", "plain / ours"),
        (
            (
                row["part"],
                f"{row['batch']} x {row['frames']} frames",
                f"{row['ours']['cpu']:.2f}",
                f"{row['plain']['cpu']:.2f}",
                f"{row['times']:.1f}",
            )
            for row in report["rows"]
        ),
    )


def _heading(title: str, report: Facts) -> str:
    """Return a heading with the state of the machine."""
    machine = report["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    threads = report.get("threads")
    return (
        f"## {title}\n\n"
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gigabytes']} GB, "
        f"{machine['system']}; load {machine['load']:.1f}, priority {machine['priority']}; Python "
        f"{machine['python']}, {packages}"
        f"{f'; threads {threads}' if threads else ''}{_seed(report)}.\n"
    )


def _seed(report: Facts) -> str:
    """Return the seed of random numbers, where there are any."""
    return "" if report.get("seed") is None else f"; seed {report['seed']}"


def _plain(ours: Sequence[float], plain: Sequence[float]) -> tuple[str, str]:
    """Return cost and ratio of the plain code."""
    if not plain:
        return "", ""
    return _range(plain), f"{median(plain) / median(ours):.1f}"


def _range(values: Sequence[float]) -> str:
    """Return the median, with the smallest and the largest of several."""
    middle = f"{median(values):.2f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.2f} to {max(values):.2f})"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _three_digits(value: float) -> str:
    """Round to three digits, without an exponent."""
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"
