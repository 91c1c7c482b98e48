"""Commands in a working directory with the names of our packages; from a checkout and a wheel."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from contracts.outputs import OUTPUTS
from tests.audio_clips import write_clip
from tests.e2e.conftest import service_environment
from tests.e2e.test_up import check_video
from tests.training.scenes import write_turns

pytestmark = pytest.mark.services

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = {name.partition(".")[0] for name in PROJECT["tool"]["setuptools"]["packages"]}
HOSTILE = "raise SystemExit('a module of the working directory was imported')\n"
LIBRARIES = ("torch", "numpy", "celery", "alembic", "random", "secrets", "logging")
FOLDERS = ("api", "models")
COPIED = ("pyproject.toml", "README.md", "LICENSE", "NOTICE")


@dataclass(frozen=True)
class Installed:
    """A folder from which the product is imported, and the environment of its commands."""

    path: Path
    environment: dict[str, str]

    def run(self, *arguments: str, cwd: Path, status: int = 0) -> str:
        """Run the interpreter with arguments and return its output, errors included."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=cwd,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
        )
        assert done.returncode == status, done.stdout
        return done.stdout

    def server(self, *arguments: str, cwd: Path, status: int = 0) -> str:
        """Run `visavis-server` as its script does: without the working directory on the path."""
        return self.run("-P", "-m", "cli.main", *arguments, cwd=cwd, status=status)


@pytest.fixture(scope="module")
def wheel_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the files of a wheel that is built from a copy of the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    source, built, target = folder / "source", folder / "built", folder / "target"
    source.mkdir()
    for name in COPIED:
        shutil.copy(ROOT / name, source)
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, source / package, ignore=ignored)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q")
    alone = ("--no-deps", "--no-index")
    wheel = (*pip, "wheel", *alone, "--no-build-isolation", "-w", str(built), str(source))
    subprocess.run(wheel, check=True, cwd=folder)
    (file,) = built.iterdir()
    install = (*pip, "install", *alone, "--no-compile", "--target", str(target), str(file))
    subprocess.run(install, check=True, cwd=folder)
    return target


@pytest.fixture
def wheel(wheel_folder: Path, people: Path, tmp_path: Path) -> Installed:
    environment = dict(service_environment(people, tmp_path / "data"))
    return Installed(wheel_folder, environment | {"PYTHONPATH": str(wheel_folder)})


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """Folder where a user has modules with the names of packages, except those that `-m` starts."""
    for name in {*PACKAGES, *LIBRARIES} - {"training", "bench", *FOLDERS}:
        (tmp_path / f"{name}.py").write_text(HOSTILE)
    for name in FOLDERS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(HOSTILE)
    return tmp_path


def add_own_training(folder: Path) -> None:
    (folder / "training").mkdir()
    (folder / "training" / "__init__.py").write_text(HOSTILE)
    (folder / "training" / "__main__.py").write_text(HOSTILE)


def test_a_checkout_is_imported_from_its_folder(wheel: Installed, hostile: Path) -> None:
    checkout = Installed(ROOT, wheel.environment | {"PYTHONPATH": str(ROOT)})
    program = "import cli, jobs, models; print(cli.__file__, jobs.__file__, models.__file__)"
    files = checkout.run("-P", "-c", program, cwd=hostile).split()
    assert [Path(file).parents[1] for file in files] == [ROOT] * 3


def test_a_wheel_finds_itself_and_its_outputs_and_recipes(wheel: Installed, hostile: Path) -> None:
    """Outputs and recipes are found by a scan of folders."""
    program = (
        "import cli, jobs, json, models; from contracts.outputs import OUTPUTS; "
        "from training.networks.recipes import read_recipe; "
        "read_recipe('tokenizer', 'released'); "
        "files = [each.__file__ for each in (cli, jobs, models)]; "
        "print(json.dumps([files, [each.name for each in OUTPUTS]]))"
    )
    files, outputs = json.loads(wheel.run("-P", "-c", program, cwd=hostile))
    assert [Path(file).parents[1] for file in files] == [wheel.path] * 3
    assert outputs == [each.name for each in OUTPUTS]


