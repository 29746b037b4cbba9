// Lays two versions of a picture over each other, parted by a slider. Without this script they stand side by side.

/** @param {HTMLElement} compare An element of pages/_compare.html. */
function enhance(compare) {
  const stage = /** @type {HTMLElement} */ (compare.querySelector(".stage"));
  const layers = /** @type {HTMLElement} */ (compare.querySelector(".layers"));
  const slider = /** @type {HTMLInputElement} */ (compare.querySelector("input[type=range]"));
  const buttons = /** @type {NodeListOf<HTMLButtonElement>} */ (compare.querySelectorAll("button[data-zoom]"));
  // One pixel of the output on one pixel of the screen.
  const width = `${Number(compare.dataset.width) / devicePixelRatio}px`;
  const height = `${Number(compare.dataset.height) / devicePixelRatio}px`;

  /** @param {number} percent Share of the width in which the first version is shown. */
  function divide(percent) {
    slider.value = String(percent);
    slider.setAttribute("aria-valuetext", `${slider.value} %`);
    compare.style.setProperty("--at", `${slider.value}%`);
  }

  /** @param {string} zoom "fit" or "one". */
  function resize(zoom) {
    stage.dataset.zoom = zoom;
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.zoom === zoom));
    compare.style.setProperty("--natural-width", width);
    compare.style.setProperty("--natural-height", height);
    compare.style.setProperty("--width", zoom === "one" ? width : "100%");
    compare.style.setProperty("--height", zoom === "one" ? height : "100%");
    stage.scrollTo((stage.scrollWidth - stage.clientWidth) / 2, (stage.scrollHeight - stage.clientHeight) / 2);
  }

  /** @param {PointerEvent} event */
  function follow(event) {
    const box = layers.getBoundingClientRect();
    divide(Math.min(100, Math.max(0, (100 * (event.clientX - box.left)) / box.width)));
  }

  slider.addEventListener("input", () => divide(Number(slider.value)));
  layers.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    layers.setPointerCapture(event.pointerId);
    follow(event);
  });
  layers.addEventListener("pointermove", (event) => {
    if (layers.hasPointerCapture(event.pointerId)) follow(event);
  });
  for (const button of buttons) button.addEventListener("click", () => resize(button.dataset.zoom ?? "fit"));
  compare.classList.add("ready");
  divide(50);
  resize("fit");
}

function enhanceAll() {
  for (const compare of document.querySelectorAll(".compare:not(.ready)")) enhance(/** @type {HTMLElement} */ (compare));
}

document.addEventListener("htmx:afterSwap", enhanceAll);
enhanceAll();
