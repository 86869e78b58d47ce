// A curve that a reader draws before seeing it. In: what sketch.py tells of it. The pen is the mouse, a finger, or the arrow
// keys, which move one of a few points.

import { h } from "./controls.mjs";

const HEIGHT = 260;
const MARGIN = { left: 48, right: 14, top: 12, bottom: 44 };

const svg = (tag, attributes, ...children) => {
  const el = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) el.setAttribute(name, value);
  el.append(...children);
  return el;
};

// ---- compute ---------------------------------------------------------------------------------------------------------

// Round numbers from low to high, about `count` of them.
export function ticks(low, high, count) {
  const rough = (high - low) / count;
  const ten = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * ten).find((s) => s >= rough * 0.999);
  const all = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) {
    all.push(Number((k * step).toPrecision(6)));
  }
  return all;
}

// A value on an axis as its words, to a hundredth of the axis.
export function told({ low, high, unit }, value) {
  const digits = Math.max(0, -Math.floor(Math.log10((high - low) / 100) + 1e-9));
  return `${value.toFixed(digits)}${unit}`;
}

// What the pen leaves on its way from one place to another: the height of every point that it passed, and of the nearest one.
export function stroke(places, values, from, to) {
  const drawn = [...values];
  const [a, b] = from.x <= to.x ? [from, to] : [to, from];
  places.forEach((x, k) => {
    if (x >= a.x && x <= b.x) drawn[k] = b.x === a.x ? to.y : a.y + ((x - a.x) / (b.x - a.x)) * (b.y - a.y);
  });
  const near = places.reduce((best, x, k) => (Math.abs(x - to.x) < Math.abs(places[best] - to.x) ? k : best), 0);
  drawn[near] = to.y;
  return drawn;
}

// How far the guess was, in a sentence.
export function verdict({ x, y, places, answers }, drawn) {
  const far = drawn.map((v, k) => Math.abs(v - answers[k]));
  const mean = far.reduce((sum, v) => sum + v, 0) / far.length;
  const worst = far.indexOf(Math.max(...far));
  const unit = y.unit === "%" ? " points" : "";
  const off = `Your curve is off by ${told({ ...y, unit }, mean)} on average`;
  if (far[worst] < (y.high - y.low) / 50) return `${off}: it is the true one.`;
  const where = `${x.symbol || x.label} = ${places[worst]}`;
  return `${off}, and by most at ${where}: you drew ${told(y, drawn[worst])}, it is ${told(y, answers[worst])}.`;
}

// ---- draw ------------------------------------------------------------------------------------------------------------

function axes(plot, { x, y }, at, width) {
  const text = (content, attributes) => svg("text", { fill: "currentColor", "font-size": 12, ...attributes }, content);
  for (const v of ticks(y.low, y.high, 5)) {
    plot.append(svg("line", { x1: at.x(x.low), x2: at.x(x.high), y1: at.y(v), y2: at.y(v), class: "flatlab-grid" }));
    plot.append(text(`${v}${y.unit}`, { x: at.x(x.low) - 6, y: at.y(v) + 4, "text-anchor": "end" }));
  }
  for (const v of ticks(x.low, x.high, width < 420 ? 4 : 8)) {
    plot.append(text(`${v}${x.unit}`, { x: at.x(v), y: HEIGHT - MARGIN.bottom + 16, "text-anchor": "middle" }));
  }
  plot.append(text(x.label, { x: (at.x(x.low) + at.x(x.high)) / 2, y: HEIGHT - 8, "text-anchor": "middle" }));
}

const curve = (line, at, attributes) =>
  svg("polyline", {
    points: line.x.map((x, k) => `${at.x(x)},${at.y(line.y[k])}`).join(" "),
    fill: "none",
    stroke: line.colour ?? "currentColor",
    "stroke-width": 3,
    ...attributes,
  });

const key = (line, kind) => h("span", { class: `flatlab-key ${kind}`, style: `color: ${line.colour ?? "inherit"}` });

// ---- the field -------------------------------------------------------------------------------------------------------

