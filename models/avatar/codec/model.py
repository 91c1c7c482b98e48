"""Codec avatar model: networks, body and tables, from motion to posed mesh and texture.

Source: spec/renderer.md section 1. Constants are computed once per avatar, values independent of
the camera once per frame.
Letters: B frames, V vertices, S side of the network maps (1024).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from models import checkpoint
from models.avatar.codec.body import Body
from models.avatar.codec.config import CodecConfig
from models.avatar.codec.networks.decoder import BodyDecoder
from models.avatar.codec.networks.encoders import BodyEncoder, FaceEncoder
from models.avatar.codec.networks.face_decoder import FaceDecoder
from models.avatar.codec.networks.layers import channels_last
from models.avatar.codec.networks.shadow import OcclusionShadow, PoseShadow
from models.avatar.codec.networks.upscaler import Finish, Upscaler
from models.avatar.codec.networks.view import ViewNet, faces_around, facing_camera, vertex_normals
from models.avatar.codec.precision import EXACT, Precision
from models.avatar.codec.texture.seams import seams_of
from models.avatar.codec.texture.surface import Surface
from models.avatar.codec.texture.uv import uv_map, vertex_reader
from models.avatar.mesh.skinning import Skeleton

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NETWORKS = "networks."  # prefix of the network weights in a file; tables have no prefix


class CodecNetworks(nn.Module):
    """All trained networks of the avatar."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.body_encoder = BodyEncoder(config)
        self.face_decoder = FaceDecoder(config)
        self.face_encoder = FaceEncoder(config)
        self.decoder = BodyDecoder(config)
        self.view = ViewNet(config)
        self.upscaler = Upscaler(config)
        if config.shadow_from_pose:
            self.pose_shadow = PoseShadow(config)
        else:
            self.occlusion_shadow = OcclusionShadow(config)


@dataclass(frozen=True)
class Decoded:
    """Output of the body decoder for a batch of frames."""

    offsets: Tensor  # [B, V, 3] vertex offsets from the template
    texture: Tensor  # [B, 3, S, S] mean texture over all views


@dataclass(frozen=True)
class Posed:
    """Posed body of a batch of frames, independent of the camera."""

    vertices: Tensor  # [B, V, 3]
    normals: Tensor  # [B, V, 3]
    texture: Tensor  # [B, 3, S, S] mean texture over all views
    light: Tensor  # [B or 1, 1, 2 S, 2 S]; with a light per view, that of the first released view


