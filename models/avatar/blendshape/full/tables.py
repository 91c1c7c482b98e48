"""Tables of the shading `full`, made from a model: materials, knit, folds, anchor of the hair.

Letters: V vertices, F faces, K vertices of the anchor. Lengths are decimetres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from models.avatar.blendshape.full.lighting import (
    CLOTH,
    HAIR,
    HAIR_MEAN,
    HAIR_TURN,
    KINDS,
    MOUTH,
    SKIN,
    STRANDS,
)
from models.avatar.blendshape.shading import sample_texture

if TYPE_CHECKING:
    from models.avatar.blendshape.model import BlendshapeModel
    from models.avatar.blendshape.surface import Surface

BAKED_ABOVE = 0.35  # above the lowest point that a face moves, where no pose changes occlusion
ANCHORS = 16  # vertices
COLLAR_GAP = 0.05  # between collar and neck
COLLAR_WIDEST = 0.6  # gaps that are closed
COLLAR_NEAR = 6  # vertices of the skin whose mean a vertex of the collar moves to
COLLAR_HEIGHT = 0.55  # of cloth below its upper end that moves to the neck
ROOT_HEIGHT = 0.16
CAVITY = 0.5  # around the lips, in which dark red skin is the inside of the mouth
CAVITY_ALBEDO = 0.14  # largest red of it
CAVITY_DEPTH = 0.50  # behind the lips; 37 % of the light arrive there
LOWER_TEETH = (0.0, 0.045, -0.015)  # displacement
NOTCH, FLATTER = 0.02, 0.7  # depth below which an edge of teeth is a notch, and its reduction
FOLD = 0.050  # height of a fold of the torso
SLEEVE_FOLD = 0.018


@dataclass(frozen=True)
class MaterialTables:
    """Constants of one person."""

    rim: Tensor  # [N] vertices on the rim of the hair
    rim_source: Tensor  # [N] vertices whose normals they take
    kind: Tensor  # [F] int32, CLOTH to HAIR
    openness: Tensor  # [V] baked occlusion of the head, 1 elsewhere
    across: Tensor  # [F, 3] coordinate across the wales of the knit or the strands, at each corner
    along: Tensor  # [F, 3] coordinate along the wales
    root: Tensor  # [V] of hair: 0 at the hairline, 1 where it covers the skin
    hair_mean: float  # mean albedo of the hair
    drape: Tensor  # [V, 3] folds of the clothes and place of the lower teeth, added at rest
    anchor: Tensor  # [K] vertices; strands of hair run towards their mean
    face: tuple[float, float, float]  # middle of the face at rest


def tables_of(model: BlendshapeModel) -> MaterialTables:
    """Build the tables of a model, on its device."""
    device = model.template.device
    kinds = torch.tensor([KINDS.get(name, CLOTH) for name in model.config.part_names])
    kind = kinds.to(device)[model.parts.long()]  # [V]
    of_face = kind[model.faces[:, 0].long()]
    of_face = torch.where(_cavity(model, of_face), MOUTH, of_face)
    inside = torch.zeros_like(kind, dtype=torch.bool)
    inside[model.faces[of_face == MOUTH].long()] = True
    face = model.template[model.moving]
    low = float(face[:, 1].min()) + BAKED_ABOVE
    trust = ((model.template[:, 1] - low) / 0.3).clamp(0, 1) * (
        (kind != CLOTH) & (kind != HAIR) & (kind != MOUTH)
    )
    openness = 1 + (model.openness - 1) * trust
    openness = torch.where(inside, _depth_in_mouth(model), openness)
    sleeves = _sleeves(model, kind)
    across, along = _knit(model, sleeves)
    worn, hairy = ((of_face == each)[:, None] for each in (CLOTH, HAIR))
    around, hair_mean = _hair(model, of_face == HAIR)
    rim, source, root = _hairline(model)
    return MaterialTables(
        rim,
        source,
        of_face.int(),
        openness,
        across * worn + around * hairy,
        along * worn,
        root,
        hair_mean,
        _drape(model, kind, sleeves) + _teeth(model),
        _anchor(model),
        tuple(((face.amin(0) + face.amax(0)) / 2).tolist()),
    )


def _face_albedo(model: BlendshapeModel, faces: Tensor) -> Tensor:
    """Albedo in the middle of some faces, [N, 3]."""
    return sample_texture(model.texture, model.uv[model.uv_faces[faces].long()].mean(1))


def _cavity(model: BlendshapeModel, kind: Tensor) -> Tensor:
    """Mask [F] of the skin inside the mouth, which is painted dark red."""
    lips = model.template[list(model.config.lower_lip)].mean(0)
    middle = model.template[model.faces.long()].mean(1)
    near = (kind == SKIN) & ((middle - lips).norm(dim=1) < 2 * CAVITY) & (middle[:, 2] < lips[2])
    red, green, _ = _face_albedo(model, near.nonzero()[:, 0]).unbind(-1)
    result = torch.zeros_like(near)
    result[near] = (red < CAVITY_ALBEDO) & (red > 3 * green)
    return result


def _depth_in_mouth(model: BlendshapeModel) -> Tensor:
    """Share of the light that arrives at points behind the lips, [V]."""
    lips = model.template[list(model.config.lower_lip), 2].mean()
    return torch.exp(-(lips - model.template[:, 2]).clamp(min=0) / CAVITY_DEPTH).clamp(max=1)


def _teeth(model: BlendshapeModel) -> Tensor:
    """Displacement [V, 3] of the teeth, of which the second half are the lower ones.

    Their edges meet, and the notches between two teeth are flatter: in small pictures a notch is a
    missing tooth.
    """
    move = torch.zeros_like(model.template)
    if "teeth" not in model.config.part_names:
        return move
    teeth = model.vertices_of("teeth")
    upper, lower = teeth[: len(teeth) // 2], teeth[len(teeth) // 2 :]
    for arch, down in ((upper, 1.0), (lower, -1.0)):
        height = down * model.template[arch, 1]
        notch = height - height.min()
        move[arch, 1] -= down * torch.where(notch < NOTCH, FLATTER * notch, 0.0)
    move[lower] += move.new_tensor(LOWER_TEETH)
    return move


def outer_surface(model: BlendshapeModel, surface: Surface) -> Surface:
    """Turn teeth outwards that are built inside out; `fast` never draws them."""
    names = model.config.part_names
    if "teeth" not in names:
        return surface
    teeth = (surface.parts == names.index("teeth")).nonzero()[:, 0]
    corners = model.template[surface.faces[teeth].long()]
    a, b, c = corners.unbind(1)
    back = torch.stack([a[:, 0] * 0, a[:, 1], a[:, 2] * 0 + corners[..., 2].min()], dim=1)
    inwards = (torch.linalg.cross(b - a, c - a) * (a - back)).sum(1) < 0
    faces, uv_faces = surface.faces.clone(), surface.uv_faces.clone()
    for each in (faces, uv_faces):
        each[teeth[inwards]] = each[teeth[inwards]].flip(1)
    return replace(surface, faces=faces, uv_faces=uv_faces)


def _hair(model: BlendshapeModel, on: Tensor) -> tuple[Tensor, float]:
    """Coordinate across the strands of hair at the corners of each face, [F, 3], and its albedo.

    The texture's map of the hair ends where the strands have turned once; the coordinate goes on
    there, because strands repeat after a turn.
    """
    around = torch.zeros(len(model.faces), 3, device=on.device)
    if not bool(on.any()):
        return around, HAIR_MEAN
    height = 1 - model.uv[:, 1]
    corners, values = model.faces[on].long(), height[model.uv_faces[on].long()]
    first = torch.full_like(model.openness, torch.inf)
    first = first.scatter_reduce(0, corners.flatten(), values.flatten(), "amin")
    turn = first[corners] / HAIR_TURN
    turn = turn[:, :1] + torch.remainder(turn - turn[:, :1] + 0.5, 1.0) - 0.5
    around[on] = STRANDS * turn
    return around, float(_face_albedo(model, on.nonzero()[:, 0]).mean())


@dataclass(frozen=True)
class Sleeve:
    """Vertices of cloth on one arm, with coordinates about its axis."""

    on: Tensor  # [V] bool
    along: Tensor  # [V] from the shoulder
    angle: Tensor  # [V]
    radius: float
    length: float


def _sleeves(model: BlendshapeModel, kind: Tensor) -> list[Sleeve]:
    """Sleeves by the joints that move the cloth; none when the joints have no names."""
    result = []
    heaviest = model.skin_joints.long().gather(1, model.skin_weights.argmax(1, keepdim=True))[:, 0]
    for side in "LR":
        joints = [
            index
            for index, name in enumerate(model.config.joint_names)
            if ("arm" in name or "wrist" in name) and name.endswith(f".{side}")
        ]
        numbers = torch.tensor(joints, dtype=torch.long, device=kind.device)
        on = (kind == CLOTH) & torch.isin(heaviest, numbers)
        if int(on.sum()) < 8:
            continue
        at = model.template
        centre = at[on].mean(0)
        axis = torch.linalg.svd(at[on] - centre, full_matrices=False).Vh[0]
        axis = axis * torch.sign(axis[0] * centre[0])  # outwards, from the shoulder to the hand
        first = torch.linalg.cross(axis, axis.new_tensor([0.0, 0.0, 1.0]))
        first = first / first.norm()
        second = torch.linalg.cross(axis, first)
        along = (at - centre) @ axis
        x, y = (at - centre) @ first, (at - centre) @ second
        radius = float(torch.hypot(x, y)[on].mean())
        low, high = float(along[on].min()), float(along[on].max())
        result.append(Sleeve(on, along - low, torch.atan2(y, x), radius, high - low))
    return result


def _knit(model: BlendshapeModel, sleeves: list[Sleeve]) -> tuple[Tensor, Tensor]:
    """Coordinates across and along the wales at the corners of each face, [F, 3] each."""
    faces, at = model.faces.long(), model.template
    a, b, c = at[faces].unbind(1)
    normal = torch.linalg.cross(b - a, c - a)
    front = normal[:, 2:].abs() >= normal[:, :1].abs()
    across = torch.where(front, at[:, 0][faces], at[:, 2][faces])
    along = at[:, 1][faces]
    for sleeve in sleeves:
        on = sleeve.on[faces].sum(1, keepdim=True) >= 2
        across = torch.where(on, _unwrapped(sleeve.angle[faces]) * sleeve.radius, across)
        along = torch.where(on, sleeve.along[faces], along)
    return across.contiguous(), along.contiguous()


def _unwrapped(angle: Tensor) -> Tensor:
    """Angles [F, 3] within half a turn of the first corner's."""
    off = angle - angle[:, :1]
    return angle[:, :1] + torch.remainder(off + math.pi, 2 * math.pi) - math.pi


