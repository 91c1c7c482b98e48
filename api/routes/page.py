"""The web page and the API's manual: our own files, no host but this one."""

from pathlib import Path
from urllib.parse import urlsplit

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse

from api.dependencies import Services, ServicesDep
from api.errors import Problem
from jobs.storage.factory import LocalStorage

router = APIRouter(include_in_schema=False)

FOLDER = Path(__file__).parents[1] / "page"
FRESH = {"Cache-Control": "no-cache"}  # nothing of it is secret, but a new release is to be seen
FILES = {
    "style.css": "text/css",
    "page.js": "text/javascript",
    "manual.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}


@router.get("/")
def index(services: ServicesDep) -> Response:
    return _html("index.html", services)


@router.get("/docs")
def manual(services: ServicesDep) -> Response:
    return _html("manual.html", services)


@router.get("/page/{name}")
def file(name: str) -> Response:
    if name not in FILES:
        raise Problem(404, "route_not_found", f"There is nothing at /page/{name}; see /docs.")
    return FileResponse(FOLDER / name, media_type=FILES[name], headers=FRESH)


def _html(name: str, services: Services) -> Response:
    headers = FRESH | {
        "Content-Security-Policy": _policy(services),
        "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    }
    return FileResponse(FOLDER / name, media_type="text/html", headers=headers)


def _policy(services: Services) -> str:
    """Scripts and styles from here only; videos from here, or from the bucket they lie in."""
    media = "'self' blob:"
    if not isinstance(services.storage, LocalStorage):
        bucket = urlsplit(services.storage.link("probe", filename="probe", seconds=1))
        media += f" {bucket.scheme}://{bucket.netloc}"
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        f"connect-src 'self'; media-src {media}; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    )
