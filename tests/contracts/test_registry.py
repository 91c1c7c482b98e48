"""Registries: declarations found by a scan, and messages for modules and names that are wrong."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.registry import Named, Registry, RegistryError, UnknownName

DECLARATION = """
from types import SimpleNamespace
TOY = SimpleNamespace(name={name!r}, order={order})
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Folder of an importable package without modules."""
    folder = tmp_path / "toys"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == folder.name]:
        del sys.modules[name]


def declare(package: Path, module: str, *, name: str, order: int = 0) -> None:
    path = package / f"{module}.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(DECLARATION.format(name=name, order=order))


def toys(pattern: str = "*.py") -> Registry[Named]:
    return Registry("toy", "toys", "TOY", pattern)


def test_declarations_are_ordered_by_their_order_and_then_by_their_name(package: Path) -> None:
    declare(package, "a", name="last", order=2)
    declare(package, "b", name="second", order=1)
    declare(package, "c", name="first", order=1)

    registry = toys()

    assert [toy.name for toy in registry] == ["first", "second", "last"]
    assert "last" in registry and "other" not in registry
    assert registry["last"].order == 2


def test_a_pattern_finds_declarations_in_sub_packages(package: Path) -> None:
    declare(package, "red/kind", name="red")
    declare(package, "red/other", name="other")
    (package / "red" / "__init__.py").touch()

    assert [toy.name for toy in toys("*/kind.py")] == ["red"]


def test_an_unknown_name_is_reported_with_the_names_that_exist(package: Path) -> None:
    declare(package, "a", name="red")
    declare(package, "b", name="blue")

    with pytest.raises(UnknownName, match="unknown toy 'green'; available: blue, red"):
        toys()["green"]


def test_a_name_that_is_declared_twice_is_refused(package: Path) -> None:
    declare(package, "a", name="red")
    declare(package, "b", name="red")

    with pytest.raises(RegistryError, match="toys: toy 'red' is declared twice; rename one"):
        list(toys())


def test_a_module_without_a_declaration_is_refused(package: Path) -> None:
    (package / "helpers.py").touch()

    with pytest.raises(RegistryError, match=r"toys\.helpers has no TOY; declare a toy there"):
        list(toys())
