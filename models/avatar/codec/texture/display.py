"""Display curve of the codec avatar."""

from __future__ import annotations

import torch
from torch import Tensor

GAIN = (1.05, 0.95, 1.45)  # of red, green and blue: white balance of the cameras
BLACK = 5 / 255
GAMMA = 1.5


def to_display(light: Tensor) -> Tensor:
    """Map linear light [..., 3], 0 to 255, to display values 0 to 255; 0 stays 0."""
    x = light / 255 * light.new_tensor(GAIN) - BLACK
    curve = 1.055 * x.clamp(min=0.0031308) ** (1 / GAMMA) - 0.055
    return torch.where(x <= 0.0031308, 12.92 * x, curve).clamp(0, 1) * 255
