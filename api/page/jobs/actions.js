// What can be done with a job, as buttons on the stage and as a menu in the list.
import { element, isActive, setText } from "../elements.js";

const button = (textContent, className, onClick) => {
  const made = element("button", { type: "button", className, textContent });
  made.addEventListener("click", () => onClick(made));
  return made;
};

// The first press asks, the second one deletes.
export function deleteButton(job, service, className = "quiet compact") {
  let asked = false;
  const made = button("Delete", `${className} danger`, () => {
    if (asked) return service.remove(job);
    asked = true;
    setText(made, "Delete for good?");
  });
  made.addEventListener("click", (event) => asked && made.textContent === "Delete for good?" && event.stopPropagation());
  made.addEventListener("blur", () => {
    asked = false;
    setText(made, "Delete");
  });
  return made;
}

// Buttons for a job; quiet: all of them look alike, as in a menu.
export function actionsOf(job, service, { quiet = false } = {}) {
  const plain = quiet ? "" : "quiet compact";
  const cancel = button("Cancel", plain, () => service.cancel(job));
  const retry = button("Try again", quiet ? "" : "compact", () => service.retry(job));
  const reuse = button("Again with these settings", plain, () => service.reuse(job));
  const offered = isActive(job) ? [cancel, reuse] : job.state === "succeeded" ? [reuse] : [retry, reuse];
  return [...offered, deleteButton(job, service, plain)];
}
