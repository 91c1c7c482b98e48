"""Unpacking of archives into a given folder, and refusal of unsafe ones."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from models.released.archives import is_archive, unpack
from models.released.reader import ReleasedError

ENDINGS = ("zip", "tar", "tar.gz")


def make(path: Path, files: dict[str, bytes]) -> Path:
    if path.name.endswith(".zip"):
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def everything(_name: str) -> bool:
    return True


@pytest.mark.parametrize("ending", ENDINGS)
def test_only_selected_files_are_unpacked(tmp_path: Path, ending: str) -> None:
    path = make(tmp_path / f"a.{ending}", {"x/model.pt": b"weights", "x/scene_audio.wav": b"sound"})
    unpack(path, tmp_path / "out", select=lambda name: name.endswith(".pt"))
    found = [each for each in (tmp_path / "out").rglob("*") if each.is_file()]
    assert [each.relative_to(tmp_path / "out").as_posix() for each in found] == ["x/model.pt"]
    assert found[0].read_bytes() == b"weights"


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("name", ["../evil.pt", "/tmp/evil.pt", "a/../../evil.pt", "..\\evil.pt"])
def test_a_path_outside_the_folder_is_refused(tmp_path: Path, ending: str, name: str) -> None:
    path = make(tmp_path / f"a.{ending}", {"good.pt": b"", name: b"evil"})
    with pytest.raises(ReleasedError, match=r"a\.\S+: contains .*evil.*, a path outside"):
        unpack(path, tmp_path / "out", select=everything)
    assert not [each for each in tmp_path.rglob("*") if each.name.endswith("evil.pt")]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo("folder")
        member.type, member.linkname = kind, "/etc"
        archive.addfile(member)
    with pytest.raises(ReleasedError, match="contains a link or a device, 'folder'"):
        unpack(path, tmp_path / "out", select=lambda _: False)


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        member = zipfile.ZipInfo("folder")
        member.external_attr = 0o120777 << 16
        archive.writestr(member, "/etc")
    with pytest.raises(ReleasedError, match="contains a link or a device, 'folder'"):
        unpack(path, tmp_path / "out", select=everything)


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_archive_that_is_too_large_is_refused(tmp_path: Path, ending: str) -> None:
    path = make(tmp_path / f"a.{ending}", {"a.pt": bytes(600), "b.pt": bytes(600)})
    with pytest.raises(ReleasedError, match="unpacks to more than"):
        unpack(path, tmp_path / "out", select=everything, max_bytes=1000)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_truncated_archive_is_refused(tmp_path: Path, ending: str) -> None:
    content = bytes(range(256)) * 4000
    path = make(tmp_path / f"a.{ending}", {"a.pt": content})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ReleasedError, match=r"a\.\S+: damaged or truncated .*download it again"):
        unpack(path, tmp_path / "out", select=everything)


def test_archives_are_recognised_by_their_names(tmp_path: Path) -> None:
    for name in ("a.tar.gz", "b.tgz", "c.zip", "d.tar"):
        (tmp_path / name).touch()
        assert is_archive(tmp_path / name)
    (tmp_path / "model.pt").touch()  # torch files are zip archives, too
    assert not is_archive(tmp_path / "model.pt")
    assert not is_archive(tmp_path / "missing.zip")
