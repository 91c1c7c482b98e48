"""Documentation pages as Markdown, and their list in the form of llms.txt (https://llmstxt.org)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "docs"  # a link in the repository, a copy in a wheel
SENTENCE = re.compile(r"(?:[^.]|\.(?=\S))+\.")
LINK = re.compile(r"\[([^]]*)\]\([^)]*\)")


@dataclass(frozen=True)
class Guide:
    """One page: its path below /docs, without the suffix, its title and first sentence."""

    name: str
    title: str
    sentence: str


def guides() -> list[Guide]:
    """All pages: guides by name, then decisions."""
    paths = [*sorted(FOLDER.glob("*.md")), *sorted(FOLDER.glob("*/*.md"))]
    return [_guide(path) for path in paths]


def guide_path(name: str) -> Path | None:
    """Return the file of a page; None if no page has this name."""
    known = {guide.name for guide in guides()}
    return FOLDER / f"{name}.md" if name in known else None


def list_of_guides(address: str, summary: str) -> str:
    """Return the text of /llms.txt. address: base URL of the service, for the links."""
    lines = {True: list[str](), False: list[str]()}
    for guide in guides():
        link = f"- [{guide.title}]({address}/docs/{guide.name}.md): {guide.sentence}"
        lines["/" in guide.name].append(link)
    return "\n".join(
        [
            "# visavis",
            "",
            f"> {summary}",
            "",
            "## API",
            "",
            f"- [API reference]({address}/docs): every operation, object and error.",
            f"- [OpenAPI document]({address}/openapi.json): the same for programs.",
            "",
            "## Guides",
            "",
            *lines[False],
            "",
            "## Optional",
            "",
            *lines[True],
            "",
        ]
    )


def _guide(path: Path) -> Guide:
    text = path.read_text(encoding="utf-8")
    heading, _, rest = text.partition("\n")
    first = LINK.sub(r"\1", " ".join(rest.strip().partition("\n\n")[0].split()))
    sentence = SENTENCE.match(first.removeprefix("**Context.** "))
    name = path.relative_to(FOLDER).with_suffix("").as_posix()
    return Guide(name, heading.removeprefix("# "), sentence[0] if sentence else first)
