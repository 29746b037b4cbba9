// Says in a form with a `role=alert` of its own that a request to the server failed. The button that was pressed
// waits and keeps the focus. Without this script the form submits as usual.

/** @type {HTMLButtonElement | null} */
let pressed = null;
let text = "";

/** @param {Event} event */
function alertOf(event) {
  const form = /** @type {Element} */ (event.target).closest("form");
  return /** @type {HTMLElement | null} */ (form?.querySelector("[role=alert]") ?? null);
}

/**
 * @param {Event} event
 * @param {string} problem
 */
function stopWith(event, problem) {
  const place = alertOf(event);
  if (!place) return;
  if (pressed) pressed.textContent = text;
  place.textContent = problem;
  place.hidden = false;
}

document.addEventListener("htmx:beforeRequest", (event) => {
  const place = alertOf(event);
  if (!place) return;
  place.hidden = true;
  // A button that sends the request itself is no submitter.
  const sender = /** @type {Element} */ (event.target);
  const { submitter } = /** @type {CustomEvent} */ (event).detail.requestConfig.triggeringEvent ?? {};
  pressed = submitter ?? (sender instanceof HTMLButtonElement ? sender : null);
  text = pressed?.textContent ?? "";
  if (pressed) pressed.textContent = "Please wait…";
});
document.addEventListener("htmx:afterSettle", () => {
  // A button that is disabled loses the focus.
  if (pressed && document.activeElement === document.body) {
    const { id, name, value } = pressed;
    const same = /** @type {HTMLElement | null} */ (id ? document.getElementById(id) : document.querySelector(`button[name="${name}"][value="${value}"]`));
    same?.focus();
  }
  pressed = null;
});
document.addEventListener("htmx:sendError", (event) => stopWith(event, "The connection was lost. Try again."));
document.addEventListener("htmx:responseError", (event) => stopWith(event, /** @type {CustomEvent} */ (event).detail.problem)); // by page.js
document.addEventListener("htmx:afterRequest", (event) => {
  const { successful } = /** @type {CustomEvent} */ (event).detail;
  if (!successful && document.activeElement === document.body) pressed?.focus();
});
