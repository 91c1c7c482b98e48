"""Expressions of VRM: the face units under their own names, and presets made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]

# Preset -> face units, of which it takes the mean.
PRESETS = {
    "aa": ("jawOpen",),
    "ih": ("mouthStretchLeft", "mouthStretchRight"),
    "ou": ("mouthPucker",),
    "ee": ("mouthSmileLeft", "mouthSmileRight"),
    "oh": ("mouthFunnel",),
    "blinkLeft": ("eyeBlinkLeft",),
    "blinkRight": ("eyeBlinkRight",),
}
MOUTH = ("jaw", "mouth", "tongue")


def presets(unit_names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Columns of the face units of each preset; presets without all of their units are left out."""
    places = {name: number for number, name in enumerate(unit_names)}
    return {
        preset: tuple(places[unit] for unit in units)
        for preset, units in PRESETS.items()
        if all(unit in places for unit in units)
    }


def preset_weights(unit_names: Sequence[str], units: Floats) -> Floats:
    """Weights of the presets in their order: face units [N, U] -> [N, presets]."""
    columns = [units[:, list(places)].mean(1) for places in presets(unit_names).values()]
    return np.stack(columns, axis=1) if columns else units[:, :0]


def overrides(unit: str) -> dict[str, str]:
    """Presets that a face unit replaces in avatars that have both, so that none counts twice."""
    if unit.startswith(MOUTH):
        return {"overrideMouth": "block"}
    return {"overrideBlink": "block"} if unit.startswith("eyeBlink") else {}
