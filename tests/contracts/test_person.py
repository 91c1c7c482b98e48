"""A person directory: what person.json says, and whether the files are those it names."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from contracts.files import sha256_of
from contracts.person import MANIFEST, PersonError, check_files, read_manifest, write_manifest

FACTS = {"name": "ada", "title": "Ada ♥", "limits": {"max_seconds": 20.0}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "face.safetensors").write_bytes(b"weights")
    (tmp_path / "stats.json").write_bytes(b"{}")
    write_manifest(tmp_path, FACTS, ["stats.json", "face.safetensors"])
    return tmp_path


def change(folder: Path, **values: Any) -> None:
    path = folder / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_what_was_written_is_read(folder: Path) -> None:
    person = read_manifest(folder)
    assert (person.folder, person.name, person.max_seconds) == (folder, "ada", 20.0)
    assert person.files == {
        "face.safetensors": hashlib.sha256(b"weights").hexdigest(),
        "stats.json": hashlib.sha256(b"{}").hexdigest(),
    }


def test_facts_are_kept_as_they_were_given(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    assert manifest.pop("files").keys() == {"face.safetensors", "stats.json"}
    assert manifest == {"schema": 1, **FACTS}


def test_the_digest_is_the_version_of_the_person(folder: Path) -> None:
    before = read_manifest(folder).digest
    assert read_manifest(folder).digest == before
    (folder / "face.safetensors").write_bytes(b"better weights")
    write_manifest(folder, FACTS, ["stats.json", "face.safetensors"])
    assert read_manifest(folder).digest != before


def test_a_write_leaves_no_draft(folder: Path) -> None:
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["face.safetensors", "person.json", "stats.json"]


def test_a_write_without_one_of_its_files_leaves_the_version_before(folder: Path) -> None:
    before = read_manifest(folder)
    with pytest.raises(FileNotFoundError, match=r"guide\.safetensors"):
        write_manifest(folder, FACTS, ["guide.safetensors"])
    assert read_manifest(folder) == before


def test_two_who_write_at_once_do_not_take_each_others_draft(folder: Path) -> None:
    (folder / "person.draft").mkdir()  # whatever another process has there
    write_manifest(folder, {**FACTS, "name": "eve"}, ["stats.json"])
    assert read_manifest(folder).name == "eve"


def test_the_hash_of_a_large_file_is_that_of_all_of_it(tmp_path: Path) -> None:
    content = os.urandom((1 << 20) + 17)
    (tmp_path / "large").write_bytes(content)
    assert sha256_of(tmp_path / "large") == hashlib.sha256(content).hexdigest()


def test_a_whole_person_passes(folder: Path) -> None:
    check_files(folder)


def test_a_file_that_was_altered_is_named_with_both_hashes(folder: Path) -> None:
    (folder / "face.safetensors").write_bytes(b"other")
    found, expected = (hashlib.sha256(b).hexdigest()[:12] for b in (b"other", b"weights"))
    told = rf"face\.safetensors does not match .*{found}.*expected {expected}"
    with pytest.raises(PersonError, match=told):
        check_files(folder)


def test_a_file_that_is_missing_is_named(folder: Path) -> None:
    (folder / "stats.json").unlink()
    with pytest.raises(PersonError, match=r"lacks stats\.json"):
        check_files(folder)


def test_a_folder_without_a_person_is_named(tmp_path: Path) -> None:
    with pytest.raises(PersonError, match=rf"no person at {tmp_path / 'nobody'}"):
        read_manifest(tmp_path / "nobody")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"person"', b"null", b"\xff\xfe", b"{}"])
def test_a_damaged_manifest_is_told(folder: Path, content: bytes) -> None:
    (folder / MANIFEST).write_bytes(content)
    with pytest.raises(PersonError, match=r"person\.json is damaged or lacks a member"):
        read_manifest(folder)


@pytest.mark.parametrize(
    "wrong", [{"limits": {}}, {"limits": {"max_seconds": "long"}}, {"files": ["stats.json"]}]
)
def test_a_manifest_whose_parts_are_of_another_kind_is_told(folder: Path, wrong: Any) -> None:
    change(folder, **wrong)
    with pytest.raises(PersonError, match="damaged or lacks a member"):
        read_manifest(folder)


def test_a_manifest_of_another_schema_is_told_even_where_its_parts_differ(folder: Path) -> None:
    change(folder, schema=2, limits="none")
    with pytest.raises(PersonError, match="schema 2 is not supported; this version reads 1"):
        read_manifest(folder)


def test_pictures_are_files_of_the_person(folder: Path) -> None:
    (folder / "picture.webp").write_bytes(b"RIFF")
    facts = FACTS | {"media": {"picture": "picture.webp"}}
    write_manifest(folder, facts, ["stats.json", "picture.webp"])
    assert read_manifest(folder).media == {"picture": "picture.webp"}

    write_manifest(folder, facts, ["stats.json"])
    with pytest.raises(PersonError, match=r"'picture.webp' is not in files"):
        read_manifest(folder)


def test_a_picture_has_a_type_that_browsers_show(folder: Path) -> None:
    (folder / "picture.tiff").write_bytes(b"II*")
    write_manifest(folder, FACTS | {"media": {"picture": "picture.tiff"}}, ["picture.tiff"])

    with pytest.raises(PersonError, match=r"must end in .png, .webp, .jpg"):
        read_manifest(folder)


class TestSharedFiles:
    """A person whose face network is a link to another person's."""

    @pytest.fixture
    def sam(self, folder: Path, tmp_path: Path) -> Path:
        people = tmp_path / "people"
        shutil.copytree(folder, people / "ada", ignore=shutil.ignore_patterns("people"))
        sam = people / "sam"
        sam.mkdir()
        (sam / "stats.json").write_bytes(b"{}")
        (sam / "face.safetensors").symlink_to("../ada/face.safetensors")
        write_manifest(sam, FACTS | {"name": "sam"}, ["stats.json", "face.safetensors"])
        return sam

    def test_both_people_are_intact(self, sam: Path) -> None:
        check_files(sam)
        assert read_manifest(sam).files == read_manifest(sam.parent / "ada").files

    def test_a_copy_without_the_other_person_says_what_is_missing(
        self, sam: Path, tmp_path: Path
    ) -> None:
        copy = Path(shutil.copytree(sam, tmp_path / "elsewhere/sam", symlinks=True))
        told = (
            r"elsewhere/sam lacks face\.safetensors; it is a link to \.\./ada/face\.safetensors, "
            r"and both people share this file: copy 'ada' beside 'sam'.*copy 'sam' with `cp -rL`"
        )
        with pytest.raises(PersonError, match=told):
            check_files(copy)

    def test_a_copy_of_what_links_name_is_complete(self, sam: Path, tmp_path: Path) -> None:
        copy = Path(shutil.copytree(sam, tmp_path / "elsewhere/sam"))
        check_files(copy)
        assert read_manifest(copy).digest == read_manifest(sam).digest

    def test_another_version_of_the_other_person_is_told(self, sam: Path) -> None:
        (sam.parent / "ada/face.safetensors").write_bytes(b"better weights")
        with pytest.raises(PersonError, match=r"does not match .*copy 'ada' beside 'sam', both of"):
            check_files(sam)

    def test_a_link_that_a_tool_wrote_as_text_is_told(self, sam: Path) -> None:
        target = str((sam / "face.safetensors").readlink())
        (sam / "face.safetensors").unlink()
        (sam / "face.safetensors").write_text(target)
        with pytest.raises(PersonError, match=r"it is a link to \.\./ada/face\.safetensors"):
            check_files(sam)
