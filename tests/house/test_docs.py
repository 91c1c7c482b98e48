"""Documents are current: files, modules, functions and headings that they name exist."""

import ast
import re
from pathlib import Path

from tests.house.source import (
    CLIENT,
    PACKAGES,
    ROOT,
    comments,
    documents,
    folder_of,
    other_texts,
    paragraphs,
    parsed,
    product_files,
    strings,
)

FOLDERS = "|".join((*PACKAGES, "client", "docs", "tests"))
FILE = re.compile(rf"(?<![\w/.-])(?:{FOLDERS})(?:/[\w-]+)+\.(?:css|html|js|json|md|npz|py|toml)\b")
MODULE = re.compile(
    rf"(?<![\w/.-])(?:{'|'.join(PACKAGES)})(?:\.(?!(?:log|md|py)\b)[A-Za-z_]\w*)+\b(?!/)"
)
CALL = re.compile(r"`([A-Za-z_]\w*)\(")
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)")


def test_files_that_documents_and_comments_name_exist() -> None:
    prose = [text for path in documents() + other_texts() for text in paragraphs(path)]
    code = [text for path in product_files() for text in (*strings(path), *comments(path))]
    missing = [
        f"{text.path.relative_to(ROOT)}:{text.line}: {name}"
        for text in prose + code
        for name in FILE.findall(text.text)
        if not (ROOT / name).exists()
    ]

    assert missing == []


def test_modules_and_names_in_documents_exist() -> None:
    missing = [
        f"{text.path.relative_to(ROOT)}:{text.line}: {name}"
        for path in documents()
        for text in paragraphs(path)
        for name in MODULE.findall(text.text)
        if not defined(name)
    ]

    assert missing == []


def test_functions_that_documents_call_exist() -> None:
    functions = {
        node.name
        for path in product_files()
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }
    missing = [
        f"{text.path.relative_to(ROOT)}:{text.line}: {name}"
        for path in documents()
        for text in paragraphs(path)
        for name in CALL.findall(text.text)
        if name not in functions
    ]

    assert missing == []


def test_links_between_documents_lead_to_a_file_and_a_heading() -> None:
    broken = [
        f"{path.relative_to(ROOT)}: {file}#{heading}"
        for path in documents()
        for file, heading in LINK.findall(path.read_text())
        if not leads_somewhere(path.parent / file if file else path, heading)
    ]

    assert broken == []


def defined(name: str) -> bool:
    """True for a module or package, and for a name at the top level of one."""
    package, *rest = name.split(".")
    path = folder_of(package).joinpath(*rest)
    if package == CLIENT and rest and rest[0] in exported():
        return True
    if path.is_dir() or path.with_suffix(".py").is_file():
        return True
    module, attribute = path.parent.with_suffix(".py"), path.name
    return module.is_file() and attribute in {
        name for node in parsed(module).body for name in names_bound_by(node)
    }


def exported() -> list[str]:
    """Public names of the client, which its package imports from its modules."""
    code = parsed(folder_of(CLIENT) / "__init__.py")
    (names,) = (node for node in code.body if names_bound_by(node) == ["__all__"])
    assert isinstance(names, ast.Assign)
    listed: list[str] = ast.literal_eval(names.value)
    return listed


def names_bound_by(node: ast.stmt) -> list[str]:
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return [name]
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
        case _:
            return []


def leads_somewhere(target: Path, heading: str) -> bool:
    if not heading:
        return target.exists()
    return target.is_file() and heading in anchors(target)


def anchors(document: Path) -> set[str]:
    """Anchors as GitHub makes them: lower case, hyphens for spaces, without punctuation."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
