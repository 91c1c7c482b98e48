"""The web page; it loads files from this host only."""

from pathlib import Path
from urllib.parse import urlsplit

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse

from api.dependencies import Services, ServicesDep
from api.problems import Problem
from jobs.storage.factory import LocalStorage

router = APIRouter(include_in_schema=False)

FOLDER = Path(__file__).parents[1] / "page"
REVALIDATED = {"Cache-Control": "no-cache"}  # a new release must replace cached files
FILES = {
    "style.css": "text/css",
    "reference.css": "text/css",
    "page.js": "text/javascript",
    "form.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}


@router.get("/")
def index(services: ServicesDep) -> Response:
    headers = REVALIDATED | {
        "Content-Security-Policy": _policy(services),
        "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    }
    return FileResponse(FOLDER / "index.html", media_type="text/html", headers=headers)


@router.get("/page/{name}")
def file(name: str) -> Response:
    if name not in FILES:
        raise Problem("route_not_found", f"Nothing found at /page/{name}; see /docs.")
    return FileResponse(FOLDER / name, media_type=FILES[name], headers=REVALIDATED)


def _policy(services: Services) -> str:
    """Content security policy: scripts and styles of this host, videos also of the bucket."""
    media = "'self' blob:"
    if not isinstance(services.storage, LocalStorage):
        bucket = urlsplit(services.storage.link("probe", filename="probe", seconds=1))
        media += f" {bucket.scheme}://{bucket.netloc}"
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        f"connect-src 'self'; media-src {media}; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    )
