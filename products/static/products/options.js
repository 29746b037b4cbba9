// Counts the options that differ from their defaults among those that are folded away, while they are changed.
// Without this script the count is that of the page as it came.

/** @typedef {HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement} OptionField */

/** @param {unknown} value Of an option: a default, or what a field has. */
function textOf(value) {
  if (!value || value === "false" || value === "[]" || (Array.isArray(value) && !value.length)) return "";
  return String(value).trim();
}

/** @param {OptionField} field */
function valueOf(field) {
  return field instanceof HTMLInputElement && field.type === "checkbox" ? field.checked : field.value;
}

/** @param {HTMLDetailsElement} more */
function countChanged(more) {
  const defaults = JSON.parse(more.dataset.defaults ?? "{}");
  const fields = /** @type {OptionField[]} */ ([...more.querySelectorAll("input, select, textarea")]);
  return fields.filter((field) => textOf(valueOf(field)) !== textOf(defaults[field.name])).length;
}

document.addEventListener("input", (event) => {
  const target = /** @type {Element} */ (event.target);
  const more = /** @type {HTMLDetailsElement | null} */ (target.closest("form")?.querySelector("details.more"));
  const text = more?.querySelector("[data-changed]");
  if (!more || !text) return;
  const changed = countChanged(more);
  text.textContent = changed ? ` · ${changed} changed` : "";
  if (target === more && changed) more.open = true; // a profile has been chosen
});
