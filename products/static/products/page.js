// Small additions to every page, none of which is needed: local times, menus that close and follow the arrow keys,
// buttons that wait for a tick, copy buttons, shortcuts.

const OFF = "shortcuts-off";
/** As the server writes times, but for the zone. @type {Intl.DateTimeFormatOptions} */
const FORMAT = { day: "numeric", month: "long", year: "numeric", hour: "2-digit", minute: "2-digit" };

/**
 * Show absolute times in the reader's zone. Their title says them in UTC.
 * @param {ParentNode} part
 */
function localizeTimes(part) {
  for (const time of part.querySelectorAll("time[data-local]")) {
    const moment = new Date(/** @type {HTMLTimeElement} */ (time).dateTime);
    const withSeconds = time.getAttribute("data-local") === "seconds";
    time.textContent = moment.toLocaleString("en-GB", withSeconds ? { ...FORMAT, second: "2-digit" } : FORMAT)
      .replace(" at ", ", ");
    time.removeAttribute("data-local");
  }
}

/**
 * Show the copy buttons; without scripts they would do nothing, nor where the page came over plain HTTP.
 * @param {ParentNode} part
 */
function showCopyButtons(part) {
  if (!navigator.clipboard) return;
  for (const button of part.querySelectorAll("button[data-copy]")) {
    /** @type {HTMLButtonElement} */ (button).hidden = false;
  }
}

/** @param {HTMLButtonElement} button */
async function copy(button) {
  await navigator.clipboard.writeText(button.dataset.copy ?? "");
  const before = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = before; }, 2000);
}

/** @param {Element | null} except The menu that stays open. */
function closeMenus(except) {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (menu !== except) /** @type {HTMLDetailsElement} */ (menu).open = false;
  }
}

/**
 * Move the focus in a menu by arrow keys, from its button on; the first follows the last. Tab goes on as without it.
 * @param {KeyboardEvent} event
 */
function moveInMenu(event) {
  const target = /** @type {HTMLElement} */ (event.target);
  const menu = /** @type {HTMLDetailsElement | null} */ (target.closest("details.menu"));
  if (!menu || target.closest("input, textarea, select")) return;
  event.preventDefault();
  menu.open = true;
  const items = /** @type {HTMLElement[]} */ ([...menu.querySelectorAll(":scope > div :is(a, button, summary)")])
    .filter((item) => item.checkVisibility());
  const at = items.indexOf(target);
  const next = event.key === "ArrowDown" ? at + 1 : Math.max(at, 0) - 1;
  items.at(next % items.length)?.focus();
}

/** Enable the buttons of a list, such as Cancel, only while something in it is ticked. */
function waitForTicks() {
  const buttons = /** @type {NodeListOf<HTMLButtonElement>} */ (document.querySelectorAll("button[data-ticked]"));
  for (const button of buttons) {
    button.disabled = !document.querySelector(`input[name="${button.dataset.ticked}"]:checked`);
  }
}

/** @param {string} selector */
function follow(selector) {
  /** @type {HTMLElement | null} */ (document.querySelector(selector))?.click();
}

/** @type {Record<string, () => void>} */
const SHORTCUTS = {
  "?": () => /** @type {HTMLDialogElement} */ (document.getElementById("shortcuts")).showModal(),
  "/": () => /** @type {HTMLElement | null} */ (document.querySelector("[role=search] input[type=text], [role=search] input[type=search]"))?.focus(),
  u: () => follow("#nav-upload"),
  r: () => follow("#nav-requests"),
  j: () => follow("[data-key=next]"),
  k: () => follow("[data-key=previous]"),
};
for (let number = 1; number <= 6; number += 1) {
  SHORTCUTS[number] = () => follow(`.tabs a:nth-of-type(${number})`);
}

/** On a phone the tabs and the main menu scroll sideways. */
function showOpenTab() {
  const open = document.querySelectorAll(".tabs > [aria-current], .site nav > [aria-current]");
  for (const tab of /** @type {NodeListOf<HTMLElement>} */ (open)) {
    const tabs = tab.parentElement;
    if (tabs) tabs.scrollLeft = tab.offsetLeft - tabs.offsetLeft - (tabs.clientWidth - tab.offsetWidth) / 2;
  }
}

