"""The files of an image as a plain directory, and commands in it as the image's user.

No container: the directory contains what the Dockerfile copies and installs, owned by root and
not writable for others. `setpriv` starts commands as the image's user. Dependencies are read from
the environment of the tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy.dockerfile import REPOSITORY, Copy, Dockerfile, read_dockerfile, requirements

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

UID = 65532
COMPILE = "models.avatar.raster.compiled"
LEFT_TO_COMPILE = "wp_models.avatar.raster.cpu_kernels_"  # its folder, without the digest
PRIVILEGES = ("--reuid", str(UID), "--regid", str(UID), "--clear-groups", "--no-new-privs")
# For a Python, a checkout or temporary files below a folder like /root that other users cannot
# enter: reading is allowed then, writing is not.
READ_ANYTHING = ("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search")


def missing() -> str | None:
    """Return why commands cannot run as another user here, or None."""
    if os.geteuid() != 0:
        return "only root can start a process as uid 65532; run the tests as root to include it"
    if shutil.which("setpriv") is None:
        return "setpriv not found; install util-linux"
    return None


@dataclass(frozen=True)
class Layout:
    """An image below a folder: `/opt/visavis` of the image is `root / "opt/visavis"`."""

    root: Path
    dockerfile: Dockerfile

    def path(self, path: str) -> Path:
        """Return the place of an absolute path of the image."""
        return self.root / path.removeprefix("/")

    def command(self, *arguments: str, start: str | None = None) -> list[str]:
        """Return the command line of the entry point, as the user of the image.

        start: another program of the image's PATH instead of the entry point.
        """
        program, *fixed = (start,) if start else self.dockerfile.entrypoint
        found = shutil.which(program, path=self.environment()["PATH"])
        assert found is not None, program
        return ["setpriv", *_privileges(), found, *fixed, *arguments]

    def environment(self, settings: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return ENV of the Dockerfile with the paths of this folder, and further settings."""
        own = {name: self._here(value) for name, value in self.dockerfile.environment.items()}
        return own | {"OMP_NUM_THREADS": "1"} | dict(settings or {})

    def run(
        self, *arguments: str, settings: Mapping[str, str] | None = None, start: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, in the working directory of the image."""
        return subprocess.run(
            self.command(*arguments, start=start),
            env=self.environment(settings),
            cwd=self.path(self.dockerfile.environment["HOME"]),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def writable(self) -> set[str]:
        """Return the folders, as paths of the image, in which a write of its user succeeds."""
        folders = [self.root, *(path for path in self.root.rglob("*") if path.is_dir())]
        attempts = [str(folder / "written") for folder in folders]
        script = 'for path; do ( : > "$path" ) 2>/dev/null && echo "$path"; done'
        written = [
            Path(line)
            for line in self.run("-c", script, "sh", *attempts, start="/bin/sh").stdout.split()
        ]
        for path in written:
            path.unlink()
        return {f"/{path.parent.relative_to(self.root)}" for path in written}

    def files(self) -> dict[str, tuple[int, int]]:
        """Return size and time of every file outside the writable paths."""
        writable = [self.path(each) for each in self.dockerfile.writable]
        return {
            str(path.relative_to(self.root)): (path.lstat().st_size, path.lstat().st_mtime_ns)
            for path in self.root.rglob("*")
            if not any(path.is_relative_to(each) for each in writable)
        }

    def _here(self, value: str) -> str:
        if not value.startswith("/"):
            return value
        places = [str(self.path(part)) for part in value.split(":")]
        return ":".join(part for part in (*places, *_system_path(value)))


@contextmanager
def laid_out(name: str, people: Path | None = None) -> Iterator[Layout]:
    """Lay out the image of docker/NAME.Dockerfile, with `people` at VISAVIS_PEOPLE."""
    dockerfile = read_dockerfile(name)
    assert dockerfile.user == f"{UID}:{UID}"
    root = Path(tempfile.mkdtemp(prefix=f"visavis-{name}-"))
    layout = Layout(root, dockerfile)
    try:
        root.chmod(0o755)  # pytest's folders admit only their owner
        _install(layout)
        for copy in dockerfile.copies:
            if copy.target.startswith("/"):
                _copy(copy, layout.path(copy.target))
        if people is not None:
            shutil.copytree(people, layout.path(dockerfile.environment["VISAVIS_PEOPLE"]))
        _read_only(root)
        for path in dockerfile.writable:
            layout.path(path).mkdir(parents=True, exist_ok=True)
            os.chown(layout.path(path), UID, UID)
        yield layout
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _install(layout: Layout) -> None:
    """Follow the RUN lines of the Dockerfile: an environment, and the packages in it."""
    assert any("python -m venv /opt/visavis" in run for run in layout.dockerfile.runs)
    assert any("pip install --no-deps ." in run for run in layout.dockerfile.runs)
    folder = layout.path("/opt/visavis")
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=300
    )
    packages = next(folder.glob("lib/python*/site-packages"))
    _link_dependencies(layout.dockerfile.extras, packages)
    python = folder / "bin/python"
    packages_of = (each for each in layout.dockerfile.copies if not each.target.startswith("/"))
    wheel = _wheel(tuple(packages_of))
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "-q", "--no-deps", str(wheel)], check=True, timeout=300)
    if any(COMPILE in run for run in layout.dockerfile.runs):
        kernels = Path(layout.environment()["WARP_CACHE_PATH"])
        _copy_kernels(kernels)
        subprocess.run(
            [str(python), "-m", COMPILE, "--arch"],  # kernels of GPUs have other tests
            env=layout.environment(),
            cwd=layout.root,
            check=True,
            timeout=900,
        )
        assert list(kernels.rglob(f"{LEFT_TO_COMPILE}*.o")), "nothing was compiled"


def _copy_kernels(target: Path) -> None:
    """Copy kernels that earlier tests compiled, except those of one small module."""
    compiled = Path(os.environ["WARP_CACHE_PATH"])
    if compiled.is_dir():
        unwanted = shutil.ignore_patterns(f"{LEFT_TO_COMPILE}*")
        shutil.copytree(compiled, target, ignore=unwanted)


def _link_dependencies(extras: tuple[str, ...], packages: Path) -> None:
    """Link what the extras of the image need, and nothing else, from the tests' environment."""
    waiting = [*requirements(extras)]
    seen: set[str] = set()
    while waiting:
        requirement = Requirement(waiting.pop())
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        for extra in ("", *requirement.extras):
            key = f"{canonicalize_name(requirement.name)}[{extra}]"
            if key in seen:
                continue
            seen.add(key)
            found = distribution(requirement.name)
            for line in found.requires or ():
                needed = Requirement(line)
                if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                    needed.marker = None
                    waiting.append(str(needed))
            if not extra:
                _link(found, packages)


def _link(found: Distribution, packages: Path) -> None:
    names = {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}
    for name in names:
        source, target = Path(str(found.locate_file(name))), packages / name
        if source.suffix != ".pth" and not target.exists():
            target.symlink_to(source)


@cache
def _wheel(copies: tuple[Copy, ...]) -> Path:
    """Build the wheel of the files that these COPY lines bring."""
    folder = Path(tempfile.mkdtemp(prefix="visavis-wheel-"))
    for copy in copies:
        _copy(copy, folder / "source" / copy.target)
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check"]
    subprocess.run(
        [*build, "--no-deps", "--no-build-isolation", "-w", str(folder), str(folder / "source")],
        check=True,
        timeout=300,
    )
    shutil.rmtree(folder / "source")
    return next(folder.glob("*.whl"))


def _copy(copy: Copy, target: Path) -> None:
    """Copy as Docker does: the content of a folder, or files into a folder."""
    for name in copy.sources:
        source = REPOSITORY / name
        if source.is_dir():
            unwanted = shutil.ignore_patterns("__pycache__", ".training")
            shutil.copytree(source, target, symlinks=True, ignore=unwanted, dirs_exist_ok=True)
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)


def _read_only(root: Path) -> None:
    for path in root.rglob("*"):
        if not path.is_symlink():
            os.chown(path, 0, 0)
            path.chmod(path.stat().st_mode & ~0o022 | 0o444)
    for path in [root, *(each for each in root.rglob("*") if each.is_dir())]:
        path.chmod(0o755)


@cache
def _privileges() -> tuple[str, ...]:
    for path in (
        sysconfig.get_path("purelib"),
        sysconfig.get_path("stdlib"),
        tempfile.gettempdir(),
    ):
        readable = ["setpriv", *PRIVILEGES, "test", "-r", path]
        if subprocess.run(readable, check=False).returncode != 0:
            return (*PRIVILEGES, *READ_ANYTHING)
    return PRIVILEGES


def _system_path(value: str) -> list[str]:
    return [part for part in value.split(":")[1:] if Path(part).is_dir()]
