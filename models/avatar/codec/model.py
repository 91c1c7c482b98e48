"""A codec avatar whole: networks, body and tables, and the way from motion to posed texture.

Source: spec/renderer.md section 1. What does not change is computed once for an avatar, what does
not depend on the camera once for a frame.
Letters: B frames, V vertices, S side of the networks' maps (1024).
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

NETWORKS = "networks."  # before the names of weights in a file; tables have no prefix


class CodecNetworks(nn.Module):
    """Everything that was learnt."""

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
    """A body in some frames, before it is posed."""

    offsets: Tensor  # [B, V, 3] what vertices deviate from the template
    texture: Tensor  # [B, 3, S, S] the mean of all views


@dataclass(frozen=True)
class Posed:
    """A body in some frames, before a camera looks at it."""

    vertices: Tensor  # [B, V, 3]
    normals: Tensor  # [B, V, 3]
    texture: Tensor  # [B, 3, S, S] the mean of all views
    light: Tensor  # [B or 1, 1, 2 S, 2 S]; of the first released view where they have their own


class CodecModel:
    """Networks with the tables of one person."""

    def __init__(
        self,
        config: CodecConfig,
        weights: Mapping[str, Tensor],  # networks and tables under the names of a person's file
        *,
        precision: Precision = EXACT,
    ) -> None:
        """Raises KeyError or RuntimeError where weights are missing."""
        self.config, self.precision, size = config, precision, config.uv_size
        self.networks = self._laid_out(_networks(config, weights))
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
        precision.compiled(self.networks)  # what is computed once is not worth it

    @property
    def device(self) -> torch.device:
        return self.body.template.device

    def face_codes(self, face: Tensor) -> Tensor:
        """Codes of the motion networks -> those of the body's decoder, [B, 256] both."""
        with self.precision.applied(self.device):
            seen = self.networks.face_decoder(face)
            texture = seen.texture(self.networks.face_decoder.mean)
            codes: Tensor = self.networks.face_encoder(seen.shape, texture).mean
        return codes.float()

    def decoded(self, pose: Tensor, face_code: Tensor, body_map: Tensor) -> Decoded:
        """Pose [B, 104], codes [B, 256] and a body's map [1 or B, 32, 64, 64]."""
        decoder, seams = self.networks.decoder, self.finish.seams
        with self.precision.applied(self.device):
            features = decoder(pose, body_map, face_code)
        features = seams.close(features.float())
        with self.precision.applied(self.device):
            texture = decoder.texture(features)
        return Decoded(decoder.offsets(features, self.reader), texture.float())

    def posed(self, face: Tensor, pose: Tensor) -> Posed:
        """Face codes [B, 256] and pose [B, 104] -> everything that all views share."""
        return self.as_posed(self.decoded(pose, self.face_codes(face), self.body_map), pose)

    def as_posed(self, decoded: Decoded, pose: Tensor) -> Posed:
        """What was decoded, in the world and in its light."""
        vertices = self.body.posed(decoded.offsets, pose)
        normals = vertex_normals(vertices, self.surface.faces, self.around)
        return Posed(vertices, normals, decoded.texture, self.light(pose))

    def light(self, pose: Tensor) -> Tensor:
        """Pose [B, 104] -> light on every texel, [B or 1, 1, 2 S, 2 S]."""
        if self.constant_light is not None:
            return self.constant_light[:1]
        with self.precision.applied(self.device):
            shadow = self.networks.pose_shadow(pose)
        return self.finish.light(shadow.float())

    def lit(self, posed: Posed, view: int) -> Posed:
        """The same in the light of a released view, by its number, where each has its own."""
        if self.constant_light is None or view >= len(self.constant_light):
            return posed
        return replace(posed, light=self.constant_light[view : view + 1])

    def view_texture(self, posed: Posed, position: Tensor) -> Tensor:
        """The texture as a camera at a position [3] sees it: [B, 3, 2 S, 2 S]."""
        return self.finished(posed, self.added(posed, position))

    def added(self, posed: Posed, position: Tensor) -> Tensor:
        """What a camera at a position [3] or [B, 3] sees beyond the mean texture: [B, 3, S, S]."""
        facing = facing_camera(posed.vertices, posed.normals, position)
        with self.precision.applied(self.device):
            added: Tensor = self.networks.view(self.uv_map.spread(facing[..., None]), posed.texture)
        return added.float()

    def finished(self, posed: Posed, added: Tensor) -> Tensor:
        """The texture with what a camera sees beyond the mean [B, 3, S, S]: [B, 3, 2 S, 2 S]."""
        with self.precision.applied(self.device):
            detail = self.networks.upscaler(torch.cat([posed.texture, added], dim=1))
        return self.finish.texture(posed.texture + added, detail.float(), posed.light)

    def _laid_out(self, networks: CodecNetworks) -> CodecNetworks:
        """As the machine reads them best."""
        networks.upscaler.interleave()
        if self.precision.channels_last:
            channels_last(networks)
        return networks

    def _constant_body_code(self) -> Tensor:
        """The code [1, 1024] of a body that is as its template is: every frame has it."""
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
    """Reads avatar.safetensors as `models.released.codec_keys` makes it.

    Raises CheckpointError for a file that is missing, damaged or holds something else.
    """
    values, weights = checkpoint.read(path, device=device)
    try:
        return CodecModel(codec_config(values), weights, precision=precision)
    except KeyError as error:
        raise checkpoint.CheckpointError(f"{path} lacks {error}; import the person again") from None
    except (RuntimeError, TypeError, ValueError) as error:
        raise checkpoint.CheckpointError(f"{path} is no codec avatar: {error}") from error


def codec_config(values: dict[str, Any]) -> CodecConfig:
    """A config as JSON has it, with lists for tuples. Raises ValueError or TypeError."""
    known = {field.name for field in fields(CodecConfig)}
    if unknown := values.keys() - known:
        raise ValueError(f"the config has {sorted(unknown)[0]!r}, which no codec avatar has")
    whole: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return CodecConfig(**whole)


def _networks(config: CodecConfig, weights: Mapping[str, Tensor]) -> CodecNetworks:
    """Without making and throwing away half a gigabyte of weights."""
    with torch.device("meta"):
        networks = CodecNetworks(config)
    own = {k.removeprefix(NETWORKS): v for k, v in weights.items() if k.startswith(NETWORKS)}
    networks.load_state_dict(own, assign=True)
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
