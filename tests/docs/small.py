"""Small stand-ins for the files and programs that the documents name."""

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from numpy.random import Generator

from contracts.person import write_manifest
from models.formats.results import write_results
from models.motion.lips import LipRegressor
from models.motion.speech import ConvSpeech
from tests import released_layout
from tests.audio_clips import write_clip
from tests.fake_speech import HummingEngine
from tests.house.source import ROOT
from tests.released_layout import state_of, write_assets, write_released_person
from tests.tiny_person import write_tiny_person
from tests.training.results import random_results
from tests.training.scenes import write_scene, write_two_scenes
from tests.training.tiny_training import AUDIO, NETWORKS, write_recipe
from training.demo.speech.voices import Voice

CLIP_SECONDS = 0.5
PERSONS = ("demo", "sam", "PXB184")


def humming_voices(_rng: Generator) -> tuple[Voice, Voice]:
    return Voice(HummingEngine("low", 120.0)), Voice(HummingEngine("high", 220.0), 1.1)


def use_small_engines() -> None:
    """Replace the speech engines, which are programs of the operating system."""
    import training.commands.data
    from training.demo.speech import conversations

    conversations.training_voices = humming_voices
    training.commands.data._check_speech_engines = lambda **_: None


def write_people(folder: Path) -> None:
    for name in PERSONS:
        write_tiny_person(folder, name)


def write_downloads(folder: Path) -> None:
    """A released person with tiny networks, and the archive of her recordings."""
    write_released_person(folder)
    with tempfile.TemporaryDirectory() as temporary:
        write_two_scenes(Path(temporary, "PXB184"))
        shutil.make_archive(str(folder / "PXB184"), "zip", temporary)


def write_recordings(folder: Path) -> None:
    """Recordings of every name in the documents, each of a second or less."""
    for name in ("conversation", "me"):
        write_clip(folder / f"{name}.wav", seconds=CLIP_SECONDS)
    (folder / "examples").mkdir()
    shutil.copy(folder / "conversation.wav", folder / "examples")
    for name in ("ada", "grace", "them"):
        write_clip(folder / f"{name}.wav", seconds=0.5, channels=1)
        write_clip(folder / f"{name}.m4a", seconds=0.5, channels=1)
    write_clip(folder / "call.webm", seconds=0.5)
    (folder / "calls").mkdir()
    for name in ("monday", "tuesday"):
        write_clip(folder / "calls" / f"{name}.wav", seconds=0.5)
    (folder / "part-1").write_bytes((folder / "conversation.wav").read_bytes())


def prepare(page: str, folder: Path, people: Path) -> None:
    """Fill the working folder of a page."""
    write_recordings(folder)
    if page not in MAKING_PEOPLE:
        (folder / "people").symlink_to(people)
    for step in PREPARED.get(page, ()):
        step(folder)


def _write_dataset(folder: Path, *, name: str) -> None:
    for scene, frames in (("scene01", 90), ("scene02", 60)):
        write_scene(folder / name, scene, frames)


def _write_recipes(folder: Path) -> None:
    (folder / "recipes").mkdir()
    for name in NETWORKS:
        write_recipe(folder / "recipes" / f"{name}.toml", name)


def _write_released_speech(folder: Path) -> None:
    """Tiny networks in the layout of the released speech networks, and recipes that fit them."""
    speech = state_of("speech_vq", ConvSpeech(released_layout.SPEECH))
    write_assets(folder, speech, state_of("lip", LipRegressor(released_layout.LIPS)))
    recipes = folder / "released-recipes"
    recipes.mkdir()
    widths = {"face": released_layout.FACE, "body": released_layout.BODY}
    for name in NETWORKS:
        path = write_recipe(recipes / f"{name}.toml", name)
        width = widths.get(name, released_layout.GUIDE).audio_channels
        text = path.read_text().replace(f"audio_channels = {AUDIO}", f"audio_channels = {width}")
        text = text.replace("longest_rows = 120", "longest_rows = 1998")
        path.write_text(text.replace("longest_keys = 4", "longest_keys = 20"))


def _write_samples(folder: Path) -> None:
    (folder / "samples").mkdir()
    write_results(folder / "samples" / "results.npz", random_results(samples=1, frames=6))


def _write_person_with_a_body(folder: Path) -> None:
    """Tiny networks with the avatar of the demo person, whose skeleton is a human's."""
    person = write_tiny_person(folder / "people")
    for name in ("avatar.safetensors", "cameras.json"):
        shutil.copy(ROOT / "people" / "demo" / name, person / name)
    members = json.loads((person / "person.json").read_text())
    files = members.pop("files")
    members.pop("schema")
    write_manifest(person, members, files)


MAKING_PEOPLE = (
    "docs/animation.md",
    "docs/released-people.md",
    "docs/training.md",
    "docs/your-own-person.md",
)
PREPARED: Mapping[str, tuple[Callable[[Path], None], ...]] = {
    "docs/animation.md": (_write_person_with_a_body,),
    "docs/evaluation.md": (
        partial(_write_dataset, name="dataset/PXB184"),
        partial(_write_dataset, name="recordings"),
    ),
    "docs/rendering.md": (partial(_write_dataset, name="dataset/PXB184"), _write_samples),
    "docs/training.md": (_write_recipes, partial(_write_dataset, name="recordings")),
    "docs/your-own-person.md": (_write_recipes, _write_released_speech),
}
