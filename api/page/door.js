// The key: asked for alone, before anything else is shown.
import { at } from "./elements.js";
import { forgetKey, keepKey, key } from "./service.js";

// onKey(): called after a key was entered.
export function door(onKey) {
  at("door").addEventListener("submit", (event) => {
    event.preventDefault();
    keepKey(at("key").value.trim(), { onDisk: at("keep").checked });
    at("key").value = "";
    at("key-problem").hidden = true;
    onKey();
  });
  at("key").addEventListener("input", () => {
    at("key-problem").hidden = true;
    at("key").removeAttribute("aria-invalid");
  });
  at("forget").addEventListener("click", () => {
    forgetKey();
    location.reload();
  });
}

// Show the door alone. problem: why the service refused a request; one without a key may be late.
export function ask(problem) {
  const missing = problem.code === "key_missing";
  if (missing && key()) return;
  at("main").hidden = at("forget").hidden = true;
  at("door").hidden = false;
  if (!missing) {
    forgetKey();
    at("key-problem").textContent = problem.message;
    at("key-problem").hidden = false;
    at("key").setAttribute("aria-invalid", "true");
    at("key").setAttribute("aria-describedby", "key-problem");
  }
  at("key").focus();
}

export function enter() {
  at("door").hidden = true;
  at("main").hidden = false;
  at("forget").hidden = !key();
}
