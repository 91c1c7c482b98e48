"""Runs whose checkpoints are in a bucket, on a real S3 server: another machine continues them."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.errors import InputError
from tests.s3_server import CREDENTIALS, s3_server
from tests.training import tiny_training
from training.loop.checkpoints import CheckpointStore, ResumeError, StoredCheckpoints
from training.loop.object_storage import ObjectStorage

FIRST, STEPS = 8, 16


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with s3_server("runs") as address:
        yield address


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def url(address: str, tmp_path: Path) -> str:
    return f"s3://runs/{tmp_path.name}?endpoint_url={address}"


@pytest.fixture
def storage(url: str) -> ObjectStorage:
    return ObjectStorage(url)


@pytest.mark.services
def test_another_machine_continues_a_run_and_ends_with_the_same_bits(
    tmp_path: Path, url: str, storage: ObjectStorage
) -> None:
    first, second, whole = (tmp_path / name for name in ("first", "second", "whole"))
    tiny_training.write_person(first)
    recipe = tiny_training.write_recipe(tmp_path / "recipe.toml", "face", save_seconds=0.01)
    shutil.copytree(first, whole)
    storage.push(first / "data", "data")  # all that the second machine gets

    def train(machine: Path, steps: int, *options: str) -> None:
        arguments = tiny_training.arguments_of(machine, "face", recipe, machine / "work", steps)
        tiny_training.train([*arguments, *options])

    train(first, FIRST, "--storage", url)
    train(second, STEPS, "--storage", url)
    train(whole, STEPS)

    assert len(storage.names("work/face")) == 3 + 2, "three checkpoints, best weights, provenance"
    ends = [CheckpointStore(machine / "work" / "face").latest() for machine in (second, whole)]
    for end in ends:
        assert end is not None
        assert end["progress"]["step"] == STEPS
        del end["progress"]["seconds"]
    assert tiny_training.same(*ends)
    names = {path.name for path in (whole / "ada").iterdir()}
    assert {path.name for path in (second / "ada").iterdir() if path.name[0] != "."} == names
    assert storage.names("person") == sorted(f"person/{name}" for name in names)
    for name in names:
        copy = tmp_path / "copy"
        storage.get(f"person/{name}", copy)
        assert copy.read_bytes() == (second / "ada" / name).read_bytes()
        assert copy.read_bytes() == (whole / "ada" / name).read_bytes(), name


@pytest.mark.services
class TestStoredCheckpoints:
    """Checkpoints of machines that take turns."""

    def on(self, machine: Path, storage: ObjectStorage) -> StoredCheckpoints:
        return StoredCheckpoints(machine / "face", 2, storage=storage, place="work/face")

    def test_the_latest_of_all_machines_counts(
        self, tmp_path: Path, storage: ObjectStorage
    ) -> None:
        one, other = (self.on(tmp_path / name, storage) for name in ("one", "other"))
        assert one.latest() is None
        for step in (1, 2, 3):
            one.save(step, {"step": step})
        (other.folder).mkdir(parents=True)
        (other.folder / "best.safetensors").write_bytes(b"of step 4")
        other.save(4, {"step": 4})

        assert one.latest() == {"step": 4}
        assert (one.folder / "best.safetensors").read_bytes() == b"of step 4"
        assert storage.names("work/face") == [
            "work/face/best.safetensors",
            "work/face/step-00000003.state",
            "work/face/step-00000004.state",
        ]

    def test_a_run_without_storage_continues_with_it(
        self, tmp_path: Path, storage: ObjectStorage
    ) -> None:
        CheckpointStore(tmp_path / "face").save(5, {"step": 5})

        assert self.on(tmp_path, storage).latest() == {"step": 5}

    def test_a_corrupt_checkpoint_is_skipped_and_only_corrupt_ones_end_the_run(
        self, tmp_path: Path, storage: ObjectStorage
    ) -> None:
        one = self.on(tmp_path / "one", storage)
        for step in (1, 2):
            one.save(step, {"step": step})
        damaged = tmp_path / "damaged"
        damaged.write_bytes(one.paths()[-1].read_bytes()[:100])

        storage.put(damaged, "work/face/step-00000002.state")
        assert self.on(tmp_path / "other", storage).latest() == {"step": 1}

        storage.put(damaged, "work/face/step-00000001.state")
        with pytest.raises(ResumeError, match="all 2 checkpoints in work/face are corrupt"):
            self.on(tmp_path / "another", storage).latest()


@pytest.mark.services
def test_only_changed_files_are_copied(tmp_path: Path, storage: ObjectStorage) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    (source / ".training").mkdir(parents=True)
    (source / "media").mkdir()
    for name in ("a.json", "media/b.png", ".training/c.state"):
        (source / name).write_text(name)

    storage.push(source, "person")
    storage.pull("person", copy)

    assert storage.names("person") == ["person/a.json", "person/media/b.png"]
    assert (copy / "media" / "b.png").read_text() == "media/b.png"
    assert not storage.put(source / "a.json", "person/a.json")
    assert not storage.get("person/a.json", copy / "a.json")
    (source / "a.json").write_text("another")
    assert storage.put(source / "a.json", "person/a.json")
    assert storage.get("person/a.json", copy / "a.json")
    assert (copy / "a.json").read_text() == "another"


@pytest.mark.services
def test_a_missing_bucket_and_missing_credentials_are_named(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"s3://none/a: not found; check that bucket 'none'"):
        ObjectStorage(f"s3://none/a?endpoint_url={address}")
    for name in CREDENTIALS:
        monkeypatch.delenv(name)
    with pytest.raises(InputError, match="no credentials; set AWS_ACCESS_KEY_ID"):
        ObjectStorage(f"s3://runs/a?endpoint_url={address}")


def test_a_missing_extra_server_and_invalid_url_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="gs://runs/a: invalid S3 URL; write s3://bucket/key"):
        ObjectStorage("gs://runs/a")
    with pytest.raises(InputError, match=r"^s3://runs/a: Could not connect to the endpoint URL"):
        ObjectStorage("s3://runs/a?endpoint_url=http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(InputError, match=r"needs boto3: pip install 'visavis-server\[s3\]'"):
        ObjectStorage("s3://runs/a")
