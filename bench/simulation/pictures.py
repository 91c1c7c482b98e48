"""Pictures of docs/scaling.md: rates of the servers, and workers for a load.

Each PNG has the digest of its figures, by which a test notices one that is older than they are.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from bench.simulation.loads import Load
from bench.simulation.rates import measured_rates
from bench.simulation.sizing import P95_WAITS, RATES, SPEEDS, answers, offered
from contracts.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bench.simulation.rates import Rates

COLUMNS = 4
WORKERS = (1, 10, 100)  # marked on the axis
DIGEST = "Description"  # a text of the PNG
COLOURS = {"sqlite": "#1f77b4", "postgresql": "#d1495b", "file": "#1f77b4"}
OTHER_COLOUR = "#2b2b2b"
WAIT_COLOURS = ("#d1495b", "#edae49", "#1f77b4")


def write(folder: Path, figures: Path) -> None:
    """Write all pictures. Raises: InputError: when matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("pictures need matplotlib: pip install 'visavis-server[plots]'") from error
    folder.mkdir(parents=True, exist_ok=True)
    rates = measured_rates(figures)
    figure = Figure(figsize=(10, 5), dpi=100, layout="constrained")
    _plot_rates(figure, rates)
    figure.savefig(folder / "rates.png", metadata={DIGEST: digest_of_rates(rates)})
    figure = Figure(figsize=(10, 4), dpi=100, layout="constrained")
    _plot_workers(figure)
    figure.savefig(folder / "workers.png", metadata={DIGEST: digest_of_costs()})


def digest_of_rates(rates: Rates) -> str:
    """Digest of the figures of the first picture."""
    return _digest([[*names, sorted(each.items())] for names, each in sorted(rates.items())])


def digest_of_costs() -> str:
    """Digest of the costs and loads of the second picture."""
    speeds = {name: asdict(costs) for name, costs in SPEEDS.items()}
    return _digest([speeds, asdict(Load(1.0)), RATES, P95_WAITS])


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _plot_rates(figure: Figure, rates: Rates) -> None:
    """One panel for each operation, with a line for each server."""
    operations = list(dict.fromkeys(operation for operation, _ in rates))
    rows = -(-len(operations) // COLUMNS)
    panels = list(figure.subplots(rows, COLUMNS, squeeze=False).flat)
    for panel, operation in zip(panels, operations, strict=False):
        for (name, server), each in rates.items():
            if name == operation:
                counts = sorted(each)
                colour = COLOURS.get(server, OTHER_COLOUR)
                panel.plot(counts, [each[count] for count in counts], "o-", color=colour,
                           markersize=4, label=server)  # fmt: skip
        _scale(panel, sorted({count for each in rates.values() for count in each}))
        panel.set_ylim(bottom=0)
        panel.set_title(operation, fontsize=10)
        panel.legend(fontsize=8, frameon=False)
    for panel in panels[len(operations) :]:
        panel.set_axis_off()
    figure.supxlabel("processes", fontsize=9)
    figure.supylabel("a second, all processes together", fontsize=9)


def _scale(panel: Axes, counts: list[int]) -> None:
    panel.set_xscale("log", base=2)
    panel.set_xticks(counts, [str(count) for count in counts])
    panel.tick_params(labelsize=8)
    panel.grid(alpha=0.3)


def _plot_workers(figure: Figure) -> None:
    """One panel for each speed, with a line for each p95 wait."""
    panels = figure.subplots(1, len(SPEEDS), sharey=True)
    for panel, (name, costs) in zip(panels, SPEEDS.items(), strict=True):
        for wait, colour in zip(P95_WAITS, WAIT_COLOURS, strict=True):
            workers = [answers()[name, rate, wait].workers for rate in RATES]
            panel.plot(RATES, workers, "o-", color=colour, markersize=4,
                       label=f"p95 wait {wait} s")  # fmt: skip
        busy = [offered(Load(rate), costs) for rate in RATES]
        panel.plot(RATES, busy, "--", color=OTHER_COLOUR, label="busy on average")
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xticks(RATES, [str(rate) for rate in RATES])
        panel.set_yticks(WORKERS, [str(count) for count in WORKERS])
        panel.set_title(name, fontsize=10)
        panel.set_xlabel("clips an hour", fontsize=9)
        panel.grid(alpha=0.3, which="both")
        panel.legend(fontsize=8, frameon=False)
    panels[0].set_ylabel("workers", fontsize=9)
