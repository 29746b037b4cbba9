// Adds and removes rows of renditions, and counts the options that differ from their defaults among those that are
// folded away. Without scripts two empty rows are in view, and the count is that of the page as it came.

/** @typedef {HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement} OptionField */
/** @typedef {Record<string, string | number | null>} Rendition */

const MAX_RENDITIONS = 8;
/** Of a rendition that has no background, though the main picture has one. */
const TRANSPARENT = "transparent";
/** Rows as the page came, by the element that has them. @type {WeakMap<Element, string>} */
const first = new WeakMap();

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
  const changed = fields.filter((field) => textOf(valueOf(field)) !== textOf(defaults[field.name]));
  return new Set(changed.map((field) => field.name.split("-")[0])).size; // all rows are one option
}

/** @param {Element} list */
const rowsOf = (list) => /** @type {HTMLElement[]} */ ([...list.querySelectorAll(".rendition")]);

/** @param {Element} list */
const filledRowsOf = (list) => rowsOf(list).filter((row) => !row.matches(".empty-row"));

/** Number the rows, let no more be added than are possible, and let the changes be counted. @param {Element} list */
function update(list) {
  const rows = filledRowsOf(list);
  rows.forEach((row, index) => {
    /** @type {Element} */ (row.querySelector("legend span")).textContent = String(index + 1);
  });
  /** @type {HTMLButtonElement} */ (list.querySelector("#add-rendition")).disabled = rows.length >= MAX_RENDITIONS;
  list.dispatchEvent(new Event("input", { bubbles: true }));
}

/**
 * Add a row, made from an empty one under a prefix of its own.
 * @param {Element} list
 * @param {Rendition} [rendition]
 */
function addRow(list, rendition = {}) {
  if (!first.has(list)) first.set(list, list.innerHTML);
  const empty = /** @type {HTMLElement} */ (list.querySelector(".empty-row"));
  const prefix = empty.dataset.prefix ?? "";
  const numbers = rowsOf(list).map((row) => Number(row.dataset.prefix?.split("-")[1]));
  const text = empty.outerHTML.replaceAll(prefix, `renditions-${Math.max(...numbers) + 1}`);
  empty.insertAdjacentHTML("beforebegin", text);
  const row = /** @type {HTMLElement} */ (empty.previousElementSibling);
  row.classList.remove("empty-row");
  for (const [name, value] of Object.entries(rendition)) {
    const field = /** @type {OptionField} */ (row.querySelector(`[name$="-${name}"]`));
    field.value = value === null ? TRANSPARENT : String(value);
    const folded = field.closest("details");
    if (folded?.closest(".rendition")) folded.open = true;
  }
  return row;
}

/** @param {Element} list @param {Element} row */
function removeRow(list, row) {
  if (!first.has(list)) first.set(list, list.innerHTML);
  row.remove();
}

/** Show these renditions, or those that the page came with. @param {Element} list @param {Rendition[] | null} renditions */
function show(list, renditions) {
  if (renditions) {
    for (const row of filledRowsOf(list)) removeRow(list, row);
    for (const rendition of renditions) addRow(list, rendition);
  } else if (first.has(list)) {
    list.innerHTML = /** @type {string} */ (first.get(list));
  }
  update(list);
}

document.addEventListener("click", (event) => {
  const button = /** @type {Element} */ (event.target).closest("#add-rendition, [data-remove-rendition]");
  const list = button?.closest(".renditions");
  if (!list) return;
  const row = button?.closest(".rendition");
  if (row) removeRow(list, row);
  const next = row ? /** @type {HTMLElement} */ (list.querySelector("#add-rendition")) : addRow(list).querySelector("input");
  update(list);
  next?.focus();
});
/** By profiles.js. */
document.addEventListener("renditions", (event) => {
  show(/** @type {Element} */ (event.target), /** @type {CustomEvent} */ (event).detail);
});

document.addEventListener("input", (event) => {
  const target = /** @type {Element} */ (event.target);
  const more = /** @type {HTMLDetailsElement | null} */ (target.closest("form")?.querySelector("details.more"));
  const text = more?.querySelector("[data-changed]");
  if (!more || !text) return;
  const changed = countChanged(more);
  text.textContent = changed ? ` · ${changed} changed` : "";
  if (target === more && changed) more.open = true; // a profile has been chosen
});
