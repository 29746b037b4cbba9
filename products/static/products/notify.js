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

/** @param {HTMLButtonElement} button */
function show(button) {
  const isBlocked = Notification.permission === "denied";
  button.hidden = false;
  button.disabled = isBlocked;
  if (isBlocked) button.textContent = "Notifications are blocked by your browser";
  else button.textContent = isOn() ? "Turn notifications off" : "Notify me at the end";
}

/**
 * @param {string} title
 * @param {State} state
 */
function notify(title, state) {
  const notification = new Notification(`${title} – ${state.status.replaceAll("_", " ")}`, { body: state.text });
  notification.addEventListener("click", () => { window.focus(); notification.close(); });
}

/** @param {HTMLButtonElement} button */
function watch(button) {
  /** @type {State | null} */
  let before = null;
  let isPolling = false;

  /** Ask for the state, and notify of an end that has come since it was last asked for. */
  async function poll() {
    if (isPolling || !isOn()) return;
    isPolling = true;
    try {
      const response = await fetch(button.dataset.url ?? "", { headers: { Accept: "application/json" } });
      if (!response.ok) return;
      const now = stateOf(await response.json());
      const isNew = before !== null && (now.key !== before.key || now.status !== before.status);
      if (isNew && ENDED.has(now.status)) notify(button.dataset.title ?? "", now);
      before = now;
    } catch {
      // The service does not answer: the next time it may.
    } finally {
      isPolling = false;
    }
  }

  button.addEventListener("click", async () => {
    if (isOn()) localStorage.removeItem(ON);
    else if (await Notification.requestPermission() === "granted") localStorage.setItem(ON, "1");
    show(button);
    poll();
  });
  show(button);
  poll();
  setInterval(poll, POLL_SECONDS * 1000);
}

const found = /** @type {HTMLButtonElement | null} */ (document.querySelector("button[data-notify]"));
if (found && "Notification" in window) watch(found);
