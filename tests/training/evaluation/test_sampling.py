"""Samples of a dataset: a take does not depend on the other takes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.formats.results import Results
from models.motion.pipeline import Animator, Sampling, load_animator
from tests.tiny_person import tiny_animator, write_tiny_person
from tests.training.scenes import write_scene
from training.data.cuts import Clip, find_cuts, read_clips
from training.evaluation.sampling import SamplingSettings, sample_clips

FRAMES = 130
SETTINGS = SamplingSettings(
    repetitions=2, seed=10, steps=2, guidance_face=2.0, guidance_body=1.5, diversity=0.9
)


@pytest.fixture(scope="module")
def animator() -> Animator:
    return tiny_animator()


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    folder = tmp_path_factory.mktemp("data")
    write_scene(folder, "a", 2 * FRAMES + 1, missing=[2])
    write_scene(folder, "b", FRAMES + 1)
    return list(read_clips(find_cuts(folder, "all", FRAMES), FRAMES))


@pytest.fixture(scope="module")
def results(animator: Animator, clips: list[Clip]) -> Results:
    return sample_clips(
        animator, clips, SETTINGS, options={"person": "ada"}, clock=iter([1.0, 4.0]).__next__
    )


def test_results_contain_samples_and_recordings(results: Results, clips: list[Clip]) -> None:
    assert results.face is not None
    assert results.pose is not None
    assert results.key_poses is not None
    assert results.face.shape == (2, 3, FRAMES, 256)
    assert results.pose.shape == (2, 3, FRAMES, 104)
    assert results.key_poses.shape == (2, 3, 5, 104)
    assert np.array_equal(results.true_face[1], clips[1].face)
    assert np.array_equal(results.audio[2], clips[2].audio)
    assert results.scenes.tolist() == ["a", "a", "b"]
    assert results.first_frames.tolist() == [0, FRAMES, 0]
    assert results.face_present.sum() == 3 * FRAMES - 1
    assert results.sampling_seconds == 3.0
    assert len(np.unique(results.seeds)) == 6


def test_the_same_settings_give_the_same_samples(
    animator: Animator, clips: list[Clip], results: Results
) -> None:
    again = sample_clips(animator, clips, SETTINGS, options={})
    assert np.array_equal(again.face, results.face)
    assert np.array_equal(again.pose, results.pose)


def test_a_take_equals_that_of_the_animator_with_its_seed(
    animator: Animator, clips: list[Clip], results: Results
) -> None:
    assert results.face is not None
    assert results.pose is not None
    sampling = Sampling((int(results.seeds[1, 2]),), 2, 2.0, 1.5, 0.9)
    alone = animator.animate(torch.from_numpy(clips[2].audio), sampling)[0]
    np.testing.assert_allclose(results.face[1, 2], alone.face, atol=1e-5)
    np.testing.assert_allclose(results.pose[1, 2], alone.pose, atol=1e-5)


def test_a_take_does_not_depend_on_the_number_of_takes(
    animator: Animator, clips: list[Clip], results: Results
) -> None:
    assert results.pose is not None
    alone = sample_clips(animator, clips[1:2], replace(SETTINGS, repetitions=1), options={})
    assert alone.pose is not None
    np.testing.assert_allclose(alone.pose[0, 0], results.pose[0, 1], atol=1e-5)
    assert alone.seeds[0, 0] == results.seeds[0, 1]


def test_a_face_or_a_body_alone_equals_that_of_both(
    animator: Animator, clips: list[Clip], results: Results
) -> None:
    face = sample_clips(animator, clips, replace(SETTINGS, network="face"), options={})
    body = sample_clips(animator, clips, replace(SETTINGS, network="body"), options={})
    assert face.pose is None
    assert face.key_poses is None
    assert body.face is None
    assert np.array_equal(face.face, results.face)
    assert np.array_equal(body.pose, results.pose)


def test_true_key_poses_are_those_of_the_recording(
    animator: Animator, clips: list[Clip], results: Results
) -> None:
    results_of_truth = sample_clips(
        animator, clips, replace(SETTINGS, key_poses="true"), options={}
    )
    assert results_of_truth.key_poses is not None
    for repetition in results_of_truth.key_poses:
        np.testing.assert_allclose(repetition, results.true_pose[:, ::30], atol=1e-5)
    assert np.array_equal(results_of_truth.face, results.face)
    assert not np.allclose(results_of_truth.pose, results.pose)


def test_true_key_poses_of_a_short_clip_are_padded(animator: Animator, clips: list[Clip]) -> None:
    short = replace(
        clips[0],
        audio=clips[0].audio[: 40 * 1600],
        face=clips[0].face[:40],
        pose=clips[0].pose[:40],
        present=clips[0].present[:40],
    )
    results_of_truth = sample_clips(
        animator, [short], replace(SETTINGS, key_poses="true"), options={}
    )
    assert results_of_truth.pose is not None
    assert results_of_truth.pose.shape == (2, 1, 40, 104)
    assert results_of_truth.key_poses is not None
    np.testing.assert_allclose(
        results_of_truth.key_poses[0, 0, :2], clips[0].pose[[0, 30]], atol=1e-5
    )


@pytest.mark.gpu
@pytest.mark.parametrize("key_poses", ["guide", "true"])
def test_a_gpu_samples_the_same_as_the_cpu(
    clips: list[Clip], key_poses: str, tmp_path: Path
) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    person = write_tiny_person(tmp_path)
    settings = replace(SETTINGS, key_poses=key_poses)
    on_gpu, on_cpu = (
        sample_clips(
            load_animator(person, device=torch.device(device)), clips, settings, options={}
        )
        for device in ("cuda", "cpu")
    )
    np.testing.assert_allclose(on_gpu.face, on_cpu.face, atol=1e-3)
    np.testing.assert_allclose(on_gpu.pose, on_cpu.pose, atol=1e-3)


@pytest.mark.parametrize(
    ("invalid", "message"),
    [
        ({"repetitions": 0}, "at least 1, got 0"),
        ({"network": "hands"}, "network must be one of face, body, both"),
        ({"key_poses": "mine"}, "key_poses must be one of guide, true"),
    ],
)
def test_invalid_settings_are_rejected(invalid: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SETTINGS, **invalid)
