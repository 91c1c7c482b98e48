"""Complete person with tiny untrained networks: loads and animates in milliseconds."""

import json
from dataclasses import asdict
from pathlib import Path

import torch

from contracts.person import write_manifest
from models import checkpoint
from models.motion.denoiser import BodyDenoiser, Denoiser, DenoiserConfig
from models.motion.guide import Guide, GuideConfig
from models.motion.lips import LipConfig, LipRegressor
from models.motion.pipeline import Animator, Networks
from models.motion.speech import MelSpeech, MelSpeechConfig
from models.motion.statistics import Statistics
from models.motion.tokenizer import Tokenizer, TokenizerConfig
from tests.tiny_avatar import write_tiny_avatar
from training.person_directory import write_speech

FRAMES = 600  # limit of a clip
SPEECH = MelSpeechConfig(bands=4, slices=1, window=640, transform=1024)
AUDIO = 2 * SPEECH.bands * SPEECH.slices
FACE = DenoiserConfig(
    channels=256, audio_channels=AUDIO, width=16, layers=1, heads=2, hidden=16,
    encoder_layers=1, longest_rows=FRAMES,
)  # fmt: skip
BODY = DenoiserConfig(
    channels=104, audio_channels=AUDIO, width=16, layers=1, heads=2, hidden=16,
    longest_rows=FRAMES, longest_keys=FRAMES // 30, tail_hidden=8,
)  # fmt: skip
GUIDE = GuideConfig(
    codes=8, audio_channels=AUDIO, audio_blocks=1, width=16, layers=1, heads=2, hidden=16,
    longest_rows=FRAMES,
)  # fmt: skip
TOKENIZER = TokenizerConfig(width=8, codes=8, depth=2)
LIPS = LipConfig(
    layers=((8, 10, 5), (8, 8, 4), (8, 4, 2), (8, 4, 2), (8, 4, 2), (8, 1, 1), (8, 1, 1)),
    context_kernels=(2, 3), vertices=3, heads=2, hidden=16, encoder_layers=1, decoder_layers=1,
)  # fmt: skip


def tiny_networks() -> Networks:
    """Untrained networks, the same in each call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Networks(
            speech=MelSpeech(SPEECH),
            lips=None,
            face=Denoiser(FACE).eval(),
            body=BodyDenoiser(BODY).eval(),
            guide=Guide(GUIDE).eval(),
            tokenizer=Tokenizer(TOKENIZER).eval(),
            statistics=tiny_statistics(),
        )


def tiny_lips() -> LipRegressor:
    """An untrained lip regressor, the same in each call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return LipRegressor(LIPS)


def tiny_statistics() -> Statistics:
    return Statistics(
        code_mean=torch.full((256,), 0.01),
        code_std=torch.full((256,), 0.02),
        pose_mean=torch.zeros(104),
        pose_std=torch.full((104,), 0.02),
        audio_mean=torch.zeros(2),
        audio_std=0.1,
    )


def tiny_animator() -> Animator:
    return Animator(tiny_networks(), device=torch.device("cpu"))


def write_tiny_person(folder: Path, name: str = "demo", *, max_seconds: float = 20.0) -> Path:
    """Write a valid person directory `folder / name` and return its path."""
    person = folder / name
    person.mkdir(parents=True)
    networks = tiny_networks()
    write_tiny_avatar(person)
    for kind in ("face", "body", "guide", "tokenizer"):
        network = getattr(networks, kind)
        checkpoint.write(
            person / f"{kind}.safetensors", asdict(network.config), network.state_dict()
        )
    write_speech(person / "speech.safetensors", networks.speech)
    values = {k: v.tolist() for k, v in vars(networks.statistics).items() if k != "audio_std"}
    values["audio_std_flat"] = networks.statistics.audio_std
    (person / "stats.json").write_text(json.dumps(values))
    facts = {
        "name": name,
        "title": f"{name.title()} person",
        "licence": "CC0-1.0",
        "consent": {"kind": "synthetic", "uses": ["non-commercial", "commercial"]},
        "avatar": {"kind": "blendshape"},
        "limits": {"max_seconds": max_seconds},
        "defaults": {
            "steps": 2,
            "guidance_face": 1.5,
            "guidance_body": 1.5,
            "diversity": 0.9,
            "size": "64x64",
        },
    }
    write_manifest(person, facts, [path.name for path in person.iterdir()])
    return person