def _drape(model: BlendshapeModel, kind: Tensor, sleeves: list[Sleeve]) -> Tensor:
    """Displacement of the upper garment: folds along the normal, a collar that lies on the neck."""
    at, cloth = model.template, kind == CLOTH
    if not bool(cloth.any()):
        return torch.zeros_like(at)
    highest = torch.where(cloth, at[:, 1], -torch.inf).argmax()
    cloth = model.parts == model.parts[highest]
    normal = _normals(at, model.faces.long())
    top, bottom = at[cloth, 1].max(), at[cloth, 1].min()
    x, y, z = at.unbind(-1)
    below = ((top - y - 0.7) / 1.2).clamp(0, 1)
    hanging = torch.sin(4.6 * x.abs() + 1.3 * torch.sin(1.7 * y) + 0.8 * z) * below
    pull = torch.exp(-(((x.abs() - 1.15) / 0.5) ** 2) - ((y - top + 1.5) / 0.7) ** 2)
    slanted = torch.sin(11 * (0.75 * y - 0.65 * x.abs())) * pull
    waist = torch.sin(8.5 * y + 1.5 * torch.sin(1.9 * x + 1)) * ((top - y - 3.2) / 1.2).clamp(0, 1)
    hem = ((y - bottom - 0.15) / 0.9).clamp(0, 1)
    height = FOLD * (0.6 * hanging + 0.4 * slanted + 0.7 * waist) * hem
    for sleeve in sleeves:
        share = sleeve.along / sleeve.length
        elbow = torch.exp(-(((share - 0.52) / 0.17) ** 2))
        cuff = torch.exp(-(((share - 0.86) / 0.10) ** 2))
        shoulder = torch.exp(-(((share - 0.12) / 0.10) ** 2))
        wave = torch.sin(13 * sleeve.along + 1.8 * torch.sin(sleeve.angle + 0.6) + sleeve.angle)
        rings = SLEEVE_FOLD * wave * (0.12 + 0.9 * elbow + 0.7 * cuff + 0.5 * shoulder)
        rings = rings * ((0.92 - share) / 0.08).clamp(0, 1)
        rings = torch.where(share > 0.7, rings.abs(), rings)  # the wrist stays covered
        height = torch.where(sleeve.on, rings, height)
    return (normal * height[:, None] + _collar(model, kind, top)) * cloth[:, None]


