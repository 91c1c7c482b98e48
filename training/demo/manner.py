"""Manners of people who share the motion networks of another person.

A manner changes parameters of the finishing (ADR 30): rates of nods, blinks and saccades, breath,
the pose in which hands rest, and how much of the trained amplitude is usual.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.finishing.animator import USUAL
from training.demo.mesh.skeleton import SIDES
from training.demo.pose_keys import Key, solve_hand

if TYPE_CHECKING:
    from collections.abc import Mapping

    from training.demo.mesh.skeleton import Rig

RESTING = ("rest", "holds", "listening", "gestures")  # steps with a pose of rest


@dataclass(frozen=True)
class Manner:
    """Differences from the person whose networks are shared."""

    rest: Key  # hands at rest
    steps: Mapping[str, Mapping[str, Any]]  # parameters by the name of the step

    def applied(self, steps: Mapping[str, Mapping[str, Any]], rig: Rig) -> dict[str, Any]:
        """Parameters of all steps, from those of the other person.

        rig: of the person with this manner; her angles would put hands of another size elsewhere.
        """
        result = {name: {**values, **self.steps.get(name, {})} for name, values in steps.items()}
        solved = {
            name: angle for s in SIDES for name, angle in solve_hand(rig, s, self.rest).items()
        }
        for name in RESTING:
            if name in result:
                result[name]["rest"] = {**result[name]["rest"], **solved}
        return result


# Calmer than the demo person: fewer and deeper nods, longer looks, fewer blinks, smaller gestures.
SAM = Manner(
    rest=Key((1.65, 2.3, 2.75), (-0.5, -0.75, -0.3), (-0.65, -0.15, 0.7), 0.45, 0.03, 0.2),
    steps={
        "nods": {"chance": 0.55, "amplitude": (0.11, 0.20), "smile": (0.02, 0.10)},
        "gaze": {
            "away_speaking": 0.45,
            "away_listening": 0.15,
            "away": (0.20, 0.08),
            "shortest": 0.7,
            "scale": 1.1,
        },
        "lids": {"shortest": 0.8, "scale": 1.2},
        "idle": {"breath_hz": 0.21},
        "listening": {"nods": 0.2},
        "gestures": {USUAL: 0.8},
        "expressiveness": {USUAL: 0.85},
    },
)

MANNERS: Mapping[str, Manner] = {"sam": SAM}
