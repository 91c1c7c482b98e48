"""Triangle rasterisation in plain torch: the visible face of each pixel and its corner weights.

Letters: B images, V vertices, F faces, H and W pixels. Vertices are in normalised camera
coordinates: with s = min(H, W) / 2, X = -(u - W / 2) / s, Y = -(v - H / 2) / s, and z the depth.
A face covers a pixel when the pixel centre is inside its bounding box and all three weights are
above zero. The nearest face wins; at equal depth, the lower index. Both sides of a face are
visible unless `front_only` is set.

`rasterise_plain` is the reference implementation; `kernels.py` computes the same faster.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.avatar.raster.types import EPSILON, NOTHING, Raster, pixel_centres

CANDIDATES = 1 << 22  # (face, pixel) pairs tested at once, which bounds memory


def rasterise_plain(
    points: Tensor,  # [B, V, 3] normalised coordinates
    faces: Tensor,  # [F, 3]
    *,
    height: int,
    width: int,
    near: float = 0.0,
    front_only: bool = False,
) -> Raster:
    """Rasterise in plain torch on any device: each face is tested against its bounding box.

    Raises: ValueError: when points or faces have the wrong shape.
    """
    check_mesh(points, faces)
    corners = points[:, faces.long()]  # [B, F, 3, 3]
    selected = torch.ones(corners.shape[:2], dtype=torch.bool, device=points.device)
    if near > 0:
        selected &= (corners[..., 2] > near).all(-1)
    if front_only:
        selected &= _areas(corners) >= 0
    keys = torch.stack(
        [_nearest(c, s, height, width) for c, s in zip(corners, selected, strict=True)]
    )
    covered = keys != NOTHING
    visible = torch.where(covered, keys & 0xFFFFFFFF, -1)
    weights = points.new_zeros(*keys.shape, 3)
    depth = points.new_full(keys.shape, torch.inf)
    image, row, column = covered.nonzero(as_tuple=True)
    corners = points[image[:, None], faces.long()[visible[covered]]]  # [N, 3, 3]
    x, y = pixel_centres(row, column, height, width)
    weights[covered], depth[covered] = corner_weights(corners, x, y)
    return Raster(visible.int(), weights, depth)


def corner_weights(corners: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Perspective-correct weights and depth: corners [N, 3, 3], x and y [N] -> [N, 3] and [N].

    The depth is -1 when the point is outside the face.
    """
    v0, v1, v2 = corners.unbind(1)
    area = _edge(v2[:, 0], v2[:, 1], v0, v1)
    solid = area.abs() > EPSILON
    area = area + EPSILON
    w0 = _edge(x, y, v1, v2) / area
    w1 = _edge(x, y, v2, v0) / area
    w2 = _edge(x, y, v0, v1) / area
    z0, z1, z2 = v0[:, 2], v1[:, 2], v2[:, 2]
    t0, t1, t2 = w0 * z1 * z2, w1 * z0 * z2, w2 * z0 * z1
    whole = (t0 + t1 + t2).clamp(min=EPSILON)
    w0, w1, w2 = t0 / whole, t1 / whole, t2 / whole
    inside = solid & (w0 > 0) & (w1 > 0) & (w2 > 0)
    low, high = corners.amin(1), corners.amax(1)  # needed for faces that reach behind the camera
    inside &= (x >= low[:, 0]) & (x <= high[:, 0]) & (y >= low[:, 1]) & (y <= high[:, 1])
    depth = w0 * z0 + w1 * z1 + w2 * z2
    return torch.stack([w0, w1, w2], dim=-1), torch.where(inside, depth, -1.0)


def _edge(x: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return (x - a[:, 0]) * (b[:, 1] - a[:, 1]) - (y - a[:, 1]) * (b[:, 0] - a[:, 0])


def _areas(corners: Tensor) -> Tensor:
    """Twice the signed areas of faces in the image, [..., 3, 3] -> [...]."""
    v0, v1, v2 = corners.flatten(0, -3).unbind(-2)
    return _edge(v2[:, 0], v2[:, 1], v0, v1).view(corners.shape[:-2])


def _nearest(corners: Tensor, selected: Tensor, height: int, width: int) -> Tensor:
    """Pixel keys of the nearest selected faces: corners [F, 3, 3], selected [F] -> [H, W].

    A key has the bits of the depth above and the face index below.
    """
    first, size = _boxes(corners, height, width)
    size = size * selected[:, None]
    count = size[:, 0] * size[:, 1]
    keys = torch.full((height * width,), NOTHING, device=corners.device)
    done = torch.cumsum(count, 0)
    start = 0
    while start < len(corners):
        before = int(done[start - 1]) if start else 0
        stop = int(torch.searchsorted(done, before + CANDIDATES, right=True))
        stop = max(stop, start + 1)
        chunk = slice(start, stop)
        face = torch.arange(start, min(stop, len(corners)), device=corners.device)
        face = face.repeat_interleave(count[chunk])  # [N] one entry per candidate pixel
        index = torch.arange(len(face), device=corners.device)
        index = index - (done - count)[face] + before  # within the bounding box of the face
        row = first[face, 0] + index // size[face, 1].clamp(min=1)
        column = first[face, 1] + index % size[face, 1].clamp(min=1)
        x, y = pixel_centres(row, column, height, width)
        _, depth = corner_weights(corners[face], x, y)
        inside = depth >= 0
        key = (depth[inside].view(torch.int32).long() << 32) | face[inside]
        keys.scatter_reduce_(0, (row * width + column)[inside], key, "amin")
        start = stop
    return keys.view(height, width)


def _boxes(corners: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Bounding boxes in pixels: corners [F, 3, 3] -> first row and column [F, 2], counts [F, 2]."""
    half = min(height, width) / 2
    limits = torch.tensor([height, width], device=corners.device)
    middle = torch.tensor([height / 2, width / 2], device=corners.device)
    at = middle - corners[..., [1, 0]] * half  # [F, 3, 2] in pixels: v, u
    at = at.nan_to_num(0.0).clamp(-1e6, 1e6)
    first = (at.amin(1) - 1.5).floor().long().clamp(min=0)
    last = torch.minimum((at.amax(1) + 0.5).ceil().long(), limits - 1)
    return first, (last - first + 1).clamp(min=0)


def check_mesh(points: Tensor, faces: Tensor) -> None:
    """Check the shapes of a mesh.

    Raises: ValueError: when points are not [B, V, 3] or faces are not [F, 3].
    """
    if points.ndim != 3 or points.shape[2] != 3:
        raise ValueError(f"points must be [B, V, 3], got {list(points.shape)}")
    if faces.ndim != 2 or faces.shape[1] != 3:
        raise ValueError(f"faces must be [F, 3], got {list(faces.shape)}")
