// Says on the preview that it is at work, and what went wrong. The button that was pressed keeps the focus.
// Without this script the form submits as usual.

/** @type {HTMLButtonElement | null} */
let pressed = null;
let text = "";

/** @param {Event} event */
const isOfForm = (event) => /** @type {Element} */ (event.target).id === "reading";

/**
 * @param {Event} event
 * @param {string} problem
 */
function stopWith(event, problem) {
  const place = document.getElementById("draft-problem");
  if (!isOfForm(event) || !place) return;
  if (pressed) pressed.textContent = text;
  place.textContent = problem;
  place.hidden = false;
}

document.addEventListener("htmx:beforeRequest", (event) => {
  if (!isOfForm(event)) return;
  pressed = /** @type {CustomEvent} */ (event).detail.requestConfig.triggeringEvent?.submitter ?? null;
  text = pressed?.textContent ?? "";
  if (pressed) pressed.textContent = "Please wait…";
});
document.addEventListener("htmx:afterSettle", () => {
  // A button that is disabled loses the focus.
  if (pressed && document.activeElement === document.body) document.getElementById(pressed.id)?.focus();
  pressed = null;
});
document.addEventListener("htmx:sendError", (event) => stopWith(event, "The connection was lost. Try again."));
document.addEventListener("htmx:responseError", (event) => stopWith(event, "Something went wrong on the server. Try again."));
