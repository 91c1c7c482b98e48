"""Person directories: where trainers put what workers load.

A file is replaced whole; person.json is written after it, so a worker always sees one version.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from enum import Enum
from typing import TYPE_CHECKING, Any

import torch

from contracts.person import MANIFEST, write_manifest
from models import checkpoint
from models.motion.speech import ConvSpeech, MelSpeech, MelSpeechConfig, kind_of
from models.motion.statistics import load_statistics
from training.data.features import (
    FOLDER,
    LIPS,
    SPEECH,
    FreshFeatures,
    keep,
    load_ears,
    open_kept,
    shelf,
)
from training.data.scenes import FACE, load_scenes
from training.data.statistics import measure

if TYPE_CHECKING:
    from pathlib import Path

    from models.formats.dataset import SceneData
    from training.data.scenes import FeatureSource, Scene

logger = logging.getLogger(__name__)

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


class FeatureMode(Enum):
    """Where the features of a window come from."""

    KEPT = "kept"  # made once, on disk
    ANEW = "anew"  # the networks hear every window when it is drawn
    NOTHING = "nothing"  # there are none: for the tokenizer, which hears nothing


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


def person_scenes(
    person: Path,
    data: Path,
    kind: str,
    *,
    hearing: FeatureMode = FeatureMode.KEPT,
    features: Path | None = None,
    device: torch.device = CPU,
) -> list[Scene]:
    """All scenes of a dataset, heard by this person's networks, normalised by her statistics.

    features: where they are kept, `features` in the dataset if not given; those that are not there
    are made, on `device`. Face codes come with her lips, if she has any. Raises DatasetError and
    CheckpointError.
    """
    ears = load_ears(person, device=device)
    place = features or data / FOLDER
    speech = shelf(ears, SPEECH, place)
    lips = shelf(ears, LIPS, place) if kind == FACE and ears.lips is not None else None

    def extract(scene: SceneData) -> torch.Tensor | FeatureSource:
        if hearing is FeatureMode.NOTHING:
            return torch.zeros(scene.frames, 0)
        if hearing is FeatureMode.ANEW:
            return FreshFeatures(ears, scene, lips=lips is not None)
        for kept in (speech, lips):
            if kept is not None and keep(ears, kept, [scene]):
                logger.info("heard the %s of scene %s", kept.part, scene.name)
        return open_kept(ears, scene, speech, lips)

    statistics = load_statistics(person / "stats.json", device=CPU)
    mean, std = (
        (statistics.code_mean, statistics.code_std)
        if kind == FACE
        else (statistics.pose_mean, statistics.pose_std)
    )
    return load_scenes(data, kind, extract, mean=mean, std=std)


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
    write_manifest(person, facts, FILES)
    return True
