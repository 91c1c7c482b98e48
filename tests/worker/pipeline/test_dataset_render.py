"""Rendering of recorded and sampled motion in pieces."""

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from contracts.provenance import Origin
from jobs.request.model import GenerateRequest
from models.avatar.codec.renderer import CodecAvatar
from models.formats.dataset import DatasetError
from models.formats.results import Results
from tests.models.avatar.codec.tiny import tiny_cameras, tiny_model
from tests.training.scenes import write_scene
from tests.worker.fakes import DEFAULTS, FakeAvatar
from worker.pipeline.dataset_render import (
    RECORD,
    PieceError,
    RenderContext,
    open_folder,
    render_piece,
    result_pieces,
    scene_pieces,
    video_path,
    with_face,
)
from worker.pipeline.media.container import X264
from worker.pipeline.plan import plan_of

ORIGIN = Origin("r", "demo", "d")
PLAN = plan_of(GenerateRequest(seed=1), DEFAULTS)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    write_scene(tmp_path / "data", "a", 40, missing=[3, 4, 39])
    write_scene(tmp_path / "data", "b", 25)
    return tmp_path / "data"


def results(*, repetitions: int = 2, seed: int = 0) -> Results:
    """Return results of two samples, with 20 and 12 frames."""
    rng = np.random.default_rng(seed)
    shape, frames = (repetitions, 2, 20), np.arange(20)
    present = frames < np.array([[20], [12]])
    return Results(
        true_face=rng.normal(size=(2, 20, 256)).astype(np.float32),
        true_pose=rng.normal(size=(2, 20, 104)).astype(np.float32),
        face_present=present,
        audio=np.random.default_rng(9).uniform(-1, 1, (2, 32_000, 2)).astype(np.float32),
        lengths=np.array([20, 12]),
        scenes=np.array(["a", "b"]),
        first_frames=np.array([0, 600]),
        seeds=np.zeros((repetitions, 2), np.int64),
        sampling_seconds=1.0,
        options={},
        face=rng.normal(size=(*shape, 256)).astype(np.float32),
        pose=rng.normal(size=(*shape, 104)).astype(np.float32),
        key_poses=np.zeros((repetitions, 2, 1, 104), np.float32),
    )


def test_scenes_are_cut_into_pieces_of_which_the_last_may_be_shorter(dataset: Path) -> None:
    pieces = scene_pieces(dataset, scenes=[], longest=16, most=None)
    assert [(piece.name, piece.frames) for piece in pieces] == [
        ("a_000000", 16), ("a_000016", 16), ("a_000032", 8), ("b_000000", 16), ("b_000016", 9),
    ]  # fmt: skip
    few = scene_pieces(dataset, scenes=["b"], longest=16, most=1)
    assert [piece.name for piece in few] == ["b_000000"]


def test_a_piece_has_the_motion_and_the_audio_of_its_frames(dataset: Path) -> None:
    piece = scene_pieces(dataset, scenes=["b"], longest=16, most=None)[1]
    motion = piece.motion()
    assert motion.face[:, 0].tolist() == list(range(16, 25))  # the frame numbers of the scene
    pose = np.load(dataset / "b_body_pose.npy")
    assert np.array_equal(motion.pose.numpy(), pose[16:])
    whole_scene = scene_pieces(dataset, scenes=["b"], longest=25, most=None)[0]
    assert np.array_equal(piece.samples(0, 9), whole_scene.samples(16, 25))
    assert piece.samples(0, 9).shape == (9 * 1600, 2)


def test_missing_faces_are_interpolated(dataset: Path) -> None:
    np.save(dataset / "a_missing_face_frames.npy", np.array([0, 1, 3, 4, 16, 39]))
    codes = np.load(dataset / "a_face_expression.npy")
    codes[[0, 1, 3, 4, 16, 39]] = np.nan
    np.save(dataset / "a_face_expression.npy", codes)
    pieces = scene_pieces(dataset, scenes=["a"], longest=16, most=None)
    codes = np.concatenate([piece.motion().face[:, 0].numpy() for piece in pieces])
    expected = np.arange(40.0)
    expected[[0, 1]], expected[39] = 2, 38  # there is no earlier or later face
    np.testing.assert_allclose(codes, expected, atol=1e-5)


