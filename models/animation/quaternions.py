"""Rotations as quaternions (xyzw, Hamilton product) in numpy; shapes are [..., 4] and [..., 3]."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]

IDENTITY = np.array([0.0, 0.0, 0.0, 1.0])
TURN = 2 * np.pi


def multiply(a: Floats, b: Floats) -> Floats:
    """The rotation by b, followed by a."""
    ax, ay, az, aw = np.moveaxis(a, -1, 0)
    bx, by, bz, bw = np.moveaxis(b, -1, 0)
    return np.stack(
        [
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
            aw * bw - ax * bx - ay * by - az * bz,
        ],
        axis=-1,
    )


def inverse(q: Floats) -> Floats:
    """Inverse of unit quaternions."""
    return np.asarray(q * np.array([-1.0, -1.0, -1.0, 1.0]))


def rotate(q: Floats, v: Floats) -> Floats:
    """Rotate vectors."""
    axis, w = (
        np.broadcast_to(q[..., :3], np.broadcast_shapes(q[..., :3].shape, v.shape)),
        q[..., 3:],
    )
    across = np.cross(axis, v)
    return np.asarray(v + 2 * (w * across + np.cross(axis, across)))


def shortest_arc(source: Floats, target: Floats) -> Floats:
    """Smallest rotation from one direction to another; opposite directions turn about z."""
    a = source / np.linalg.norm(source, axis=-1, keepdims=True)
    b = target / np.linalg.norm(target, axis=-1, keepdims=True)
    axis, cosine = np.cross(a, b), (a * b).sum(-1, keepdims=True)
    q = np.concatenate([axis, 1 + cosine], axis=-1)
    length = np.linalg.norm(q, axis=-1, keepdims=True)
    half_turn = np.array([0.0, 0.0, 1.0, 0.0])
    return np.asarray(np.where(length < 1e-9, half_turn, q / np.maximum(length, 1e-9)))


def matrix(q: Floats) -> Floats:
    """Rotation matrices, [..., 3, 3]."""
    columns = [rotate(q, np.broadcast_to(axis, (*q.shape[:-1], 3))) for axis in np.eye(3)]
    return np.stack(columns, axis=-1)


def from_axis(axis: int, angle: Floats) -> Floats:
    """Rotations about x (0), y (1) or z (2), angles in radians [...]."""
    q = np.zeros((*np.shape(angle), 4))
    q[..., axis], q[..., 3] = np.sin(np.asarray(angle) / 2), np.cos(np.asarray(angle) / 2)
    return q


def euler(q: Floats, order: str) -> Floats:
    """Angles in radians for three different axes, such as "ZXY": R = Rz Rx Ry, [..., 3].

    The first and the last angle are in [-pi, pi], the middle one in [-pi/2, pi/2].
    """
    i, j, k = ("XYZ".index(axis) for axis in order)
    sign = 1.0 if (j - i) % 3 == 1 else -1.0
    r = matrix(q)
    middle = np.arcsin(np.clip(sign * r[..., i, k], -1, 1))
    first = np.arctan2(-sign * r[..., j, k], r[..., k, k])
    last = np.arctan2(-sign * r[..., i, j], r[..., i, i])
    locked = np.abs(r[..., i, k]) > 1 - 1e-9
    first = np.where(locked, np.arctan2(sign * r[..., k, j], r[..., j, j]), first)
    last = np.where(locked, 0.0, last)
    return np.stack([first, middle, last], axis=-1)


def from_euler(angles: Floats, order: str) -> Floats:
    """Quaternions of the angles of `euler`."""
    first, second, third = (
        from_axis("XYZ".index(axis), angles[..., number]) for number, axis in enumerate(order)
    )
    return multiply(multiply(first, second), third)


def unwrapped(angles: Floats, before: Floats | None) -> Floats:
    """Equal rotations whose angles change least from frame to frame, [N, ..., 3].

    before: angles of the frame before the first, [..., 3]. Each frame takes the nearer one of the
    two triples of angles of a rotation, and whole turns are added.
    """
    result = np.empty_like(angles)
    for frame, given in enumerate(angles):
        if before is not None:
            other = given + np.array([np.pi, 0.0, np.pi])
            other[..., 1] = np.pi - given[..., 1]
            near, far = (each - TURN * np.round((each - before) / TURN) for each in (given, other))
            nearer = np.abs(near - before).sum(-1) <= np.abs(far - before).sum(-1)
            given = np.where(nearer[..., None], near, far)
        result[frame] = before = given
    return result


def continuous(q: Floats, before: Floats | None) -> Floats:
    """Equal rotations without sign changes from frame to frame, [N, ..., 4].

    before: the frame before the first, [..., 4].
    """
    signs = np.ones(q.shape[:-1])
    if before is not None:
        signs[0] = np.where((q[0] * before).sum(-1) < 0, -1.0, 1.0)
    signs[1:] = np.where((q[1:] * q[:-1]).sum(-1) < 0, -1.0, 1.0)
    return np.asarray(q * np.cumprod(signs, axis=0)[..., None])
