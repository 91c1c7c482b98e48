"""Fixtures of manifests: a key of this machine, and takes with frames."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contracts.provenance import Origin
from jobs.sandbox.manifests import facts_of
from jobs.settings import Settings
from tests.worker.pipeline.outputs.test_motion_files import take_of
from worker.pipeline.take import Take
from worker.provenance.manifest import ManifestSigner, open_signer

ORIGIN = Origin("ab" * 32, "demo", "cd" * 32, job="0198c0ffee")


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(data=tmp_path_factory.mktemp("data"), operator="Example Ltd")


@pytest.fixture(scope="session")
def signer(settings: Settings) -> ManifestSigner:
    signer = open_signer(settings)
    assert signer is not None
    return signer


@pytest.fixture(scope="session")
def trusted(settings: Settings, signer: ManifestSigner) -> str:
    return str(facts_of(settings)["trusted"])


@pytest.fixture
def make_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Take]:
    """Return a take of nine frames that every output can be written from.

    The small person has no human skeleton, so that of VRM animation is not written here.
    """

    def stand_in(path: Path, figure: object, rows: object) -> None:
        path.write_bytes(b"glTF, made by visavis" * 40)

    monkeypatch.setattr("models.animation.gltf.vrma.write_vrma", stand_in)

    def make() -> Take:
        frames = np.random.default_rng(1).integers(0, 255, (9, 64, 64, 3), np.uint8)
        both = {"render": lambda: iter_of(frames), "preview": lambda: iter_of(frames[::2])}
        return replace(take_of(tmp_path, None), origin=ORIGIN, **both)

    return make


def iter_of(frames: np.ndarray):  # type: ignore[no-untyped-def]
    yield frames
