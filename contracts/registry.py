"""Registries of declarations: a declaration is one file in its own package, found by a scan.

A registry imports every module that its pattern matches and collects one named object from each.
Those modules import neither torch nor a web framework at module level, so that every process can
read the declarations; heavy imports stay inside their functions.
"""

from __future__ import annotations

import importlib
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Named(Protocol):
    """A declaration with a unique name and a position in lists."""

    @property
    def name(self) -> str: ...
    @property
    def order(self) -> int: ...


T = TypeVar("T", bound=Named)


class RegistryError(RuntimeError):
    """A module in a registry's package without a valid declaration."""


class UnknownName(LookupError):
    """No declaration has this name."""


class Registry(Generic[T]):
    """Declarations by name, in their order."""

    def __init__(self, label: str, package: str, attribute: str, pattern: str = "*.py") -> None:
        """Scan lazily, at the first access.

        label: the noun for messages ("sampler"). pattern: which files of the package hold a
        declaration, as a glob below its folder. attribute: the declaration's name in each of them.
        """
        self.label, self._package = label, package
        self._attribute, self._pattern = attribute, pattern

    @cached_property
    def by_name(self) -> Mapping[str, T]:
        """All declarations.

        Raises: RegistryError: when a matched module has no declaration, or a name is taken.
        """
        found: dict[str, T] = {}
        declared = [self._declaration(module) for module in self._modules()]
        for declaration in sorted(declared, key=lambda each: (each.order, each.name)):
            if declaration.name in found:
                raise RegistryError(
                    f"{self._package}: {self.label} {declaration.name!r} is declared twice; "
                    "rename one of them"
                )
            found[declaration.name] = declaration
        return found

    def __iter__(self) -> Iterator[T]:
        return iter(self.by_name.values())

    def __contains__(self, name: object) -> bool:
        return name in self.by_name

    def __getitem__(self, name: str) -> T:
        """Return a declaration by its name. Raises: UnknownName: with the names that exist."""
        try:
            return self.by_name[name]
        except KeyError:
            names = ", ".join(self.by_name)
            raise UnknownName(f"unknown {self.label} {name!r}; available: {names}") from None

    def _modules(self) -> Iterator[str]:
        for folder in importlib.import_module(self._package).__path__:
            for path in sorted(Path(folder).glob(self._pattern)):
                if path.name != "__init__.py":
                    parts = path.relative_to(folder).with_suffix("").parts
                    yield ".".join((self._package, *parts))

    def _declaration(self, module: str) -> T:
        try:
            declaration: T = getattr(importlib.import_module(module), self._attribute)
        except AttributeError:
            raise RegistryError(
                f"{module} has no {self._attribute}; declare a {self.label} there, or move the "
                "module to another package"
            ) from None
        return declaration
