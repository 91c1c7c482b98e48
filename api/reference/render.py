"""HTML of the API reference; readable without JavaScript."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import escape

from api.reference.contents import read_document
from api.reference.examples import ADDRESS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jinja2 import Template


def render_reference(document: Mapping[str, Any]) -> str:
    """Render an OpenAPI document; commands contain a mark instead of the service's address."""
    return _template().render(reference=read_document(document))


def with_address(page: str, address: str) -> str:
    """Insert the address of the service into the commands of a rendered reference."""
    return page.replace(ADDRESS, escape(address))


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
    )
    return environment.get_template("page.html")