def _collar(model: BlendshapeModel, kind: Tensor, top: Tensor) -> Tensor:
    """Displacement [V, 3] that closes the gap between the upper end of the cloth and the skin."""
    at, move = model.template, torch.zeros_like(model.template)
    names = model.config.part_names
    if "skin" not in names:
        return move
    skin = at[model.parts == names.index("skin")]
    share = ((at[:, 1] - top + COLLAR_HEIGHT) / (0.6 * COLLAR_HEIGHT)).clamp(0, 1)
    collar = ((kind == CLOTH) & (share > 0)).nonzero()[:, 0]
    if len(collar) and len(skin):
        near = skin[(skin[:, 1] > top - 1.5) & (skin[:, 1] < top + 0.8)]
        if len(near):
            nearest = torch.cdist(at[collar], near).topk(min(COLLAR_NEAR, len(near)), largest=False)
            off = near[nearest.indices].mean(1) - at[collar]
            off[:, 1] = 0
            far = off.norm(dim=1)
            close = (far - COLLAR_GAP).clamp(0, COLLAR_WIDEST) * share[collar]
            move[collar] = off / far.clamp(min=1e-6)[:, None] * close[:, None]
    return move


def _hairline(model: BlendshapeModel) -> tuple[Tensor, Tensor, Tensor]:
    """Rim of the hair, the vertices that give it normals, and the distance of hair from its edge.

    The rim is folded inwards, and would be a dark line; with the normals of the hair beside it, it
    continues the hair. The distance is a share of ROOT_HEIGHT, [V], at most 1.
    """
    at, names = model.template, model.config.part_names
    root, none = torch.ones_like(model.openness), model.faces.new_zeros(0).long()
    if "hair" not in names:
        return none, none, root
    faces = model.faces[model.parts[model.faces[:, 0].long()] == names.index("hair")].long()
    same = torch.unique((at * 1e4).round().long(), dim=0, return_inverse=True)[1]
    on_rim = torch.isin(same[faces], _border(same[faces])).any(1)
    rim, hair = torch.unique(faces[on_rim]), torch.unique(faces[~on_rim])
    if len(rim) and len(hair):
        source = hair[torch.cdist(at[rim], at[hair]).argmin(1)]
        root[hair] = (torch.cdist(at[hair], at[rim]).amin(1) / ROOT_HEIGHT).clamp(max=1)
        root[rim] = 0
        return rim, source, root
    return none, none, root