def test_up_writes_videos_beside_modules_of_the_same_names(wheel: Installed, hostile: Path) -> None:
    """The API probes the clips in a child process, and the worker is a process of Celery.

    With keys: `up` creates one for itself. Without: test_declarations. Each person has a file.
    """
    add_own_training(hostile)
    write_clip(hostile / "talk.flac", seconds=0.9, channels=1)
    write_clip(hostile / "partner.mp3", seconds=2.0, channels=1)
    with_keys = Installed(wheel.path, wheel.environment | {"VISAVIS_ACCESS": "keys"})

    output = with_keys.server(
        "up", "--submit", "talk.flac", "--partner", "partner.mp3", "--takes", "2", "--out", "out",
        cwd=hostile,
    )  # fmt: skip

    assert {path.name for path in (hostile / "out").iterdir()} == {
        "talk-take-1.mp4",
        "talk-take-2.mp4",
    }
    for take in (1, 2):
        video = Path("out", f"talk-take-{take}.mp4")
        check_video((hostile / video).read_bytes(), seconds=2.0)
        assert f"{video}  " in output
    lines = output.splitlines()
    shorter = "The file in audio is 1.10 s shorter than the other; it ends in silence."
    assert [line for line in lines if "warning" in line] == [f"warning: {shorter}"]
    assert any(line.startswith("  render   100 %") for line in lines)
    assert all(len(line) < 200 and line.isprintable() for line in lines)
    log = Path(wheel.environment["VISAVIS_DATA"], "logs", "worker.log")
    assert log.stat().st_size > 0


def test_doctor_of_a_wheel_says_that_people_must_be_set(wheel: Installed, hostile: Path) -> None:
    """A wheel contains no person; in a checkout, people/ is the default."""
    add_own_training(hostile)
    environment = {name: wheel.environment[name] for name in ("PATH", "PYTHONPATH")}
    environment |= {"OMP_NUM_THREADS": "1", "VISAVIS_DEVICE": "cpu"}
    output = Installed(wheel.path, environment).server("doctor", cwd=hostile, status=1)
    *checks, _summary = output.splitlines()
    (bad,) = [line for line in checks if not line.startswith("ok")]
    assert bad.split()[:4] == ["bad", "people", "VISAVIS_PEOPLE", "is"]
    assert "set it to a folder of person directories" in bad


def test_training_works_beside_modules_of_the_same_names(wheel: Installed, hostile: Path) -> None:
    write_turns(hostile / "scenes", "a", 601)
    tokenizer = ("tokenizer", "--data", "scenes", "--out", "ada", "--steps", "1")
    wheel.run("-m", "training", *tokenizer, cwd=hostile)
    assert (hostile / "ada" / "tokenizer.safetensors").is_file()


def test_training_with_a_safe_path_works_beside_a_folder_training(
    wheel: Installed, hostile: Path
) -> None:
    add_own_training(hostile)
    assert "tokenizer" in wheel.run("-P", "-m", "training", "--help", cwd=hostile)


def test_bench_works_beside_modules_of_the_same_names(wheel: Installed, hostile: Path) -> None:
    add_own_training(hostile)
    assert "avatar" in wheel.run("-m", "bench", "--help", cwd=hostile)


def test_training_runs_in_a_checkout_that_is_not_installed() -> None:
    """The working directory is then the folder of the packages."""
    environment = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
    output = Installed(ROOT, environment).run("-m", "training", "--help", cwd=ROOT)
    assert "tokenizer" in output


def test_a_wheel_has_all_files_that_are_not_modules(wheel_folder: Path) -> None:
    """Every file of the packages is in the wheel: page, recipes, poses, template of migrations."""
    for package in PACKAGES:
        files = {
            path.relative_to(ROOT)
            for path in (ROOT / package).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert [str(file) for file in sorted(files) if not (wheel_folder / file).is_file()] == []


def test_the_script_of_a_wheel(wheel_folder: Path, tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(wheel_folder)}
    script = str(wheel_folder / "bin" / "visavis-server")
    output = Installed(wheel_folder, environment).run(script, "--version", cwd=tmp_path)
    assert output == f"visavis-server {PROJECT['project']['version']}\n"
