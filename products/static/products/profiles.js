// Shows the options of the profile that is chosen in the upload form, and tells the server that the form shows them.
// Without this script the server adds them to what was changed in the form.

/** The choice of a profile by the columns of the file, whose options are not known yet. */
const BY_HEADER = "by-header";

/** @typedef {HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement} Field */

/** @param {unknown} value Of an option, as the API has it. */
function textOf(value) {
  return value === null || value === undefined ? "" : String(value);
}

/**
 * @param {Field} field
 * @param {unknown} value Of an option, as the API has it.
 */
function fill(field, value) {
  if (field instanceof HTMLInputElement && field.type === "checkbox") field.checked = Boolean(value);
  else field.value = textOf(value);
}

/** @param {Field} field */
function reset(field) {
  if (field instanceof HTMLSelectElement) {
    const chosen = [...field.options].findIndex((option) => option.defaultSelected);
    field.selectedIndex = Math.max(chosen, 0);
  } else {
    field.value = field.defaultValue;
  }
}

/**
 * Return the options of a profile with the defaults of all others; null for the profile of the file's columns.
 * @param {HTMLElement} profiles The choice with the options that the page knows, and the address of the others.
 * @param {string} chosen Id of the profile; empty for none.
 * @param {Record<string, unknown>} defaults
 * @returns {Promise<Record<string, unknown> | null>}
 */
async function optionsOf(profiles, chosen, defaults) {
  if (chosen === BY_HEADER) return null;
  const known = JSON.parse(profiles.dataset.known ?? "{}");
  if (chosen in known) return { ...defaults, ...known[chosen] };
  const response = await fetch(`${profiles.dataset.url}${chosen}/`, { headers: { Accept: "application/json" } });
  if (!response.ok) throw new Error(`The profile was answered with ${response.status}.`);
  const { options } = await response.json();
  return { ...defaults, ...options };
}

/** @param {HTMLSelectElement} select The choice of a profile. */
async function show(select) {
  const profiles = /** @type {HTMLElement} */ (select.closest("#profiles"));
  const form = /** @type {HTMLFormElement} */ (select.form);
  const more = /** @type {HTMLElement} */ (form.querySelector("[data-defaults]"));
  const defaults = JSON.parse(more.dataset.defaults ?? "{}");
  const shown = /** @type {HTMLInputElement} */ (form.elements.namedItem("shown_profile"));
  const chosen = select.value;
  shown.value = BY_HEADER; // until its options are there
  const options = await optionsOf(profiles, chosen, defaults).catch(() => null);
  if (select.value !== chosen) return; // another one has been chosen meanwhile
  for (const name of Object.keys(defaults)) {
    if (name === "renditions") { // rows of fields, by options.js
      const detail = options && options[name];
      form.querySelector(".renditions")?.dispatchEvent(new CustomEvent(name, { bubbles: true, detail }));
      continue;
    }
    const field = /** @type {Field} */ (form.elements.namedItem(name));
    if (options) fill(field, options[name]);
    else reset(field);
  }
  if (options) shown.value = chosen;
  more.dispatchEvent(new Event("input", { bubbles: true })); // counted by options.js
}

document.addEventListener("change", (event) => {
  const select = event.target;
  if (select instanceof HTMLSelectElement && select.closest("#profiles")) show(select);
});
