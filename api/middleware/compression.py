"""Compression of public text: the page, the API reference and its pages, the OpenAPI document.

Answers about jobs are not compressed: their length would tell a page of another origin, which can
choose a part of them, what the rest contains (BREACH).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from starlette.middleware.gzip import GZipMiddleware

from api.middleware.auth import path_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

PUBLIC_TEXT = re.compile(r"/|/docs(?:/.+\.md)?|/llms\.txt|/openapi\.json|/page/.+\.(?:css|js|svg)")


class CompressionMiddleware:
    """ASGI middleware that compresses answers of some paths.

    HEAD is answered as GET, so that both have the same headers; the server omits the body.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._compressing = GZipMiddleware(app, minimum_size=1000)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        public = scope["type"] == "http" and PUBLIC_TEXT.fullmatch(path_of(scope))
        if not public:
            await self._app(scope, receive, send)
            return
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        await self._compressing({**scope, "method": method}, receive, send)
