"""Synthetic person made of tubes, in the format of the released files, generated from a seed.

`make_assets` returns the content of static_assets.pt. The order of random numbers and of sums must
not change, because the golden files depend on it. Lengths are centimetres in the skeleton and
millimetres in the world.
"""

from dataclasses import dataclass

import numpy as np
import torch

POSE, SCALES = 104, 29  # parameters
ROOT = 2**32 - 1  # parent index of a root bone
CAMERA_IDS = ["400870", "400883", "400926", "410001"]
PART_COLOURS = np.array(
    [[70, 90, 60], [170, 120, 90], [40, 60, 110], [40, 60, 110], [150, 100, 75], [150, 100, 75]],
    np.float32,
)

Array = np.ndarray


@dataclass(frozen=True)
class Part:
    """A tube, its chart on the map and its bones."""

    start: tuple
    end: tuple
    radii: tuple
    rings: int
    segments: int
    squash: float
    chart: tuple  # u0, v0, u1, v1
    bones: tuple


PARTS = (
    Part(
        (0, 95, 0), (0, 150, 0), (16, 19), 28, 40, 0.65, (0.02, 0.02, 0.48, 0.48),
        ("spine0", "spine1", "spine2", "spine3"),
    ),
    Part(
        (0, 152, 0), (0, 182, 0), (9.0, 8.5), 28, 40, 1.1, (0.03, 0.53, 0.47, 0.97),
        ("neck", "head"),
    ),
    Part(
        (10, 95, 0), (11, 4, 2), (9.5, 5.5), 30, 20, 1.0, (0.52, 0.02, 0.73, 0.48),
        ("l_hip", "l_knee", "l_ankle"),
    ),
    Part(
        (-10, 95, 0), (-11, 4, 2), (9.5, 5.5), 30, 20, 1.0, (0.77, 0.02, 0.98, 0.48),
        ("r_hip", "r_knee", "r_ankle"),
    ),
    Part(
        (20, 145, 0), (38, 90, 6), (5.5, 3.6), 30, 16, 1.0, (0.53, 0.53, 0.72, 0.97),
        ("l_shoulder", "l_elbow", "l_wrist"),
    ),
    Part(
        (-20, 145, 0), (-38, 90, 6), (5.5, 3.6), 30, 16, 1.0, (0.78, 0.53, 0.97, 0.97),
        ("r_shoulder", "r_elbow", "r_wrist"),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Mesh:
    vertices: Array  # [V, 3]
    uv: Array  # [M, 2]
    faces: Array  # [F, 3]
    uv_faces: Array  # [F, 3]
    coordinates: Array  # [V, 4] texture coordinates of each vertex, padded with the first
    parts: Array  # [V]


def make_mesh(seed: int) -> Mesh:
    """Build the mesh; the number of rings and the bend of the charts depend on the seed."""
    vertices, uv, faces, uv_faces, parts = [], [], [], [], []
    for number, part in enumerate(PARTS):
        rings, segments = part.rings - 2 * (seed % 3), part.segments
        first, first_uv = sum(map(len, vertices)), sum(map(len, uv))
        vertices.append(_tube(part, rings).reshape(-1, 3))
        parts.append(np.full(rings * segments, number))
        uv.append(_chart(part, rings, seed))
        faces += _quads(first, rings, segments, columns=segments)
        uv_faces += _quads(first_uv, rings, segments, columns=segments + 1)
    vertices, uv = (np.concatenate(x).astype(np.float32) for x in (vertices, uv))
    faces, uv_faces = np.asarray(faces, np.int64), np.asarray(uv_faces, np.int64)
    of_vertex = [set() for _ in vertices]
    for vertex, coordinate in zip(faces.reshape(-1), uv_faces.reshape(-1), strict=True):
        of_vertex[vertex].add(int(coordinate))
    coordinates = np.array([(sorted(c) + [min(c)] * 4)[:4] for c in of_vertex], np.int32)
    return Mesh(vertices, uv, faces, uv_faces, coordinates, np.concatenate(parts))


def _tube(part: Part, rings: int) -> Array:
    start, end = np.asarray(part.start, float), np.asarray(part.end, float)
    along = (end - start) / np.linalg.norm(end - start)
    other = np.array([0, 0, 1.0]) if abs(along[2]) < 0.9 else np.array([1.0, 0, 0])
    a = np.cross(along, other)
    a /= np.linalg.norm(a)
    b = np.cross(along, a)
    t = np.linspace(0, 1, rings)
    turn = 2 * np.pi * np.arange(part.segments) / part.segments
    radius = part.radii[0] + (part.radii[1] - part.radii[0]) * t
    bulge = 1.0 + 0.15 * np.sin(np.pi * t)
    rounded = np.sqrt(np.clip(1 - (2 * t - 1) ** 8, 0.02, 1))
    radius = (radius * bulge * rounded)[:, None, None]
    around = np.cos(turn)[None, :, None] * a + part.squash * np.sin(turn)[None, :, None] * b
    return (start + (end - start) * t[:, None])[:, None, :] + radius * around


def _chart(part: Part, rings: int, seed: int) -> Array:
    u0, v0, u1, v1 = part.chart
    u, v = np.meshgrid(np.linspace(u0, u1, part.segments + 1), np.linspace(v1, v0, rings))
    bend = (0.004 + 0.001 * (seed % 5)) * np.sin((7 + seed % 4) * v)
    u = u + bend * np.sin(np.pi * (u - u0) / (u1 - u0))
    return np.stack([u, v], -1).reshape(-1, 2)


def _quads(first: int, rings: int, segments: int, *, columns: int) -> list:
    """Two triangles per quad; a chart has one column more than the tube has segments."""
    triangles = []
    for i in range(rings - 1):
        for j in range(segments):
            a, b = first + i * columns + j, first + i * columns + (j + 1) % columns
            c, d = a + columns, b + columns
            triangles += [(a, b, c), (b, d, c)]
    return triangles


def make_bones(rng: np.random.Generator) -> tuple[list[dict], dict[str, Array]]:
    """Bones in the released format, parents first, and their world positions."""
    turned, bones, places = {}, [], {}
    for name, parent, place in _joints():
        angle = np.zeros(3) if parent is None else rng.uniform(-0.4, 0.4, 3)
        q = _quaternion(angle)
        before = np.eye(3) if parent is None else turned[parent]
        offset = before.T @ (place - (np.zeros(3) if parent is None else places[parent]))
        turned[name], places[name] = before @ _matrix(q), place
        bones.append(
            {
                "Name": name,
                "Parent": ROOT if parent is None else list(places).index(parent),
                "PreRotation": [float(np.float32(x)) for x in q],
                "TranslationOffset": [float(np.float32(x)) for x in offset],
            }
        )
    return bones, places


def _joints() -> list[tuple]:
    joints = [("b_root", None, (0, 95, 0))]
    for k in range(4):
        joints.append((f"spine{k}", f"spine{k - 1}" if k else "b_root", (0, 98 + 14 * k, 0)))
    joints += [("neck", "spine3", (0, 152, 0)), ("head", "neck", (0, 160, 1))]
    for s, x in (("l", 1), ("r", -1)):
        joints += [
            (f"{s}_clav", "spine3", (6 * x, 146, 0)),
            (f"{s}_shoulder", f"{s}_clav", (20 * x, 145, 0)),
            (f"{s}_shoulder_twist", f"{s}_shoulder", (24 * x, 132, 1)),
            (f"{s}_elbow", f"{s}_shoulder", (29 * x, 117, 3)),
            (f"{s}_wrist", f"{s}_elbow", (36 * x, 97, 5)),
        ]
        for f in range(5):
            for b in range(3):
                parent = f"{s}_f{f}_{b - 1}" if b else f"{s}_wrist"
                joints.append((f"{s}_f{f}_{b}", parent, ((37 + 0.6 * b) * x, 93 - 2 * b, 4 + f)))
        joints += [
            (f"{s}_hip", "b_root", (10 * x, 92, 0)),
            (f"{s}_knee", f"{s}_hip", (10.5 * x, 50, 1)),
            (f"{s}_ankle", f"{s}_knee", (11 * x, 8, 1)),
            (f"{s}_toe", f"{s}_ankle", (11 * x, 4, 10)),
        ]
    return [(name, parent, np.asarray(place, float)) for name, parent, place in joints]


def _quaternion(v: Array) -> Array:
    a = np.linalg.norm(v)
    if a < 1e-9:
        return np.array([0, 0, 0, 1.0])
    return np.concatenate([np.sin(a / 2) * v / a, [np.cos(a / 2)]])


def _matrix(q: Array) -> Array:
    x, y, z, w = q
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def make_transform(rng: np.random.Generator, joints: int) -> tuple[Array, Array]:
    """Linear map from parameters to channels, [7 J, 104 + 29], and its offsets, [1, 7 J]."""
    transform = np.zeros((7 * joints, POSE + SCALES), np.float32)
    transform[range(6), range(6)] = 1.0
    channels = [7 * joint + 3 + turn for joint in range(1, joints) for turn in range(3)]
    order = rng.permutation(len(channels))
    for k, parameter in enumerate(range(6, POSE)):
        transform[channels[order[k]], parameter] = 1.0
        if rng.uniform() < 0.3:  # the parameter also moves a second channel
            other = order[POSE + k % (len(channels) - POSE)]
            transform[channels[other], parameter] = np.float32(rng.uniform(-0.5, 0.5))
    for k in range(SCALES):
        joint = int(rng.integers(0, joints))
        channel = 6 if k % 2 else int(rng.integers(0, 3))
        transform[7 * joint + channel, POSE + k] = np.float32(1.0 if k % 2 else 0.5)
    added = np.zeros((1, 7 * joints), np.float32)
    added[0, 7 * 3 + 4] = 0.05
    return transform, added


def make_skinning(mesh: Mesh, places: dict[str, Array]) -> tuple[list, list]:
    """Concatenated (joint, weight) pairs of all vertices, and the offset of each vertex."""
    pairs, offsets, joints = [], [0], list(places)
    for i, vertex in enumerate(mesh.vertices):
        names = _bones_of(int(mesh.parts[i]))
        distance = np.linalg.norm(np.stack([places[n] for n in names]) - vertex, axis=1)
        weight = np.exp(-((distance / 14.0) ** 2)) + 1e-6
        weight /= weight.sum()
        heaviest = np.argsort(-weight)
        chosen = heaviest[: 1 + (i % 8)] if i % 5 else heaviest
        weight = weight[chosen] / weight[chosen].sum()
        pairs += [
            [joints.index(names[k]), float(np.float32(w))]
            for k, w in zip(chosen, weight, strict=True)
        ]
        offsets.append(len(pairs))
    return pairs, offsets


def _bones_of(part: int) -> list[str]:
    names = list(PARTS[part].bones)
    if part >= 4:
        side = names[0][0]
        return [f"{side}_clav", *names, f"{side}_shoulder_twist", f"{side}_f1_0"]
    if part >= 2:
        return [*names, "b_root", names[0][0] + "_toe"]
    return names + (["spine3"] if part == 1 else ["b_root", "l_clav", "r_clav"])


def covered(size: int) -> Array:
    """Mask of texels inside a chart, [size, size]."""
    mask = np.zeros((size, size), bool)
    c = (np.arange(size) + 0.5) / size
    for part in PARTS:
        u0, v0, u1, v1 = part.chart
        mask |= (c[None] >= u0) & (c[None] <= u1) & (c[:, None] >= v0) & (c[:, None] <= v1)
    return mask


def make_seams(size: int, width: int) -> dict[str, torch.Tensor]:
    """Seam tables: fill 10 texels around each chart, blend `width` texels at its sides."""
    from scipy.ndimage import distance_transform_edt

    far, (row, column) = distance_transform_edt(~covered(size), return_indices=True)
    target = np.stack(np.nonzero((far > 0) & (far <= 10)), -1)
    at = target[:, 0], target[:, 1]
    c = (np.arange(size, dtype=np.float32) + 0.5) / size
    uv = np.stack(np.meshgrid(c, c), -1).astype(np.float32)
    weight = np.zeros((size, size), np.float32)
    for part in PARTS:
        u0, v0, u1, v1 = part.chart
        rows = (c >= v0) & (c <= v1)
        for edge, other in ((u0, u1), (u1, u0)):
            away = (c - edge) * size
            near = np.abs(away) <= width
            block = np.ix_(rows, near)
            share = (0.5 * (1 - np.abs(away[near]) / (width + 1)))[None].astype(np.float32)
            weight[block] = np.maximum(weight[block], share)
            uv[..., 0][block] = (other + (c[near] - edge))[None]
    tables = {
        "dst_ij": target,
        "src_ij": np.stack([row[at], column[at]], -1),
        "uvs": uv,
        "weights": weight,
    }
    return {name: torch.from_numpy(table) for name, table in tables.items()}


def make_assets(seed: int) -> dict:
    """Content of static_assets.pt."""
    rng = np.random.default_rng(seed)
    mesh = make_mesh(seed)
    bones, places = make_bones(rng)
    transform, added = make_transform(rng, len(bones))
    pairs, offsets = make_skinning(mesh, places)
    pose_mask = (_smooth(rng, 98, 64, 4) > 0.45).astype(np.int32)
    texture = _texture(rng)
    template = mesh.vertices + rng.normal(0, 0.05, mesh.vertices.shape).astype(np.float32)
    scale = rng.uniform(-0.06, 0.06, SCALES).astype(np.float32)
    return {
        "topology": {
            "vi": mesh.faces, "vt": mesh.uv, "vti": mesh.uv_faces, "v2uv": mesh.coordinates,
        },
        "lbs_model_json": _model_json(mesh, bones, pairs, offsets),
        "lbs_config_dict": {
            "model_param_names": [f"p{i}" for i in range(POSE)]
            + [f"scale_{i}" for i in range(SCALES)],
            "joint_names": [bone["Name"] for bone in bones],
            "channel_names": ["tx", "ty", "tz", "rx", "ry", "rz", "sc"],
            "limits": [],
            "transform": transform,
            "transform_offsets": added,
            "nr_scaling_params": SCALES,
            "nr_position_params": POSE,
        },
        "lbs_template_verts": torch.from_numpy(template),
        "lbs_scale": torch.from_numpy(scale),
        "global_scaling": torch.tensor([10.0, 10.0, 10.0]),
        "seam_data_1024": make_seams(1024, 6),
        "seam_data_2048": make_seams(2048, 12),
        "tex_mean": np.clip(texture, 5, 250).astype(np.float32),
        "tex_var": 64.0,
        **_masks(mesh),
        "pose_cond_mask": pose_mask,
        "face_frontal_view": np.array([0.05, -0.02, 0.998], np.float32),
        "ao_mean": _smooth(rng, 1, 1024, 24),
        "camera_ids": list(CAMERA_IDS),
    }  # fmt: skip


def _model_json(mesh: Mesh, bones: list, pairs: list, offsets: list) -> dict:
    v, f = mesh.vertices, mesh.faces
    across = np.cross(v[f[:, 1]] - v[f[:, 0]], v[f[:, 2]] - v[f[:, 0]])
    normals = np.zeros_like(v)
    for k in range(3):
        np.add.at(normals, f[:, k], across)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-8
    return {
        "Skeleton": {"Bones": bones},
        "SkinnedModel": {
            "RestPositions": v.tolist(),
            "RestVertexNormals": normals.tolist(),
            "SkinningWeights": pairs,
            "SkinningOffsets": offsets,
            "Faces": {
                "Indices": f.reshape(-1).tolist(),
                "TextureIndices": mesh.uv_faces.reshape(-1).tolist(),
            },
            "TextureCoordinates": mesh.uv.reshape(-1).tolist(),
        },
    }


def _masks(mesh: Mesh) -> dict[str, Array]:
    c64, c1k = ((np.arange(size) + 0.5) / size for size in (64, 1024))
    head = (c64[None] > 0.03) & (c64[None] < 0.47) & (c64[:, None] > 0.53)
    row, column = np.mgrid[0:64, 0:64]
    away = np.hypot((column - 16) / 10.0, (row - 48) / 12.0)
    face = np.hypot((c1k[None] - 0.25) / 0.14, (c1k[:, None] - 0.75) / 0.18) < 1
    framed = np.zeros((1024, 1024, 3), np.float32)
    framed[128:896, 192:832] = 1.0
    _, y, z = mesh.vertices.T
    mouth_eyes = (mesh.parts == 1) & (z > 4) & (y > 160) & (y < 174)
    return {
        "face_cond_mask": np.clip(1.5 - away, 0, 1).astype(np.float32),
        "face_mask": face.astype(np.float32),
        "head_cond_mask": head.astype(np.float32),
        "body_cond_mask": covered(64).astype(np.float32),
        "mouth_eyes_mask_geom": mouth_eyes.astype(np.float32),
        "mugsy_face_mask": framed,
    }


def _texture(rng: np.random.Generator) -> Array:
    """Texture with one colour per part and stripes on three parts."""
    c = (np.arange(1024) + 0.5) / 1024
    base = np.array([150, 110, 90], np.float32)[:, None, None]
    texture = base * (0.6 + 0.6 * _smooth(rng, 3, 1024, 24))
    for number, part in enumerate(PARTS):
        u0, v0, u1, v1 = part.chart
        inside = (c[None] >= u0) & (c[None] <= u1) & (c[:, None] >= v0) & (c[:, None] <= v1)
        stripe = 1.0 + 0.25 * np.sign(np.sin(60 * np.pi * c))[:, None] * (number in (0, 2, 3))
        colour = PART_COLOURS[number][:, None, None] * stripe[None]
        texture = np.where(inside[None], colour * (0.8 + 0.4 * _smooth(rng, 3, 1024, 12)), texture)
    return texture


def _smooth(rng: np.random.Generator, channels: int, size: int, low: int) -> Array:
    """Random image without sharp edges, 0 to 1: [channels, size, size]."""
    x = rng.uniform(0, 1, (channels, low, low))
    at = np.clip((np.arange(size) + 0.5) * low / size - 0.5, 0, low - 1)
    i = np.minimum(at.astype(int), low - 2)
    f = at - i
    y = x[:, i] * (1 - f)[None, :, None] + x[:, i + 1] * f[None, :, None]
    return (y[:, :, i] * (1 - f) + y[:, :, i + 1] * f).astype(np.float32)


def make_pose(rng: np.random.Generator, frames: int, amplitude: float = 0.35) -> Array:
    """Random pose, [frames, 104]."""
    pose = rng.uniform(-amplitude, amplitude, (frames, POSE)).astype(np.float32)
    pose[:, :3] = rng.uniform(-4, 4, (frames, 3))
    pose[:, 3:6] *= 0.4
    return pose
