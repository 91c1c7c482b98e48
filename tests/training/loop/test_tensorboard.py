"""Events for TensorBoard, pictures as files, and runs without TensorBoard."""

import io
import logging
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.loop.tensorboard import FolderWriter, png


def random_picture(height: int = 20, width: int = 30) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3)).astype(np.uint8)


def test_a_png_contains_the_picture() -> None:
    picture = random_picture()
    with Image.open(io.BytesIO(png(picture))) as image:
        assert np.array_equal(np.asarray(image), picture)


def test_tensorboard_reads_scalars_and_pictures(tmp_path: Path) -> None:
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", exc_type=ImportError
    )
    writer = FolderWriter(tmp_path / "board")
    for step in (10, 20):
        writer.scalars(step, {"loss/velocity": 1 / step, "rate": 1e-3})
    writer.picture(20, random_picture())
    events = accumulator.EventAccumulator(str(tmp_path / "board")).Reload()
    values = [(event.step, event.value) for event in events.Scalars("loss/velocity")]
    assert values == [(10, pytest.approx(0.1)), (20, pytest.approx(0.05))]
    (image,) = events.Images("preview")
    assert (image.step, image.width, image.height) == (20, 30, 20)
    assert (tmp_path / "board" / "step-00000020.png").read_bytes() == png(random_picture())


def test_without_tensorboard_one_line_is_logged_and_pictures_are_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("tensorboard", "torch.utils.tensorboard", "torch.utils.tensorboard.writer"):
        monkeypatch.setitem(sys.modules, name, None)
    with caplog.at_level(logging.INFO):
        writer = FolderWriter(tmp_path / "board")
        writer.scalars(1, {"rate": 1.0})
        writer.picture(1, random_picture())
        writer.picture(2, random_picture())
    assert len(caplog.messages) == 1
    assert 'pip install "visavis-server[tensorboard]"' in caplog.text
    assert sorted(path.name for path in (tmp_path / "board").iterdir()) == [
        "step-00000001.png",
        "step-00000002.png",
    ]