// Fills `box`, which holds the data; `show` is called when the reader asks for the truth, `hide` to draw again. Returns
// what tells it that the truth is open or not.
export function sketch(box, { show, hide }) {
  const data = JSON.parse(box.dataset.sketch);
  const { x, y, places, truth, given } = data;
  let drawn = places.map(() => (y.low + y.high) / 2);
  let [touched, open, chosen] = [false, false, 0];

  const plot = svg("svg", { role: "group", "aria-label": `Draw: ${y.label} over ${x.label}`, height: HEIGHT });
  const said = h("p", { class: "flatlab-verdict", "aria-live": "polite" });
  const button = h("button", { type: "button", disabled: true, onclick: () => (open ? hide() : show()) }, "Show");
  const legend = h("p", { class: "flatlab-keys" });
  const hint = "Draw with the mouse or a finger. Or: ← → choose a point, ↑ ↓ move it.";
  box.replaceChildren(
    h("p", { class: "flatlab-axis" }, y.label),
    plot,
    legend,
    h("div", { class: "flatlab-presets" }, button, h("span", {}, hint)),
    said,
  );

  let at = null;
  const draw = () => {
    const focused = plot.contains(document.activeElement);
    const width = box.clientWidth || 600;
    const [wide, tall] = [width - MARGIN.left - MARGIN.right, HEIGHT - MARGIN.top - MARGIN.bottom];
    at = {
      x: (v) => MARGIN.left + ((v - x.low) / (x.high - x.low)) * wide,
      y: (v) => MARGIN.top + ((y.high - v) / (y.high - y.low)) * tall,
      back: (px, py) => ({
        x: x.low + ((px - MARGIN.left) / wide) * (x.high - x.low),
        y: Math.min(y.high, Math.max(y.low, y.high - ((py - MARGIN.top) / tall) * (y.high - y.low))),
      }),
    };
    plot.setAttribute("width", width);
    plot.replaceChildren();
    axes(plot, data, at, width);
    if (given) plot.append(curve(given, at, {}));
    if (open) plot.append(curve(truth, at, { class: "flatlab-truth", "stroke-dasharray": given ? "9 5" : "none" }));
    plot.append(
      curve({ x: places, y: drawn }, at, { class: "flatlab-drawn", "stroke-dasharray": touched ? "2 4" : "1 7" }),
    );
    plot.append(...places.map((place, k) => point(place, k)));
    if (focused) plot.querySelector('[tabindex="0"]').focus({ preventScroll: true });
    legend.replaceChildren(
      ...(given ? [key(given, "solid"), `${given.name}, given `] : []),
      ...[key({}, "dotted"), "your curve "],
      ...(open ? [key(truth, given ? "dashed" : "solid"), truth.name] : []),
    );
    button.disabled = !touched;
    button.textContent = open ? "Draw again" : "Show";
    said.textContent = open && touched ? verdict(data, drawn) : "";
  };

  const point = (place, k) =>
    svg(
      "g",
      {
        role: "slider",
        tabindex: k === chosen ? 0 : -1,
        "data-place": k,
        "aria-orientation": "vertical",
        "aria-label": `${y.label} at ${x.symbol || x.label} = ${place}`,
        "aria-valuemin": y.low,
        "aria-valuemax": y.high,
        "aria-valuenow": Number(drawn[k].toFixed(6)),
        "aria-valuetext": told(y, drawn[k]),
        transform: `translate(${at.x(place)} ${at.y(drawn[k])})`,
      },
      svg("circle", { r: 6 }),
    );

  const put = (values) => {
    [drawn, touched] = [values, true];
    draw();
  };

  plot.addEventListener("keydown", (event) => {
    const step = (y.high - y.low) / 50;
    const by = { ArrowUp: step, ArrowDown: -step, PageUp: 5 * step, PageDown: -5 * step }[event.key];
    const along = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity }[event.key];
    if (by === undefined && along === undefined) return;
    event.preventDefault();
    if (along !== undefined) {
      chosen = Math.min(places.length - 1, Math.max(0, chosen + along));
      draw();
    } else if (!open) {
      const moved = Math.min(y.high, Math.max(y.low, drawn[chosen] + by * (event.shiftKey ? 5 : 1)));
      put(drawn.with(chosen, Number(moved.toFixed(6))));
    }
  });
  plot.addEventListener("focusin", ({ target }) => (chosen = Number(target.dataset.place ?? chosen)));

  let last = null;
  const here = (event) => {
    const { left, top } = plot.getBoundingClientRect();
    return at.back(event.clientX - left, event.clientY - top);
  };
  plot.addEventListener("pointerdown", (event) => {
    if (event.button || open) return;
    event.preventDefault();
    plot.setPointerCapture(event.pointerId);
    last = here(event);
    put(stroke(places, drawn, last, last));
  });
  plot.addEventListener("pointermove", (event) => {
    if (!last) return;
    const now = here(event);
    put(stroke(places, drawn, last, now));
    last = now;
  });
  for (const end of ["pointerup", "pointercancel"]) plot.addEventListener(end, () => (last = null));

  let width = 0;
  new ResizeObserver(() => box.clientWidth !== width && ((width = box.clientWidth), draw())).observe(box);
  return (now) => {
    open = now;
    draw();
  };
}
