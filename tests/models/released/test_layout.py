"""Where the files of a person are found."""

import json
import shutil
from pathlib import Path

import pytest

from models.released.layout import Layout, is_needed
from models.released.reader import ReleasedError
from tests.released_layout import PERSON


def layout(*folders: Path) -> Layout:
    return Layout(folders, PERSON)


def say(folder: Path, **values: object) -> None:
    """Change args.json."""
    path = folder / "args.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_of_several_checkpoints_the_one_with_the_most_iterations_is_taken(whole: Path) -> None:
    found = layout(whole).diffusion("face")
    assert found.weights == whole / "checkpoints/diffusion/c1_face/model000155000.pt"
    assert found.settings == found.weights.with_name("args.json")


def test_the_guide_has_its_settings_above_its_checkpoints(whole: Path) -> None:
    found = layout(whole).guide()
    assert found.weights == whole / "checkpoints/guide/c1_pose/checkpoints/iter-0100000.pt"
    assert found.settings == whole / "checkpoints/guide/c1_pose/args.json"


def test_the_tokenizer_is_the_one_that_the_guide_was_trained_on(source: Path) -> None:
    folder = source / "checkpoints/vq/c1_pose"
    for name in ("net_iter400000.pth", "net_last.pth"):
        shutil.copy(folder / "net_iter300000.pth", folder / name)
    assert layout(source).tokenizer("x/net_iter300000.pth").weights.name == "net_iter300000.pth"
    assert layout(source).tokenizer("x\\net_last.pth").weights.name == "net_last.pth"
    assert layout(source).tokenizer("x/net_gone.pth").weights.name == "net_iter400000.pth"
    assert layout(source).tokenizer().weights.name == "net_iter400000.pth"


def test_a_folder_above_or_one_less_makes_no_difference(whole: Path) -> None:
    assert layout(whole.parent / whole.name).file("cameras").name == f"render_defaults_{PERSON}.pth"
    assert layout(whole / "checkpoints").guide() == layout(whole).guide()


def test_what_is_the_settings_say_goes_before_the_name_of_the_folder(source: Path) -> None:
    diffusion = source / "checkpoints/diffusion"
    (diffusion / "c1_face").rename(diffusion / "mine")
    assert layout(source).diffusion("face").weights.parent == diffusion / "mine"


def test_of_several_people_the_one_that_was_asked_for_is_taken(source: Path) -> None:
    diffusion = source / "checkpoints/diffusion"
    shutil.copytree(diffusion / "c1_face", diffusion / "c2_face")
    say(diffusion / "c1_face", data_root="dataset/RLW104/")
    assert layout(source).diffusion("face").weights.parent == diffusion / "c2_face"


def test_several_that_cannot_be_told_apart_are_an_error_that_lists_them(source: Path) -> None:
    diffusion = source / "checkpoints/diffusion"
    shutil.copytree(diffusion / "c1_face", diffusion / "c2_face")
    with pytest.raises(ReleasedError, match=r"several for the face: .*c1_face.*c2_face.*leave"):
        layout(source).diffusion("face")


def test_a_checkpoint_of_somebody_else_is_told(source: Path) -> None:
    say(source / "checkpoints/guide/c1_pose", data_root="/data/TXB805")
    with pytest.raises(ReleasedError, match=r"trained on TXB805, as .* says, and not on PXB184"):
        layout(source).guide()


def test_recordings_of_ones_own_may_lie_anywhere(source: Path) -> None:
    say(source / "checkpoints/guide/c1_pose", data_root="/somewhere/else")
    assert layout(source).guide().weights.is_file()


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        ("checkpoints/diffusion/c1_face", r"no checkpoints/diffusion/\*_face/model\*\.pt in "),
        ("checkpoints/vq", r"there is no checkpoints/vq/\*_pose/net_\*\.pth in "),
    ],
)
def test_what_is_missing_is_told_with_its_place(source: Path, gone: str, words: str) -> None:
    shutil.rmtree(source / gone)
    with pytest.raises(ReleasedError, match=words):
        layout(source).diffusion("face")
        layout(source).tokenizer()


def test_statistics_may_carry_the_name_of_the_person(tmp_path: Path) -> None:
    (tmp_path / "data_stats_RLW104.pth").touch()
    (tmp_path / f"data_stats_{PERSON}.pth").touch()
    assert layout(tmp_path).file("statistics").name == f"data_stats_{PERSON}.pth"


def test_recordings_and_optimizers_are_not_wanted_of_an_archive() -> None:
    assert all(is_needed(name) for name in ("a/model000155000.pt", "x/config.yml", "a/args.json"))
    unwanted = ("a/opt000155000.pt", "a/scene01_audio.wav", "a/x.npy", "__MACOSX/._model.pt")
    assert not any(is_needed(name) for name in unwanted)
