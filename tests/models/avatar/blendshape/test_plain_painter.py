"""Whole images: kernels against plain torch, anti-aliasing, background and mouth."""

from pathlib import Path

import numpy as np
import pytest
import torch
import warp

from models.avatar.blendshape.kind import load_blendshape_avatar
from models.avatar.blendshape.model import CLOSED_LIGHT
from models.avatar.blendshape.plain_painter import vertex_normals
from models.avatar.blendshape.renderer import BlendshapeAvatar
from models.avatar.blendshape.shading import wall_background
from models.avatar.blendshape.surface import pose_mesh, surface_of
from models.avatar.blendshape.warp_painter import KernelPainter, PersonOnDevice
from models.avatar.mesh.skinning import skin
from models.avatar.raster.types import to_normalised
from tests.models.avatar.blendshape.images import assert_same_image, render

Tensor = torch.Tensor
CPU = torch.device("cpu")


def test_plain_torch_renders_the_same_demo_person(
    demo: BlendshapeAvatar, plain_demo: BlendshapeAvatar, face: Tensor, pose: Tensor
) -> None:
    views = ("front", "side")
    assert_same_image(
        render(demo, face[:2], pose[:2], *views), render(plain_demo, face[:2], pose[:2], *views)
    )


def test_plain_torch_renders_the_same_tiny_avatar(
    tiny: BlendshapeAvatar, plain_tiny: BlendshapeAvatar, pose: Tensor
) -> None:
    face = tiny.face_code(torch.rand(3, 52, generator=torch.Generator().manual_seed(1)))
    assert_same_image(render(tiny, face, pose), render(plain_tiny, face, pose))


def test_kernels_and_plain_torch_agree_without_anti_aliasing(
    tiny_folder: Path, pose: Tensor
) -> None:
    fast, plain = (
        load_blendshape_avatar(tiny_folder, device=CPU, samples=1, threads=1, plain=plain)
        for plain in (False, True)
    )
    face = torch.zeros(3, 256)
    assert_same_image(render(fast, face, pose), render(plain, face, pose))


def test_the_kernels_move_vertices_as_plain_torch_does(
    demo: BlendshapeAvatar, face: Tensor, pose: Tensor
) -> None:
    model, camera = demo.model, demo.camera().resized(64, 64)
    mesh = pose_mesh(model, face, pose)
    painter = KernelPainter(PersonOnDevice(model))
    painter.render(mesh, [camera], torch.empty(3, 64, 64, 3, dtype=torch.uint8))
    posed, _, normals, points = (warp.to_torch(array) for array in painter.vertices[3])
    plain = skin(mesh.rest, model.skin_weights, model.skin_joints, mesh.matrices)
    torch.testing.assert_close(posed, plain, atol=1e-4, rtol=0)
    torch.testing.assert_close(normals, vertex_normals(posed, model.faces), atol=1e-3, rtol=0)
    torch.testing.assert_close(points, to_normalised(camera, posed), atol=1e-4, rtol=0)


def test_anti_aliasing_softens_edges(
    tiny: BlendshapeAvatar, tiny_folder: Path, pose: Tensor
) -> None:
    hard = load_blendshape_avatar(tiny_folder, device=CPU, samples=1, threads=1)
    still = torch.zeros(3, 256), pose
    steps = [np.abs(np.diff(render(one, *still), axis=2)) for one in (tiny, hard)]
    assert (steps[0] > 60).sum() < 0.8 * (steps[1] > 60).sum()


def test_an_image_without_the_person_shows_only_the_background(tiny: BlendshapeAvatar) -> None:
    pose = torch.zeros(1, 104)
    pose[0, tiny.parameter_names.index("root_ty")] = -100
    camera = tiny.camera()
    frame = next(tiny.render(torch.zeros(1, 256), pose, [camera]))[0]
    assert np.array_equal(frame, wall_background(camera).numpy())


def test_faces_too_near_to_the_camera_are_not_rendered(tiny: BlendshapeAvatar) -> None:
    pose = torch.zeros(1, 104)
    pose[0, tiny.parameter_names.index("root_tz")] = 14.9  # at the position of the camera
    camera = tiny.camera()
    frame = next(tiny.render(torch.zeros(1, 256), pose, [camera]))[0]
    assert np.array_equal(frame, wall_background(camera).numpy())


def test_the_mouth_is_dark_until_the_lips_open(tiny: BlendshapeAvatar) -> None:
    units = torch.zeros(3, 52)
    units[:, tiny.unit_names.index("jawOpen")] = torch.tensor([0.0, 0.15, 1.0])
    light = pose_mesh(tiny.model, tiny.face_code(units), torch.zeros(3, 104)).mouth_light
    assert light[0].item() == pytest.approx(CLOSED_LIGHT)
    assert CLOSED_LIGHT < light[1] < 1
    assert light[2].item() == 1


def test_normals_of_a_ball_point_away_from_its_centre() -> None:
    corners = torch.tensor([[1.0, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])
    faces = [[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4], [1, 0, 5], [2, 1, 5], [3, 2, 5], [0, 3, 5]]
    normals = vertex_normals(corners[None], torch.tensor(faces))
    torch.testing.assert_close(normals[0], corners)


def test_large_images_use_the_large_texture(demo: BlendshapeAvatar) -> None:
    surface, camera = surface_of(demo.model), demo.camera()
    levels = [surface.level(camera.resized(side, side)) for side in (64, 256, 512, 1024, 2048)]
    assert levels == sorted(levels, reverse=True)
    assert levels[0] == len(surface.textures) - 1
    assert levels[-1] == 0
