"""Sizes of a codec avatar; the defaults are those of the released persons."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CodecConfig:
    """Network sizes and the joint hierarchy.

    Tuples list the channels from the first map to the last. Each map has half or twice the side of
    the one before; the smallest has 4 texels per side.

    Raises: ValueError: when the map sizes do not match each other.
    """

    parents: tuple[int, ...]  # parent of each joint, -1 for a root
    shadow_from_pose: bool = True  # otherwise from an ambient occlusion image
    uv_size: int = 1024  # side of the maps; the final texture has twice that
    pose: int = 104  # parameters
    local_pose: int = 98  # the last ones, without the motion of the whole body
    pose_channels: int = 16
    body_code: int = 1024
    face_code: int = 256
    face_vertices: int = 7306
    face_hidden: int = 256
    face_view_features: int = 8
    face_shape_features: int = 256
    face_features: int = 512
    body_encoder: tuple[int, ...] = (3, 8, 16, 32, 32, 64, 128, 128)
    face_encoder: tuple[int, ...] = (3, 4, 8, 16, 32, 64, 128, 128)
    face_texture: tuple[int, ...] = (256, 256, 128, 128, 64, 64, 32, 8, 3)
    body_map: tuple[int, ...] = (128, 128, 128, 64, 32)
    face_map: tuple[int, ...] = (32, 64, 64, 32)  # ends at half the side of the body map
    maps: tuple[int, ...] = (64, 32, 16, 8, 4)  # of the shape; the texture has the same number
    view: tuple[int, ...] = (8, 16, 32, 64, 128)
    upscale: int = 4
    pose_shadow: tuple[int, ...] = (256, 256, 128, 128, 64, 1)
    occlusion: int = 4
    occlusion_size: int = 256
    occlusion_levels: int = 4
    joint_names: tuple[str, ...] = ()  # empty in files that were imported without names

    def __post_init__(self) -> None:
        if self.face_map_size * 2 != self.coarse_size:
            raise ValueError(
                f"face_map must end at half of the {self.coarse_size} texels of body_map, "
                f"got {self.face_map_size}"
            )
        if self.coarse_size << (len(self.maps) - 1) != self.uv_size:
            raise ValueError(
                f"uv_size must be {self.coarse_size << (len(self.maps) - 1)} texels "
                f"({self.coarse_size} doubled {len(self.maps) - 1} times), got {self.uv_size}"
            )

    @property
    def coarse_size(self) -> int:
        """Side of the map that joins pose, body and face features."""
        return 4 << (len(self.body_map) - 1)

    @property
    def face_map_size(self) -> int:
        return 4 << (len(self.face_map) - 1)

    @property
    def texture_size(self) -> int:
        return 2 * self.uv_size
