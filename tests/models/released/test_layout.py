"""Search for the files of a person in the released layout."""

import json
import shutil
from pathlib import Path

import pytest

from models.released.layout import Layout, is_needed
from models.released.reader import ReleasedError
from tests.released_layout import PERSON


def layout(*folders: Path) -> Layout:
    return Layout(folders, PERSON)


def set_args(folder: Path, **values: object) -> None:
    """Change values in args.json."""
    path = folder / "args.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_the_checkpoint_with_the_most_iterations_is_used(whole: Path) -> None:
    found = layout(whole).diffusion("face")
    assert found.weights == whole / "checkpoints/diffusion/c1_face/model000155000.pt"
    assert found.settings == found.weights.with_name("args.json")


def test_the_settings_of_the_guide_are_above_its_checkpoints(whole: Path) -> None:
    found = layout(whole).guide()
    assert found.weights == whole / "checkpoints/guide/c1_pose/checkpoints/iter-0100000.pt"
    assert found.settings == whole / "checkpoints/guide/c1_pose/args.json"


def test_the_tokenizer_that_the_guide_names_is_used(source: Path) -> None:
    folder = source / "checkpoints/vq/c1_pose"
    for name in ("net_iter400000.pth", "net_last.pth"):
        shutil.copy(folder / "net_iter300000.pth", folder / name)
    assert layout(source).tokenizer("x/net_iter300000.pth").weights.name == "net_iter300000.pth"
    assert layout(source).tokenizer("x\\net_last.pth").weights.name == "net_last.pth"
    assert layout(source).tokenizer("x/net_gone.pth").weights.name == "net_iter400000.pth"
    assert layout(source).tokenizer().weights.name == "net_iter400000.pth"


def test_files_are_found_from_a_parent_folder_or_a_subfolder(whole: Path) -> None:
    assert layout(whole.parent / whole.name).file("cameras").name == f"render_defaults_{PERSON}.pth"
    assert layout(whole / "checkpoints").guide() == layout(whole).guide()


def test_the_data_format_in_the_settings_takes_precedence_over_the_folder_name(
    source: Path,
) -> None:
    diffusion = source / "checkpoints/diffusion"
    (diffusion / "c1_face").rename(diffusion / "mine")
    assert layout(source).diffusion("face").weights.parent == diffusion / "mine"


def test_the_checkpoint_of_the_requested_person_is_used(source: Path) -> None:
    diffusion = source / "checkpoints/diffusion"
    shutil.copytree(diffusion / "c1_face", diffusion / "c2_face")
    set_args(diffusion / "c1_face", data_root="dataset/RLW104/")
    assert layout(source).diffusion("face").weights.parent == diffusion / "c2_face"


def test_ambiguous_checkpoints_are_an_error_that_lists_them(source: Path) -> None:
    diffusion = source / "checkpoints/diffusion"
    shutil.copytree(diffusion / "c1_face", diffusion / "c2_face")
    with pytest.raises(ReleasedError, match=r"face: several checkpoints .*c1_face.*c2_face.*keep"):
        layout(source).diffusion("face")


def test_a_checkpoint_of_another_person_is_refused(source: Path) -> None:
    set_args(source / "checkpoints/guide/c1_pose", data_root="/data/TXB805")
    with pytest.raises(ReleasedError, match=r"trained on TXB805 instead of PXB184, according to "):
        layout(source).guide()


def test_recordings_may_have_any_path(source: Path) -> None:
    set_args(source / "checkpoints/guide/c1_pose", data_root="/somewhere/else")
    assert layout(source).guide().weights.is_file()


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        (
            "checkpoints/diffusion/c1_face",
            r"^checkpoints/diffusion/\*_face/model\*\.pt: not found",
        ),
        ("checkpoints/vq", r"^checkpoints/vq/\*_pose/net_\*\.pth: not found in "),
    ],
)
def test_the_error_gives_the_path_of_a_missing_file(
    source: Path, removed: str, message: str
) -> None:
    shutil.rmtree(source / removed)
    with pytest.raises(ReleasedError, match=message):
        layout(source).diffusion("face")
        layout(source).tokenizer()


def test_the_file_of_statistics_may_have_the_name_of_the_person(tmp_path: Path) -> None:
    (tmp_path / "data_stats_RLW104.pth").touch()
    (tmp_path / f"data_stats_{PERSON}.pth").touch()
    assert layout(tmp_path).file("statistics").name == f"data_stats_{PERSON}.pth"


def test_recordings_and_optimizers_in_an_archive_are_not_needed() -> None:
    assert all(is_needed(name) for name in ("a/model000155000.pt", "x/config.yml", "a/args.json"))
    unwanted = ("a/opt000155000.pt", "a/scene01_audio.wav", "a/x.npy", "__MACOSX/._model.pt")
    assert not any(is_needed(name) for name in unwanted)
