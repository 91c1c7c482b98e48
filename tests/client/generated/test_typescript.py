"""The TypeScript client: compiled with all strict checks, and run against a live service."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.generated.conftest import ROOT, Live, tool
from tests.docs.blocks import blocks

pytestmark = pytest.mark.services

SOURCE = ROOT / "client" / "typescript"
NOT_RUN = 1  # the receiver of webhooks


def snippets() -> Iterator[tuple[bool, str]]:
    """Snippets of the README: whether a test runs it, and its code."""
    for block in blocks(SOURCE / "README.md"):
        if block.language == "ts":
            yield block.reason is None, block.text


@pytest.fixture(scope="module")
def compiled(live: Live, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the package as users install it, with its tests and the snippets of its README."""
    packages = SOURCE / "node_modules"
    if not packages.is_dir():
        pytest.fail(f"{packages} not found; run `make test`")
    folder = tmp_path_factory.mktemp("typescript") / "package"
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("node_modules", "dist"))
    (folder / "node_modules").symlink_to(packages)
    (folder / "dist").symlink_to("out/src")  # where package.json says that the package is
    (folder / "readme").mkdir()
    for number, (_, code) in enumerate(snippets()):
        (folder / "readme" / f"{number}.ts").write_text(code)
    options = {"rootDir": ".", "outDir": "out", "paths": {"visavis": ["./src/index.ts"]}}
    config = {"extends": "./tsconfig.json", "compilerOptions": options, "include": ["*/*.ts"]}
    (folder / "tsconfig.all.json").write_text(json.dumps(config))
    run(live, folder, str(tool("node/node")), "scripts/types.mjs")
    run(live, folder, "node_modules/.bin/tsc", "-p", "tsconfig.all.json")
    (folder / "examples").mkdir()
    shutil.copy(live.clip, folder / "examples" / "conversation.wav")
    return folder


def run(live: Live, folder: Path, *command: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**live.environment, "VISAVIS_BASE_URL": live.url},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_package_tests_and_snippets_of_the_readme_work_with_a_live_service(
    live: Live, compiled: Path
) -> None:
    """One test: workers of pytest would compile the package for each of its parts."""
    _has_what_its_description_names(compiled)
    _passes_its_tests(live, compiled)
    _runs_the_snippets(live, compiled)


def _passes_its_tests(live: Live, compiled: Path) -> None:
    node = str(tool("node/node"))

    report = run(live, compiled, node, "--test", "--test-reporter=tap", "out/test/client.test.js")

    assert int(re.findall(r"^# pass (\d+)$", report, re.MULTILINE)[0]) >= 12
    assert "# skipped 0" in report


def _runs_the_snippets(live: Live, compiled: Path) -> None:
    kept = [number for number, (runs, _) in enumerate(snippets()) if runs]
    assert len(list(snippets())) - len(kept) == NOT_RUN

    for number in kept:
        path = compiled / "out" / "readme" / f"{number}.js"
        text = path.read_text().replace("http://127.0.0.1:8000", live.url)
        path.write_text(text)
        run(live, compiled, str(tool("node/node")), str(path))

    assert (compiled / "out.mp4").stat().st_size > 0


def _has_what_its_description_names(compiled: Path) -> None:
    described = json.loads((compiled / "package.json").read_text())
    entry = described["exports"]["."]

    assert described["name"] == "visavis"
    for path in (entry["types"], entry["default"], described["types"]):
        assert (compiled / path).is_file(), path
    assert (compiled / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
