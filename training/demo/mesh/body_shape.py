"""Body shape of the demo person: the base mesh, deformed by public-domain targets.

The shape is a mix of averages of the source, made friendlier; it resembles no real person.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.demo.mesh import assets

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MACROS = {
    "caucasian-female-young": 0.55,
    "asian-female-young": 0.25,
    "african-female-young": 0.20,
    "universal-female-young-averagemuscle-averageweight": 0.6,
    "universal-female-young-averagemuscle-minweight": 0.4,
}
DETAILS = {
    "head/head-oval": 0.6,
    "head/head-fat-decr": 0.3,
    "head/head-scale-horiz-decr": 0.35,
    "chin/chin-width-decr": 0.3,
    "nose/nose-scale-horiz-decr": 0.35,
    "mouth/mouth-angles-up": 0.6,
    "torso/measure-shoulder-dist-decr": 0.5,
    "neck/measure-neck-height-decr": 0.25,
    "neck/neck-scale-horiz-decr": 0.6,
}
MIRRORED_DETAILS = {  # applied to both sides
    "arms/{}-upperarm-shoulder-muscle-decr": 0.5,
    "arms/{}-upperarm-fat-decr": 0.5,
    "eyes/{}-eye-scale-incr": 0.35,
    "ears/{}-ear-flap-incr": 0.5,
    "ears/{}-ear-scale-decr": 0.5,
    "ears/{}-ear-trans-backward": 0.4,
    "ears/{}-ear-wing-decr": 0.3,
}
# The neutral face is the faint smile of a listener.
REST_FACE = {
    "mouthSmileLeft": 0.24,
    "mouthSmileRight": 0.23,
    "eyeSquintLeft": 0.15,
    "eyeSquintRight": 0.15,
    "eyeBlinkLeft": 0.05,
    "eyeBlinkRight": 0.05,
}


def shape_body(base: assets.BaseMesh) -> NDArray[np.float64]:
    """Rest shape of the person, [N, 3] in decimetres."""
    folder = assets.data_folder() / assets.TARGETS
    weights = {f"macrodetails/{name}": weight for name, weight in MACROS.items()} | DETAILS
    for name, weight in MIRRORED_DETAILS.items():
        weights |= {name.format(side): weight for side in "lr"}
    vertices = base.vertices.copy()
    for name, weight in weights.items():
        path = folder / f"{name}.target.gz"
        vertices += weight * assets.read_target(path, len(vertices))
    return vertices
