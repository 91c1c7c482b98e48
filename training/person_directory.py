"""Person directories, written by trainers and loaded by workers.

Files are replaced atomically and person.json is written last, so a worker always sees one version.
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
    feature_cache,
    fill_cache,
    load_extractor,
    open_cached,
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
    """Source of the features of a window."""

    CACHED = "cached"  # computed once, on disk
    FRESH = "fresh"  # computed for every window when it is sampled
    NONE = "none"  # no features: for the tokenizer


def prepare(person: Path, data: Path) -> None:
    """Write statistics and the speech front end if the person has none yet."""
    person.mkdir(parents=True, exist_ok=True)
    if not (person / "stats.json").is_file():
        (person / "stats.json").write_text(json.dumps(measure(data)) + "\n", encoding="utf-8")
    if not (person / "speech.safetensors").is_file():
        write_speech(person / "speech.safetensors", MelSpeech(DEMO_SPEECH))


def write_speech(path: Path, front_end: ConvSpeech | MelSpeech) -> None:
    """Write a speech front end with its kind."""
    config = {"kind": kind_of(front_end), **asdict(front_end.config)}
    checkpoint.write(path, config, front_end.state_dict())


def person_scenes(
    person: Path,
    data: Path,
    kind: str,
    *,
    mode: FeatureMode = FeatureMode.CACHED,
    features: Path | None = None,
    device: torch.device = CPU,
) -> list[Scene]:
    """All scenes of a dataset with features of a person's networks, normalised by her statistics.

    features: folder of the cache, default `features` in the dataset; missing ones are computed on
    `device`. Features of the face include lips if the person has a lip regressor.
    Raises: DatasetError: when a scene is invalid. CheckpointError: when a network is missing.
    """
    extractor = load_extractor(person, device=device)
    folder = features or data / FOLDER
    speech = feature_cache(extractor, SPEECH, folder)
    lips = None
    if kind == FACE and extractor.lips is not None:
        lips = feature_cache(extractor, LIPS, folder)

    def extract(scene: SceneData) -> torch.Tensor | FeatureSource:
        if mode is FeatureMode.NONE:
            return torch.zeros(scene.frames, 0)
        if mode is FeatureMode.FRESH:
            return FreshFeatures(extractor, scene, lips=lips is not None)
        for cache in (speech, lips):
            if cache is not None and fill_cache(extractor, cache, [scene]):
                logger.info("computed %s features of scene %s", cache.part, scene.name)
        return open_cached(extractor, scene, speech, lips)

    statistics = load_statistics(person / "stats.json", device=CPU)
    mean, std = (
        (statistics.code_mean, statistics.code_std)
        if kind == FACE
        else (statistics.pose_mean, statistics.pose_std)
    )
    return load_scenes(data, kind, extract, mean=mean, std=std)


def complete(person: Path, **provenance: str) -> bool:
    """Write person.json if all files exist; return False otherwise.

    An existing person.json keeps its members, except the digests of files.
    """
    if not all((person / name).is_file() for name in FILES):
        return False
    facts = dict(DEMO_FACTS)
    before = person / MANIFEST
    if before.is_file():
        old = json.loads(before.read_text(encoding="utf-8"))
        facts = {name: old[name] for name in old if name not in ("schema", "files")}
    facts["provenance"] = {**facts.get("provenance", {}), **provenance}
    write_manifest(person, facts, FILES)
    return True
