"""Columns of a pose that are joint angles, and groups of them.

A blendshape avatar names its columns; of other avatars only the first three are known: the position
of the body.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    Names = Sequence[str] | None

PLACE, BREATH = "place", "breath"
GROUPS = {  # by the prefixes of column names
    PLACE: ("root_t",),
    "turn of the body": ("root_r",),
    "spine": ("spine",),
    "neck and head": ("neck", "head"),
    "shoulders": ("clavicle", "shoulder"),
    "arms": ("upperarm", "elbow", "forearm"),
    "wrists": ("wrist",),
    "fingers": ("palm", "thumb", "index", "middle", "ring", "pinky"),
    "legs": ("hip", "knee", "ankle", "toe"),
    "eyes": ("eye",),
    BREATH: ("breath",),
}
PLACED = 3  # columns
TOGETHER = 13  # columns without names


def joint_columns(names: Names, channels: int) -> list[int]:
    """Columns that are joint angles."""
    others = (*GROUPS[PLACE], *GROUPS[BREATH])
    if names is None:
        return list(range(PLACED, channels))
    return [column for column, name in enumerate(names) if not name.startswith(others)]


def joint_groups(names: Names, channels: int) -> dict[str, list[int]]:
    """Groups of columns; runs of columns if they have no names."""
    if names is None:
        starts = range(PLACED, channels, TOGETHER)
        runs = [list(range(start, min(start + TOGETHER, channels))) for start in starts]
        return {f"columns {run[0]} to {run[-1]}": run for run in runs}
    groups = {
        group: [column for column, name in enumerate(names) if name.startswith(prefixes)]
        for group, prefixes in GROUPS.items()
    }
    return {group: columns for group, columns in groups.items() if columns}
