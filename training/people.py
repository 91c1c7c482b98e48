"""Person directories: where trainers put what workers load.

A file is replaced whole; person.json is written after it, so a worker always sees one version.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from models import checkpoint
from models.motion.speech import ConvSpeech, MelSpeech, MelSpeechConfig, kind_of, load_speech
from models.motion.statistics import load_statistics
from models.person import MANIFEST, write_person
from training.data import FACE, load_scenes, measure

if TYPE_CHECKING:
    from pathlib import Path

    from models.motion.statistics import Statistics
    from training.data import Encode, Scene

CPU = torch.device("cpu")
FILES = (
    "avatar.safetensors", "body.safetensors", "cameras.json", "face.safetensors",
    "guide.safetensors", "speech.safetensors", "stats.json", "tokenizer.safetensors",
)  # fmt: skip
DEMO_SPEECH = MelSpeechConfig(bands=40, slices=2)
DEMO_FACTS: dict[str, Any] = {
    "name": "demo",
    "title": "The demo person",
    "licence": "Apache-2.0; body from CC0 sources: see NOTICE",
    "avatar": {"kind": "blendshape"},
    "limits": {"max_seconds": 20.0},
    "defaults": {
        "steps": 50,
        "guidance_face": 2.5,
        "guidance_body": 1.5,
        "diversity": 0.94,
        "size": "512x512",
    },
}


def prepare(person: Path, data: Path) -> None:
    """Statistics and speech front end, where the person has none yet."""
    person.mkdir(parents=True, exist_ok=True)
    if not (person / "stats.json").is_file():
        (person / "stats.json").write_text(json.dumps(measure(data)) + "\n", encoding="utf-8")
    if not (person / "speech.safetensors").is_file():
        write_speech(person / "speech.safetensors", MelSpeech(DEMO_SPEECH))


def write_speech(path: Path, front_end: ConvSpeech | MelSpeech) -> None:
    """Keep a front end with its kind."""
    config = {"kind": kind_of(front_end), **asdict(front_end.config)}
    checkpoint.write(path, config, front_end.state_dict())


def person_scenes(person: Path, data: Path, kind: str) -> list[Scene]:
    """All scenes of a dataset, heard by this person's front end, normalised by her statistics."""
    statistics = load_statistics(person / "stats.json", device=CPU)
    front_end = load_speech(person / "speech.safetensors", device=CPU)
    mean, std = (
        (statistics.code_mean, statistics.code_std)
        if kind == FACE
        else (statistics.pose_mean, statistics.pose_std)
    )
    return load_scenes(data, kind, _encode(front_end, statistics), mean=mean, std=std)


def _encode(front_end: ConvSpeech | MelSpeech, statistics: Statistics) -> Encode:
    @torch.no_grad()  # not inference mode: what it makes could not be trained on
    def encode(sound: torch.Tensor) -> torch.Tensor:
        return front_end(statistics.normalised_audio(sound)[None])[0]

    return encode


def complete(person: Path, **provenance: str) -> bool:
    """Write person.json if all files are there. What it said before stays, but for the hashes."""
    if not all((person / name).is_file() for name in FILES):
        return False
    facts = dict(DEMO_FACTS)
    before = person / MANIFEST
    if before.is_file():
        kept = json.loads(before.read_text(encoding="utf-8"))
        facts = {name: kept[name] for name in kept if name not in ("schema", "files")}
    facts["provenance"] = {**facts.get("provenance", {}), **provenance}
    write_person(person, facts, FILES)
    return True
