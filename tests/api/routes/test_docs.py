"""The API reference without JavaScript, and the documentation as Markdown."""

import re
import shlex
from collections import Counter
from html.parser import HTMLParser
from typing import Any

import pytest

from api.reference.contents import read_document
from api.reference.render import render_reference, with_address
from tests.api_server import Served
from tests.house.source import ROOT

OPEN_DOCUMENT: dict[str, Any] = {
    "info": {"title": "t", "version": "1", "summary": "<b>s</b>"},
    "paths": {},
    "webhooks": {
        "job.succeeded": {
            "post": {
                "summary": "The job has succeeded",
                "description": "A *signed* request. <script>alert(1)</script>",
                "responses": {"204": {"description": "Received."}},
            }
        }
    },
}


class Text(HTMLParser):
    """Collects ids, links, tags, commands and the text of each article of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.articles: dict[str, str] = {}
        self.commands: dict[str, str] = {}
        self._article = ""
        self._open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.tags.add(tag)
        self._open.append(tag)
        if name := attributes.get("id"):
            self.ids.append(name)
        if tag == "article":
            self._article = attributes.get("id") or ""
        if address := attributes.get("href") or attributes.get("src"):
            self.links.append(address)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            while self._open.pop() != tag:
                pass
        if tag == "article":
            self._article = ""

    def handle_data(self, data: str) -> None:
        self.articles[self._article] = self.articles.get(self._article, "") + data
        if self._open[-2:] == ["pre", "code"] and "details" not in self._open:
            self.commands[self._article] = data


@pytest.fixture(scope="module")
def document(served: Served) -> dict[str, Any]:
    content: dict[str, Any] = served.http.get("/openapi.json").json()
    return content


@pytest.fixture(scope="module")
def reference(served: Served) -> Text:
    return Text(served.http.get("/docs").text)


def operations(document: dict[str, Any]) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Return path, method and operation by anchor."""
    return {
        operation["operationId"].replace("_", "-"): (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def members(schema: dict[str, Any], document: dict[str, Any]) -> set[str]:
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return set(schema.get("properties", {}))


def test_each_operation_has_an_anchor_and_names_its_inputs_and_errors(
    reference: Text, document: dict[str, Any]
) -> None:
    for anchor, (path, method, operation) in operations(document).items():
        text = reference.articles[anchor]
        words = set(re.findall(r"[\w{}/-]+", text))
        named = {each["name"] for each in operation.get("parameters", ())}
        for content in operation.get("requestBody", {}).get("content", {}).values():
            named |= members(content["schema"], document)
        for answer in operation["responses"].values():
            examples = answer.get("content", {}).get("application/problem+json", {})
            named |= examples.get("examples", {}).keys()
        assert named <= words, anchor
        assert {path, method.upper(), *operation["responses"]} <= words, anchor


def test_each_object_of_an_answer_lists_its_members(
    reference: Text, document: dict[str, Any]
) -> None:
    schemas = document["components"]["schemas"]
    answered = {
        content["schema"]["$ref"].rpartition("/")[2]
        for _, _, operation in operations(document).values()
        for status, answer in operation["responses"].items()
        for content in answer.get("content", {}).values()
        if status < "4" and "$ref" in content.get("schema", {})
    }

    assert "JobView" in answered
    for name in answered:
        assert members(schemas[name], document) <= set(re.findall(r"\w+", reference.articles[name]))
    assert {"takes", "seed"} <= set(re.findall(r"\w+", reference.articles["JobRequest"]))


def test_each_operation_has_a_command_with_its_method_and_path(
    served: Served, reference: Text, document: dict[str, Any]
) -> None:
    base = str(served.http.base_url).rstrip("/")
    for anchor, (path, method, _) in operations(document).items():
        words = shlex.split(reference.commands[anchor])
        sent = "get"
        if {"-F", "--json"} & set(words):
            sent = "post"
        elif "-T" in words:
            sent = "put"
        elif "-X" in words:
            sent = words[words.index("-X") + 1].lower()
        address = re.sub(r"\$(\w+)", lambda name: f"{{{name[1].lower()}}}", words[-1])
        assert (words[0], sent) == ("curl", method)
        assert address.partition("?")[0] == base + path


def test_anchors_are_unique_and_every_link_leads_somewhere(served: Served, reference: Text) -> None:
    assert [name for name, times in Counter(reference.ids).items() if times > 1] == []
    for link in set(reference.links):
        if link.startswith("#"):
            assert link[1:] in reference.ids
        elif link.startswith("/"):
            assert served.http.get(link).status_code == 200, link


def test_the_reference_needs_no_script(reference: Text) -> None:
    assert reference.tags & {"script", "style", "table", "iframe", "form"} == set()


def test_webhooks_are_described_and_text_of_the_document_is_escaped() -> None:
    (event,) = read_document(OPEN_DOCUMENT).webhooks
    page = Text(render_reference(OPEN_DOCUMENT))

    assert (event.anchor, event.method, event.command) == ("webhook-job-succeeded", "POST", "")
    assert {"em"} <= page.tags
    assert page.tags & {"script", "b"} == set()
    assert "204 Received." in page.articles["webhook-job-succeeded"]


def test_commands_contain_the_address_of_the_service(served: Served) -> None:
    host = f"localhost:{served.http.base_url.port}"

    assert f"http://{host}/jobs" in served.http.get("/docs", headers={"Host": host}).text
    assert "<i>" not in with_address(render_reference(OPEN_DOCUMENT), "<i>")


def test_llms_txt_lists_every_page_of_the_documentation(served: Served) -> None:
    answer = served.http.get("/llms.txt")
    base = str(served.http.base_url).rstrip("/")

    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert re.match(r"# visavis\n\n> .+\n\n## ", answer.text)
    links = re.findall(r"^- \[.+\]\((.+)\): .+\.$", answer.text, re.MULTILINE)
    files = [path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert sorted(links) == sorted(
        [f"{base}/docs", f"{base}/openapi.json", *(f"{base}/{file}" for file in files)]
    )
    for link in links:
        assert served.http.get(link).status_code == 200, link


def test_a_page_is_sent_as_markdown(served: Served) -> None:
    answer = served.http.get("/docs/adr/0008-layout.md")

    assert answer.headers["content-type"] == "text/markdown; charset=utf-8"
    assert answer.content == (ROOT / "docs" / "adr" / "0008-layout.md").read_bytes()


@pytest.mark.parametrize("path", ["/docs/none.md", "/docs/%2e%2e/README.md", "/docs/adr/../api.md"])
def test_other_files_are_not_sent(served: Served, path: str) -> None:
    answer = served.http.get(path.replace("../", "%2e%2e/"))

    assert answer.status_code == 404
    assert answer.json()["code"] == "route_not_found"
