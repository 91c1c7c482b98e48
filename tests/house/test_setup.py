"""`make help`, and the installation of packages by `make setup`."""

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()


def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, env=inherited | environment, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def installer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("install", ROOT / "tools" / "install.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_help_lists_every_target_with_its_text() -> None:
    (phony,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    targets = set(phony.split()) - {"python"}  # a check, which others need

    done = make()

    listed = re.findall(r"^  ([a-z-]+) +\S", done.stdout, re.MULTILINE)
    assert (done.returncode, set(listed)) == (0, targets)
    assert done.stdout == make("help").stdout


def test_the_supported_versions_of_python_are_those_of_the_package() -> None:
    requires = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    low, high = re.findall(r"\(3, (\d+)\)", MAKEFILE)

    assert requires == f">=3.{low},<3.{int(high) + 1}"


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        ({"PYTHON": "no-such-python"}, "no-such-python: not found; install Python 3.11 to 3.13"),
        ({"PYTHON": "too-new"}, "too-new is Python 3.14.1, and visavis needs 3.11 to 3.13; name"),
        ({"TORCH": "rocm"}, "TORCH: unknown build rocm; use cpu or default"),
    ],
)
def test_set_up_stops_with_one_sentence(
    tmp_path: Path, choice: dict[str, str], sentence: str
) -> None:
    new = tmp_path / "too-new"
    new.write_text('#!/bin/sh\n[ "$1" = -V ] && echo Python 3.14.1 || exit 1\n')
    new.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"

    done = make("setup", f"VENV={tmp_path}/venv", PATH=path, **choice)

    assert done.returncode == 2
    first, *rest = done.stderr.splitlines()
    assert first.startswith(sentence)
    assert all(line.startswith("make") for line in rest)
    assert not (tmp_path / "venv").exists()


def test_another_build_of_torch_than_that_of_the_environment_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".setup").touch()
    (tmp_path / ".torch").write_text("cpu\n")

    other = make("python", f"VENV={tmp_path}", f"PYTHON={sys.executable}", TORCH="default")
    same = make("python", f"VENV={tmp_path}", f"PYTHON={sys.executable}")

    assert other.returncode == 2
    assert f"{tmp_path} has TORCH=cpu; remove it" in other.stderr
    assert same.returncode == 0, same.stderr


def test_set_up_says_sizes_choice_and_next_step_in_advance() -> None:
    plan = make("-n", "setup", "VENV=no-such-folder", f"PYTHON={sys.executable}").stdout

    assert "1.9 GB on disk, with CUDA 3.1 and 5.8 GB" in plan
    assert "PATH:  . no-such-folder/bin/activate" in plan
    assert plan.index("TORCH=cpu selects") < plan.index("tools/install.py") < plan.index("Ready.")


def test_a_silent_installation_prints_lines_and_a_failed_one_the_end_of_its_output(
    installer: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A stand-in for pip is silent in each step, longer than the time between two lines."""
    pip = tmp_path / "bin" / "pip"
    pip.parent.mkdir()
    pip.touch()
    (tmp_path / "bin" / "python").write_text(
        "#!/bin/sh\n"
        'case "$*" in *torch==*) echo "ERROR: not found"; exit 1;; esac\n'
        "echo Collecting numpy\nsleep 0.3\necho '  Downloading numpy.whl (15 MB)'\nsleep 0.3\n"
        "echo Installing collected packages: numpy, scipy\nsleep 0.3\n"
        'case "$*" in *broken*) echo "ERROR: no space left"; exit 1;; esac\n'
    )
    (tmp_path / "bin" / "python").chmod(0o755)
    monkeypatch.setattr(installer, "DRAW_SECONDS", 0.05)
    monkeypatch.setattr(installer, "LINE_SECONDS", 0.05)

    assert installer.install(tmp_path, ["good"], "cpu", "http://127.0.0.1:1/") == 0
    good = capsys.readouterr().out
    assert installer.install(tmp_path, ["broken"], "default", "") == 1
    broken = capsys.readouterr()

    steps = [
        "collecting numpy",
        "downloading numpy.whl (15 MB)",
        "installing 2 packages",
        "installed into ",
    ]
    assert [step for step in steps if step in good] == steps
    assert good.count("is not available from") == 2  # the configured index, then that for the CPU
    assert "installing the default build of torch instead, which may include CUDA" in good
    assert (tmp_path / ".torch").read_text() == "cpu\n"
    assert "failed" in broken.out
    assert broken.err.endswith("ERROR: no space left\n")
