"""Golden cases of the reference renderer, and avatars built from the same weights.

`VISAVIS_PARITY_AVATAR=<folder>` selects another folder of the same format. Large outputs are stored
as evenly spaced values, five statistics, and four sums of all values under fixed signs. The files
in this folder are thinned: `step` is the distance between stored values, and image crops are
smaller than in the original files. The sums are unchanged.
"""

import json
import os
import zlib
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from models.avatar.camera import Camera
from models.avatar.codec.config import CodecConfig
from models.avatar.codec.model import CodecModel
from models.avatar.codec.networks.shadow import OcclusionShadow
from models.avatar.codec.texture.uv import Charts, corner_weights, lay_out
from models.released import codec_keys as released
from tests.models.avatar.parity.synthetic import make_assets
from tests.models.avatar.parity.weights import bias, layer, released_state

FOLDER = Path(os.environ.get("VISAVIS_PARITY_AVATAR") or Path(__file__).parent)
STORED = 30_011  # approximate number of stored values of a large output
SIGNS = 4
BLOCK = 1 << 15  # values
EDGE = 1e-5  # barycentric distance below which a texel counts as on the edge of a face


@dataclass(frozen=True)
class Case:
    """One entry of the index."""

    name: str
    entry: dict
    compared: set[str] = field(default_factory=set)  # outputs that `check` has compared

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        with np.load(FOLDER / self.entry["file"]) as file:
            return dict(file)

    def __getitem__(self, name: str) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(self.arrays[f"in.{name}"]))

    def check(self, name: str, got: Tensor, **tolerance: float | None) -> None:
        """Compare with the output of the reference, within the tolerance of this case."""
        self.compared.add(name)
        limits = self.entry["tolerance"]
        limits = {**limits, **limits.get(name, {}), **tolerance}
        key, value = f"out.{name}", np.ascontiguousarray(got.float().numpy())
        shape = tuple(self.arrays[f"{key}.shape"])
        assert value.shape == shape, f"{self.name}: {name} is {value.shape}, not {shape}"
        errors = self._errors(key, value.reshape(-1))
        message = f"{self.name}: {name} differs by {errors}"
        assert errors["rel_l2"] <= limits["rel_l2"], message
        assert errors["signed"] <= limits["rel_l2"], message
        assert limits["max_rel"] is None or errors["max_rel"] <= limits["max_rel"], message

    def _errors(self, key: str, flat: np.ndarray) -> dict[str, float]:
        signed = 0.0
        if f"{key}.full" in self.arrays:
            stored, value = self.arrays[f"{key}.full"].reshape(-1), flat
        else:
            stored = self.arrays[f"{key}.strided"]
            step = self.arrays.get(f"{key}.step", max(1, flat.size // STORED) | 1)
            value = flat[:: int(step)]
        if f"{key}.proj" in self.arrays:
            sums = self.arrays[f"{key}.proj"] - signed_sums(flat)
            signed = np.abs(sums).max() / (3 * self.arrays[f"{key}.stats"][2] + 1e-12)
        stored, value = stored.astype(np.float64), value.astype(np.float64)
        assert stored.shape == value.shape, f"{self.name}: {key} has {stored.shape} stored values"
        difference = value - stored
        return {
            "rel_l2": float(np.linalg.norm(difference) / (np.linalg.norm(stored) + 1e-12)),
            "max_rel": float(np.abs(difference).max() / (stored.std() + 1e-12)),
            "signed": float(signed),
        }

    def cameras(self, height: int, width: int) -> list[Camera]:
        views = {"K": self["K"], "Rt": self["Rt"]}
        return list(released.cameras(views, height=height, width=width).values())


def signed_sums(flat: np.ndarray) -> np.ndarray:
    """Sums of all values under fixed signs, to detect changes in values that are not stored."""
    sums = np.zeros(SIGNS)
    for start in range(0, flat.size, BLOCK):  # blocks fit into the cache of a core
        values = flat[start : start + BLOCK].astype(np.float64)
        numbers = np.arange(start, start + values.size, dtype=np.uint64)
        for k in range(SIGNS):
            mixed = numbers + np.uint64(k * 0x9E3779B97F4A7C15 % 2**64)
            mixed *= np.uint64(0xBF58476D1CE4E5B9)
            mixed ^= mixed >> np.uint64(31)
            mixed *= np.uint64(0x94D049BB133111EB)
            negative = (mixed >> np.uint64(40)) & np.uint64(1)
            sums[k] += values.sum() - 2 * (values @ negative.astype(np.float64))
    return sums


@cache
def index() -> dict:
    return json.loads((FOLDER / "index.json").read_text())


@cache
def cases() -> tuple[Case, ...]:
    return tuple(Case(name, entry) for name, entry in index()["cases"].items())


def cases_by_name() -> dict[str, Case]:
    return {case.name: case for case in cases()}


def seed(offset: int) -> int:
    """Seed of an input that is not stored."""
    return index()["in_seed"] + offset


@cache
def assets() -> dict:
    made = make_assets(index()["asset_seed"])
    actual, expected = fingerprints(made), index()["asset_fingerprint_crc32"]
    different = [name for name in expected if actual[name] != expected[name]]
    assert not different, f"this machine generates other numbers for {', '.join(different)}"
    return made


def fingerprints(assets: object, name: str = "") -> dict[str, int]:
    """Checksums of all arrays and lists, by name."""
    if isinstance(assets, dict):
        parts = (fingerprints(part, f"{name}.{key}") for key, part in assets.items())
        return {key: value for part in parts for key, value in part.items()}
    if isinstance(assets, list):
        return {name[1:]: zlib.crc32(repr(assets).encode())}
    if isinstance(assets, Tensor | np.ndarray):
        return {name[1:]: zlib.crc32(np.ascontiguousarray(assets).tobytes())}
    return {}


@cache
def charts() -> Charts:
    """Charts of this project with the ambiguous texels taken from the reference.

    A texel on an edge may belong to either face, and a texel outside with two nearest texels may
    copy either. If a checkpoint contains these images, as released ones may, the importer keeps
    them.
    """
    topology, size = assets()["topology"], sizes().uv_size
    vi, vt, vti = (torch.from_numpy(topology[name]) for name in ("vi", "vt", "vti"))
    laid = lay_out(vi, vt, vti, size)
    case = cases_by_name()["uv"]
    faces = torch.from_numpy(case.arrays["face_index_image"].astype(np.int64))
    faces[faces == 65535] = -1
    differ = (laid.faces != faces).nonzero()
    assert len(differ) <= size**2 * case.entry["tolerance"]["face_index_mismatch"]
    inside = laid.nearest == torch.arange(size**2).view(size, size)
    weights, exact = laid.weights.clone(), corner_weights(vt[vti], faces)
    for texel in differ:
        if inside[*texel]:
            assert exact[*texel].min() > -EDGE, f"texel {texel.tolist()} is not on an edge"
            weights[*texel] = exact[*texel]
        else:
            candidates = (inside & (laid.faces == faces[*texel])).nonzero()
            distances = (candidates - texel).square().sum(1)
            nearest = laid.nearest[*texel]
            distance = (torch.stack([nearest // size, nearest % size]) - texel).square().sum()
            assert distances.min() == distance, f"texel {texel.tolist()} is not equally near"
            weights[*texel] = laid.weights[*candidates[distances.argmin()]]
    corners = torch.where(faces[..., None] >= 0, vi[faces.clamp(min=0)], -1)
    return Charts(laid.nearest, faces, corners, weights)


def sizes(*, shadow_from_pose: bool = True) -> CodecConfig:
    """Config with the sizes of the released persons."""
    parents = (-1,) * len(assets()["lbs_model_json"]["Skeleton"]["Bones"])
    return CodecConfig(parents=parents, shadow_from_pose=shadow_from_pose)


def model_of(fill_seed: int, occlusion: Tensor | None = None, *, device: str = "cpu") -> CodecModel:
    """Build a complete released avatar with the importer.

    occlusion: [1, H, W]; None computes the shadow from the pose.
    """
    from_pose = occlusion is None
    state = released_state(sizes(shadow_from_pose=from_pose), fill_seed)
    laid = charts()
    state |= {"geo_fn.index_image": laid.corners, "geo_fn.bary_image": laid.weights}
    made = released.convert(state, assets(), shadow_from_pose=from_pose, occlusion=occlusion)
    return CodecModel(made.config, {name: w.to(device) for name, w in made.weights.items()})


def occlusion_shadow(fill_seed: int) -> OcclusionShadow:
    """Occlusion network; it is unused in avatars that compute the shadow from the pose."""
    config = sizes(shadow_from_pose=False)
    network, state = OcclusionShadow(config), {}
    for ours, theirs in released.layer_names(config):
        if ours.startswith("occlusion_shadow."):
            name = ours.removeprefix("occlusion_shadow.")
            kernel = network.get_submodule(name).weight
            weights = layer(theirs, tuple(kernel.shape), fill_seed, transposed=False)
            state[f"{name}.weight"] = released.fold_weight_norm(weights, theirs, transposed=False)
            shape = tuple(network.get_submodule(name).bias.shape)
            state[f"{name}.bias"] = bias(theirs, shape, fill_seed)
    size = config.occlusion_size
    mean = torch.from_numpy(assets()["ao_mean"])[None]
    network.load_state_dict({**state, "mean": interpolate(mean, (size, size), mode="nearest")[0]})
    return network
