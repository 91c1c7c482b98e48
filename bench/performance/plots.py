"""Plots of cost against clip length, takes, steps and batch, as small pictures."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

INCHES = (4.8, 2.8)
DOTS = 100  # an inch


def write_curves(
    curves: Mapping[str, Sequence[Mapping[str, Any]]], labels: Mapping[str, str], folder: Path
) -> None:
    """Write `performance-<curve>.webp` for each curve."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    folder.mkdir(exist_ok=True)
    for name, label in labels.items():
        figure = Figure(INCHES, dpi=DOTS, layout="constrained")
        canvas, axes = FigureCanvasAgg(figure), figure.subplots()
        points = curves[name]
        places = [point["x"] for point in points]
        costs = [point["cost"]["cpu"] for point in points]
        middles = [median(values) for values in costs]
        below = [middle - min(values) for middle, values in zip(middles, costs, strict=True)]
        above = [max(values) - middle for middle, values in zip(middles, costs, strict=True)]
        axes.errorbar(places, middles, [below, above], marker="o", capsize=3, color="#2a6f97")
        axes.set_xlabel(label)
        axes.set_ylabel("CPU seconds")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        canvas.print_figure(folder / f"performance-{name}.webp", pil_kwargs={"quality": 80})
