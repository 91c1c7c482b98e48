"""Images of avatars of both painters, and their comparison."""

import numpy as np
import torch

from models.avatar.appearance import RenderOptions
from models.avatar.blendshape.renderer import BlendshapeAvatar

FAST = RenderOptions()


def render(
    avatar: BlendshapeAvatar,
    face: torch.Tensor,
    pose: torch.Tensor,
    *names: str,
    options: RenderOptions = FAST,
) -> np.ndarray:
    """Frames [T, 160, 128 * cameras, 3] by the cameras of these names, or by `front`."""
    cameras = [avatar.camera(name).resized(128, 160) for name in names or ("front",)]
    return np.concatenate(list(avatar.render(face, pose, cameras, options=options))).astype(int)


def assert_same_image(one: np.ndarray, other: np.ndarray) -> None:
    """Compare images; samples on a silhouette may differ, because rounding moves edges."""
    difference = np.abs(one - other)
    assert (difference > 2).mean() < 2e-3
    assert difference.mean() < 0.05
