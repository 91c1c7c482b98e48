"""Body mesh of a codec avatar: template, vertex offsets and linear blend skinning.

Source: spec/renderer.md section 3. Letters: B frames, V vertices, P pose parameters, N scale
parameters (body proportions of the person), K joints per vertex.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.avatar.mesh.skinning import Skeleton, joint_matrices, skin, unskin

MOST_JOINTS = 8  # per vertex; further joints are dropped


@dataclass(frozen=True)
class Body:
    """Tables of the body of one person; constant over frames."""

    skeleton: Skeleton  # moved by P + N parameters
    template: Tensor  # [V, 3] in the unit of the skeleton
    scale: Tensor  # [N]
    scaling: Tensor  # [3] from the unit of the skeleton to that of the cameras
    skin_weights: Tensor  # [V, K]
    skin_joints: Tensor  # [V, K]

    def posed(self, offsets: Tensor, pose: Tensor) -> Tensor:
        """World-space vertices [B, V, 3] of template offsets [B, V, 3] and pose [B, P]."""
        matrices = joint_matrices(self.skeleton, self.parameters(pose))
        vertices = self.template + offsets
        return skin(vertices, self.skin_weights, self.skin_joints, matrices) * self.scaling

    def unposed(self, vertices: Tensor, pose: Tensor) -> Tensor:
        """Inverse of `posed`: world-space vertices [B, V, 3] -> template offsets [B, V, 3]."""
        matrices = joint_matrices(self.skeleton, self.parameters(pose))
        at_rest = unskin(vertices / self.scaling, self.skin_weights, self.skin_joints, matrices)
        return at_rest - self.template

    def parameters(self, pose: Tensor) -> Tensor:
        """All parameters of the skeleton, pose and scale: [B, P] -> [B, P + N]."""
        return torch.cat([pose, self.scale.expand(len(pose), -1)], dim=1)
