"""A blendshape avatar as animation files describe it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from models.animation.figure import Figure, Mesh, Shape, numbered_names

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.avatar.blendshape.model import BlendshapeModel

    Floats = NDArray[np.floating[Any]]

METRES = 0.1  # in a decimetre


class BlendshapeSurface:
    """Mesh whose shapes are the face units."""

    def __init__(self, model: BlendshapeModel) -> None:
        self._model = model

    def mesh(self) -> Mesh:
        model = self._model
        return Mesh(
            positions=_array(model.template) * METRES,
            faces=_array(model.faces),
            uv=_array(model.uv),
            uv_faces=_array(model.uv_faces),
            skin_joints=_array(model.skin_joints),
            skin_weights=_array(model.skin_weights),
            texture=_array(model.texture),
            shapes=tuple(self._shapes()),
        )

    @torch.inference_mode()
    def posed(self, face: Floats, pose: Floats) -> Floats:
        device = self._model.template.device
        codes, angles = (torch.tensor(x, dtype=torch.float32, device=device) for x in (face, pose))
        return _array(self._model.posed(codes, angles)) * METRES

    def offsets(self, face: Floats, pose: Floats) -> None:
        return None

    def _shapes(self) -> list[Shape]:
        moving = _array(self._model.moving)
        shapes = _array(self._model.shapes).reshape(len(self._model.unit_names), -1, 3)
        result = []
        for name, moves in zip(self._model.unit_names, shapes, strict=True):
            moved = np.abs(moves).max(1) > 0
            result.append(Shape(name, moving[moved], moves[moved] * METRES))
        return result


def blendshape_figure(model: BlendshapeModel, name: str) -> Figure:
    """Describe a blendshape avatar; the model may be on any device."""
    cpu = torch.device("cpu")
    basis = _array(model.face_basis).astype(np.float64)
    return Figure(
        name=name,
        skeleton=model.skeleton.to(cpu, torch.float64),
        joint_names=model.config.joint_names or numbered_names(model.skeleton.joints),
        parameter_names=model.parameter_names,
        pose_width=len(model.parameter_names),
        face_width=basis.shape[0],
        metres=METRES,
        surface=BlendshapeSurface(model),
        unit_names=model.unit_names,
        unit_weights=lambda face: np.clip(face.astype(np.float64) @ basis, 0, 1),
        face_codes=lambda units: np.asarray(units @ basis.T, np.float32),
    )


def _array(tensor: torch.Tensor) -> NDArray[Any]:
    return np.asarray(tensor.cpu().numpy())
