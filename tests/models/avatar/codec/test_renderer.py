"""Rendering of codec avatars: loading, batches, views, options, invalid arguments."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from contracts.person import write_manifest
from models import checkpoint
from models.avatar.appearance import RenderOptions
from models.avatar.avatar import AvatarError
from models.avatar.camera import CameraError, write_cameras
from models.avatar.codec.config import CodecConfig
from models.avatar.codec.kind import load_codec_avatar
from models.avatar.codec.model import CodecModel
from models.avatar.codec.plain import PlainCodec
from models.avatar.codec.precision import Precision
from models.avatar.codec.renderer import CodecAvatar, CodecOptions
from models.avatar.loading import load_avatar
from tests.models.avatar.codec.tiny import (
    FROM_OCCLUSION,
    FROM_POSE,
    tiny_cameras,
    tiny_model,
    tiny_motion,
    tiny_released,
)

Tensor = torch.Tensor
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model() -> CodecModel:
    return tiny_model()


@pytest.fixture
def avatar(model: CodecModel) -> CodecAvatar:
    return CodecAvatar(model, tiny_cameras())


def frames(avatar: CodecAvatar, *views: str, count: int = 5, batch: int = 8) -> np.ndarray:
    cameras = [avatar.camera(view) for view in views]
    return np.concatenate(list(avatar.render(*tiny_motion(count), cameras, batch=batch)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tiny_released()
    checkpoint.write(tmp_path / "avatar.safetensors", asdict(made.config), made.weights)
    write_cameras(tmp_path / "cameras.json", tiny_cameras())
    facts = {"name": "ada", "avatar": {"kind": "codec"}, "limits": {"max_seconds": 20.0}}
    write_manifest(tmp_path, facts, [])
    return tmp_path


def test_a_learned_picture_has_no_other_light(avatar: CodecAvatar) -> None:
    with pytest.raises(ValueError, match=r"shading: a codec avatar has only fast \(full\)"):
        avatar.render(*tiny_motion(1), [avatar.camera()], options=RenderOptions(shading="full"))


def test_a_person_directory_gives_an_avatar_that_renders(folder: Path, avatar: CodecAvatar) -> None:
    loaded = load_avatar(folder, device=CPU)
    assert list(loaded.cameras) == ["front", "side"]
    (rendered,) = loaded.render(*tiny_motion(2), [loaded.camera()])
    assert rendered.shape == (2, 96, 64, 3)
    assert np.array_equal(rendered, frames(avatar, "front", count=2))


def test_invalid_weights_raise_an_error(folder: Path) -> None:
    (folder / "avatar.safetensors").write_bytes(b"not a tensor in sight")
    with pytest.raises(AvatarError, match="damaged"):
        load_avatar(folder, device=CPU)


def test_the_person_covers_part_of_the_image(avatar: CodecAvatar) -> None:
    rendered = frames(avatar, "front")
    assert 0.05 < (rendered.max(-1) > 0).mean() < 0.95
    assert not np.array_equal(rendered[0], rendered[1])


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_frames_do_not_depend_on_the_batch(avatar: CodecAvatar, batch: int) -> None:
    cameras = [avatar.camera()]
    parts = list(avatar.render(*tiny_motion(5), cameras, batch=batch))
    assert all(len(part) <= batch for part in parts)
    assert np.array_equal(np.concatenate(parts), frames(avatar, "front"))


def test_a_batch_gives_the_same_textures_as_single_frames(model: CodecModel) -> None:
    with torch.inference_mode():
        face, pose = tiny_motion(3)
        position = torch.tensor([0.0, 50.0, 300.0])
        together = model.view_texture(model.posed(face, pose), position)
        for i in range(3):
            alone = model.view_texture(model.posed(face[i : i + 1], pose[i : i + 1]), position)
            torch.testing.assert_close(together[i], alone[0], atol=1e-3, rtol=1e-4)


def test_views_are_placed_side_by_side(avatar: CodecAvatar) -> None:
    both = frames(avatar, "front", "side")
    assert both.shape == (5, 96, 128, 3)
    left, right = np.split(both, 2, axis=2)
    assert np.array_equal(left, frames(avatar, "front"))
    assert np.array_equal(right, frames(avatar, "side"))
    assert not np.array_equal(left, right)


def test_light_from_an_occlusion_image_is_constant() -> None:
    model = tiny_model(FROM_OCCLUSION)
    assert model.constant_light is not None
    assert frames(CodecAvatar(model, tiny_cameras()), "front").any()


def test_released_views_keep_their_individual_lights() -> None:
    made, cameras = tiny_released(FROM_OCCLUSION), tiny_cameras()
    bright = made.weights["occlusion"]
    pictures = {
        name: frames(
            CodecAvatar(CodecModel(made.config, made.weights | {"occlusion": light}), cameras),
            "front",
            "side",
        )
        for name, light in {
            "bright": bright, "dark": bright - 2, "both": torch.cat([bright, bright - 2])
        }.items()
    }  # fmt: skip
    front, side = np.split(pictures["both"], 2, axis=2)
    assert np.array_equal(front, np.split(pictures["bright"], 2, axis=2)[0])
    assert np.array_equal(side, np.split(pictures["dark"], 2, axis=2)[1])
    assert not np.array_equal(pictures["bright"], pictures["dark"])


def test_the_code_of_the_body_is_a_constant(model: CodecModel) -> None:
    _, pose = tiny_motion(2)
    with torch.inference_mode():
        posed = model.body.posed(torch.zeros(2, len(model.body.template), 3), pose)
        moved = model.uv_map.spread(model.body.unposed(posed, pose))
        code = model.networks.body_encoder(moved).mean
    torch.testing.assert_close(code, model.body_code.expand(2, -1), atol=1e-4, rtol=1e-4)


def test_samples_and_rounding_change_little(model: CodecModel, avatar: CodecAvatar) -> None:
    options = CodecOptions(samples=2, rounding=True)
    soft = frames(CodecAvatar(model, tiny_cameras(), options=options), "front").astype(int)
    assert np.abs(soft - frames(avatar, "front")).mean() < 12
    assert not np.array_equal(soft, frames(avatar, "front"))


def test_empty_motion_gives_no_frames(avatar: CodecAvatar) -> None:
    assert list(avatar.render(*tiny_motion(0), [avatar.camera()])) == []


def test_invalid_arguments_raise_an_error(avatar: CodecAvatar) -> None:
    face, pose = tiny_motion(2)
    camera = avatar.camera()
    with pytest.raises(ValueError, match=r"face must be \[T, 256\], got \[2, 104\]"):
        avatar.render(pose, pose, [camera])
    with pytest.raises(ValueError, match="face has 2 frames and pose 1"):
        avatar.render(face, pose[:1], [camera])
    with pytest.raises(ValueError, match=r"need one height, got \[\]"):
        avatar.render(face, pose, [])
    with pytest.raises(ValueError, match="batch must be at least 1, got 0"):
        avatar.render(face, pose, [camera], batch=0)
    with pytest.raises(CameraError, match="unknown camera 'back'; this person has front, side"):
        avatar.camera("back")
    with pytest.raises(ValueError, match="samples must be at least 1 per pixel side, got 0"):
        CodecOptions(samples=0)


def test_map_sizes_that_do_not_match_raise_an_error() -> None:
    with pytest.raises(ValueError, match="must end at half of the 16 texels of body_map, got 4"):
        type(FROM_POSE)(**{**asdict(FROM_POSE), "face_map": (2,)})
    with pytest.raises(ValueError, match=r"must be 32 texels \(16 doubled 1 times\), got 64"):
        type(FROM_POSE)(**{**asdict(FROM_POSE), "uv_size": 64})


@pytest.mark.parametrize("config", [FROM_POSE, FROM_OCCLUSION], ids=["pose", "occlusion"])
def test_the_reference_implementation_renders_the_same_images(config: CodecConfig) -> None:
    made, cameras = tiny_released(config), tiny_cameras()
    plain = PlainCodec(made.config, made.weights)
    fast = frames(CodecAvatar(tiny_model(config), cameras), *cameras, count=3).astype(int)
    for frame, face, pose in zip(fast, *tiny_motion(3), strict=True):
        off = np.abs(plain.picture(face, pose, list(cameras.values())).numpy() - frame)
        assert (off <= 1).mean() > 0.999
        assert (off == 0).mean() > 0.98


def test_half_precision_changes_frames_only_a_little(folder: Path, avatar: CodecAvatar) -> None:
    coarse = load_codec_avatar(folder, device=CPU, precision=Precision(half=True))
    off = np.abs(frames(coarse, "front").astype(int) - frames(avatar, "front"))
    assert 0 < off.mean() < 2


@pytest.mark.parametrize(
    "precision",
    [Precision(compiler="aot_eager"), Precision(channels_last=False)],
    ids=["compiled", "channels first"],
)
def test_compilation_and_memory_layout_change_only_the_last_bit(
    avatar: CodecAvatar, precision: Precision
) -> None:
    """Batches of three frames and of one: compiled networks must accept both."""
    made = tiny_released()
    other = CodecAvatar(CodecModel(made.config, made.weights, precision=precision), tiny_cameras())
    off = np.abs(
        frames(other, "front", count=4, batch=3).astype(int) - frames(avatar, "front", count=4)
    )
    assert off.max() <= 1
    assert (off > 0).mean() < 1e-3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_renders_the_same_images(folder: Path, avatar: CodecAvatar) -> None:
    loaded = load_codec_avatar(folder, device=torch.device("cuda"))
    off = np.abs(frames(loaded, "front", "side").astype(int) - frames(avatar, "front", "side"))
    assert (off <= 1).mean() > 0.999


def test_clay_shows_the_posed_mesh_without_the_texture_networks(
    avatar: CodecAvatar, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = frames(avatar, "front", count=3)
    for name in ("view_texture", "light", "decoded"):
        monkeypatch.setattr(avatar.model, name, lambda *_: 1 / 0)
    camera, clay = avatar.camera("front"), RenderOptions(clay=True)

    (shaded,) = avatar.render(*tiny_motion(3), [camera, camera], options=clay)

    assert shaded.shape == (3, 96, 128, 3)
    assert np.array_equal(shaded[:, :, :64], shaded[:, :, 64:])
    covered = shaded[:, :, :64].max(-1) > 0
    assert (covered == (full.max(-1) > 0)).mean() > 0.9
    assert not np.array_equal(covered[0], covered[1])
    colours = shaded[:, :, :64][covered]
    assert len(np.unique(colours[:, 0])) > 3  # shaded, not flat
    assert (colours[:, 0] >= colours[:, 2]).all()


def test_clay_keeps_the_background(avatar: CodecAvatar) -> None:
    camera = avatar.camera("front")
    red, clear = (RenderOptions(clay=True, background=b) for b in ((200, 0, 0), "transparent"))

    (on_red,) = avatar.render(*tiny_motion(1), [camera], options=red)
    (alone,) = avatar.render(*tiny_motion(1), [camera], options=clear)

    outside = alone[..., 3] == 0
    assert set(np.unique(alone[..., 3])) == {0, 255}
    assert (on_red[outside] == (200, 0, 0)).all()
    assert np.array_equal(on_red[~outside], alone[..., :3][~outside])
