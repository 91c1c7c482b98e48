"""`install-people`: copies are checked, and damaged people are not copied."""

from pathlib import Path

import pytest

from contracts.person import check_files
from tests.cli.conftest import Call
from tests.tiny_person import write_tiny_person


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_tiny_person(tmp_path / "source")
    return tmp_path / "source"


def test_another_version_replaces_an_installed_person(
    call: Call, source: Path, tmp_path: Path
) -> None:
    volume = tmp_path / "volume"
    first, second = (call("install-people", str(source), str(volume)) for _ in range(2))
    assert [each.stdout.split()[0] for each in (first, second)] == ["installed", "unchanged"]
    installed = volume / "demo/person.json"
    installed.write_text(installed.read_text() + "\n")  # another digest

    again = call("install-people", str(source), str(volume))

    assert again.stdout.split() == ["installed", str(volume / "demo")]
    assert installed.read_bytes() == (source / "demo/person.json").read_bytes()
    assert [path.name for path in volume.iterdir()] == ["demo"]


def test_nothing_is_copied_if_a_person_is_damaged(call: Call, source: Path, tmp_path: Path) -> None:
    write_tiny_person(source, "anna")
    weights = source / "demo/face.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")

    done = call("install-people", str(source), str(tmp_path / "volume"))

    assert done.exit_code == 2
    assert "face.safetensors does not match person.json" in " ".join(done.stderr.split())
    assert not (tmp_path / "volume").exists()


def test_files_take_the_place_of_links_to_another_person(
    call: Call, source: Path, tmp_path: Path
) -> None:
    shared = write_tiny_person(source, "anna") / "face.safetensors"
    shared.unlink()
    shared.symlink_to("../demo/face.safetensors")  # the tiny networks are all the same

    done = call("install-people", str(source), str(tmp_path / "volume"))

    assert done.exit_code == 0
    assert not (tmp_path / "volume/anna/face.safetensors").is_symlink()
    check_files(tmp_path / "volume/anna")


def test_a_folder_without_people_is_refused(call: Call, tmp_path: Path) -> None:
    done = call("install-people", str(tmp_path), str(tmp_path / "volume"))

    assert done.exit_code == 2
    assert "contains no person directory" in done.stderr
