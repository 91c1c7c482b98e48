"""Linear light to display values."""

from __future__ import annotations

import torch
from torch import Tensor

GAIN = (1.05, 0.95, 1.45)  # of red, green and blue: the cameras' white


BLACK = 5 / 255


GAMMA = 1.5


def to_display(light: Tensor) -> Tensor:
    """Linear light [..., 3], 0 to 255 -> what a display is sent, 0 to 255. Nothing stays 0."""
    x = light / 255 * light.new_tensor(GAIN) - BLACK
    curve = 1.055 * x.clamp(min=0.0031308) ** (1 / GAMMA) - 0.055
    return torch.where(x <= 0.0031308, 12.92 * x, curve).clamp(0, 1) * 255
