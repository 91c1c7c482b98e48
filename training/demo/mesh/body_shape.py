"""Body shape of a person: the base mesh, deformed by public-domain targets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.demo.mesh import assets

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from training.demo.mesh.looks import Figure


def shape_body(base: assets.BaseMesh, figure: Figure) -> NDArray[np.float64]:
    """Rest shape of a person, [N, 3] in decimetres."""
    folder = assets.data_folder() / assets.TARGETS
    weights = {f"macrodetails/{name}": weight for name, weight in figure.macros.items()}
    weights |= figure.details
    for name, weight in figure.mirrored.items():
        weights |= {name.format(side): weight for side in "lr"}
    vertices = base.vertices + figure.shift
    for name, weight in weights.items():
        path = folder / f"{name}.target.gz"
        vertices += weight * assets.read_target(path, len(vertices))
    return vertices
