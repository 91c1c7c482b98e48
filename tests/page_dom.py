"""The page's form module in a JavaScript engine, with a minimal document."""

import json
from pathlib import Path
from typing import Any

from py_mini_racer import MiniRacer

FORM = Path(__file__).parents[1] / "api" / "page" / "form.js"
DOCUMENT = """
class Node {
  constructor(tag) { this.tag = tag; this.children = []; }
  append(...children) { this.children.push(...children); }
}
const document = { createElement: (tag) => new Node(tag) };
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
