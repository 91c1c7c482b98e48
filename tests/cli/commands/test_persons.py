"""Released people: import, check, download from a faulty server, export."""

import hashlib
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from models.released import download
from tests.audio_clips import write_clip
from tests.cli.conftest import Call
from tests.faulty_http_server import FaultyHttpServer
from tests.released_layout import PERSON, write_released_person

VIEWS = f"assets/render_defaults_{PERSON}.pth"
STATISTICS = f"dataset/{PERSON}/data_stats.pth"


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_released_person(tmp_path_factory.mktemp("released"))


def test_an_import_prints_the_person_directory(call: Call, source: Path, tmp_path: Path) -> None:
    done = call("import-person", str(source), "--person", PERSON, "--out", f"people/{PERSON}")

    assert done.exit_code == 0, done.output
    assert done.stdout == f"people/{PERSON}  CC BY-NC 4.0, clips to 24 h\n"
    assert json.loads((tmp_path / "people" / PERSON / "person.json").read_text())["name"] == PERSON


def test_an_imported_person_can_be_rendered(call: Call, source: Path, tmp_path: Path) -> None:
    """The whole pipeline, from a clip to an MP4."""
    write_clip(tmp_path / "talk.wav", seconds=0.2)
    call("import-person", str(source), "--person", PERSON, "--out", f"people/{PERSON}")

    done = call("generate", "talk.wav", "--person", PERSON, "--steps", "2", "--seed", "3",
                VISAVIS_PEOPLE="people")  # fmt: skip

    assert done.exit_code == 0, done.output
    with av.open(str(tmp_path / "talk.mp4")) as video:
        assert video.streams.video[0].frames == 6


def test_a_person_is_imported_under_a_new_name(call: Call, source: Path, tmp_path: Path) -> None:
    arguments = ["import-person", str(source), "--person", PERSON, "--name", "ada"]
    done = call(*arguments, VISAVIS_PEOPLE=str(tmp_path / "all"))

    assert done.exit_code == 0, done.output
    manifest = json.loads((tmp_path / "all" / "ada" / "person.json").read_text())
    assert (manifest["name"], manifest["title"]) == ("ada", f"{PERSON}, as released")


def test_a_check_lists_every_part_and_writes_nothing(
    call: Call, source: Path, tmp_path: Path
) -> None:
    done = call("import-person", str(source), "--person", PERSON, "--out", "p", "--name", "p",
                "--check")  # fmt: skip

    assert done.exit_code == 0, done.output
    assert [line.split()[:2] for line in done.stdout.splitlines()[:-1]] == [
        ["ok", part] for part in ("face", "body", "guide", "tokenizer", "speech", "lips",
                                  "statistics", "cameras", "avatar")
    ]  # fmt: skip
    assert done.stdout.splitlines()[-1] == "p would be written"
    assert not (tmp_path / "p").exists()


def test_a_check_lists_every_missing_part(call: Call, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    done = call("import-person", "empty", "--person", PERSON, "--check")

    assert done.exit_code == 1
    output = " ".join(done.stdout.split())
    for place in ("diffusion/*_face/model*.pt", "diffusion/*_pose/model*.pt", "iter-*.pt",
                  STATISTICS, f"render_defaults_{PERSON}.pth",
                  f"ca_body/data/{PERSON}/config.yml"):  # fmt: skip
        assert place in output
    assert "would be written" not in output


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["nowhere", "--person", PERSON], 2, "nowhere: neither a folder nor a .zip, .tar"),
        ([".", "--person", "../x"], 2, "invalid person name '../x'"),
        ([".", "--person", PERSON, "--name", "a", "--out", "b"], 2, "--out must end with the name"),
        ([".", "--person", PERSON], 2, "checkpoints/diffusion/*_face/model*.pt: not found in"),
    ],
)
def test_an_invalid_import_is_rejected(
    call: Call, tmp_path: Path, arguments: list[str], status: int, message: str
) -> None:
    done = call("import-person", *arguments, VISAVIS_PEOPLE=str(tmp_path / "people"))
    assert (done.exit_code, done.stdout) == (status, "")
    assert done.stderr.startswith(message)
    assert not (tmp_path / "people").exists()


