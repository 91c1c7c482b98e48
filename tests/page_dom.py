"""The page's form module in a JavaScript engine, with a minimal document."""

import json
import re
from pathlib import Path
from typing import Any

from py_mini_racer import MiniRacer

PAGE = Path(__file__).parents[1] / "api" / "page" / "page.js"
FORM = Path(__file__).parents[1] / "api" / "page" / "form.js"
DOCUMENT = """
class Node {
  constructor(tag) { this.tag = tag; this.children = []; }
  append(...children) { this.children.push(...children); }
  replaceChildren(...children) { this.children = children; }
  addEventListener() {}
}
const nodes = {};
const document = {
  createElement: (tag) => new Node(tag),
  getElementById: (id) => (nodes[id] ??= new Node(id)),
};
const text = (node) => node.children.filter((child) => typeof child === "string").join("").trim();
function described(label) {
  const input = label.children.find((child) => child instanceof Node);
  const options = input.children.map((child) => child.value);
  const seen = { type: input.type ?? input.tag, label: text(label) };
  for (const name of ["min", "max", "value", "pattern"]) {
    if (input[name] || input[name] === 0) seen[name] = input[name];
  }
  if (options.length) seen.options = options;
  return [input.name, seen];
}
"""


def inputs_of_form(api: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the inputs that the page builds from a description of the API, by their names."""
    engine = MiniRacer()
    engine.eval(DOCUMENT + FORM.read_text().replace("export function", "function"))
    code = f"formFields({json.dumps(api)}).flatMap(fieldLabels).map(described)"
    return dict(json.loads(engine.eval(f"JSON.stringify({code})")))


def warnings_of_page(job: dict[str, Any]) -> list[str] | None:
    """Return the warnings that the page lists for a job; None while the list is hidden."""
    engine = MiniRacer()
    module = re.sub("^import .*", "", PAGE.read_text(), flags=re.MULTILINE)
    engine.eval(DOCUMENT + "const [navigator, location] = [{}, { hash: '' }];" + module)
    shown = "at('warnings').hidden ? null : at('warnings').children.map((each) => each.textContent)"
    code = f"show({json.dumps(job)}), JSON.stringify({shown})"
    listed: list[str] | None = json.loads(engine.eval(code))
    return listed
