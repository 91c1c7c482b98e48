"""The house itself: names, arrows, and what the API may need."""

import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("api", "bench", "cli", "jobs", "models", "training", "worker")


@pytest.mark.parametrize("room", ROOMS)
def test_each_plain_name_belongs_to_our_distribution_only(room: str) -> None:
    owners = set(importlib.metadata.packages_distributions().get(room, ["visavis-server"]))

    assert owners == {"visavis-server"}


def test_every_package_on_disk_is_listed_by_name() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for room in ROOMS
        for path in (ROOT / room).rglob("__init__.py")
    }

    assert set(listed) == found


def test_there_is_no_package_under_tests() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_the_api_starts_where_torch_is_not_installed() -> None:
    blocked = ("torch", "models", "worker", "training", "warp")
    code = f"import sys; sys.modules.update(dict.fromkeys({blocked!r})); import api.main"

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr


def test_models_and_training_import_on_a_bare_numeric_machine() -> None:
    """Only torch, numpy, safetensors and plain numeric packages, at module level."""
    absent = ("alembic", "av", "boto3", "celery", "fastapi", "httpx", "pydantic", "redis", "rich")
    absent += (
        "sqlalchemy",
        "structlog",
        "typer",
        "warp",
        "scipy",
        "PIL",
        "ffmpeg",
        "matplotlib",
        "tensorboard",
    )
    modules = (
        "models.motion.pipeline",
        "models.avatar",
        "models.formats.dataset",
        "models.released.person",
        "training.commands.train",
        "training.commands.data",
        "training.evaluation.evaluate",
        "training.commands.evaluate",
        "training.networks.losses",
        "training.loop.loop",
        "training.person_directory",
        "training.evaluation.plots",
        "training.evaluation.sampling",
        "training.networks.trainers",
        "bench.avatar",
        "bench.motion",
        "bench.training",
    )
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({absent!r}))\n"
        f"import importlib\nfor name in {modules!r}: importlib.import_module(name)"
    )

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
