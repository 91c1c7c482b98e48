"""Outputs that hold motion: each is written from a take of the job, in every kind of request."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from contracts.outputs import OUTPUTS
from jobs.request.model import GenerateRequest
from models.animation.figure import AnimationError
from models.avatar.appearance import RenderOptions
from models.avatar.blendshape.kind import load_blendshape_avatar
from models.motion.pipeline import Motion
from tests.models.animation.conftest import motion_of
from tests.tiny_avatar import write_tiny_avatar
from tests.worker.pipeline.media.test_encode import tones
from worker.pipeline.media.container import X264
from worker.pipeline.motion_stream import TakeMotion
from worker.pipeline.take import Take
from worker.pipeline.user_errors import user_error_of

FORMATS = ("motion", "bvh", "glb", "csv", "obj")


def no_frames() -> Generator[Any, None, None]:
    yield from ()


def take_of(folder: Path, avatar: object, **options: float) -> Take:
    """A take of nine frames with audio."""
    write_tiny_avatar(folder / "person")
    person = load_blendshape_avatar(folder / "person", device=torch.device("cpu"))
    piece = motion_of(person.figure("demo"), 9).piece(0, 9)
    motion = TakeMotion.of(Motion(torch.from_numpy(piece.face), torch.from_numpy(piece.pose)))
    return Take(
        motion,
        tones(folder),
        no_frames,
        X264,
        lambda share: None,
        "demo",
        5,
        avatar=person if avatar is None else avatar,  # type: ignore[arg-type]
        options=RenderOptions(extra=tuple(options.items())),
    )


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_is_written_from_a_take(tmp_path: Path, name: str) -> None:
    take, output = take_of(tmp_path, None, frame=4, mesh_rate=5.0), OUTPUTS[name]

    output.write(take, tmp_path / output.file_name(2))

    content = (tmp_path / output.file_name(2)).read_bytes()
    assert len(content) > 400
    assert name != "obj" or b"demo, frame 4;" in content


def test_an_avatar_without_a_skeleton_has_only_its_motion(tmp_path: Path) -> None:
    take = take_of(tmp_path, object())

    OUTPUTS["motion"].write(take, tmp_path / "m.npz")

    with np.load(tmp_path / "m.npz") as file:
        assert file["pose"].shape == (9, 104) and "joint_names" not in file.files
    with pytest.raises(AnimationError, match="has no skeleton to export") as caught:
        OUTPUTS["bvh"].write(take, tmp_path / "m.bvh")
    error = user_error_of(caught.value)
    assert error is not None and error.code == "output_unsupported"


def test_npz_is_another_name_of_motion() -> None:
    request = GenerateRequest.model_validate({"outputs": ["npz", "bvh", "motion"]})

    assert request.outputs == ("motion", "bvh")
    assert [output.name for output in request.selected_outputs()] == ["motion", "bvh"]
