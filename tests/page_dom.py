"""Modules of the page in a JavaScript engine, with a minimal document."""

import json
import re
from pathlib import Path
from typing import Any

from py_mini_racer import MiniRacer

FOLDER = Path(__file__).parents[1] / "api" / "page"
DOCUMENT = """
class Node {
  constructor(tag) { this.tag = tag; this.children = []; this.dataset = {}; }
  append(...children) { this.children.push(...children); }
  replaceChildren(...children) { this.children = children; }
  setAttribute(name, value) { this[name] = value; }
  addEventListener() {}
}
const nodes = {};
const document = {
  createElement: (tag) => new Node(tag),
  getElementById: (id) => (nodes[id] ??= new Node(id)),
};
const isNode = (child) => child instanceof Node;
const below = (node) => [node, ...node.children.filter(isNode).flatMap(below)];
function described(field) {
  const inside = below(field);
  const label = inside.find(({ tag }) => tag === "legend" || tag === "label");
  const words = label.textContent ?? label.children.filter((child) => !isNode(child)).join("");
  const inputs = inside.filter(({ name }) => name);
  const [input] = inputs;
  const seen = { type: input.type ?? input.tag, label: words };
  for (const name of ["min", "max", "pattern"]) {
    if (input[name] || input[name] === 0) seen[name] = input[name];
  }
  const options = inputs.length > 1 ? inputs : input.children;
  if (options.length) seen.options = options.map(({ value }) => value);
  return [input.name, seen];
}
"""


def inputs_of_form(api: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the inputs that the page builds from a description of the API, by their names."""
    code = f"formFields({json.dumps(api)}).map((field) => fieldElement(field))"
    described = f"{code}.filter((node) => below(node).some(({{ name }}) => name)).map(described)"
    return dict(json.loads(_engine("form.js").eval(f"JSON.stringify({described})")))


def warnings_of_page(job: dict[str, Any]) -> list[str] | None:
    """Return the warnings that the page lists for a job; None while the list is hidden."""
    engine = _engine("elements.js", "jobs/job.js")
    shown = "at('warnings').hidden ? null : at('warnings').children.map((each) => each.textContent)"
    code = f"JobView.prototype.showWarnings({json.dumps(job['warnings'])}), JSON.stringify({shown})"
    listed: list[str] | None = json.loads(engine.eval(code))
    return listed


def time_left(seconds: float | None) -> str:
    """Return the words of the page for the time that a job still needs."""
    words: str = _engine("elements.js").eval(f"timeLeft({json.dumps(seconds)})")
    return words


def _engine(*modules: str) -> MiniRacer:
    """An engine with modules of the page, without those that they import."""
    engine = MiniRacer()
    engine.eval(DOCUMENT)
    for module in modules:
        text = (FOLDER / module).read_text()
        engine.eval(
            re.sub("^import .*|^export (?=async|class|const|function)", "", text, flags=re.M)
        )
    return engine
