"""A codec avatar as animation files describe it.

Its shape changes with face and pose by the body decoder, not by face units. One unit of the cameras
is a millimetre.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from models.animation.figure import Figure, Mesh, numbered_names
from models.avatar.codec.texture.display import to_display

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from models.avatar.codec.model import CodecModel, Posed

    Floats = NDArray[np.floating[Any]]

METRES = 0.001  # in a millimetre


class CodecSurface:
    """Mesh that networks deform; its texture is that of the neutral face, for no camera."""

    def __init__(self, model: CodecModel) -> None:
        self._model = model

    @torch.inference_mode()
    def mesh(self) -> Mesh:
        model, body = self._model, self._model.body
        face, pose = np.zeros((1, model.config.face_code)), np.zeros((1, model.config.pose))
        return Mesh(
            positions=_array(body.template) * self._metres + self.offsets(face, pose)[0],
            faces=_array(model.surface.faces),
            uv=_array(model.surface.uv),
            uv_faces=_array(model.surface.uv_faces),
            skin_joints=_array(body.skin_joints),
            skin_weights=_array(body.skin_weights),
            texture=self._texture(next(self._frames(face, pose))[1]),
        )

    @torch.inference_mode()
    def posed(self, face: Floats, pose: Floats) -> Floats:
        shapes = [_array(posed.vertices) for _, posed in self._frames(face, pose)]
        return np.concatenate(shapes) * METRES

    @torch.inference_mode()
    def offsets(self, face: Floats, pose: Floats) -> Floats:
        shapes = [_array(offsets) for offsets, _ in self._frames(face, pose)]
        return np.concatenate(shapes) * self._metres

    @property
    def _metres(self) -> float:
        return metres_of(self._model)

    def _frames(self, face: Floats, pose: Floats) -> Iterator[tuple[torch.Tensor, Posed]]:
        """Yield offsets and posed body of single frames: the networks fill the memory."""
        model = self._model
        for code, angles in zip(face, pose, strict=True):
            codes, pose_of_frame = (
                torch.tensor(x, dtype=torch.float32, device=model.device)[None]
                for x in (code, angles)
            )
            codes = model.face_codes(codes)
            decoded = model.decoded(pose_of_frame, codes, model.body_map)
            yield decoded.offsets, model.pose_decoded(decoded, pose_of_frame)

    def _texture(self, posed: Posed) -> NDArray[np.uint8]:
        """Texture without the part that depends on the view, [2 S, 2 S, 3] sRGB."""
        linear = self._model.final_texture(posed, torch.zeros_like(posed.texture))[0]
        return _array((to_display(linear.movedim(0, -1)) + 0.5).to(torch.uint8))


def metres_of(model: CodecModel) -> float:
    """Metres in one unit of the skeleton."""
    return float(model.body.scaling.mean()) * METRES


def codec_figure(model: CodecModel, name: str) -> Figure:
    """Describe a codec avatar; the model may be on any device."""
    cpu = torch.device("cpu")
    body = model.body
    return Figure(
        name=name,
        skeleton=body.skeleton.to(cpu, torch.float64),
        joint_names=model.config.joint_names or numbered_names(body.skeleton.joints),
        parameter_names=(),
        pose_width=model.config.pose,
        face_width=model.config.face_code,
        metres=metres_of(model),
        surface=CodecSurface(model),
        fixed=tuple(body.scale.tolist()),
    )


def _array(tensor: torch.Tensor) -> NDArray[Any]:
    return np.asarray(tensor.cpu().numpy())
