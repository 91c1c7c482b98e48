"""Golden cases of the reference's renderer, and avatars of ours with the weights they were made of.

`VISAVIS_PARITY_AVATAR=<folder>` reads another folder of the same form. Large outputs are kept as
evenly spaced values, five statistics and four sums under fixed signs of all values. The files here
hold fewer values of each, and smaller squares, than those that the reference gave: `step` says how
far apart. The sums are as they were.
"""

import json
import os
import zlib
from dataclasses import dataclass
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
KEPT = 30_011  # about as many values are kept of a large output
SIGNS = 4
EDGE = 1e-5  # of a face: nearer to an edge than this is on it


@dataclass(frozen=True)
class Case:
    """One entry of the index."""

    name: str
    entry: dict

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        with np.load(FOLDER / self.entry["file"]) as file:
            return dict(file)

    def __getitem__(self, name: str) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(self.arrays[f"in.{name}"]))

    def check(self, name: str, got: Tensor, **tolerance: float | None) -> None:
        """Compare with what the reference got, within the tolerance of this case."""
        limits = self.entry["tolerance"]
        limits = {**limits, **limits.get(name, {}), **tolerance}
        want, value = f"out.{name}", np.ascontiguousarray(got.float().numpy())
        shape = tuple(self.arrays[f"{want}.shape"])
        assert value.shape == shape, f"{self.name}: {name} is {value.shape}, not {shape}"
        errors = self._errors(want, value.reshape(-1))
        said = f"{self.name}: {name} is off by {errors}"
        assert errors["rel_l2"] <= limits["rel_l2"], said
        assert errors["signed"] <= limits["rel_l2"], said
        assert limits["max_rel"] is None or errors["max_rel"] <= limits["max_rel"], said

    def _errors(self, want: str, flat: np.ndarray) -> dict[str, float]:
        signed = 0.0
        if f"{want}.full" in self.arrays:
            kept, value = self.arrays[f"{want}.full"].reshape(-1), flat
        else:
            kept = self.arrays[f"{want}.strided"]
            step = self.arrays.get(f"{want}.step", max(1, flat.size // KEPT) | 1)
            value = flat[:: int(step)]
        if f"{want}.proj" in self.arrays:
            sums = self.arrays[f"{want}.proj"] - signed_sums(flat)
            signed = np.abs(sums).max() / (3 * self.arrays[f"{want}.stats"][2] + 1e-12)
        kept, value = kept.astype(np.float64), value.astype(np.float64)
        assert kept.shape == value.shape, f"{self.name}: {want} keeps {kept.shape}"
        off = value - kept
        return {
            "rel_l2": float(np.linalg.norm(off) / (np.linalg.norm(kept) + 1e-12)),
            "max_rel": float(np.abs(off).max() / (kept.std() + 1e-12)),
            "signed": float(signed),
        }

    def cameras(self, height: int, width: int) -> list[Camera]:
        views = {"K": self["K"], "Rt": self["Rt"]}
        return list(released.cameras(views, height=height, width=width).values())


def signed_sums(flat: np.ndarray) -> np.ndarray:
    """Sums under fixed signs: they tell whether values that are not kept have changed."""
    number, values = np.arange(flat.size, dtype=np.uint64), flat.astype(np.float64)
    sums = []
    for k in range(SIGNS):
        mixed = number + np.uint64(k * 0x9E3779B97F4A7C15 % 2**64)
        mixed *= np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= mixed >> np.uint64(31)
        mixed *= np.uint64(0x94D049BB133111EB)
        negative = (mixed >> np.uint64(40)) & np.uint64(1)
        sums.append(values.sum() - 2 * values[negative.astype(bool)].sum())
    return np.array(sums)


@cache
def index() -> dict:
    return json.loads((FOLDER / "index.json").read_text())


@cache
def cases() -> tuple[Case, ...]:
    return tuple(Case(name, entry) for name, entry in index()["cases"].items())


def cases_by_name() -> dict[str, Case]:
    return {case.name: case for case in cases()}


def seed(offset: int) -> int:
    """Of an input that is not kept."""
    return index()["in_seed"] + offset


@cache
def assets() -> dict:
    made = make_assets(index()["asset_seed"])
    drawn, wanted = fingerprints(made), index()["asset_fingerprint_crc32"]
    other = [name for name in wanted if drawn[name] != wanted[name]]
    assert not other, f"this machine draws other numbers for {', '.join(other)}"
    return made


def fingerprints(assets: object, name: str = "") -> dict[str, int]:
    """A checksum of every array and list."""
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
    """As laid out here, but for chance: a texel on an edge may be either face's, and one outside
    that is equally near to two may take after either. Those do as in the reference. Where a
    checkpoint holds these pictures, as the released ones may, the importer keeps them."""
    topology, size = assets()["topology"], sizes().uv_size
    vi, vt, vti = (torch.from_numpy(topology[name]) for name in ("vi", "vt", "vti"))
    laid = lay_out(vi, vt, vti, size)
    case = cases_by_name()["uv"]
    faces = torch.from_numpy(case.arrays["face_index_image"].astype(np.int64))
    faces[faces == 65535] = -1
    differ = (laid.faces != faces).nonzero()
    assert len(differ) <= size**2 * case.entry["tolerance"]["face_index_mismatch"]
    own = laid.nearest == torch.arange(size**2).view(size, size)
    weights, inside = laid.weights.clone(), corner_weights(vt[vti], faces)
    for texel in differ:
        if own[*texel]:
            assert inside[*texel].min() > -EDGE, f"texel {texel.tolist()} is not on an edge"
            weights[*texel] = inside[*texel]
        else:
            there = (own & (laid.faces == faces[*texel])).nonzero()
            far = (there - texel).square().sum(1)
            here = laid.nearest[*texel]
            as_far = (torch.stack([here // size, here % size]) - texel).square().sum()
            assert far.min() == as_far, f"texel {texel.tolist()} is not equally near"
            weights[*texel] = laid.weights[*there[far.argmin()]]
    corners = torch.where(faces[..., None] >= 0, vi[faces.clamp(min=0)], -1)
    return Charts(laid.nearest, faces, corners, weights)


def sizes(*, shadow_from_pose: bool = True) -> CodecConfig:
    """Those of the released people."""
    parents = (-1,) * len(assets()["lbs_model_json"]["Skeleton"]["Bones"])
    return CodecConfig(parents=parents, shadow_from_pose=shadow_from_pose)


def model_of(fill_seed: int, occlusion: Tensor | None = None, *, device: str = "cpu") -> CodecModel:
    """A whole released avatar, as the importer would make it. occlusion: [1, H, W] or a shadow
    that is told by the pose."""
    from_pose = occlusion is None
    state = released_state(sizes(shadow_from_pose=from_pose), fill_seed)
    laid = charts()
    state |= {"geo_fn.index_image": laid.corners, "geo_fn.bary_image": laid.weights}
    made = released.convert(state, assets(), shadow_from_pose=from_pose, occlusion=occlusion)
    return CodecModel(made.config, {name: w.to(device) for name, w in made.weights.items()})


def occlusion_shadow(fill_seed: int) -> OcclusionShadow:
    """The network that an avatar whose pose tells the shadow has and does not use."""
    config = sizes(shadow_from_pose=False)
    network, state = OcclusionShadow(config), {}
    for ours, theirs in released.layer_names(config):
        if ours.startswith("occlusion_shadow."):
            name = ours.removeprefix("occlusion_shadow.")
            kernel = network.get_submodule(name).weight
            drawn = layer(theirs, tuple(kernel.shape), fill_seed, transposed=False)
            state[f"{name}.weight"] = released.fold_weight_norm(drawn, theirs, transposed=False)
            shape = tuple(network.get_submodule(name).bias.shape)
            state[f"{name}.bias"] = bias(theirs, shape, fill_seed)
    size = config.occlusion_size
    mean = torch.from_numpy(assets()["ao_mean"])[None]
    network.load_state_dict({**state, "mean": interpolate(mean, (size, size), mode="nearest")[0]})
    return network
