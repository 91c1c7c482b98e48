"""Fixtures: a tiny avatar that renders in milliseconds, the demo person, short motion."""

from pathlib import Path

import pytest
import torch

from models.avatar.blendshape.kind import load_blendshape_avatar
from models.avatar.blendshape.renderer import BlendshapeAvatar
from tests.tiny_avatar import write_tiny_avatar

PERSON = Path(__file__).parents[3] / "people" / "demo"
CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def demo() -> BlendshapeAvatar:
    return load_blendshape_avatar(PERSON, device=CPU, threads=2)


@pytest.fixture(scope="session")
def plain_demo() -> BlendshapeAvatar:
    return load_blendshape_avatar(PERSON, device=CPU, threads=1, plain=True)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    write_tiny_avatar(folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> BlendshapeAvatar:
    return load_blendshape_avatar(tiny_folder, device=CPU, threads=2)


@pytest.fixture(scope="session")
def plain_tiny(tiny_folder: Path) -> BlendshapeAvatar:
    return load_blendshape_avatar(tiny_folder, device=CPU, threads=1, plain=True)


@pytest.fixture
def face(demo: BlendshapeAvatar) -> torch.Tensor:
    """Face codes of the demo person with random units, [3, 256]."""
    return demo.face_code(0.4 * torch.rand(3, 52, generator=torch.Generator().manual_seed(6)))


@pytest.fixture
def pose() -> torch.Tensor:
    """Small random pose, [3, 104]."""
    return 0.15 * torch.randn(3, 104, generator=torch.Generator().manual_seed(5))
