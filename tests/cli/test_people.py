"""Released people by the command: import, check, download from a host that misbehaves, export."""

import hashlib
import json
import re
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import pytest

from cli import downloading
from cli.downloading import ATTEMPTS, DownloadError, Parcel, fetch, parcels
from tests.cli.conftest import Call
from tests.released_layout import PERSON, write_released_person
from tests.sounds import write_clip

CONTENT = bytes(range(256)) * 4000
ZEROS = "0" * 64
VIEWS = f"assets/render_defaults_{PERSON}.pth"
STATISTICS = f"dataset/{PERSON}/data_stats.pth"


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_released_person(tmp_path_factory.mktemp("released"))


class Host:
    """Files over HTTP on loopback. `behave` is what goes wrong, one word for each request."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files, self.asked, self.behave = files, [], iter(())
        self.tag = '"first"'
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host.asked.append((self.path, self.headers.get("Range")))
                host.answer(self, next(host.behave, "well"))

            def log_message(self, *_arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler, how: str) -> None:
        content = self.files.get(request.path.lstrip("/"))
        status, start = 200, 0
        if content is None or how.isdigit():
            request.send_error(int(how) if how.isdigit() else 404)
            return
        asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range") or "")
        same = request.headers.get("If-Range", self.tag) == self.tag
        if asked and same and how != "no ranges":
            start, status = int(asked[1]), 206
        if start >= len(content):
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(content)}")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        body = content[start:]
        request.send_response(status)
        request.send_header("ETag", self.tag)
        request.send_header("Content-Type", "text/html" if how == "page" else "application/x-tar")
        request.send_header("Content-Length", str(len(body)))
        if status == 206:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.end_headers()
        request.wfile.write(body[: len(body) // 2] if how == "break" else body)
        request.close_connection = True


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host({"file.tar": CONTENT})
    yield host
    host.server.shutdown()
    host.server.server_close()


def parcel(host: Host, **more: str) -> Parcel:
    return Parcel("in/file.tar", f"{host.url}/file.tar", **more)  # type: ignore[arg-type]


def patiently(host: Host, folder: Path, **more: str) -> tuple[bytes, list[float]]:
    """What was fetched, and the pauses; nobody waits."""
    pauses: list[float] = []
    path = fetch(parcel(host, **more), folder, pause=pauses.append)
    assert [each.name for each in path.parent.iterdir()] == ["file.tar"]
    return path.read_bytes(), pauses


def test_a_file_is_fetched_once(host: Host, tmp_path: Path) -> None:
    assert patiently(host, tmp_path) == (CONTENT, [])
    assert patiently(host, tmp_path) == (CONTENT, [])
    assert host.asked == [("/file.tar", None)]


def test_what_breaks_off_is_continued(host: Host, tmp_path: Path) -> None:
    host.behave = iter(["break", "break", "well"])
    content, pauses = patiently(host, tmp_path)
    assert content == CONTENT
    assert len(pauses) == 2
    half = len(CONTENT) // 2
    assert [asked for _, asked in host.asked] == [
        None, f"bytes={half}-", f"bytes={half + half // 2}-",
    ]  # fmt: skip


def test_a_later_call_continues_too(host: Host, tmp_path: Path) -> None:
    host.behave = iter(["break"] + ["503"] * ATTEMPTS)
    with pytest.raises(DownloadError, match=r"127\.0\.0\.1:\d+ cannot be reached or breaks off"):
        fetch(parcel(host), tmp_path, pause=lambda _: None)
    assert patiently(host, tmp_path)[0] == CONTENT
    assert host.asked[-1][1] == f"bytes={len(CONTENT) // 2}-"


def test_a_host_that_knows_no_ranges_sends_it_again(host: Host, tmp_path: Path) -> None:
    host.behave = iter(["break", "no ranges"])
    assert patiently(host, tmp_path)[0] == CONTENT


def test_a_file_that_changed_meanwhile_is_fetched_from_its_beginning(
    host: Host, tmp_path: Path
) -> None:
    host.behave = iter(["break"] + ["500"] * ATTEMPTS)
    with pytest.raises(DownloadError):
        fetch(parcel(host), tmp_path, pause=lambda _: None)
    host.tag, host.files = '"second"', {"file.tar": CONTENT[::-1]}
    assert patiently(host, tmp_path)[0] == CONTENT[::-1]


def test_a_part_that_is_whole_already_is_taken(host: Host, tmp_path: Path) -> None:
    part = tmp_path / "in" / "file.tar.part"
    part.parent.mkdir()
    part.write_bytes(CONTENT)
    assert patiently(host, tmp_path)[0] == CONTENT


def test_a_part_that_does_not_belong_to_it_is_thrown_away(host: Host, tmp_path: Path) -> None:
    part = tmp_path / "in" / "file.tar.part"
    part.parent.mkdir()
    part.write_bytes(CONTENT + b"more")
    assert patiently(host, tmp_path)[0] == CONTENT


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("404", "answers 404: the file is no longer there; say --from with a mirror, or"),
        ("403", "answers 403: the file is no longer there"),
        ("page", "answers with a web page, not with the file; say --from"),
    ],
)
def test_a_file_that_is_gone_is_told_at_once(
    host: Host, tmp_path: Path, how: str, words: str
) -> None:
    host.behave = iter([how])
    with pytest.raises(DownloadError, match=words):
        fetch(parcel(host), tmp_path, pause=lambda _: pytest.fail("no use in waiting"))
    assert len(host.asked) == 1


def test_a_host_that_is_gone_is_told_after_some_attempts(tmp_path: Path) -> None:
    host = Host({})
    host.server.server_close()
    pauses: list[float] = []
    with pytest.raises(DownloadError) as caught:
        fetch(parcel(host), tmp_path, pause=pauses.append)
    assert len(pauses) == ATTEMPTS - 1
    told = str(caught.value)
    assert told.startswith(host.url.removeprefix("http://"))
    assert "kept and continued: try again later, or say --from with a mirror" in told


def test_a_file_is_held_against_its_sha256(host: Host, tmp_path: Path) -> None:
    right = hashlib.sha256(CONTENT).hexdigest()
    assert patiently(host, tmp_path, sha256=right)[0] == CONTENT
    with pytest.raises(DownloadError, match="is not the file that was released"):
        fetch(parcel(host, sha256=ZEROS), tmp_path / "other", pause=lambda _: None)
    assert list((tmp_path / "other" / "in").glob("*.part")) == []


def test_progress_is_told(host: Host, tmp_path: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    fetch(parcel(host), tmp_path, progress=lambda *what: told.append(what))
    assert told[-1] == ("in/file.tar", len(CONTENT), len(CONTENT))


def test_addresses_are_those_of_the_authors_or_of_a_mirror() -> None:
    known = {each.place: each for each in parcels(PERSON)}
    assert known[f"{PERSON}_models.tar"].address == (
        f"http://audio2photoreal_models.berkeleyvision.org/{PERSON}_models.tar"
    )
    assert all(each.address.endswith(each.place) for each in known.values())
    assert [each.place for each in known.values() if not each.needed] == ["asset_models.tar"]
    assert [each.place for each in known.values() if each.sha256] == [STATISTICS]
    mirrored = parcels(PERSON, "https://mirror.example/a2p/")
    assert [each.address for each in mirrored] == [
        f"https://mirror.example/a2p/{place}" for place in known
    ]


def test_an_import_says_what_it_made(call: Call, source: Path, tmp_path: Path) -> None:
    done = call("import-person", str(source), "--person", PERSON, "--out", f"people/{PERSON}")

    assert done.exit_code == 0, done.output
    assert done.stdout == f"people/{PERSON}  CC BY-NC 4.0, clips to 20 s\n"
    assert json.loads((tmp_path / "people" / PERSON / "person.json").read_text())["name"] == PERSON


def test_a_person_who_was_imported_speaks(call: Call, source: Path, tmp_path: Path) -> None:
    """The worker's own way, from a recording to an MP4."""
    write_clip(tmp_path / "talk.wav", seconds=0.2)
    call("import-person", str(source), "--person", PERSON, "--out", f"people/{PERSON}")

    done = call("generate", "talk.wav", "--person", PERSON, "--steps", "2", "--seed", "3",
                VISAVIS_PEOPLE="people")  # fmt: skip

    assert done.exit_code == 0, done.output
    with av.open(str(tmp_path / "talk.mp4")) as video:
        assert video.streams.video[0].frames == 6


