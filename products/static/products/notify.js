// Browser notifications while the page is open: of the end of a request, or of the runs of a feed. Permission is
// asked for when the button is used, never by itself. Without this script there is no button.

/** The key in localStorage under which it is kept that notifications are wanted. */
const ON = "notifications";
const POLL_SECONDS = 5;
const ENDED = new Set(["completed", "completed_with_errors", "failed", "canceled", "held", "unchanged"]);

/**
 * The state of a run. `key` is another one for each run.
 * @typedef {{ key: string, status: string, text: string }} State
 */

/**
 * @param {any} row A request or a feed, as the API has it.
 * @returns {State}
 */
function stateOf(row) {
  if ("images" in row) {
    const { completed, failed } = row.images;
    const text = `${completed.toLocaleString()} picture${completed === 1 ? "" : "s"} completed, ${failed.toLocaleString()} failed`;
    return { key: `${row.run}`, status: row.status, text };
  }
  const last = row.last_run;
  if (!last) return { key: "", status: "", text: "" };
  return { key: last.at, status: last.status, text: last.error ?? "" };
}

/** @param {string} status */
function words(status) {
  return status.replaceAll("_", " ");
}

/** @returns {boolean} Whether the user wants notifications and the browser allows them. */
function isOn() {
  return Notification.permission === "granted" && localStorage.getItem(ON) !== null;
}

/** @returns {HTMLButtonElement | null} The button, which is another one after htmx has swapped the page. */
function findButton() {
  return document.querySelector("button[data-notify]");
}

function showButton() {
  const button = findButton();
  if (!button) return;
  const isBlocked = Notification.permission === "denied";
  button.hidden = false;
  button.disabled = isBlocked;
  if (isBlocked) button.textContent = "Notifications are blocked by your browser";
  else button.textContent = isOn() ? "Turn notifications off" : button.dataset.text ?? "";
}

/**
 * @param {string} title
 * @param {State} state
 */
function notify(title, state) {
  const notification = new Notification(`${title} – ${words(state.status)}`, { body: state.text });
  notification.addEventListener("click", () => { window.focus(); notification.close(); });
}

/**
 * Ask for the state again and again while notifications are on, and notify of each end that has come meanwhile.
 * @param {string} url
 * @param {string} title
 */
function watch(url, title) {
  /** @type {State | null} */
  let before = null;
  let isPolling = false;

  async function poll() {
    if (isPolling || !isOn()) return;
    isPolling = true;
    try {
      const response = await fetch(url, { headers: { Accept: "application/json" } });
      if (!response.ok) return;
      const row = await response.json();
      const now = stateOf(row);
      const isNew = before !== null && (now.key !== before.key || now.status !== before.status);
      if (isNew && ENDED.has(now.status)) notify(title, now);
      before = now;
      if ("images" in row && ENDED.has(now.status)) clearInterval(timer); // the next run loads the page again
    } catch {
      // The service does not answer: the next time it may.
    } finally {
      isPolling = false;
    }
  }

  document.addEventListener("click", async (event) => {
    if (!(event.target instanceof Element && event.target.closest("button[data-notify]"))) return;
    if (isOn()) localStorage.removeItem(ON);
    else if (await Notification.requestPermission() === "granted") localStorage.setItem(ON, "1");
    showButton();
    poll();
  });
  document.addEventListener("htmx:afterSwap", showButton);
  const timer = setInterval(poll, POLL_SECONDS * 1000);
  showButton();
  poll();
}

const button = findButton();
if (button && "Notification" in window) watch(button.dataset.url ?? "", button.dataset.title ?? "");
