"""Layout: names and sizes of packages, imports between them, and imports at start."""

import graphlib
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import grimp
import pytest

from tests.house.source import CLIENT, PACKAGES, PYPROJECT, ROOT, folder_of, product_files

MOST_ENTRIES = 14


@pytest.fixture(scope="module")
def distributions() -> Mapping[str, list[str]]:
    """Distributions by the top-level packages that they contain."""
    return importlib.metadata.packages_distributions()


@pytest.mark.parametrize("package", PACKAGES)
def test_each_plain_name_belongs_to_our_distribution_only(
    package: str, distributions: Mapping[str, list[str]]
) -> None:
    distribution = CLIENT if package == CLIENT else "visavis-server"

    assert set(distributions.get(package, [distribution])) == {distribution}


def test_every_package_on_disk_is_listed_by_name() -> None:
    client = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text())
    listed = [each["tool"]["setuptools"]["packages"] for each in (PYPROJECT, client)]
    found = {
        ".".join((name, *folder.relative_to(folder_of(name)).parts))
        for name in PACKAGES
        for folder in package_folders(name)
    }

    assert {name for packages in listed for name in packages} == found


def test_there_is_no_package_under_tests() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_a_folder_of_tests_is_a_scope(request: pytest.FixtureRequest) -> None:
    """Else a service with the scope `package` runs until the end of all tests."""
    folder = request.node.getparent(pytest.Package)

    assert folder is not None and folder.path == Path(__file__).parent


def test_no_modules_import_each_other_in_a_cycle() -> None:
    """Imports for type checking count, too."""
    imports = grimp.build_graph(*PACKAGES, cache_dir=None)
    order = graphlib.TopologicalSorter(
        {name: imports.find_modules_directly_imported_by(name) for name in imports.modules}
    )

    try:
        order.prepare()
    except graphlib.CycleError as error:
        pytest.fail("import cycle: " + " <- ".join(error.args[1]))


def test_no_package_holds_more_than_fourteen_modules_and_sub_packages() -> None:
    sizes = {
        str(folder.relative_to(ROOT)): len(entries_of(folder))
        for package in PACKAGES
        for folder in package_folders(package)
        if folder.name != "versions"  # of migrations, one for each change of the schema
    }

    assert {name: size for name, size in sizes.items() if size > MOST_ENTRIES} == {}


def test_module_names_are_words_of_the_glossary() -> None:
    glossary = (ROOT / "docs" / "architecture.md").read_text().partition("\n## Glossary\n")[2]
    terms, _, plain = glossary.partition("\n### Plain technical words\n")
    term_column = " ".join(re.findall(r"^\| ([^|]+) \|", terms, re.MULTILINE))
    known = {singular(word) for word in re.findall(r"[a-z0-9]+", f"{term_column} {plain}".lower())}
    names = {path.parent.name if path.stem == "__init__" else path.stem for path in product_files()}
    used = {singular(word) for name in names if not name[0].isdigit() for word in name.split("_")}

    assert used - known - {""} == set()


def package_folders(package: str) -> list[Path]:
    return sorted(path.parent for path in folder_of(package).rglob("__init__.py"))


def entries_of(folder: Path) -> list[Path]:
    """Modules and sub-packages of a package; folders without Python do not count."""
    modules = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
    return modules + [path.parent for path in folder.glob("*/__init__.py")]


def singular(word: str) -> str:
    return word.removesuffix("s")


def test_the_api_starts_where_torch_is_not_installed() -> None:
    """Of models and worker, only the declarations of registries are imported.

    The SDK of OpenTelemetry is an extra, which is imported only when it is on.
    """
    blocked = ("torch", "training", "warp", "numpy", "opentelemetry.sdk", "opentelemetry.exporter")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked!r})); import api.app\n"
        "print(*(name for name in sys.modules if name.startswith(('models', 'worker'))))"
    )

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    loaded = {name for name in done.stdout.split() if not is_package(name)}
    assert loaded <= declarations() | {"worker.pipeline.media.container"}


def is_package(name: str) -> bool:
    return (ROOT / name.replace(".", "/") / "__init__.py").is_file()


def declarations() -> set[str]:
    places = (
        "worker/pipeline/outputs/*.py",
        "models/motion/samplers/*.py",
        "models/avatar/*/kind.py",
    )
    paths = [path for place in places for path in ROOT.glob(place)]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths}


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
        "models.avatar.loading",
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
        "bench.__main__",
    )
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({absent!r}))\n"
        f"import importlib\nfor name in {modules!r}: importlib.import_module(name)"
    )

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