def test_a_person_goes_to_the_folder_of_people_under_a_name(
    call: Call, source: Path, tmp_path: Path
) -> None:
    arguments = ["import-person", str(source), "--person", PERSON, "--name", "ada"]
    done = call(*arguments, VISAVIS_PEOPLE=str(tmp_path / "all"))

    assert done.exit_code == 0, done.output
    manifest = json.loads((tmp_path / "all" / "ada" / "person.json").read_text())
    assert (manifest["name"], manifest["title"]) == ("ada", f"{PERSON}, as released")


def test_a_check_tells_every_part_and_writes_nothing(
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


def test_a_check_tells_everything_that_is_missing(call: Call, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    done = call("import-person", "empty", "--person", PERSON, "--check")

    assert done.exit_code == 1
    told = " ".join(done.stdout.split())
    for place in ("diffusion/*_face/model*.pt", "diffusion/*_pose/model*.pt", "iter-*.pt",
                  STATISTICS, f"render_defaults_{PERSON}.pth",
                  f"ca_body/data/{PERSON}/config.yml"):  # fmt: skip
        assert place in told
    assert "would be written" not in told


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["nowhere", "--person", PERSON], 1, "nowhere is neither a folder nor a .zip, .tar"),
        ([".", "--person", "../x"], 2, "'../x' is no name of a person"),
        ([".", "--person", PERSON, "--name", "a", "--out", "b"], 2, "--out must end with the name"),
        ([".", "--person", PERSON], 1, "there is no checkpoints/diffusion/*_face/model*.pt in"),
    ],
)
def test_what_cannot_be_imported_is_told(
    call: Call, tmp_path: Path, arguments: list[str], status: int, words: str
) -> None:
    done = call("import-person", *arguments, VISAVIS_PEOPLE=str(tmp_path / "people"))
    assert (done.exit_code, done.stdout) == (status, "")
    assert done.stderr.startswith(words)
    assert not (tmp_path / "people").exists()


