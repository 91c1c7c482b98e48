"""The API reference, and the documentation as Markdown; readable without JavaScript."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, PlainTextResponse

from api.bounds.request import BoundedRoute
from api.dependencies import ServicesDep
from api.problems import Problem
from api.reference.guides import guide_path, list_of_guides
from api.reference.render import render_reference, with_address

router = APIRouter(include_in_schema=False, route_class=BoundedRoute)

REVALIDATED = {"Cache-Control": "no-cache"}  # a new release must replace cached pages
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; font-src 'self'; form-action 'none'; "
    "base-uri 'none'; frame-ancestors 'none'"
)


def _address(request: Request, services: ServicesDep) -> str:
    """Address of the service in commands and links: as configured, else as requested."""
    return services.settings.public_url.rstrip("/") or str(request.base_url).rstrip("/")


Address = Annotated[str, Depends(_address)]


@router.get("/docs")
def reference(request: Request, address: Address) -> Response:
    state = request.app.state
    if not hasattr(state, "reference"):
        state.reference = render_reference(request.app.openapi())
    headers = REVALIDATED | {"Content-Security-Policy": POLICY}
    return HTMLResponse(with_address(state.reference, address), headers=headers)


@router.get("/docs/{name:path}.md")
def guide(name: str) -> Response:
    path = guide_path(name)
    if path is None:
        raise Problem("route_not_found", f"Nothing found at /docs/{name}.md; see /llms.txt.")
    return FileResponse(path, media_type="text/markdown; charset=utf-8", headers=REVALIDATED)


@router.get("/llms.txt")
def list_guides(request: Request, address: Address) -> Response:
    return PlainTextResponse(list_of_guides(address, request.app.summary), headers=REVALIDATED)
