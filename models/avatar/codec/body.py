"""The mesh under the texture: a template, how it deviates, and the skeleton that carries it.

Source: spec/renderer.md section 3. Letters: B frames, V vertices, P pose parameters, N numbers
that say how large a person's parts are, K joints a vertex hangs on.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.avatar.mesh.skinning import Skeleton, joint_matrices, skin, unskin

MOST_JOINTS = 8  # of a vertex; further ones are dropped


@dataclass(frozen=True)
class Body:
    """What does not change from frame to frame."""

    skeleton: Skeleton  # moved by P + N parameters
    template: Tensor  # [V, 3] in the skeleton's unit
    scale: Tensor  # [N]
    scaling: Tensor  # [3] from the skeleton's unit to the cameras'
    skin_weights: Tensor  # [V, K]
    skin_joints: Tensor  # [V, K]

    def posed(self, offsets: Tensor, pose: Tensor) -> Tensor:
        """What the template deviates [B, V, 3] and pose [B, P] -> vertices [B, V, 3] in the
        world."""
        matrices = joint_matrices(self.skeleton, self.parameters(pose))
        vertices = self.template + offsets
        return skin(vertices, self.skin_weights, self.skin_joints, matrices) * self.scaling

    def unposed(self, vertices: Tensor, pose: Tensor) -> Tensor:
        """Undoes `posed`: [B, V, 3] -> what the template deviates."""
        matrices = joint_matrices(self.skeleton, self.parameters(pose))
        at_rest = unskin(vertices / self.scaling, self.skin_weights, self.skin_joints, matrices)
        return at_rest - self.template

    def parameters(self, pose: Tensor) -> Tensor:
        """[B, P] -> everything that moves the skeleton, [B, P + N]."""
        return torch.cat([pose, self.scale.expand(len(pose), -1)], dim=1)
