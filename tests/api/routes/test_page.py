"""The page and the manual: our own files, usable, and no other host."""

import re
from html.parser import HTMLParser

import pytest

from tests.api_server import Served

FILES = ["/", "/docs", "/page/style.css", "/page/page.js", "/page/manual.js", "/page/icon.svg"]


class Tags(HTMLParser):
    """Collects what the tests look at."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open_labels = 0
        self.unlabelled: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append((tag, given))
        self.open_labels += tag == "label"
        if tag in ("input", "select") and not self.open_labels and "aria-label" not in given:
            self.unlabelled.append(given)

    def handle_endtag(self, tag: str) -> None:
        self.open_labels -= tag == "label"


def read(served: Served, path: str) -> Tags:
    tags = Tags()
    tags.feed(served.http.get(path).text)
    return tags


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_allows_scripts_and_styles_from_here_only(served: Served, path: str) -> None:
    answer = served.http.get(path)

    policy = dict(
        part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";")
    )
    assert answer.headers["content-type"].startswith("text/html")
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert "unsafe" not in answer.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_has_nothing_that_its_policy_forbids(served: Served, path: str) -> None:
    for tag, given in read(served, path).tags:
        assert "style" not in given, tag
        assert not [name for name in given if name.startswith("on")], tag
        assert tag != "style"
        assert tag != "script" or given.get("src"), "an inline script would not run"


@pytest.mark.parametrize("path", FILES)
def test_no_file_names_another_host(served: Served, path: str) -> None:
    text = served.http.get(path).text.replace("http://www.w3.org/2000/svg", "")

    assert re.findall(r"(?:https?:)?//[a-z0-9-]+\.[a-z]+", text) == []


def test_every_file_that_a_page_asks_for_is_there(served: Served) -> None:
    kinds = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
    for page in ("/", "/docs"):
        asked = [given.get("src") or given.get("href") for _, given in read(served, page).tags]
        for path in filter(None, asked):
            answer = served.http.get(path)
            assert answer.status_code == 200, path
            if path.startswith("/page/"):
                ending = path.rpartition(".")[2]
                assert answer.headers["content-type"].startswith(kinds[ending])


def test_everything_that_is_filled_in_has_a_label(served: Served) -> None:
    tags = read(served, "/")

    assert tags.unlabelled == []
    assert ("html", {"lang": "en"}) in tags.tags
    assert any(given.get("name") == "viewport" for tag, given in tags.tags if tag == "meta")
    assert any(given.get("role") == "alert" for _, given in tags.tags)


def test_the_form_has_every_field_of_the_request(served: Served) -> None:
    named = {
        given.get("name") for tag, given in read(served, "/").tags if tag in ("input", "select")
    }
    schema = served.http.get("/openapi.json").json()["components"]["schemas"]["GenerateForm"]

    # A checkbox that the script reads, and what is for programs.
    for_programs = {"outputs", "priority", "metadata", "callback_url", "upload_id", "audio_url"}
    assert set(schema["properties"]) - named == for_programs
