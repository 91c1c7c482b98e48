"""A small released person, written once; tests that change files get a copy."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from models.released.person import open_sources, read_released, write_released
from tests.released_layout import PERSON, write_released_person

Import = Callable[..., Path]


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder in the released layout; read-only."""
    return write_released_person(tmp_path_factory.mktemp("released"))


@pytest.fixture(scope="session")
def person(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Person directory imported from `whole`; read-only."""
    return import_to(tmp_path_factory.mktemp("people") / PERSON, whole)


@pytest.fixture
def source(whole: Path, tmp_path: Path) -> Path:
    """Copy of `whole` that a test may change."""
    return Path(shutil.copytree(whole, tmp_path / "source"))


@pytest.fixture
def imported(tmp_path: Path) -> Import:
    """Function that imports sources and returns the person directory."""

    def run(*sources: Path, overwrite: bool = False) -> Path:
        return import_to(tmp_path / "people" / PERSON, *sources, overwrite=overwrite)

    return run


def import_to(out: Path, *sources: Path, overwrite: bool = False) -> Path:
    with open_sources(sources, PERSON) as layout:
        write_released(read_released(layout), out, overwrite=overwrite)
    return out
