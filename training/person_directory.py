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

from contracts.files import sha256_of, write_atomically
from contracts.person import CONTROLS, DRAFT, FINISHING, MANIFEST, write_manifest
from models import checkpoint
from models.finishing.animator import load_finishing
from models.motion.denoiser import student_facts
from models.motion.pipeline import LIP_UNITS, STUDENTS, load_animator
from models.motion.pipeline import LIPS as LIP_FILE
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
from training.data.scenes import FACE, load_scenes, open_scenes
from training.data.statistics import measure
from training.person_facts import (
    AVATAR_FILES,
    DEFAULTS,
    avatar_kind,
    person_name,
    read_facts,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from models.formats.dataset import SceneData
    from models.released.networks import Network
    from training.data.features import FeatureCache, FeatureExtractor
    from training.data.scenes import FeatureSource, Scene, Shard

logger = logging.getLogger(__name__)

CPU = torch.device("cpu")
FILES = (
    "avatar.safetensors", "body.safetensors", "cameras.json", "face.safetensors",
    "guide.safetensors", "speech.safetensors", "stats.json", "tokenizer.safetensors",
)  # fmt: skip
SPEECH_FILE = "speech.safetensors"
ORDER = ("tokenizer", "face", "body", "guide")  # of training: the guide learns the tokens
DEMO_SPEECH = MelSpeechConfig(bands=40, slices=2)


class FeatureMode(Enum):
    """Source of the features of a window."""

    CACHED = "cached"  # computed once, on disk
    FRESH = "fresh"  # computed for every window when it is sampled
    NONE = "none"  # no features: for the tokenizer, and for lips, which have disturbed ones


def prepare(person: Path, data: Path) -> None:
    """Write statistics and the speech front end if the person has none yet."""
    path = person / "stats.json"
    statistics = None if path.is_file() else measure(data)
    person.mkdir(parents=True, exist_ok=True)
    if statistics is not None:
        with write_atomically(path) as draft:
            draft.write_text(json.dumps(statistics) + "\n", encoding="utf-8")
    write_front_end(person, None)


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
    speech, *others = _caches(extractor, kind, folder)
    lips = others[0] if others else None

    def extract(scene: SceneData) -> torch.Tensor | FeatureSource:
        if mode is FeatureMode.NONE:
            return torch.zeros(scene.frames, 0)
        if mode is FeatureMode.FRESH:
            return FreshFeatures(extractor, scene, lips=lips is not None)
        _fill(extractor, [speech, *others], [scene])
        return open_cached(extractor, scene, speech, lips)

    statistics = load_statistics(person / "stats.json", device=CPU)
    mean, std = (
        (statistics.code_mean, statistics.code_std)
        if kind == FACE
        else (statistics.pose_mean, statistics.pose_std)
    )
    return load_scenes(data, kind, extract, mean=mean, std=std)


def fill_features(
    person: Path, data: Path, kind: str, shard: Shard, *, device: torch.device = CPU
) -> None:
    """Compute the missing features of every scene of the shard: of `count` scenes, number `rank`.

    Raises: DatasetError: when a scene is invalid. CheckpointError: when a network is missing.
    """
    extractor = load_extractor(person, device=device)
    scenes = open_scenes(data)[shard.rank :: shard.count]
    _fill(extractor, _caches(extractor, kind, data / FOLDER), scenes)


def _caches(extractor: FeatureExtractor, kind: str, folder: Path) -> list[FeatureCache]:
    """Caches of speech and, for the face of a person with a lip regressor, of lips."""
    parts = [SPEECH, LIPS] if kind == FACE and extractor.lips is not None else [SPEECH]
    return [feature_cache(extractor, part, folder) for part in parts]


def _fill(
    extractor: FeatureExtractor, caches: Sequence[FeatureCache], scenes: Sequence[SceneData]
) -> None:
    for scene in scenes:
        for cache in caches:
            if fill_cache(extractor, cache, [scene]):
                logger.info("computed %s features of scene %s", cache.part, scene.name)


def write_front_end(person: Path, networks: tuple[Network, Network] | None) -> None:
    """Write the released speech and lip networks; without them, log-mel rows if none exist."""
    if networks is not None:
        for path, network in zip((person / SPEECH_FILE, person / LIP_FILE), networks, strict=True):
            checkpoint.write(path, network.config, network.weights)
    elif not (person / SPEECH_FILE).is_file():
        write_speech(person / SPEECH_FILE, MelSpeech(DEMO_SPEECH))


def person_files(person: Path, facts: Mapping[str, Any]) -> list[str]:
    """Names of the files that person.json lists: all of FILES, and optional ones that exist."""
    students = STUDENTS.values() if facts.get("student") else ()
    optional = (LIP_FILE, LIP_UNITS, FINISHING, *students, *facts.get("media", {}).values())
    return [*FILES, *(name for name in optional if (person / name).is_file())]


def missing_files(person: Path) -> list[str]:
    """Names of the files that a person still lacks."""
    return [name for name in FILES if not (person / name).is_file()]


def complete(person: Path, **provenance: str) -> bool:
    """Write person.json if all files and the facts of the person exist; return False otherwise.

    The name is that of the folder. An existing person.json keeps its members, except the digests of
    files.
    """
    facts = None if missing_files(person) else read_facts(person)
    if facts is None:
        return False
    if "limits" not in facts:  # the first time: the networks and the front end decide
        animator = load_animator(person, device=CPU)
        kind = checkpoint.read_config(person / SPEECH_FILE)["kind"]
        facts["limits"] = {"max_seconds": animator.max_seconds}
        facts["defaults"] = DEFAULTS[kind] | facts.get("defaults", {})
    facts.setdefault("avatar", {"kind": avatar_kind(person)})
    facts["name"] = person.resolve().name
    facts.pop("student", None)
    if (student := read_student(person)) is not None:
        facts["student"] = student
    facts.pop("controls", None)
    if controls := read_controls(person):
        facts["controls"] = controls
    facts["provenance"] = {**facts.get("provenance", {}), **provenance}
    write_manifest(person, facts, person_files(person, facts))
    (person / DRAFT).unlink(missing_ok=True)
    return True


def read_student(person: Path) -> dict[str, Any] | None:
    """Return what person.json says of the person's student; None without a student.

    Raises: CheckpointError: for a damaged file.
    """
    found: dict[str, Any] = {}
    for name, file in STUDENTS.items():
        path = person / file
        if not path.is_file():
            return None
        facts = checkpoint.read_config(path)
        if facts.get("teacher") != sha256_of(person / f"{name}.safetensors"):
            logger.warning("%s was made from another %s network: run distill again", path, name)
            return None
        found["steps"], found[f"guidance_{name}"] = student_facts(facts, path)
    return found


def read_controls(person: Path) -> list[str]:
    """Return the request fields that the finishing of a person supports.

    Raises: CheckpointError: for a damaged file.
    """
    finishing = load_finishing(person)
    return [name for name in CONTROLS if finishing is not None and finishing.supports(name)]


def next_step(person: Path, data: Path | None = None, config: str = "demo") -> str:
    """Describe what a person still lacks, with the command to run next."""
    facts = read_facts(person)
    if facts is not None and (person / MANIFEST).is_file():
        return (
            f"{person} is complete: `VISAVIS_PEOPLE={person.parent} visavis-server generate CLIP "
            f"--person {person_name(person)}` makes a video"
        )
    missing = missing_files(person)
    options = [] if facts else ['--title "..." --licence "..."']
    if set(AVATAR_FILES) & set(missing):
        options.append("--avatar demo|PATH")
    networks = [name for name in ORDER if f"{name}.safetensors" in missing]
    commands = [f"new-person {person} {' '.join(options)}"] if options else []
    if networks or "stats.json" in missing:
        first = networks[0] if networks else ORDER[0]
        commands.append(f"{first} --data {data or 'DIR'} --out {person} --config {config}")
    lacks = ", ".join([*([] if facts else ["title and licence"]), *missing])
    return f"{person} lacks {lacks}; next: " + ", then ".join(
        f"`python -m training {command}`" for command in commands
    )
