"""Export of a person directory to the released layout, which the reference can load.

Motion networks are converted back; the files of the avatar are copied unchanged. Tensors that the
reference requires and never uses are written as zeros.
Letters: d width of the speech models.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from contracts.files import sha256_of
from contracts.person import PersonError, read_manifest
from models import checkpoint
from models.motion.denoiser import BODY, FACE, KEY_FRAMES
from models.motion.lips import sinusoids
from models.motion.resample import sinc_filters
from models.motion.speech import SAMPLE_RATE, SPEECH_RATE
from models.released import motion_keys as released
from models.released.layout import PATTERNS
from models.released.person import open_sources
from models.released.reader import ReleasedError
from models.released.weight_names import guide_rules, released_key, tokenizer_rules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    State = OrderedDict[str, Tensor]

CPU = torch.device("cpu")
CONTEXT_KERNELS = range(2, 14)  # of the aggregator in each speech model
STEPS_AHEAD, CODES, HALVES = 12, 320, 2  # sizes of unused parts of the speech model
DOUBLE = ("pose", "code")  # name prefixes of statistics in double precision
DIFFUSION = {  # values of args.json that do not follow from the network
    "add_frame_cond": None, "batch_size": 4, "cond_mask_prob": 0.2, "cuda": True,
    "dataset": "social", "device": 0, "diffusion_steps": 10, "lambda_vel": 0.0,
    "latent_dim": 512, "log_interval": 1000, "lr": 0.0001, "lr_anneal_steps": 0,
    "noise_schedule": "cosine", "not_rotary": False, "num_audio_layers": 3, "num_steps": 800000,
    "overwrite": False, "resume_checkpoint": "", "save_interval": 5000, "seed": 10,
    "sigma_small": True, "simplify_audio": False, "split": None, "timestep_respacing": "",
    "train_platform_type": "NoPlatform", "unconstrained": False, "weight_decay": 0.0,
}  # fmt: skip
BODY_ONLY = {"add_frame_cond": 1.0, "lambda_vel": 2.0}
TOKENIZER = {
    "add_frame_cond": 1.0, "batch_size": 4, "commit": 0.02, "data_format": "pose",
    "dataname": "social", "dataset": "social", "eval_iter": 1000, "gamma": 0.05, "loss_vel": 0.0,
    "lr": 0.001, "lr_scheduler": [300000], "print_iter": 200, "resume_pth": None, "seed": 123,
    "total_iter": 300000, "warm_up_iter": 1000, "weight_decay": 0.0,
}  # fmt: skip
GUIDE = {
    "add_frame_cond": 1, "batch_size": 4, "data_format": "pose", "dataset": "social",
    "eval_interval": 1000, "gamma": 0.1, "gn": True, "log_interval": 1000, "lr": 0.0002,
    "lr_scheduler": [50000, 400000], "resume_trans": None, "save_interval": 5000, "seed": 10,
    "total_iter": 1000000, "warm_up_iter": 5000, "weight_decay": 0.1,
}  # fmt: skip
AVATAR_FILES = ("avatar config", "avatar assets", "avatar weights", "cameras")
VQ_FILE = "checkpoints/vq/c1_pose/net_iter0.pth"


@dataclass(frozen=True)
class Provenance:
    """Origin of a person, from person.json."""

    person: str  # name in the released files
    sources: Mapping[str, str]  # file -> sha256


@dataclass(frozen=True)
class StoredNetwork:
    """Content of one .safetensors file of a person directory."""

    config: dict[str, Any]
    weights: dict[str, Tensor]


def export_person(folder: Path, out: Path, *, avatar: Path | None = None) -> list[str]:
    """Write the motion networks of a person below `out` and return notes for the user.

    avatar: source of the import, from which the files of the avatar are copied.

    Raises: ReleasedError: when `out` exists or the released layout cannot represent the person.
    """
    if out.exists():
        raise ReleasedError(f"{out}: already exists; name another folder")
    networks, statistics, provenance = _read(folder)
    person = provenance.person
    notes = _check(folder, networks)
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        _write_all(draft, person, networks, statistics)
        if avatar is not None:
            _copy_avatar(draft, avatar, provenance)
        draft.chmod(0o755)
        draft.rename(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    if avatar is None:
        notes.append(
            f"the files of the avatar were not written: copy checkpoints/ca_body/data/{person} and "
            f"assets/render_defaults_{person}.pth from the release, or use --avatar"
        )
    return notes


def denoiser_state(
    network: StoredNetwork, speech: StoredNetwork, lips: StoredNetwork | None
) -> State:
    """State dict of a diffusion checkpoint: the network and the speech models inside."""
    state = _renamed(network, released.DENOISER)
    freqs_cis = rotary_table(network.config["width"])
    state["rotary.freqs"] = freqs_cis
    for layer in range(network.config["layers"]):
        state[f"seqTransDecoder.stack.{layer}.rotary.freqs"] = freqs_cis
    for layer in range(network.config["encoder_layers"]):
        state[f"cond_encoder.{layer}.rotary.freqs"] = freqs_cis
    _add_speech(state, speech)
    if lips is not None:
        state.update({released.LIP_PART + key: value for key, value in lip_state(lips).items()})
    return state


def guide_state(network: StoredNetwork, speech: StoredNetwork) -> State:
    """State dict of the checkpoint of a guide."""
    state = _renamed(network, guide_rules(network.config["audio_blocks"]))
    freqs_cis = rotary_table(network.config["width"])
    state["rotary.freqs"] = freqs_cis
    for layer in range(network.config["layers"]):
        state[f"seqTransDecoder.stack.{layer}.rotary.freqs"] = freqs_cis
    _add_speech(state, speech)
    return state


def tokenizer_state(network: StoredNetwork) -> State:
    """State dict of the checkpoint of a tokenizer, with a usage count of 1 for each code."""
    state = _renamed(network, tokenizer_rules())
    width, channels = network.config["width"], network.config["channels"]
    state["decoder.project_mean_shape.weight"] = torch.zeros(width, channels)
    state["decoder.project_mean_shape.bias"] = torch.zeros(width)
    for level, codebook in enumerate(network.weights["codebooks"]):
        prefix = f"quantizer.layers.{level}._codebook."
        state[prefix + "inited"] = torch.ones(1)
        state[prefix + "cluster_size"] = torch.ones(len(codebook))
        state[prefix + "embed"] = codebook.clone()
        state[prefix + "embed_avg"] = codebook.clone()
    return state


def speech_state(speech: StoredNetwork) -> State:
    """State dict of the vq-wav2vec model; only its first convolutions are used."""
    state = _renamed(speech, released.SPEECH)
    width = speech.config["layers"][-1][0]
    state["vector_quantizer.vars"] = torch.zeros(1, CODES, width // HALVES)
    state["vector_quantizer.weight_proj.0.0.weight"] = torch.zeros(2 * width, width)
    state["vector_quantizer.weight_proj.0.0.bias"] = torch.zeros(2 * width)
    state["vector_quantizer.weight_proj.1.weight"] = torch.zeros(HALVES * CODES, 2 * width)
    state["vector_quantizer.weight_proj.1.bias"] = torch.zeros(HALVES * CODES)
    for layer, kernel in enumerate(CONTEXT_KERNELS):
        prefix = f"feature_aggregator.conv_layers.{layer}."
        state[prefix + "1.weight"] = torch.zeros(width, width, kernel)
        for leaf in ("1.bias", "3.weight", "3.bias"):
            state[prefix + leaf] = torch.zeros(width)
    state.update(_predictions(width))
    return state


def lip_state(lips: StoredNetwork) -> State:
    """State dict of the checkpoint of the lip regressor."""
    state = _renamed(lips, released.LIPS)
    width = lips.config["layers"][-1][0]
    table = sinusoids(lips.config["positions"], width)
    state["regression_model.cond_positional_encoding.pe"] = table
    state["regression_model.target_positional_encoding.pe"] = table.clone()
    state["audio_encoder.resampler.kernel"] = sinc_filters(SAMPLE_RATE, SPEECH_RATE)
    prefix = "audio_encoder.wav2vec_model."
    state.update({prefix + key: value for key, value in _predictions(width).items()})
    return state


def write_data_stats(path: Path, statistics: Mapping[str, Any]) -> None:
    """Write statistics of stats.json as data_stats.pth."""
    arrays = {}
    for name, value in statistics.items():
        dtype = np.float64 if name.startswith(DOUBLE) else np.float32
        arrays[name] = np.atleast_1d(np.asarray(value, dtype))
    torch.save(arrays, path)


def rotary_table(width: int) -> Tensor:
    """Rotary frequencies [d / 2], which each released checkpoint contains."""
    return 1 / 10000 ** (torch.arange(0, width, 2) / width)


def _read(folder: Path) -> tuple[dict[str, StoredNetwork], dict[str, Any], Provenance]:
    try:
        manifest = read_manifest(folder)
        statistics = json.loads((folder / "stats.json").read_text(encoding="utf-8"))
        names = ["face", "body", "guide", "tokenizer", "speech"]
        if (folder / "lips.safetensors").is_file():
            names.append("lips")
        networks = {
            name: StoredNetwork(*checkpoint.read(folder / f"{name}.safetensors", device=CPU))
            for name in names
        }
    except (PersonError, checkpoint.CheckpointError, OSError, ValueError) as error:
        raise ReleasedError(f"{folder}: cannot be exported: {error}") from error
    facts = manifest.provenance
    provenance = Provenance(facts.get("person", manifest.name), facts.get("sources") or {})
    return networks, statistics, provenance


def _copy_avatar(folder: Path, source: Path, provenance: Provenance) -> None:
    """Copy the four files that the avatar was imported from."""
    known = set(provenance.sources.values())
    with open_sources([source], provenance.person) as layout:
        for what in AVATAR_FILES:
            path, target = layout.file(what), PATTERNS[what].format(person=provenance.person)
            if sha256_of(path) not in known:
                raise ReleasedError(f"{path}: not the file that the person was imported from")
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / target)


def _check(folder: Path, networks: Mapping[str, StoredNetwork]) -> list[str]:
    """Refuse networks that the layout cannot represent and return notes on other sizes."""
    if networks["speech"].config.get("kind") != "convolutions":
        raise ReleasedError(
            f"{folder}: its speech front end cannot be exported; the released layout supports "
            "'convolutions' only"
        )
    if "lips" not in networks:
        raise ReleasedError(f"{folder}: lips.safetensors not found; released faces need it")
    for name in ("face", "body"):
        if networks[name].config.get("audio_context"):
            raise ReleasedError(
                f"{folder}: audio_context of the {name} cannot be exported; released networks take "
                "one row of speech features at a time"
            )
    fixed = ("width", "hidden", "encoder_layers", "tail_hidden", "longest_rows")
    return [
        f"{name}: {key} is {networks[name].config[key]}; the reference supports "
        f"{getattr(preset, key)} only"
        for name, preset in (("face", FACE), ("body", BODY))
        for key in fixed
        if networks[name].config[key] != getattr(preset, key)
    ]


def _write_all(
    folder: Path, person: str, networks: Mapping[str, StoredNetwork], statistics: Mapping[str, Any]
) -> None:
    frames = networks["body"].config["longest_keys"] * KEY_FRAMES
    data = {"data_root": f"./dataset/{person}/", "max_seq_length": frames}
    for name, form, more in (("face", "face", {}), ("body", "pose", BODY_ONLY)):
        place = folder / "checkpoints" / "diffusion" / f"c1_{form}"
        sizes = {key: networks[name].config[key] for key in ("layers", "heads")}
        named = {"data_format": form, "save_dir": f"c1_{form}"}
        _write_args(place, DIFFUSION | more | data | sizes | named)
        lips = networks["lips"] if name == "face" else None
        state = denoiser_state(networks[name], networks["speech"], lips)
        torch.save(state, place / "model000000000.pt")
    _write_tokenizer(folder, networks["tokenizer"], data)
    _write_guide(folder, networks["guide"], networks["speech"], data)
    _write_assets(folder / "assets", networks["speech"], networks["lips"])
    recordings = folder / "dataset" / person
    recordings.mkdir(parents=True)
    write_data_stats(recordings / "data_stats.pth", statistics)


def _write_tokenizer(folder: Path, network: StoredNetwork, data: Mapping[str, Any]) -> None:
    config, path = network.config, folder / VQ_FILE
    sizes = {
        "nb_joints": config["channels"], "output_emb_width": config["width"],
        "code_dim": config["codes"], "depth": config["depth"], "out_dir": "c1_pose",
    }  # fmt: skip
    _write_args(path.parent, {**TOKENIZER, **data, **sizes})
    torch.save({"net": tokenizer_state(network), "optimizer": {}, "scheduler": {}}, path)


def _write_guide(
    folder: Path, network: StoredNetwork, speech: StoredNetwork, data: Mapping[str, Any]
) -> None:
    config, place = network.config, folder / "checkpoints" / "guide" / "c1_pose"
    sizes = {
        "layers": config["layers"], "dim": config["width"],
        "num_audio_layers": config["audio_blocks"], "resume_pth": VQ_FILE, "out_dir": "c1_pose",
    }  # fmt: skip
    _write_args(place, {**GUIDE, **data, **sizes})
    (place / "checkpoints").mkdir()
    value = {"iteration": 0, "model_state_dict": guide_state(network, speech)}
    torch.save(value, place / "checkpoints" / "iter-0000000.pt")


def _write_assets(folder: Path, speech: StoredNetwork, lips: StoredNetwork) -> None:
    """Write the speech models, from which the reference builds its networks."""
    folder.mkdir()
    shared = {
        "conv_aggregator_layers": str([(speech.config["layers"][-1][0], kernel, 1)
                                       for kernel in CONTEXT_KERNELS]),
        "skip_connections_feat": False, "skip_connections_agg": True, "residual_scale": 0.5,
        "non_affine_group_norm": False, "no_conv_bias": False, "agg_zero_pad": False,
        "aggregator": "cnn", "prediction_steps": STEPS_AHEAD, "offset": "auto",
    }  # fmt: skip
    gumbel = shared | {
        "conv_feature_layers": _listed(speech.config["layers"]),
        "activation": speech.config["activation"],
        "log_compression": speech.config["log_compression"],
        "vq_type": "gumbel", "vq_groups": 2, "vq_vars": CODES, "vq_depth": 2, "vq_dim": 0,
        "combine_groups": True, "vq_temp": "(2,0.5,0.999995)",
    }  # fmt: skip
    large = shared | {
        "conv_feature_layers": _listed(lips.config["layers"]),
        "activation": "relu",
        "log_compression": True,
        "vq_type": "none",
    }
    prefix = "audio_encoder.wav2vec_model."
    regressor = lip_state(lips)
    wav2vec = OrderedDict(released.subnetwork(regressor, prefix))
    for name, args, model in (
        ("vq-wav2vec.pt", gumbel, speech_state(speech)),
        ("wav2vec_large.pt", large, wav2vec),
    ):
        torch.save({"args": argparse.Namespace(**args), "model": model}, folder / name)
    torch.save({"model_state_dict": regressor}, folder / "iter-0200000.pt")


def _listed(layers: list[list[int]]) -> str:
    return str([tuple(layer) for layer in layers])


def _write_args(folder: Path, args: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True)
    text = json.dumps(args, indent=4, sort_keys=True)
    (folder / "args.json").write_text(text, encoding="utf-8")


def _renamed(network: StoredNetwork, rules: released.Rules) -> State:
    return OrderedDict(
        (released_key(name, rules), value) for name, value in network.weights.items()
    )


def _add_speech(state: State, speech: StoredNetwork) -> None:
    state["audio_resampler.kernel"] = sinc_filters(SAMPLE_RATE, SPEECH_RATE)
    model = speech_state(speech)
    state.update({released.AUDIO_PART + key: value for key, value in model.items()})


def _predictions(width: int) -> dict[str, Tensor]:
    prefix = "wav2vec_predictions.project_to_steps."
    return {
        prefix + "weight": torch.zeros(width, width, 1, STEPS_AHEAD),
        prefix + "bias": torch.zeros(width),
    }