class CodecModel:
    """Networks and tables of one person."""

    def __init__(
        self,
        config: CodecConfig,
        weights: Mapping[str, Tensor],  # networks and tables, named as in avatar.safetensors
        *,
        precision: Precision = EXACT,
    ) -> None:
        """Build the networks and precompute constants.

        Raises:
            KeyError: when a table is missing.
            RuntimeError: when network weights are missing.
        """
        self.config, self.precision, size = config, precision, config.uv_size
        self.networks = self._optimise_layout(_networks(config, weights))
        self.body = _body(config, weights)
        self.surface = Surface(weights["faces"].long(), weights["uv_faces"].long(), weights["uv"])
        self.around = faces_around(self.surface.faces, len(self.body.template))
        self.uv_map = uv_map(weights["uv_corners"], weights["uv_weights"])
        self.reader = vertex_reader(self.surface.uv, weights["coordinates"], size)
        self.finish = Finish(
            seams_of(weights, "seams.", size),
            seams_of(weights, "fine_seams.", 2 * size),
            weights["texture_mean"].float().contiguous(memory_format=torch.channels_last),
            float(weights["texture_spread"]),
        )
        with torch.inference_mode(), EXACT.applied(self.device):
            self.body_code = self._constant_body_code()
            self.body_map = self.networks.decoder.body_map(self.body_code)
            self.constant_light = self._constant_light(weights.get("occlusion"))
        precision.compile(self.networks)  # after the constants: compiling for one call does not pay

    @property
    def device(self) -> torch.device:
        return self.body.template.device

    def face_codes(self, face: Tensor) -> Tensor:
        """Convert face codes of the motion networks to those of the body decoder, [B, 256] each."""
        with self.precision.applied(self.device):
            decoded = self.networks.face_decoder(face)
            texture = decoded.texture(self.networks.face_decoder.mean)
            codes: Tensor = self.networks.face_encoder(decoded.shape, texture).mean
        return codes.float()

    def decoded(self, pose: Tensor, face_code: Tensor, body_map: Tensor) -> Decoded:
        """Decode pose [B, 104], face codes [B, 256] and a body map [1 or B, 32, 64, 64]."""
        decoder, seams = self.networks.decoder, self.finish.seams
        with self.precision.applied(self.device):
            features = decoder(pose, body_map, face_code)
        features = seams.close(features.float())
        with self.precision.applied(self.device):
            texture = decoder.texture(features)
        return Decoded(decoder.offsets(features, self.reader), texture.float())

    def posed(self, face: Tensor, pose: Tensor) -> Posed:
        """Camera-independent part of a frame: face codes [B, 256] and pose [B, 104]."""
        return self.pose_decoded(self.decoded(pose, self.face_codes(face), self.body_map), pose)

    def pose_decoded(self, decoded: Decoded, pose: Tensor) -> Posed:
        """Skin the decoded body and compute its normals and light."""
        vertices = self.body.posed(decoded.offsets, pose)
        normals = vertex_normals(vertices, self.surface.faces, self.around)
        return Posed(vertices, normals, decoded.texture, self.light(pose))

    def light(self, pose: Tensor) -> Tensor:
        """Light on every texel: pose [B, 104] -> [B or 1, 1, 2 S, 2 S]."""
        if self.constant_light is not None:
            return self.constant_light[:1]
        with self.precision.applied(self.device):
            shadow = self.networks.pose_shadow(pose)
        return self.finish.light(shadow.float())

    def with_view_light(self, posed: Posed, view: int) -> Posed:
        """Replace the light by that of released view number `view`, if each view has its own."""
        if self.constant_light is None or view >= len(self.constant_light):
            return posed
        return replace(posed, light=self.constant_light[view : view + 1])

    def view_texture(self, posed: Posed, position: Tensor) -> Tensor:
        """Final texture for a camera at a position [3]: [B, 3, 2 S, 2 S]."""
        return self.final_texture(posed, self.view_residual(posed, position))

    def view_residual(self, posed: Posed, position: Tensor) -> Tensor:
        """View-dependent residual of the texture, camera at [3] or [B, 3]: [B, 3, S, S]."""
        facing = facing_camera(posed.vertices, posed.normals, position)[..., None]
        with self.precision.applied(self.device):
            residual: Tensor = self.networks.view(self.uv_map.spread(facing), posed.texture)
        return residual.float()

    def final_texture(self, posed: Posed, residual: Tensor) -> Tensor:
        """Upscaled and lit texture, residual [B, 3, S, S] included: [B, 3, 2 S, 2 S]."""
        with self.precision.applied(self.device):
            detail = self.networks.upscaler(torch.cat([posed.texture, residual], dim=1))
        return self.finish.texture(posed.texture + residual, detail.float(), posed.light)

    def _optimise_layout(self, networks: CodecNetworks) -> CodecNetworks:
        """Reorder the weights in memory for speed."""
        networks.upscaler.interleave()
        if self.precision.channels_last:
            channels_last(networks)
        return networks

    def _constant_body_code(self) -> Tensor:
        """Body code of the undeformed template, [1, 1024]; the same in every frame."""
        template = torch.zeros_like(self.body.template)[None]
        code: Tensor = self.networks.body_encoder(self.uv_map.spread(template)).mean
        return code

    def _constant_light(self, occlusion: Tensor | None) -> Tensor | None:
        if self.config.shadow_from_pose:
            return None
        if occlusion is None:
            raise KeyError("occlusion")
        return self.finish.light(self.networks.occlusion_shadow(occlusion[:, None]))


def load_codec(path: Path, *, device: torch.device, precision: Precision = EXACT) -> CodecModel:
    """Read avatar.safetensors in the format that `models.released.codec_keys` writes.

    Raises: CheckpointError: when the file is missing, damaged or not a codec avatar.
    """
    values, weights = checkpoint.read(path, device=device)
    try:
        return CodecModel(codec_config(values), weights, precision=precision)
    except KeyError as error:
        raise checkpoint.CheckpointError(f"{path} lacks {error}; import the person again") from None
    except (RuntimeError, TypeError, ValueError) as error:
        raise checkpoint.CheckpointError(f"{path} is not a codec avatar: {error}") from error


def codec_config(values: dict[str, Any]) -> CodecConfig:
    """Build a config from parsed JSON, which has lists in place of tuples.

    Raises:
        ValueError: for an unknown field or sizes that do not match.
        TypeError: when a field is missing.
    """
    known = {field.name for field in fields(CodecConfig)}
    if unknown := values.keys() - known:
        raise ValueError(f"unknown field {sorted(unknown)[0]!r} in the config of a codec avatar")
    arguments: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
    }
    return CodecConfig(**arguments)


def _networks(config: CodecConfig, weights: Mapping[str, Tensor]) -> CodecNetworks:
    """Build the networks on the meta device, so that no initial weights are allocated."""
    with torch.device("meta"):
        networks = CodecNetworks(config)
    state = {k.removeprefix(NETWORKS): v for k, v in weights.items() if k.startswith(NETWORKS)}
    networks.load_state_dict(state, assign=True)
    return networks.eval().requires_grad_(requires_grad=False)


def _body(config: CodecConfig, weights: Mapping[str, Tensor]) -> Body:
    skeleton = Skeleton(
        config.parents,
        weights["joint_offsets"],
        weights["joint_rotations"],
        weights["transform"],
        weights["transform_offsets"],
    )
    return Body(
        skeleton,
        weights["template"],
        weights["scale"],
        weights["scaling"],
        weights["skin_weights"],
        weights["skin_joints"].long(),
    )
