"""Fenced blocks of the documents for users, and the reasons of those that tests do not run."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

from tests.house.source import ROOT

REASON = re.compile(r"\*([^*]+); the tests do not run it\.\*")
COMMENT = re.compile(r"\s+#.*")


@dataclass(frozen=True)
class Block:
    """A fenced block: page and line of its fence, language, text, and the reason not to run it."""

    page: str
    line: int
    language: str
    text: str
    reason: str | None

    def __str__(self) -> str:
        return f"{self.page}:{self.line} ({self.language})"

    @property
    def first_line(self) -> str:
        """The first line without its comment."""
        return COMMENT.sub("", self.text.partition("\n")[0]).strip()


def pages() -> list[Path]:
    """Documents for users, in the order of the run."""
    clients = [ROOT / "client" / "README.md", ROOT / "client" / "typescript" / "README.md"]
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *clients]
    return [path for path in found if path.exists()]


def blocks(path: Path) -> Iterator[Block]:
    """Blocks of a page. A reason is the paragraph before the fence, in the form of `REASON`."""
    reason = None
    for token in MarkdownIt().parse(path.read_text(encoding="utf-8")):
        if token.type == "inline":
            match = REASON.fullmatch(" ".join(token.content.split()))
            reason = match[1] if match else None
        elif token.type == "fence":
            assert token.map
            page = path.relative_to(ROOT).as_posix()
            yield Block(page, token.map[0] + 1, token.info.strip(), token.content, reason)
        if token.type != "paragraph_close":
            reason = reason if token.type in ("inline", "paragraph_open") else None
