"""New outputs, samplers, avatar kinds and request fields: one file each, no other change.

The test copies the product, adds five files, and uses them as a caller would: through the API and
a worker, through `generate`, and in the form of the web page.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contracts.person import write_manifest
from jobs.request.model import GenerateRequest, motion_digest
from tests.e2e.conftest import service_environment
from tests.page_dom import inputs_of_form
from tests.tiny_person import write_tiny_person

ROOT = Path(__file__).parents[2]
PACKAGES = ("api", "cli", "contracts", "jobs", "models", "worker")
FILES = {
    "toy_output.py": "worker/pipeline/outputs/toy.py",
    "toy_sampler.py": "models/motion/samplers/toy.py",
    "toy_kind.py": "models/avatar/toy/kind.py",
    "toy_motion_field.py": "jobs/request/fields/toy_motion.py",
    "toy_look_field.py": "jobs/request/fields/toy_look.py",
}


@dataclass(frozen=True)
class Product:
    """A copy of the product with the five files, and an environment that imports it."""

    root: Path
    environment: Mapping[str, str]

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-P", *arguments],
            cwd=self.root.parent,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Product:
    folder = tmp_path_factory.mktemp("product")
    root = folder / "source"
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name, place in FILES.items():
        target = root / place
        assert not target.exists()
        target.parent.mkdir(exist_ok=True)
        shutil.copy(Path(__file__).parent / "declarations" / name, target)
    people = folder / "people"
    write_toy_person(people)
    environment = service_environment(people, folder / "data")
    environment |= {"PYTHONPATH": str(root), "VISAVIS_WATERMARK": "off"}
    return Product(root, environment)


def write_toy_person(people: Path) -> None:
    person = write_tiny_person(people)
    members = json.loads((person / "person.json").read_text())
    files = members.pop("files")
    members["avatar"]["kind"] = "toy"
    members["defaults"]["grey"] = 30
    write_manifest(person, {k: v for k, v in members.items() if k != "schema"}, files)


def test_api_and_worker_use_all_of_them(product: Product, clip: Path, tmp_path: Path) -> None:
    product.run(
        "-m", "cli.main", "up", "--submit", str(clip), "--out", str(tmp_path),
        "--format", "frames", "--sampler", "zeros", "--grey", "77", "--views", "front,side",
    )  # fmt: skip

    frames = np.load(tmp_path / "talk-take-1.npy")
    assert frames.shape == (60, 64, 128, 4)  # alpha: transparent is the default there
    assert frames[0, 0, 0].tolist() == [77, 0, 77, 77]


def test_generate_selects_the_output_by_its_suffix(
    product: Product, clip: Path, tmp_path: Path
) -> None:
    settings = {**product.environment, "VISAVIS_TOY_BRIGHTNESS": "5"}
    out = tmp_path / "talk.npy"

    Product(product.root, settings).run("-m", "cli.main", "generate", str(clip), "--out", str(out))

    frames = np.load(out)
    # The person's default of the field, the setting of the kind, and motion of DDIM.
    assert frames[0, 0, 0].tolist() == [35, 1, 35, 35]


@pytest.fixture(scope="module")
def described(product: Product) -> dict[str, Any]:
    """Document of the API, digests of requests and the table of the docs, by one process."""
    code = (
        "import json; from api.app import create_app\n"
        "from jobs.request.table import request_table\n"
        "from jobs.request.model import GenerateRequest, motion_digest\n"
        "from jobs.settings import Settings\n"
        "requests = [{}, {'grey': 9}, {'swing': 0}, {'swing': 3}]\n"
        "digests = [motion_digest(GenerateRequest(seed=1, **each), 'p') for each in requests]\n"
        "document = create_app(Settings()).openapi()\n"
        "print(json.dumps({'document': document, 'digests': digests, 'table': request_table()}))"
    )
    found: dict[str, Any] = json.loads(product.run("-c", code))
    return found


def test_the_api_describes_them(described: dict[str, Any]) -> None:
    schemas = described["document"]["components"]["schemas"]

    form, body = schemas["GenerateForm"]["properties"], schemas["GenerateBody"]["properties"]
    assert form["sampler"]["enum"] == ["ddim", "dpm-solver", "unipc", "student", "zeros"]
    assert form["swing"]["maximum"] == 9
    assert (form["grey"]["minimum"], form["grey"]["maximum"]) == (0, 200)
    assert body["format"]["enum"] == ["mp4", "fmp4", "mov", "webm", "png", "frames"]
    assert {"swing", "grey"} <= set(schemas["BatchEntry"]["properties"])
    again = set(schemas["RenderAsked"]["properties"])
    assert "grey" in again
    assert "swing" not in again
    assert "grey" in schemas["PersonDefaults"]["properties"]


def test_the_form_of_the_page_has_inputs_for_them(described: dict[str, Any]) -> None:
    inputs = inputs_of_form(described["document"])

    assert inputs["grey"] == {"type": "number", "min": 0, "max": 200, "label": "Grey"}
    assert inputs["sampler"]["options"] == ["", "ddim", "dpm-solver", "unipc", "student", "zeros"]
    assert inputs["swing"] == {"type": "number", "min": 0, "max": 9, "label": "Swing"}
    assert "frames" in inputs["format"]["options"]


def test_only_motion_fields_enter_the_digest_and_only_when_they_are_set(
    described: dict[str, Any],
) -> None:
    plain, grey, still, swinging = described["digests"]

    # Digests of stored motion stay valid.
    assert plain == motion_digest(GenerateRequest(seed=1), "p")
    assert plain == grey == still != swinging


def test_the_table_of_the_docs_has_them(described: dict[str, Any]) -> None:
    assert "| `swing` |" in described["table"]
    assert "| `grey` | 0..200 | the person's |" in described["table"]
