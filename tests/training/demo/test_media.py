"""Picture and loop of a person."""

import json
from pathlib import Path

import av
import pytest
import torch
from PIL import Image

from contracts.person import PersonError, check_files, read_manifest, write_manifest
from models.avatar.blendshape.kind import load_blendshape_avatar
from models.motion.pipeline import Motion
from tests.tiny_avatar import write_tiny_avatar
from training.demo.media import BLEND, first_look, looped, name_media, starting_at, write_media
from training.person_directory import FILES

DEMO = Path(__file__).parents[3] / "people" / "demo"
MOST_BYTES = 400_000  # of picture and loop, which a page loads at first sight


def motion(frames: int, avatar_width: int = 104) -> Motion:
    rows = torch.linspace(0, 1, frames)[:, None]
    return Motion(rows.expand(-1, 256), 0.2 * rows.expand(-1, avatar_width))


def test_the_end_of_a_loop_flows_into_its_beginning() -> None:
    whole = motion(120)

    loop = looped(whole, 40, 60)

    assert (len(loop.face), len(loop.pose)) == (60, 60)
    assert torch.equal(loop.face[: 60 - BLEND], whole.face[40 : 100 - BLEND])
    step = (whole.face[1] - whole.face[0]).abs().max()
    jumps = (torch.cat([loop.face, loop.face[:1]]).diff(dim=0)).abs().amax(1)
    assert jumps.max() < 6 * step  # a cut would jump by 60 steps


def test_a_loop_begins_with_a_look_at_the_viewer() -> None:
    names, units = ("head_ry", "eye_L_ry", "eye_R_ry", "eye_L_rx"), ("eyeBlinkLeft", "jawOpen")
    pose, weights = torch.full((9, 4), 0.3), torch.zeros(9, 2)
    pose[5] = torch.tensor([0.02, -0.02, -0.02, 0.1])
    pose[7] = pose[5]
    weights[5, 0] = 0.9  # a blink
    assert first_look(names, units, weights, pose) == 7
    loop = starting_at(Motion(weights, pose), 7)
    assert torch.equal(loop.pose, torch.cat([pose[7:], pose[:7]]))
    assert torch.equal(loop.face, torch.cat([weights[7:], weights[:7]]))


def test_picture_and_loop_are_files_of_the_person(tmp_path: Path) -> None:
    person = tmp_path / "ada"
    write_tiny_avatar(person)
    for name in FILES:
        if not (person / name).exists():
            (person / name).write_bytes(b"weights")
    facts = {"name": "ada", "limits": {"max_seconds": 20.0}, "defaults": {"steps": 7}}
    write_manifest(person, facts, FILES)
    avatar = load_blendshape_avatar(person, device=torch.device("cpu"), samples=1)

    write_media(avatar, motion(6, len(avatar.parameter_names)), person)
    name_media(person)

    manifest = read_manifest(person)
    assert manifest.media == {"picture": "picture.webp", "loop": "loop.mp4"}
    assert manifest.defaults == {"steps": 7}
    check_files(person)
    with Image.open(person / "picture.webp") as picture:
        assert picture.size == (896, 672)
    with av.open(person / "loop.mp4") as film:
        assert film.streams.video[0].frames == 6
        assert not film.streams.audio


def test_a_changed_picture_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "picture.webp").write_bytes(b"RIFF")
    facts = {"name": "ada", "limits": {"max_seconds": 20.0}, "media": {"picture": "picture.webp"}}
    write_manifest(tmp_path, facts, ["picture.webp"])
    (tmp_path / "picture.webp").write_bytes(b"RIFX")

    with pytest.raises(PersonError, match=r"picture.webp does not match"):
        check_files(tmp_path)


def test_the_demo_person_has_a_small_picture_and_a_short_loop() -> None:
    media = json.loads((DEMO / "person.json").read_text())["media"]
    files = [DEMO / name for name in media.values()]

    assert sum(path.stat().st_size for path in files) < MOST_BYTES
    with av.open(DEMO / media["loop"]) as film:
        assert 2 <= film.duration / av.time_base <= 8
        assert not film.streams.audio
