"""The page and the API reference: labelled forms, and files of this host only."""

import re
from html.parser import HTMLParser

import pytest

from api.routes.page import FILES as PAGE_FILES
from tests.api_server import Served
from tests.page_dom import time_left

FILES = [
    "/",
    "/docs",
    *(
        f"/page/{name}"
        for name in PAGE_FILES
        if name.endswith((".css", ".js", ".svg"))
        if not name.startswith("three/")
    ),  # a library; the policy holds for what it does
]


class Tags(HTMLParser):
    """Collects start tags, and form fields without a label."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open_labels = 0
        self.labelled: set[str | None] = set()  # ids
        self.unlabelled: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        self.open_labels += tag == "label"
        if tag == "label":
            self.labelled.add(attributes.get("for"))
        named = self.open_labels or "aria-label" in attributes
        if tag in ("input", "select") and not named and attributes.get("id") not in self.labelled:
            self.unlabelled.append(attributes)

    def handle_endtag(self, tag: str) -> None:
        self.open_labels -= tag == "label"


def read(served: Served, path: str) -> Tags:
    tags = Tags()
    tags.feed(served.http.get(path).text)
    return tags


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_allows_scripts_and_styles_of_this_host_only(served: Served, path: str) -> None:
    answer = served.http.get(path)

    policy = dict(
        part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";")
    )
    assert answer.headers["content-type"].startswith("text/html")
    assert policy["default-src"] == "'none'"
    assert policy.get("script-src", "'self'") == "'self'"
    assert set(policy.get("connect-src", "'self'").split()) <= {"'self'", "blob:"}
    assert policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert "unsafe" not in answer.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_contains_nothing_that_its_policy_forbids(served: Served, path: str) -> None:
    for tag, attributes in read(served, path).tags:
        assert "style" not in attributes, tag
        assert not [name for name in attributes if name.startswith("on")], tag
        assert tag != "style"
        assert tag != "script" or attributes.get("src"), "an inline script would not run"


# Names of XML, and ends of regular expressions in three.js.
NO_HOSTS = r"http://www\.w3\.org/(2000/svg|1999/xhtml)|/i\.test\("


@pytest.mark.parametrize("path", FILES)
def test_no_file_names_another_host(served: Served, path: str) -> None:
    text = re.sub(NO_HOSTS, "", served.http.get(path).text)
    loaded = r"(?:src|href)=\S+" if path == "/docs" else r".+"  # examples there name other hosts

    named = " ".join(re.findall(loaded, text))
    assert re.findall(r"(?:https?:)?//[a-z0-9-]+\.[a-z]+", named) == []


def test_every_file_of_a_page_exists(served: Served) -> None:
    kinds = {
        "css": "text/css",
        "html": "text/html",
        "js": "text/javascript",
        "svg": "image/svg+xml",
        "woff2": "font/woff2",
    }
    for page in ("/", "/docs"):
        addresses = [
            attributes.get("src") or attributes.get("href")
            for _, attributes in read(served, page).tags
        ]
        for path in filter(None, addresses):
            assert not path.startswith("/"), "a proxy may add a prefix"
            answer = served.http.get(f"/{path}")
            assert answer.status_code == 200, path
            if path.startswith("page/"):
                ending = path.rpartition(".")[2]
                assert answer.headers["content-type"].startswith(kinds[ending])


def test_every_form_field_has_a_label(served: Served) -> None:
    tags = read(served, "/")

    assert tags.unlabelled == []
    assert ("html", {"lang": "en"}) in tags.tags
    assert any(
        attributes.get("name") == "viewport" for tag, attributes in tags.tags if tag == "meta"
    )
    assert any(attributes.get("role") == "alert" for _, attributes in tags.tags)


def test_the_form_has_an_input_for_every_field_but_those_for_programs(served: Served) -> None:
    schema = served.http.get("/openapi.json").json()["components"]["schemas"]["GenerateForm"]
    inputs = {name for name, field in schema["properties"].items() if "x-visavis" in field}

    of_the_page = {"audio", "partner", "person"}
    for_programs = {
        "priority", "metadata", "callback_url", "webhook_events", "upload_id", "partner_upload_id",
        "audio_url", "watermark",
    }  # fmt: skip
    assert set(schema["properties"]) - inputs == of_the_page | for_programs
    assert all(schema["properties"][name]["x-visavis"]["form"]["label"] for name in inputs)


def test_the_page_names_no_request_field(served: Served) -> None:
    """Inputs are built from the description of the API, so a new field needs no change here."""
    schema = served.http.get("/openapi.json").json()["components"]["schemas"]["GenerateForm"]
    inputs = {name for name, field in schema["properties"].items() if "x-visavis" in field}

    named = {attributes.get("name") for _, attributes in read(served, "/").tags}
    words = set(re.findall(r"\w+", served.http.get("/page/form.js").text))
    assert inputs & (named | words) == set()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, ""),
        (0.4, "almost done"),
        (7.6, "about 8 s left"),
        (36.2, "about 35 s left"),
        (140.0, "about 2 min left"),
    ],
)
def test_the_page_rounds_the_time_that_is_left(seconds: float | None, words: str) -> None:
    assert time_left(seconds) == words
