// Turns the original and the result of a trial's picture into one with a slider, at one pixel of the result for
// each pixel of the screen. Without this script both are shown side by side.
"use strict";

(() => {
  function enhance(frame) {
    const stage = frame.querySelector(".stage");
    const result = stage.querySelectorAll("img")[1];
    const line = document.createElement("span");
    line.className = "line";
    stage.append(line);

    const slider = document.createElement("input");
    slider.type = "range";
    slider.value = 50;
    slider.setAttribute("aria-label", `Share of the original, ${frame.getAttribute("aria-label")}`);
    frame.before(slider);

    function show(percent) {
      slider.value = percent;
      result.style.clipPath = `inset(0 0 0 ${slider.value}%)`;
      line.style.left = `${slider.value}%`;
    }

    function follow(event) {
      const { left, width } = stage.getBoundingClientRect();
      show((100 * (event.clientX - left)) / width);
    }

    frame.classList.add("sliding");
    for (const [side, name] of [[result.width, "width"], [result.height, "height"]]) {
      stage.style[name] = `${side / window.devicePixelRatio}px`;
    }
    slider.addEventListener("input", () => show(slider.value));
    stage.addEventListener("dragstart", (event) => event.preventDefault());
    stage.addEventListener("pointerdown", (event) => {
      stage.setPointerCapture(event.pointerId);
      follow(event);
    });
    stage.addEventListener("pointermove", (event) => {
      if (stage.hasPointerCapture(event.pointerId)) follow(event);
    });
    show(50);
  }

  document.querySelectorAll(".compare").forEach(enhance);
})();