@pytest.fixture
def mirror(source: Path, tmp_path: Path) -> Iterator[Host]:
    """Everything that is downloaded for a person."""
    avatar = source / "checkpoints" / "ca_body" / "data" / PERSON
    with tarfile.open(tmp_path / "models.tar", "w") as archive:
        for part in ("diffusion", "guide", "vq"):
            archive.add(source / "checkpoints" / part, f"checkpoints/{part}")
    with tarfile.open(tmp_path / "avatar.tar.gz", "w:gz") as archive:
        archive.add(avatar, PERSON)
    host = Host(
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
    host.server.shutdown()
    host.server.server_close()


def test_a_download_shows_the_licence_and_imports(
    call: Call, mirror: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = hashlib.sha256(mirror.files[STATISTICS]).hexdigest()
    monkeypatch.setitem(downloading.STATISTICS, PERSON, found)
    mirror.behave = iter(["break"])
    arguments = ["download-person", PERSON, "--from", mirror.url, "--out", f"people/{PERSON}"]

    refused = call(*arguments)
    asked_before = list(mirror.asked)
    done = call(*arguments, "--accept-licence")

    assert refused.exit_code == 2
    assert "CC BY-NC 4.0" in refused.stdout
    assert "--accept-licence" in refused.stderr
    assert asked_before == []
    assert done.exit_code == 0, done.output
    assert "CC BY-NC 4.0: you may use and share" in done.stdout
    assert "asset_models.tar answers 404" in done.stdout  # goes without
    assert "no log compression are taken" in done.stdout
    assert (tmp_path / "people" / PERSON / "person.json").is_file()
    assert (tmp_path / "data" / "downloads" / PERSON / f"{PERSON}_models.tar").is_file()


def test_a_download_that_is_gone_is_told_and_makes_no_person(
    call: Call, mirror: Host, tmp_path: Path
) -> None:
    del mirror.files[f"{PERSON}.tar.gz"]
    done = call("download-person", PERSON, "--from", mirror.url, "--out", f"people/{PERSON}",
                "--accept-licence")  # fmt: skip
    assert done.exit_code == 1
    assert done.stderr.startswith(f"{mirror.url}/{PERSON}.tar.gz answers 404: the file is no")
    assert not (tmp_path / "people").exists()


def test_files_that_are_there_need_no_download(call: Call, source: Path, tmp_path: Path) -> None:
    done = call("download-person", PERSON, "--from", str(source), "--out", f"people/{PERSON}",
                "--accept-licence")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert (tmp_path / "people" / PERSON / "person.json").is_file()


def test_nobody_else_was_released(call: Call) -> None:
    done = call("download-person", "ada")
    assert done.exit_code == 2
    assert done.stderr == (
        "there is no released person 'ada'; there are PXB184, RLW104, TXB805, GQS883\n"
    )


def test_an_export_says_what_is_left_to_copy(call: Call, source: Path, tmp_path: Path) -> None:
    call("import-person", str(source), "--person", PERSON, "--out", f"people/{PERSON}")
    done = call("export-person", f"people/{PERSON}", "--out", "back")

    assert done.exit_code == 0, done.output
    assert f"copy checkpoints/ca_body/data/{PERSON}" in done.stdout
    assert done.stdout.splitlines()[-1] == "back"
    assert (tmp_path / "back" / "assets" / "vq-wav2vec.pt").is_file()
    again = call("export-person", f"people/{PERSON}", "--out", "back")
    assert (again.exit_code, again.stderr) == (1, "back exists; name another folder\n")
