"""The page behind a proxy that adds a path prefix."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from playwright.sync_api import Browser

from tests.api_server import serving
from tests.page.conftest import Service
from tests.page.studio import opened

PREFIX = "/studio"


@pytest.fixture(params=["stripped", "announced"])
def address(service: Service, request: pytest.FixtureRequest) -> Iterator[str]:
    """A proxy that strips the prefix, and one that announces it as `root_path`."""

    def proxy(app: FastAPI) -> Any:
        async def proxied(scope: dict[str, Any], receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                assert scope["path"].startswith(f"{PREFIX}/"), scope["path"]
                if request.param == "stripped":
                    scope = scope | {"path": scope["path"].removeprefix(PREFIX)}
                else:
                    scope = scope | {"root_path": PREFIX}
            await app(scope, receive, send)

        return proxied

    with serving(service.settings(), proxy) as served:
        yield f"{str(served.http.base_url).rstrip('/')}{PREFIX}/"


def test_a_job_is_made_and_shown_behind_a_path_prefix(
    browser: Browser, address: str, clip: Path
) -> None:
    with opened(browser, address) as studio:
        studio.open()
        studio.choose(clip)
        job = studio.make()
        studio.until_done()

        studio.page.wait_for_function("() => document.querySelector('#grid video').duration > 0.9")
        assert studio.calls() == [
            "GET /people",
            "GET /openapi.json",
            "GET /jobs?limit=24",
            "POST /generate",
            f"GET /jobs/{job}/events",
        ]
        urls = [request.url for request in studio.requests]
        assert [url for url in urls if not url.startswith((address, "blob:"))] == []
