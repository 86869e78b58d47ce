// A point of a plot that mouse, finger and arrow keys move.

import { clamp, h, rangeOf, rounded } from "./controls.mjs";

// `layer` covers the plot area, a square about 0 as wide as the range of both. Press anywhere to bring the point.
export function handle(model, layer, { xName = "x", yName = "y", label }) {
  const halfWidth = rangeOf(model, xName).max;
  for (const name of [xName, yName]) clamp(model, name);
  const knob = h("button", { type: "button", class: "flatlab-knob", "aria-roledescription": "draggable point" });
  layer.append(knob);

  const put = (x, y) => {
    const inside = (v) => rounded(Math.min(halfWidth, Math.max(-halfWidth, v)), 4);
    model.set(xName, inside(x));
    model.set(yName, inside(y));
    model.save_changes();
  };
  const putEvent = (event) => {
    const box = layer.getBoundingClientRect();
    put(
      ((event.clientX - box.left) / box.width) * 2 * halfWidth - halfWidth,
      halfWidth - ((event.clientY - box.top) / box.height) * 2 * halfWidth,
    );
  };

  let dragging = false;
  layer.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    // A finger beside the knob may be about to scroll the page: only the knob itself is dragged by touch.
    if (event.pointerType === "touch" && event.target !== knob) return;
    dragging = true;
    layer.setPointerCapture(event.pointerId);
    event.preventDefault();
    knob.focus({ preventScroll: true });
    putEvent(event);
  });
  layer.addEventListener("pointermove", (event) => dragging && putEvent(event));
  for (const end of ["pointerup", "pointercancel"]) layer.addEventListener(end, () => (dragging = false));
  layer.addEventListener("click", (event) => event.detail && event.target !== knob && putEvent(event)); // a tap

  knob.addEventListener("keydown", (event) => {
    const towards = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] }[event.key];
    if (!towards) return;
    event.preventDefault();
    const step = event.shiftKey ? 0.25 : 0.02;
    put(model.get(xName) + step * towards[0], model.get(yName) + step * towards[1]);
  });

  const draw = () => {
    for (const name of [xName, yName]) clamp(model, name);
    const [x, y] = [model.get(xName), model.get(yName)];
    knob.style.left = `${((x + halfWidth) / (2 * halfWidth)) * 100}%`;
    knob.style.top = `${((halfWidth - y) / (2 * halfWidth)) * 100}%`;
    knob.setAttribute("aria-label", `${label}: x ${x}, y ${y}. Arrow keys move it, with Shift further.`);
  };
  for (const name of [xName, yName]) model.on(`change:${name}`, draw);
  draw();
}
