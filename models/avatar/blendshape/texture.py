"""Texture compression and mipmaps.

A texture is stored as discrete cosine coefficients of 8 x 8 blocks, quantised and deflated: the
method of JPEG, without an image library. Letters: S side of the texture, N = S / 8 blocks per side.
"""

from __future__ import annotations

import math
import zlib

import torch
from torch import Tensor

BLOCK = 8
COLOURS = ((0.299, 0.587, 0.114), (-0.1687, -0.3313, 0.5), (0.5, -0.4187, -0.0813))  # Y, Cb, Cr
FINEST_STEP = (3.0, 3.0, 3.0)  # of 256; quantisation step of the mean of a block
COARSER = (1.0, 1.5, 1.5)  # added to the step for each half wave in either direction
STRIP = 8  # rows of blocks that are unpacked at a time
LEVELS = 3  # full size, half, quarter


def pack_texture(texture: Tensor) -> Tensor:
    """Compress a texture [S, S, 3] uint8 sRGB to bytes [n] uint8.

    Raises: ValueError: when the texture is not square or its side is not a multiple of 8.
    """
    side = len(texture)
    if texture.shape != (side, side, 3) or side % BLOCK:
        raise ValueError(
            f"a texture must be [S, S, 3] in blocks of {BLOCK}, got {[*texture.shape]}"
        )
    colours = torch.tensor(COLOURS) @ (texture.float() - 128).reshape(-1, 3).T
    blocks = colours.view(3, side // BLOCK, BLOCK, side // BLOCK, BLOCK)
    waves = torch.einsum("kx,ly,cixjy->cklij", _cosines(), _cosines(), blocks)
    rounded = (waves / _steps()[..., None, None]).round().short()  # [3, 8, 8, N, N]
    return torch.frombuffer(
        bytearray(zlib.compress(rounded.numpy().tobytes(), 9)), dtype=torch.uint8
    )


def unpack_texture(packed: Tensor) -> Tensor:
    """Decompress the bytes of `pack_texture`, [n] uint8, to a texture [S, S, 3] uint8 sRGB."""
    inflated = bytearray(zlib.decompress(packed.cpu().numpy().tobytes()))
    rounded = torch.frombuffer(inflated, dtype=torch.int16)
    blocks = math.isqrt(len(rounded) // (3 * BLOCK**2))
    waves = rounded.view(3, BLOCK**2, blocks, blocks)
    steps = _steps().view(3, BLOCK**2, 1)
    basis = torch.einsum("kx,ly->xykl", _cosines(), _cosines()).reshape(BLOCK**2, BLOCK**2)
    inverse = torch.linalg.inv(torch.tensor(COLOURS))
    texture = torch.empty(blocks, BLOCK, blocks, BLOCK, 3, dtype=torch.uint8)
    for first in range(0, blocks, STRIP):  # new memory for all of it costs more than the arithmetic
        strip = slice(first, first + STRIP)
        coefficients = waves[:, :, strip].reshape(3, BLOCK**2, -1).float().mul_(steps)
        colours = (inverse @ (basis @ coefficients).view(3, -1)).add_(128.5).clamp_(0, 255)
        tiles = colours.to(torch.uint8).view(3, BLOCK, BLOCK, -1, blocks)  # [3, x, y, i, j]
        texture[strip] = tiles.permute(3, 1, 4, 2, 0)
    return texture.view(blocks * BLOCK, blocks * BLOCK, 3)


def smaller_textures(texture: Tensor) -> tuple[Tensor, ...]:
    """Mipmaps of a texture [S, S, 3]: the texture itself, [S / 2, S / 2, 3] and so on."""
    levels = [texture]
    while len(levels) < LEVELS and len(levels[-1]) >= 2 * BLOCK:
        half = len(levels[-1]) // 2
        four = levels[-1].view(half, 2, half, 2, 3).short()
        total = four[:, 0, :, 0] + four[:, 0, :, 1] + four[:, 1, :, 0] + four[:, 1, :, 1]
        levels.append(((total + 2) >> 2).to(torch.uint8))  # the mean, rounded
    return tuple(levels)


def _cosines() -> Tensor:
    """Orthonormal basis of the discrete cosine transform (DCT-II), [8, 8], one wave per row."""
    wave, position = torch.arange(BLOCK)[:, None], torch.arange(BLOCK)[None]
    rows = torch.cos(torch.pi * wave * (position + 0.5) / BLOCK) * math.sqrt(2 / BLOCK)
    rows[0] /= math.sqrt(2)
    return rows


def _steps() -> Tensor:
    """Quantisation steps, [3, 8, 8], per colour and wave."""
    waves = torch.arange(BLOCK)[:, None] + torch.arange(BLOCK)[None]
    finest, coarser = torch.tensor(FINEST_STEP), torch.tensor(COARSER)
    return finest[:, None, None] + coarser[:, None, None] * waves
