"""The product's source files and documents, as the tests of layout and language read them."""

import ast
import gc
import io
import re
import tokenize
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES: tuple[str, ...] = tuple(PYPROJECT["tool"]["importlinter"]["root_packages"])
CLIENT = "visavis"  # the package with a distribution to itself, in client/

Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Text:
    """A piece of English and its place, printed as `path:line: text`."""

    path: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}: {self.text}"


def folder_of(package: str) -> Path:
    """Folder of a top-level package."""
    return ROOT / "client" / package if package == CLIENT else ROOT / package


def product_files() -> list[Path]:
    return sorted(path for name in PACKAGES for path in folder_of(name).rglob("*.py"))


def files_of_tests() -> list[Path]:
    return sorted((ROOT / "tests").rglob("*.py"))


def documents() -> list[Path]:
    names = ("README.md", "CHANGELOG.md", "client/README.md")
    return [*(ROOT / name for name in names), *sorted((ROOT / "docs").rglob("*.md"))]


def other_texts() -> list[Path]:
    """Text files outside Python and the documents: the web page, recipes, build files."""
    names = ("Makefile", "NOTICE", "pyproject.toml", "constraints.txt", "client/pyproject.toml")
    folders = (ROOT / "api" / "page", ROOT / "training" / "recipes")
    data = (".m4a", ".svg", ".woff2")
    texts = [path for folder in folders for path in folder.rglob("*.*") if path.suffix not in data]
    return [*(ROOT / name for name in names), *sorted(texts)]


@cache
def parsed(path: Path) -> ast.Module:
    """Return a tree, parsed without garbage collection: all trees stay, and it visits them."""
    gc.disable()
    try:
        return ast.parse(path.read_text(), str(path))
    finally:
        gc.enable()


def docstring_openings(path: Path) -> Iterator[Text]:
    """The first line of each docstring, except those of test functions."""
    for node in ast.walk(parsed(path)):
        if not isinstance(node, Documented):
            continue
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            continue
        docstring = ast.get_docstring(node)
        if docstring:
            yield Text(path, node.body[0].lineno, docstring.splitlines()[0])


@cache
def strings(path: Path) -> tuple[Text, ...]:
    """String literals of a module, docstrings included, each as one line.

    Names of log events are left out: programs compare them.
    """
    return tuple(_strings(path))


def _strings(path: Path) -> Iterator[Text]:
    events = set[ast.expr]()  # ast.walk visits a call before its arguments
    for node in ast.walk(parsed(path)):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="logger")), args=[event, *_]):
                events.add(event)
            case ast.Constant(value=str(text)) if node not in events:
                yield Text(path, node.lineno, one_line(text))


@cache
def comments(path: Path) -> tuple[Text, ...]:
    """Comments of a module; those of consecutive lines are one."""
    return tuple(_comments(path))


def _comments(path: Path) -> Iterator[Text]:
    first, lines = 0, list[str]()
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type != tokenize.COMMENT:
            continue
        if lines and token.start[0] != first + len(lines):
            yield Text(path, first, " ".join(lines))
            lines = []
        if not lines:
            first = token.start[0]
        lines.append(token.string.lstrip("# "))
    if lines:
        yield Text(path, first, " ".join(lines))


def paragraphs(path: Path) -> Iterator[Text]:
    """Blocks of a document, separated by empty lines, each as one line."""
    text = path.read_text()
    for block in re.finditer(r"(?:.+\n?)+", text):
        yield Text(path, text.count("\n", 0, block.start()) + 1, one_line(block.group()))


def one_line(text: str) -> str:
    return " ".join(text.split())
