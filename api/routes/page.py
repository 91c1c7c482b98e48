"""The web page; it loads files from this host only."""

from pathlib import Path
from urllib.parse import urlsplit

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse

from api.bounds.request import BoundedRoute
from api.dependencies import Services, ServicesDep
from api.problems import Problem
from jobs.storage.factory import LocalStorage

router = APIRouter(include_in_schema=False, route_class=BoundedRoute)

FOLDER = Path(__file__).parents[1] / "page"
REVALIDATED = {"Cache-Control": "no-cache"}  # a new release must replace cached files
CONTENT_TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".m4a": "audio/mp4",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
    ".woff2": "font/woff2",
}
FILES = {
    path.relative_to(FOLDER).as_posix(): CONTENT_TYPES[path.suffix]
    for path in FOLDER.rglob("*")
    if path.suffix in CONTENT_TYPES
}


@router.get("/")
def index(services: ServicesDep) -> Response:
    headers = REVALIDATED | {
        "Content-Security-Policy": _policy(services),
        "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    }
    return FileResponse(FOLDER / "index.html", media_type="text/html", headers=headers)


@router.get("/page/detect.html")
def detection(services: ServicesDep) -> Response:
    headers = REVALIDATED | {"Content-Security-Policy": _policy(services)}
    return FileResponse(FOLDER / "detect.html", media_type="text/html", headers=headers)


@router.get("/page/{name:path}")
def file(name: str) -> Response:
    if name not in FILES:
        raise Problem("route_not_found", f"Nothing found at /page/{name}; see /docs.")
    return FileResponse(FOLDER / name, media_type=FILES[name], headers=REVALIDATED)


def _policy(services: Services) -> str:
    """Content security policy: scripts and styles of this host, videos also of the bucket."""
    media = "'self' blob:"  # blob: recordings that the page plays
    if not isinstance(services.storage, LocalStorage):
        bucket = urlsplit(services.storage.link("probe", filename="probe", seconds=1))
        media += f" {bucket.scheme}://{bucket.netloc}"
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "font-src 'self'; connect-src 'self'; "  # blob: textures inside a glTF file
        f"media-src {media}; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    )