def test_a_face_that_is_always_or_never_visible_is_not_changed() -> None:
    face = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    for visible in (True, False):
        assert np.array_equal(with_face(face, np.full(6, visible), 2, 5), face[2:5])


def test_a_scene_without_a_face_is_skipped(dataset: Path) -> None:
    np.save(dataset / "a_missing_face_frames.npy", np.arange(40))
    pieces = scene_pieces(dataset, scenes=[], longest=100, most=None)
    assert [piece.name for piece in pieces] == ["b_000000"]
    with pytest.raises(PieceError, match="no scene has a frame with a face"):
        scene_pieces(dataset, scenes=["a"], longest=100, most=None)


def test_invalid_scenes_raise_before_anything_is_rendered(dataset: Path) -> None:
    with pytest.raises(PieceError, match="unknown scene 'c'; available: a, b"):
        scene_pieces(dataset, scenes=["a", "c"], longest=16, most=None)
    pose = np.load(dataset / "a_body_pose.npy")
    pose[20, 3] = np.nan
    np.save(dataset / "a_body_pose.npy", pose)
    with pytest.raises(
        PieceError, match="scene a: frame 20 has non-finite values in its pose; leave scene a"
    ):
        scene_pieces(dataset, scenes=[], longest=16, most=None)
    np.save(dataset / "a_body_pose.npy", pose[:39])
    with pytest.raises(
        DatasetError, match="40 frames of face codes for 39 frames of pose; scene a"
    ):
        scene_pieces(dataset, scenes=[], longest=16, most=None)
    (dataset / "a_body_pose.npy").unlink()
    assert len(scene_pieces(dataset, scenes=["b"], longest=16, most=None)) == 2
    with pytest.raises(
        PieceError, match=r"a_body_pose\.npy is missing; a scene consists of four files"
    ):
        scene_pieces(dataset, scenes=[], longest=16, most=None)


def test_a_rendered_piece_is_a_video_with_audio(dataset: Path, tmp_path: Path) -> None:
    piece = scene_pieces(dataset, scenes=["b"], longest=16, most=None)[1]
    (tmp_path / "scratch").mkdir()
    reported: list[float] = []

    context = RenderContext(PLAN, FakeAvatar(), X264, tmp_path / "scratch", ORIGIN, None)
    render_piece(piece, tmp_path / "v.mp4", context, reported.append)

    assert reported[-1] == 1.0
    with av.open(str(tmp_path / "v.mp4")) as video:
        assert video.streams.video[0].frames == 9
        assert float(video.streams.audio[0].duration) / 48_000 == pytest.approx(0.3, abs=0.03)
    assert not list(tmp_path.glob(".*"))


def test_released_people_are_rendered_with_a_transparent_background(
    dataset: Path, tmp_path: Path
) -> None:
    piece = scene_pieces(dataset, scenes=["b"], longest=3, most=1)[0]
    (tmp_path / "scratch").mkdir()
    plan = plan_of(GenerateRequest(seed=1, format="png", supersampling=2), DEFAULTS)
    avatar = CodecAvatar(tiny_model(), tiny_cameras())
    context = RenderContext(plan, avatar, X264, tmp_path / "scratch", ORIGIN, None)

    render_piece(piece, tmp_path / "v.zip", context, lambda share: None)

    with zipfile.ZipFile(tmp_path / "v.zip") as archive:
        assert archive.namelist() == ["000000.png", "000001.png", "000002.png", "sound.wav"]
        picture = np.asarray(Image.open(io.BytesIO(archive.read("000001.png"))))
    assert picture.shape == (64, 64, 4)
    assert {0, 255} < set(np.unique(picture[..., 3])) <= {0, 64, 128, 191, 255}


