"""Shading `full`: kernels against plain torch, shadows, determinism; `fast` keeps its bytes."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.avatar.appearance import RenderOptions
from models.avatar.blendshape.full import lighting
from models.avatar.blendshape.full.lighting import (
    CLOTH,
    EYE,
    MOUTH,
    SKIN,
    film_curve,
    scatter_weights,
)
from models.avatar.blendshape.full.plain import cast_shadows, key_light
from models.avatar.blendshape.full.tables import outer_surface, tables_of
from models.avatar.blendshape.model import load_blendshape
from models.avatar.blendshape.renderer import BlendshapeAvatar
from models.avatar.blendshape.surface import surface_of
from models.avatar.camera import Camera, looking_at
from tests.models.avatar.blendshape.images import assert_same_image, render

Tensor = torch.Tensor
FULL = RenderOptions(shading="full")
PEOPLE = Path(__file__).parents[4] / "people"
# SHA-256 of a picture of the tiny avatar before the shading `full` existed
TINY_FAST = "1d6e97252b88d5878faeb578a1ea6028f59bccc3e2982bdabf19816fc3902447"


def test_plain_torch_renders_the_same_demo_person(
    demo: BlendshapeAvatar, plain_demo: BlendshapeAvatar, face: Tensor, pose: Tensor
) -> None:
    views = ("portrait", "side")
    fast, plain = (render(a, face[:1], pose[:1], *views, options=FULL) for a in (demo, plain_demo))
    assert_same_image(fast, plain)


@pytest.mark.parametrize("samples", [1, 2])
def test_plain_torch_renders_the_same_tiny_avatar(
    tiny: BlendshapeAvatar, plain_tiny: BlendshapeAvatar, pose: Tensor, samples: int
) -> None:
    options = replace(FULL, samples=samples, background="transparent" if samples == 2 else None)
    face = tiny.face_code(torch.rand(2, 52, generator=torch.Generator().manual_seed(1)))
    one, other = (render(avatar, face, pose[:2], options=options) for avatar in (tiny, plain_tiny))
    assert one.shape[-1] == options.channels
    assert_same_image(one, other)


def test_the_shading_fast_keeps_its_bytes(tiny: BlendshapeAvatar) -> None:
    """Also after a picture in the shading `full` by the same painter."""
    still = torch.zeros(1, 256), torch.zeros(1, 104)
    before = render(tiny, *still)
    full = render(tiny, *still, options=FULL)
    assert np.array_equal(render(tiny, *still, options=RenderOptions(shading="fast")), before)
    assert np.abs(full - before).mean() > 5
    assert np.array_equal(render(tiny, *still, options=FULL), full)
    if torch.backends.cpu.get_cpu_capability() in {"AVX2", "AVX512"}:
        assert hashlib.sha256(before.astype(np.uint8).tobytes()).hexdigest() == TINY_FAST


def test_an_occluder_casts_its_shadow_away_from_the_key_light(tiny: BlendshapeAvatar) -> None:
    """A square above the ground: dark behind it, lit beside it, soft between."""
    model = tiny.model
    tables, surface = tables_of(model), surface_of(model)
    key = torch.tensor(lighting.KEY)
    target = torch.tensor(tables.face) - torch.tensor([0.0, lighting.LAMP_BELOW, 0.0])
    right = torch.linalg.cross(torch.tensor([0.0, 1.0, 0.0]), key)
    right = right / right.norm()
    up = torch.linalg.cross(key, right)
    corners = [target + key * 2 + 0.6 * (x * right + y * up) for x, y in CORNERS]
    corners += [target - key * 0.1 + 3 * (x * right + y * up) for x, y in CORNERS]  # the ground
    faces = [[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]]
    surface = replace(surface, faces=torch.tensor(faces, dtype=torch.int32))
    shadows = cast_shadows(tables, surface, torch.stack(corners))
    at = torch.stack([target, target + 1.2 * right, target + 0.65 * right, target + key * 3])
    behind, beside, edge, in_front = key_light(shadows, at).tolist()
    assert behind < 0.02
    assert beside == in_front == 1
    assert 0.1 < edge < 0.9


CORNERS = ((-1, -1), (1, -1), (1, 1), (-1, 1))


def test_the_head_darkens_what_lies_behind_it(demo: BlendshapeAvatar) -> None:
    tables, surface = tables_of(demo.model), surface_of(demo.model)
    shadows = cast_shadows(tables, surface, demo.model.template + tables.drape)
    key, face = torch.tensor(lighting.KEY), torch.tensor(tables.face)
    behind, in_front = key_light(shadows, torch.stack([face - 1.5 * key, face + 1.5 * key]))
    assert behind < 0.05
    assert in_front == 1


def test_each_part_has_its_material_and_clothes_their_folds(demo: BlendshapeAvatar) -> None:
    model, tables = demo.model, tables_of(demo.model)
    names = [model.config.part_names[i] for i in model.parts[model.faces[:, 0].long()].tolist()]
    for name, kind in (("sweater", CLOTH), ("teeth", MOUTH), ("eyes", EYE)):
        on = torch.tensor([each == name for each in names])
        assert (tables.kind[on] == kind).all()
    skin = torch.tensor([each == "skin" for each in names])
    inside = skin & (tables.kind == MOUTH)
    assert (tables.kind[skin & ~inside] == SKIN).all()
    lips = model.template[list(model.config.lower_lip)].mean(0)
    middle = model.template[model.faces[inside].long()].mean(1)
    assert len(middle) > 100
    assert (middle[:, 2] < lips[2]).all() and (middle - lips).norm(dim=1).max() < 1
    everything = torch.arange(len(model.template))
    cloth, teeth = (torch.isin(everything, model.vertices_of(n)) for n in ("sweater", "teeth"))
    assert tables.drape[~cloth & ~teeth].abs().max() == 0
    assert 0.01 < tables.drape[cloth].norm(dim=1).mean() < 0.2  # decimetres
    assert tables.openness[model.vertices_of("sweater")].min() == 1


@pytest.mark.parametrize("name", ["demo", "sam"])
def test_strands_on_the_forehead_run_along_the_surface(name: str) -> None:
    model = load_blendshape(PEOPLE / name / "avatar.safetensors", device=torch.device("cpu"))
    tables, at = tables_of(model), model.template
    hair = model.vertices_of("hair")
    front = hair[at[hair, 2] > 0.8]  # decimetres
    corners = model.faces.long()
    across = torch.linalg.cross(*(at[corners[:, i]] - at[corners[:, 0]] for i in (1, 2)))
    normals = torch.zeros_like(at).index_add_(0, corners.flatten(), across.repeat_interleave(3, 0))
    normals[tables.rim] = normals[tables.rim_source]
    normal, way = (
        torch.nn.functional.normalize(each, dim=1)
        for each in (normals[front], at[tables.anchor].mean(0) - at[front])
    )
    assert len(front) > 50
    assert (way * normal).sum(1).abs().max() < 0.98  # at 1, a strand has no direction


def test_all_teeth_face_outwards_and_the_lower_ones_are_seen_in_an_open_mouth(
    demo: BlendshapeAvatar,
) -> None:
    model = demo.model
    fast = surface_of(model)
    full, teeth = outer_surface(model, fast), model.vertices_of("teeth")
    lower = torch.isin(fast.faces.long(), teeth[len(teeth) // 2 :]).all(1)
    front = lower & (model.template[fast.faces.long()].mean(1)[:, 0].abs() < 0.1)
    corners = model.template[full.faces[front].long()]
    normal = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (normal[:, 2] > 0).float().mean() > 0.7
    assert torch.equal(full.faces.sort(1).values, fast.faces.sort(1).values)
    units = torch.zeros(1, len(demo.unit_names))
    units[0, demo.unit_names.index("jawOpen")] = 0.45
    camera = close_up(model.template[list(model.config.lower_lip)].mean(0))
    face, pose = demo.face_code(units), torch.zeros(1, len(demo.parameter_names))
    frame = next(iter(demo.render(face, pose, [camera], options=FULL)))[0].astype(int)
    mouth = frame[:, 40:56]  # columns in the middle of the lips
    assert (mouth.max(-1) < 16).mean() < 0.02  # nothing is black
    light = mouth.min(-1).mean(1) > 110  # rows of teeth, not of red lips and gums
    assert (np.diff(np.pad(light.astype(int), 1)) == 1).sum() >= 2


def close_up(at: Tensor) -> Camera:
    """Camera in front of a point of the face, 96 pixels for 0.6 decimetres."""
    x, y, z = at.tolist()
    eye, target = (x, y - 0.1, z + 10), (x, y - 0.1, z)
    return looking_at("close", eye=eye, target=target, focal=10 / 0.6, width=96, height=96)


def test_scattering_keeps_the_light_and_spreads_red_furthest(demo: BlendshapeAvatar) -> None:
    for side in (64, 512, 2048):
        weights = scatter_weights(demo.camera().resized(side, side), 15.0)
        torch.testing.assert_close(2 * weights.sum(0) - weights[0], torch.ones(3))
        assert weights[0, 0] <= weights[0, 1] <= weights[0, 2]


def test_the_film_curve_rises_from_black_to_white() -> None:
    curve = film_curve()
    assert curve[0] == 0
    assert (curve.diff() >= 0).all()
    assert curve[-1] > 235