/** @param {KeyboardEvent} event */
function onKey(event) {
  const target = /** @type {HTMLElement} */ (event.target);
  if (event.key === "Escape") {
    const menu = target.closest("details.menu[open]");
    closeMenus(null);
    /** @type {HTMLElement | null | undefined} */ (menu?.querySelector("summary"))?.focus();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.key === "ArrowDown" || event.key === "ArrowUp") moveInMenu(event);
  if (target.closest("input:not([type=checkbox]), textarea, select, dialog[open]")) return;
  const action = SHORTCUTS[event.key];
  if (!action || (localStorage.getItem(OFF) && event.key !== "?")) return;
  event.preventDefault();
  action();
}

function showSwitch() {
  const button = document.getElementById("shortcuts-switch");
  if (button) button.textContent = localStorage.getItem(OFF) ? "Turn shortcuts on" : "Turn shortcuts off";
}

/** @param {MouseEvent} event */
function onClick(event) {
  const target = /** @type {HTMLElement} */ (event.target);
  closeMenus(target.closest("details.menu"));
  const button = target.closest("button");
  if (button?.dataset.copy) copy(button);
  if (button?.id === "show-shortcuts") SHORTCUTS["?"]();
  if (button?.id === "shortcuts-switch") {
    if (localStorage.getItem(OFF)) localStorage.removeItem(OFF);
    else localStorage.setItem(OFF, "1");
    showSwitch();
  }
  if (target instanceof HTMLInputElement && target.dataset.ticks) {
    for (const box of document.querySelectorAll(`input[name="${target.dataset.ticks}"]`)) {
      /** @type {HTMLInputElement} */ (box).checked = target.checked;
    }
    waitForTicks();
  }
}

/** A header of every answer of this service. A proxy that answers instead sends none. */
const OURS = "X-Application";

/** @param {XMLHttpRequest} xhr */
const isOurs = (xhr) => xhr.getResponseHeader(OURS) !== null;

/** @param {XMLHttpRequest} xhr Whose answer is not ours, or says that something went wrong. */
function problemOf(xhr) {
  if (isOurs(xhr)) return "Something went wrong on the server. Try again.";
  if (xhr.status === 413) return "The file is too large for a proxy in front of this service. Use a smaller file, or ask your administrator.";
  if (xhr.status >= 502 && xhr.status <= 504) return "The service does not answer at the moment. Try again in a minute.";
  return "A proxy answered instead of this service. Reload the page, or try again in a minute.";
}

/**
 * Keep the page, and with it what was typed and chosen, where the answer is not ours.
 * @param {Event} event
 */
function refuseOtherAnswers(event) {
  const { detail } = /** @type {CustomEvent} */ (event);
  if (isOurs(detail.xhr)) return;
  detail.shouldSwap = false;
  detail.isError = true;
}

/** Give the listeners of a form the sentence to show. @param {Event} event */
function explainError(event) {
  const { detail } = /** @type {CustomEvent} */ (event);
  detail.problem = problemOf(detail.xhr);
}

/** Ids of menus and questions that are open, so that they stay open when a poll replaces them. @type {string[]} */
let opened = [];

/** Id of the element that has the focus. A script may show it only after the swap, so htmx cannot restore that. */
let focused = "";

/** How far the tabs were scrolled sideways before a poll replaced them. */
let tabsLeft = 0;

function rememberState() {
  opened = [...document.querySelectorAll("#main details[id][open]")].map((details) => details.id);
  focused = document.activeElement?.id ?? "";
  tabsLeft = document.querySelector(".tabs")?.scrollLeft ?? 0;
}

function restoreState() {
  for (const id of opened) document.getElementById(id)?.setAttribute("open", "");
  const tabs = document.querySelector(".tabs");
  if (tabs) tabs.scrollLeft = tabsLeft;
}

document.addEventListener("keydown", onKey);
document.addEventListener("click", onClick);
document.addEventListener("htmx:beforeSwap", refuseOtherAnswers);
document.addEventListener("htmx:responseError", explainError, true); // before other listeners
document.addEventListener("htmx:beforeSwap", rememberState);
document.addEventListener("htmx:afterSettle", () => {
  if (focused && document.activeElement === document.body) document.getElementById(focused)?.focus();
});
document.addEventListener("change", waitForTicks);
document.addEventListener("htmx:afterSwap", () => {
  localizeTimes(document);
  showCopyButtons(document);
  waitForTicks();
  restoreState();
});
window.addEventListener("pageshow", waitForTicks); // a page that the browser goes back to may have its ticks
/** @type {HTMLElement} */ (document.getElementById("show-shortcuts")).hidden = false;
localizeTimes(document);
showCopyButtons(document);
showSwitch();
showOpenTab();
window.addEventListener("resize", showOpenTab);