def test_existing_videos_are_skipped_unless_overwrite_is_set(dataset: Path, tmp_path: Path) -> None:
    pieces, out = scene_pieces(dataset, scenes=[], longest=16, most=None), tmp_path / "out"
    facts = {"size": "64x64"}
    assert open_folder(out, pieces, PLAN, facts, overwrite=False) == pieces
    video_path(out, pieces[1], PLAN).write_bytes(b"a video")
    remaining = open_folder(out, pieces, PLAN, facts, overwrite=False)
    assert [piece.name for piece in remaining] == ["a_000000", "a_000032", "b_000000", "b_000016"]
    with pytest.raises(PieceError, match="has videos with size '64x64', not '96x96'; name another"):
        open_folder(out, pieces, PLAN, {"size": "96x96"}, overwrite=False)
    assert open_folder(out, pieces, PLAN, {"size": "96x96"}, overwrite=True) == pieces
    assert [path.name for path in out.iterdir()] == [RECORD]


def test_videos_without_a_valid_record_are_not_overwritten(dataset: Path, tmp_path: Path) -> None:
    pieces = scene_pieces(dataset, scenes=[], longest=16, most=None)
    (tmp_path / "a_000016.mp4").write_bytes(b"of another user")
    with pytest.raises(PieceError, match=r"a_000016\.mp4 exists already; name another folder"):
        open_folder(tmp_path, pieces, PLAN, {}, overwrite=False)
    (tmp_path / RECORD).write_text("[]")
    with pytest.raises(PieceError, match="is damaged"):
        open_folder(tmp_path, pieces, PLAN, {"size": "1"}, overwrite=False)


def test_every_take_of_every_sample_is_a_piece() -> None:
    sampled = results()
    pieces = result_pieces(sampled, None, truth=False)
    assert [(piece.name, piece.frames) for piece in pieces] == [
        ("sample00_rep00", 20), ("sample00_rep01", 20),
        ("sample01_rep00", 12), ("sample01_rep01", 12),
    ]  # fmt: skip
    assert sampled.face is not None
    assert np.array_equal(pieces[3].motion().face.numpy(), sampled.face[1, 1, :12])
    assert np.array_equal(pieces[3].samples(2, 4), sampled.audio[1, 3200:6400])


def test_the_truth_is_rendered_with_missing_faces_interpolated() -> None:
    sampled = results()
    sampled.face_present[0, 5:7] = False
    pieces = result_pieces(sampled, None, truth=True)
    assert [piece.name for piece in pieces] == ["sample00_truth", "sample01_truth"]
    face, true = pieces[0].motion().face.numpy(), sampled.true_face[0]
    np.testing.assert_allclose(face[5], (2 * true[4] + true[7]) / 3, atol=1e-6)
    assert np.array_equal(pieces[0].motion().pose.numpy(), sampled.true_pose[0])


def test_faces_may_come_from_another_file_of_the_same_cuts() -> None:
    bodies, faces = replace(results(), face=None), replace(results(seed=1), pose=None)
    pieces = result_pieces(bodies, faces, truth=False)
    assert faces.face is not None
    assert np.array_equal(pieces[2].motion().face.numpy(), faces.face[0, 1, :12])
    with pytest.raises(PieceError, match="have no face codes; pass those of the same cuts with"):
        result_pieces(bodies, None, truth=False)
    with pytest.raises(PieceError, match="have no poses"):
        result_pieces(faces, None, truth=False)
    with pytest.raises(PieceError, match="3 takes of each face do not match 2 of each body"):
        result_pieces(bodies, results(repetitions=3), truth=False)
    with pytest.raises(PieceError, match="sampled for different cuts: their audio differ"):
        result_pieces(bodies, replace(faces, audio=faces.audio * 0.5), truth=False)
