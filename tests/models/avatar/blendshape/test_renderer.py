"""Rendering of motion: frame order, sizes, batches, memory, threads, invalid arguments."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from models.avatar.blendshape.kind import load_blendshape_avatar
from models.avatar.blendshape.renderer import BlendshapeAvatar
from models.avatar.blendshape.warp_painter import CACHED, KernelPainter
from models.avatar.camera import CameraError

Tensor = torch.Tensor
CPU = torch.device("cpu")


def motion(avatar: BlendshapeAvatar, frames: int) -> tuple[Tensor, Tensor]:
    """Face codes and pose in which all frames differ."""
    steps = torch.linspace(0, 1, frames)[:, None]
    units = steps.expand(-1, 52) * torch.linspace(0.2, 1, 52)
    return avatar.face_code(units), steps.expand(-1, 104) * 0.5


def render(
    avatar: BlendshapeAvatar, face: Tensor, pose: Tensor, *names: str, batch: int = 8
) -> np.ndarray:
    cameras = [avatar.camera(name) for name in names or ("front",)]
    return np.concatenate(list(avatar.render(face, pose, cameras, batch=batch)))


def test_frames_are_bytes_in_order_and_of_the_requested_size(tiny: BlendshapeAvatar) -> None:
    face, pose = motion(tiny, 5)
    camera = tiny.camera().resized(96, 128)
    frames = np.concatenate(list(tiny.render(face, pose, [camera], batch=2)))
    assert frames.shape == (5, 128, 96, 3)
    assert frames.dtype == np.uint8
    for i in range(5):
        alone = next(tiny.render(face[i : i + 1], pose[i : i + 1], [camera]))
        assert np.array_equal(frames[i], alone[0])
    assert len({frame.tobytes() for frame in frames}) == 5


@pytest.mark.parametrize(("frames", "sizes"), [(7, [3, 3, 1]), (6, [3, 3]), (2, [2]), (1, [1])])
def test_the_last_batch_contains_the_remaining_frames(
    tiny: BlendshapeAvatar, frames: int, sizes: list[int]
) -> None:
    batches = tiny.render(*motion(tiny, frames), [tiny.camera()], batch=3)
    assert [len(batch) for batch in batches] == sizes


def test_the_batch_size_does_not_change_the_frames(tiny: BlendshapeAvatar) -> None:
    face, pose = motion(tiny, 7)
    whole = render(tiny, face, pose, batch=7)
    assert np.array_equal(whole, render(tiny, face, pose, batch=1))
    assert np.array_equal(whole, render(tiny, face, pose, batch=4))


def test_views_are_placed_side_by_side(tiny: BlendshapeAvatar) -> None:
    face, pose = motion(tiny, 3)
    both = render(tiny, face, pose, "front", "side")
    assert both.shape == (3, 64, 128, 3)
    assert np.array_equal(both[:, :, :64], render(tiny, face, pose, "front"))
    assert np.array_equal(both[:, :, 64:], render(tiny, face, pose, "side"))
    assert not np.array_equal(both[:, :, :64], both[:, :, 64:])


def test_views_may_differ_in_width(tiny: BlendshapeAvatar) -> None:
    face, pose = motion(tiny, 2)
    cameras = [tiny.camera("front").resized(64, 80), tiny.camera("side").resized(128, 80)]
    assert next(tiny.render(face, pose, cameras)).shape == (2, 80, 192, 3)


def test_empty_motion_gives_no_frames(tiny: BlendshapeAvatar) -> None:
    assert list(tiny.render(torch.zeros(0, 256), torch.zeros(0, 104), [tiny.camera()])) == []


def test_the_same_motion_gives_the_same_bytes(tiny: BlendshapeAvatar, tiny_folder: Path) -> None:
    other = load_blendshape_avatar(tiny_folder, device=CPU, threads=1)
    face, pose = motion(tiny, 5)
    assert np.array_equal(render(tiny, face, pose), render(other, face, pose))


def test_two_renders_at_the_same_time_do_not_mix(tiny: BlendshapeAvatar) -> None:
    face, pose = motion(tiny, 6)
    alone = render(tiny, face, pose)
    cameras = [tiny.camera()]
    one = tiny.render(face, pose, cameras, batch=1)
    other = tiny.render(face.flip(0), pose.flip(0), cameras, batch=1)
    pairs = [(next(one), next(other)) for _ in range(6)]
    assert np.array_equal(np.concatenate([first for first, _ in pairs]), alone)
    assert np.array_equal(np.concatenate([second for _, second in pairs]), alone[::-1])


def test_an_image_does_not_contain_the_previous_one(tiny: BlendshapeAvatar) -> None:
    """The kernel that reads the depth buffers also clears them."""
    face, pose = motion(tiny, 1)
    away = pose.clone()
    away[0, 0] = 100.0  # root_tx: far outside the image
    frames = [next(tiny.render(face, one, [tiny.camera()]))[0] for one in (away, pose, away)]
    assert np.array_equal(frames[0], frames[2])
    assert not np.array_equal(frames[0], frames[1])


def test_only_one_batch_is_rendered_ahead(
    tiny: BlendshapeAvatar, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    batch = tiny._batch

    def counted(*arguments: object) -> np.ndarray:
        calls.append(1)
        return batch(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(tiny, "_batch", counted)
    for taken, _ in enumerate(tiny.render(*motion(tiny, 12), [tiny.camera()], batch=1), 1):
        assert len(calls) <= taken + 1
    assert len(calls) == 12


def test_stopping_the_iteration_early_ends_all_threads(tiny: BlendshapeAvatar) -> None:
    before = threading.active_count()
    frames = tiny.render(*motion(tiny, 50), [tiny.camera()], batch=1)
    assert threading.active_count() == before  # no thread runs before the first frame is requested
    assert isinstance(frames, Iterator)
    next(frames)
    assert threading.active_count() > before
    frames.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_an_error_while_rendering_is_raised_and_ends_all_threads(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    avatar = load_blendshape_avatar(tiny_folder, device=CPU, threads=2)

    def fail(*_: object) -> None:
        raise RuntimeError("rendering failed")

    before = threading.active_count()
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="rendering failed"):
        patch.setattr(KernelPainter, "render", fail)
        list(avatar.render(*motion(avatar, 9), [avatar.camera()]))
    assert threading.active_count() == before
    assert len(render(avatar, *motion(avatar, 3))) == 3  # all painters are available again


def test_buffers_of_old_sizes_are_freed(tiny_folder: Path) -> None:
    avatar = load_blendshape_avatar(tiny_folder, device=CPU, threads=1)
    for side in range(64, 84, 2):
        list(avatar.render(*motion(avatar, 1), [avatar.camera().resized(side, side)]))
    painter = avatar._painters.get()
    assert isinstance(painter, KernelPainter)
    assert len(painter.keys) == len(painter.views) == CACHED


def test_the_smallest_and_the_largest_size_can_be_rendered(tiny: BlendshapeAvatar) -> None:
    for width, height in ((64, 64), (2048, 64), (64, 2048)):
        frames = next(tiny.render(*motion(tiny, 1), [tiny.camera().resized(width, height)]))
        assert frames.shape == (1, height, width, 3)


def test_wrong_shapes_raise_an_error_before_rendering_starts(tiny: BlendshapeAvatar) -> None:
    front = tiny.camera()
    face, pose = torch.zeros(2, 256), torch.zeros(2, 104)
    with pytest.raises(ValueError, match=r"face must be \[T, 256\], got \[2, 104\]"):
        tiny.render(pose, pose, [front])
    with pytest.raises(ValueError, match=r"pose must be \[T, 104\], got \[1, 2, 104\]"):
        tiny.render(face, pose[None], [front])
    with pytest.raises(ValueError, match="face has 2 frames and pose 1"):
        tiny.render(face, pose[:1], [front])
    with pytest.raises(ValueError, match=r"need one height, got \[128, 64\]"):
        tiny.render(face, pose, [front.resized(64, 128), front])
    with pytest.raises(ValueError, match=r"need one height, got \[\]"):
        tiny.render(face, pose, [])
    with pytest.raises(ValueError, match="batch must be at least 1, got 0"):
        tiny.render(face, pose, [front], batch=0)


def test_the_error_for_an_unknown_camera_lists_the_known_ones(tiny: BlendshapeAvatar) -> None:
    assert tiny.camera().name == tiny.camera("front").name == "front"
    with pytest.raises(CameraError, match="unknown camera 'behind'; this person has front, side"):
        tiny.camera("behind")


def test_motion_that_requires_gradients_can_be_rendered(tiny: BlendshapeAvatar) -> None:
    face, pose = motion(tiny, 2)
    frames = render(tiny, face.requires_grad_(), pose.requires_grad_())
    assert np.array_equal(frames, render(tiny, face.detach(), pose.detach()))


@pytest.mark.gpu
def test_a_gpu_renders_the_same_image(
    tiny: BlendshapeAvatar, tiny_folder: Path, demo: BlendshapeAvatar
) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    cuda = torch.device("cuda")
    person = Path(__file__).parents[4] / "people" / "demo"
    for here, folder in ((tiny, tiny_folder), (demo, person)):
        there = load_blendshape_avatar(folder, device=cuda)
        face, pose = motion(here, 5)
        cameras = [here.camera(name).resized(256, 256) for name in ("front", "side")]
        frames, others = (
            np.concatenate(list(avatar.render(face, pose, cameras))).astype(int)
            for avatar in (here, there)
        )
        assert (np.abs(frames - others) > 2).mean() < 2e-3
