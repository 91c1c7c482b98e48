"""Export of person directories to the released layout, and import again."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from torch import nn

from models import checkpoint
from models.motion.denoiser import BODY, FACE, BodyDenoiser, Denoiser
from models.motion.guide import Guide, GuideConfig
from models.motion.lips import LipConfig, LipRegressor
from models.motion.speech import ConvSpeech, ConvSpeechConfig
from models.motion.tokenizer import Tokenizer, TokenizerConfig
from models.released import export
from models.released.export import StoredNetwork, export_person
from models.released.reader import ReleasedError, read_torch
from tests.models.released.conftest import Import
from tests.released_layout import PERSON, SPECS
from tests.tiny_person import write_tiny_person

CPU = torch.device("cpu")


def test_an_exported_person_is_imported_bit_for_bit(
    whole: Path, person: Path, imported: Import, tmp_path: Path
) -> None:
    before = {path.name: path.read_bytes() for path in person.iterdir()}

    notes = export_person(person, tmp_path / "back", avatar=whole)
    again = imported(tmp_path / "back", overwrite=True)

    after = {path.name: path.read_bytes() for path in again.iterdir()}
    differing = {name for name in before if before[name] != after.get(name)}
    assert differing == {"person.json"}  # the sources differ
    assert before.keys() == after.keys()
    for name in ("licence", "limits", "defaults", "avatar"):
        assert json.loads(before["person.json"])[name] == json.loads(after["person.json"])[name]
    assert "face: width is 16; the reference supports 512 only" in notes


def test_files_of_another_avatar_are_refused(
    source: Path, imported: Import, tmp_path: Path
) -> None:
    person = imported(source)
    views = source / "assets" / f"render_defaults_{PERSON}.pth"
    views.write_bytes(views.read_bytes() + b"more")
    with pytest.raises(ReleasedError, match="not the file that the person was imported from"):
        export_person(person, tmp_path / "back", avatar=source)
    assert not (tmp_path / "back").exists()


def test_all_files_have_their_released_paths(person: Path, tmp_path: Path) -> None:
    (note,) = export_person(person, tmp_path / "back")[-1:]
    assert f"copy checkpoints/ca_body/data/{PERSON}" in note
    files = {
        path.relative_to(tmp_path / "back").as_posix()
        for path in (tmp_path / "back").rglob("*")
        if path.is_file()
    }
    assert files == {
        "assets/iter-0200000.pt",
        "assets/vq-wav2vec.pt",
        "assets/wav2vec_large.pt",
        "checkpoints/diffusion/c1_face/args.json",
        "checkpoints/diffusion/c1_face/model000000000.pt",
        "checkpoints/diffusion/c1_pose/args.json",
        "checkpoints/diffusion/c1_pose/model000000000.pt",
        "checkpoints/guide/c1_pose/args.json",
        "checkpoints/guide/c1_pose/checkpoints/iter-0000000.pt",
        "checkpoints/vq/c1_pose/args.json",
        "checkpoints/vq/c1_pose/net_iter0.pth",
        f"dataset/{PERSON}/data_stats.pth",
    }
    args = json.loads((tmp_path / "back/checkpoints/guide/c1_pose/args.json").read_text())
    assert args["num_audio_layers"] == 1  # required by the loader of the reference
    assert args["resume_pth"] == "checkpoints/vq/c1_pose/net_iter0.pth"


def test_keys_equal_those_of_the_imported_files(whole: Path, person: Path, tmp_path: Path) -> None:
    export_person(person, tmp_path / "back")
    for place, old, new in (
        ("checkpoints/diffusion/c1_face", "model000155000.pt", "model000000000.pt"),
        ("checkpoints/diffusion/c1_pose", "model000155000.pt", "model000000000.pt"),
    ):
        imported = read_torch(whole / place / old)
        exported = read_torch(tmp_path / "back" / place / new)
        assert exported.keys() == imported.keys()
    value = read_torch(tmp_path / "back" / "dataset" / PERSON / "data_stats.pth")
    assert value["pose_mean"].dtype == "float64"
    assert (value["audio_std_flat"].dtype, value["audio_std_flat"].shape) == ("float32", (1,))


def stored(network: nn.Module, config: dict) -> StoredNetwork:
    return StoredNetwork(json.loads(json.dumps(config)), network.state_dict())


def test_released_sizes_give_the_keys_and_shapes_of_the_contract() -> None:
    """Networks are on the meta device, without half a gigabyte of weights."""
    with torch.device("meta"):
        speech = stored(ConvSpeech(ConvSpeechConfig()), asdict(ConvSpeechConfig()))
        lips = stored(LipRegressor(LipConfig()), asdict(LipConfig()))
        states = {
            "face_released": export.denoiser_state(
                stored(Denoiser(FACE), asdict(FACE)), speech, lips
            ),
            "pose_released": export.denoiser_state(
                stored(BodyDenoiser(BODY), asdict(BODY)), speech, None
            ),
            "guide_released": export.guide_state(
                stored(Guide(GuideConfig()), asdict(GuideConfig())), speech
            ),
            "vq_released": export.tokenizer_state(
                stored(Tokenizer(TokenizerConfig()), asdict(TokenizerConfig()))
            ),
            "speech_vq": export.speech_state(speech),
            "lip": export.lip_state(lips),
        }
    for spec, state in states.items():
        entries = json.loads((SPECS / f"{spec}.json").read_text())
        assert {key: list(value.shape) for key, value in state.items()} == {
            key: entry["shape"] for key, entry in entries.items()
        }, spec


def test_a_person_with_a_mel_front_end_is_refused(tmp_path: Path) -> None:
    person = write_tiny_person(tmp_path)
    with pytest.raises(ReleasedError, match="its speech front end cannot be exported"):
        export_person(person, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_network_that_the_released_layout_cannot_represent_is_refused(
    person: Path, tmp_path: Path
) -> None:
    person = Path(shutil.copytree(person, tmp_path / "person"))
    config, weights = checkpoint.read(person / "face.safetensors", device=CPU)
    checkpoint.write(person / "face.safetensors", config | {"audio_context": 2}, weights)
    with pytest.raises(ReleasedError, match="audio_context of the face cannot be exported"):
        export_person(person, tmp_path / "back")


def test_an_existing_folder_is_not_overwritten(person: Path) -> None:
    with pytest.raises(ReleasedError, match="already exists; name another folder"):
        export_person(person, person.parent)


def test_a_folder_without_a_person_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReleasedError, match="cannot be exported: no person at"):
        export_person(tmp_path / "nobody", tmp_path / "back")
