"""The commands `render-dataset` and `render-results`: videos of existing motion."""

import json
from pathlib import Path

import av
import numpy as np
import pytest

from models.formats.results import write_results
from tests.cli.conftest import Call
from tests.training.scenes import write_scene
from tests.worker.pipeline.test_dataset_render import results


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    for name, frames in (("a", 20), ("b", 12)):
        write_scene(tmp_path / "data", name, frames)
        pose = tmp_path / "data" / f"{name}_body_pose.npy"
        np.save(pose, 0.1 * np.load(pose))
    return tmp_path / "data"


def frames_and_size(path: Path) -> tuple[int, int, int]:
    with av.open(str(path)) as video:
        stream = video.streams.video[0]
        return stream.frames, stream.width, stream.height


def test_each_piece_of_a_dataset_is_rendered_once(
    call: Call, people: Path, dataset: Path, tmp_path: Path
) -> None:
    command = ["render-dataset", str(dataset), "--person", "demo", "--out", "out"]
    command += ["--max-seq-length", "8", "--views", "front,side", "--size", "64x96"]

    first = call(*command, "--chunks", "2", "--scenes", "a", VISAVIS_PEOPLE=str(people))

    assert first.exit_code == 0, first.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "a_000000.mp4", "a_000008.mp4", "rendering.json",
    }  # fmt: skip
    assert frames_and_size(tmp_path / "out" / "a_000008.mp4") == (8, 128, 96)
    before = (tmp_path / "out" / "a_000000.mp4").stat()

    second = call(*command, VISAVIS_PEOPLE=str(people))

    assert second.exit_code == 0, second.output
    assert second.stdout.splitlines()[0] == "2 of 5 exist already"
    assert second.stdout.splitlines()[1].startswith("out/a_000016.mp4  4 frames, ")
    assert (tmp_path / "out" / "a_000000.mp4").stat() == before
    assert json.loads((tmp_path / "out" / "rendering.json").read_text())["size"] == "64x96"
    assert not list((tmp_path / "out").glob(".*"))


def test_samples_and_the_truth_are_rendered_to_webm(
    call: Call, people: Path, tmp_path: Path
) -> None:
    write_results(tmp_path / "results.npz", results(repetitions=1))
    command = ["render-results", "results.npz", "--person", "demo", "--out", "out"]

    done = call(*command, "--format", "webm", VISAVIS_PEOPLE=str(people))
    true = call(*command, "--truth", "--format", "webm", VISAVIS_PEOPLE=str(people))

    assert (done.exit_code, true.exit_code) == (0, 0), done.output + true.output
    assert {path.name for path in (tmp_path / "out").glob("*.webm")} == {
        "sample00_rep00.webm", "sample01_rep00.webm", "sample00_truth.webm", "sample01_truth.webm",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["render-dataset", "nowhere", "--person", "demo"], "nowhere: folder not found"),
        (["render-dataset", "data", "--person", "ada"], "Unknown person 'ada'; available"),
        (["render-dataset", "data", "--person", "demo", "--views", "top"], "Unknown camera 'top'"),
        (
            ["render-dataset", "data", "--person", "demo", "--scenes", "c"],
            "data: unknown scene 'c'",
        ),
        (["render-results", "none.npz", "--person", "demo"], "none.npz: results not found"),
    ],
)
def test_invalid_arguments_are_reported_and_leave_no_folder(
    call: Call, people: Path, dataset: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = call(*arguments, "--out", "out", VISAVIS_PEOPLE=str(people))

    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(message)
    assert not (tmp_path / "out").exists()