@pytest.fixture
def mirror(source: Path, tmp_path: Path) -> Iterator[FaultyHttpServer]:
    """A server with all downloads of a person."""
    avatar = source / "checkpoints" / "ca_body" / "data" / PERSON
    with tarfile.open(tmp_path / "models.tar", "w") as archive:
        for part in ("diffusion", "guide", "vq"):
            archive.add(source / "checkpoints" / part, f"checkpoints/{part}")
    with tarfile.open(tmp_path / "avatar.tar.gz", "w:gz") as archive:
        archive.add(avatar, PERSON)
    host = FaultyHttpServer(
        {
            f"{PERSON}_models.tar": (tmp_path / "models.tar").read_bytes(),
            f"{PERSON}.tar.gz": (tmp_path / "avatar.tar.gz").read_bytes(),
        }
        | {
            place: (source / place).read_bytes()
            for place in (
                f"assets/render_defaults_{PERSON}.pth",
                STATISTICS,
            )
        }
    )
    yield host
    host.close()


def test_a_download_prints_the_licence_and_imports(
    call: Call, mirror: FaultyHttpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hashlib.sha256(mirror.files[STATISTICS]).hexdigest()
    monkeypatch.setitem(download.STATISTICS, PERSON, digest)
    mirror.faults = iter(["break"])
    arguments = ["download-person", PERSON, "--from", mirror.url, "--out", f"people/{PERSON}"]

    rejected = call(*arguments)
    asked_before = list(mirror.requests)
    done = call(*arguments, "--accept-licence")

    assert rejected.exit_code == 2
    assert "CC BY-NC 4.0" in rejected.stdout
    assert "--accept-licence" in rejected.stderr
    assert asked_before == []
    assert done.exit_code == 0, done.output
    assert "CC BY-NC 4.0: you may use and share" in done.stdout
    assert "asset_models.tar: status 404" in done.stdout  # goes without
    assert "and no log compression" in done.stdout
    assert (tmp_path / "people" / PERSON / "person.json").is_file()
    assert (tmp_path / "data" / "downloads" / PERSON / f"{PERSON}_models.tar").is_file()


def test_a_missing_download_is_reported_and_creates_no_person(
    call: Call, mirror: FaultyHttpServer, tmp_path: Path
) -> None:
    del mirror.files[f"{PERSON}.tar.gz"]
    done = call("download-person", PERSON, "--from", mirror.url, "--out", f"people/{PERSON}",
                "--accept-licence")  # fmt: skip
    assert done.exit_code == 1
    assert done.stderr.startswith(f"{mirror.url}/{PERSON}.tar.gz: status 404, the file is not")
    assert not (tmp_path / "people").exists()


def test_files_in_a_folder_need_no_download(call: Call, source: Path, tmp_path: Path) -> None:
    done = call("download-person", PERSON, "--from", str(source), "--out", f"people/{PERSON}",
                "--accept-licence")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert (tmp_path / "people" / PERSON / "person.json").is_file()


def test_an_unknown_released_person_is_rejected(call: Call) -> None:
    done = call("download-person", "ada")
    assert done.exit_code == 2
    assert done.stderr == (
        "no released person 'ada'; the released people are PXB184, RLW104, TXB805, GQS883\n"
    )


def test_an_export_lists_the_files_to_copy(call: Call, source: Path, tmp_path: Path) -> None:
    call("import-person", str(source), "--person", PERSON, "--out", f"people/{PERSON}")
    done = call("export-person", f"people/{PERSON}", "--out", "back")

    assert done.exit_code == 0, done.output
    assert f"copy checkpoints/ca_body/data/{PERSON}" in done.stdout
    assert done.stdout.splitlines()[-1] == "back"
    assert (tmp_path / "back" / "assets" / "vq-wav2vec.pt").is_file()
    again = call("export-person", f"people/{PERSON}", "--out", "back")
    assert (again.exit_code, again.stderr) == (2, "back: already exists; name another folder\n")