def _border(faces: Tensor) -> Tensor:
    """Vertices of the edges that belong to one face only, [N]."""
    pairs = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).sort(1).values
    edges, count = torch.unique(pairs, dim=0, return_counts=True)
    return torch.unique(edges[count == 1])


def _anchor(model: BlendshapeModel) -> Tensor:
    """Vertices whose mean is where strands of hair end: the back of the bun, or the whorl.

    A mean farther inside the head would lie behind the forehead, where strands would run towards
    it straight through the skin, so in no direction along the surface.
    """
    names = model.config.part_names
    if "bun" in names:
        vertices = model.vertices_of("bun")
        behind = model.template[vertices, 2].argsort()[: len(vertices) // 2 + 1]
        vertices = vertices[behind.sort().values]
        return vertices[:: max(1, len(vertices) // ANCHORS)].contiguous()
    if "hair" in names:
        faces = model.parts[model.faces[:, 0].long()] == names.index("hair")
        along = torch.full_like(model.openness, torch.inf)  # the texture's axis along the strands
        corners, values = model.faces[faces].long(), model.uv[model.uv_faces[faces].long(), 0]
        along = along.scatter_reduce(0, corners.flatten(), values.flatten(), "amin")
        return along.argsort(stable=True)[:ANCHORS].contiguous()
    return model.template[:, 2].argmin()[None]


def _normals(at: Tensor, faces: Tensor) -> Tensor:
    a, b, c = (at[faces[:, i]] for i in range(3))
    total = torch.zeros_like(at)
    for i in range(3):
        total.index_add_(0, faces[:, i], torch.linalg.cross(b - a, c - a))
    return total / (total.norm(dim=-1, keepdim=True) + 1e-12)
