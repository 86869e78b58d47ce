// Explorable: the valley w1 w2 = p of Example 1. In: data ("clear" or "paper"), x, y (the start, in half-widths of the
// plane), lr, rho, lam, factor ("with" or "without" the minibatch factor), batch, steps, seed. Shows the runs of SGD, SAM
// and COV, their norms, and how far off the valley they are.

import { choice, h, onChange, presets, slider } from "flatlab/explorable/controls.mjs";
import { handle } from "flatlab/explorable/handle.mjs";
import {
  CONFIG,
  houseAxis,
  houseLayout,
  ink,
  loadPlotly,
  METHOD_COLOURS,
  onAppearance,
  panelTitle,
} from "flatlab/explorable/plotly.mjs";
import { Strokes } from "flatlab/explorable/strokes.mjs";
import { loss, minibatches, minibatchFactor, moments, restingProduct, run, sample } from "./landscape.mjs";

const METHODS = ["SGD", "SAM", "COV"];
const NAMES = ["data", "x", "y", "lr", "rho", "lam", "factor", "batch", "steps", "seed"];
const N = 5000;
const DATA = { clear: { product: 1, halfWidth: 3.5 }, paper: { product: -0.01, halfWidth: 0.3 } };
const POINTS = 200; // of a curve

const FIRST = { lr: 0.01, batch: 100, steps: 10000, lam: 0.3, factor: "with" };
const SITUATIONS = {
  "The methods part": { ...FIRST, data: "clear", x: 0.857, y: 0.029, rho: 0.05 },
  "Without the factor": { ...FIRST, data: "clear", x: 0.43, y: 0.11, rho: 0.05, factor: "without" },
  "Figure 2": { ...FIRST, data: "paper", x: 0.333, y: 0.633, rho: 0.005 },
  "Small batches": { ...FIRST, data: "clear", x: 0.43, y: 0.19, rho: 0.05, lam: 0.02, batch: 2 },
};

// ---- compute ---------------------------------------------------------------------------------------------------------

export function runs(pairs, data, batches, s) {
  const start = { x: s.x * DATA[s.data].halfWidth, y: s.y * DATA[s.data].halfWidth };
  const every = Math.max(1, Math.ceil(s.steps / POINTS));
  const weight = s.lam * (s.factor === "with" ? minibatchFactor(pairs.x.length, s.batch) : 1);
  const all = METHODS.map((method) => run(method, start, batches, { ...s, every, weight, data }));
  return { all, weight, every };
}

// Three digits of a small number, two decimals less of a large one.
const show = (v) => (Math.abs(v) < 1e-4 ? "0" : v.toFixed(Math.abs(v) < 0.1 ? 4 : 3)).replace("-", "−");

export function words({ all, weight }, data, s) {
  const valley = data.b / data.a;
  const rest = restingProduct(data, weight);
  const last = ({ xs, ys }) => [xs[xs.length - 1], ys[ys.length - 1]];
  const norms = all.map((
    r,
  ) => (r.divergedAt ? `${r.method} diverged at step ${r.divergedAt}` : `${r.method} ${show(Math.hypot(...last(r)))}`));
  const cov = all[all.length - 1];
  const [w1, w2] = last(cov);
  const where = cov.divergedAt
    ? ""
    : ` COV is at w₁w₂ = ${show(w1 * w2)}; the penalized loss has its minimum at ${show(rest)}, the loss itself at ${
      show(valley)
    }.`;
  const idle = [s.rho === 0 && "with ρ = 0 SAM is SGD", s.lam === 0 && "with λ = 0 COV is SGD"].filter(Boolean).join(", ");
  const one = idle && ` Their lines coincide: ${idle}.`;
  return `‖w‖ after ${s.steps} steps: ${norms.join(", ")}; the least on the valley is ${
    show(Math.sqrt(2 * Math.abs(valley)))
  }.${where}${one}`;
}

// ---- draw ------------------------------------------------------------------------------------------------------------

function hyperbola(p, halfWidth) {
  const arm = Array.from(
    { length: 200 },
    (_, k) => (Math.abs(p) / halfWidth) * (halfWidth ** 2 / Math.abs(p)) ** (k / 199),
  );
  const xs = [...arm.map((v) => -v).reverse(), null, ...arm];
  return { x: xs, y: xs.map((v) => (v === null ? null : p / v)) };
}

function drawPlane(Plotly, div, data, s) {
  const { text, faint, grid } = ink(div);
  const { halfWidth } = DATA[s.data];
  const p = data.b / data.a;
  const ticks = Array.from({ length: 81 }, (_, k) => -halfWidth + (k * 2 * halfWidth) / 80);
  const least = loss(data, { x: p, y: 1 });
  const z = ticks.map((y) => ticks.map((x) => Math.log10((loss(data, { x, y }) - least) / halfWidth ** 4 + 1e-4)));
  const contour = {
    type: "contour",
    x: ticks,
    y: ticks,
    z,
    ncontours: 12,
    contours: { coloring: "none" },
    line: { color: grid, width: 1 },
    hoverinfo: "skip",
  };
  const valley = { ...hyperbola(p, halfWidth), mode: "lines", line: { color: faint, width: 6 } };
  const side = Math.sqrt(Math.abs(p));
  const signs = p > 0 ? [[1, 1], [-1, -1]] : [[1, -1], [-1, 1]];
  const marks = {
    x: signs.map(([u]) => u * side),
    y: signs.map(([, v]) => v * side),
    mode: "markers",
    marker: { symbol: "cross", size: 10, color: text },
  };
  const axis = { range: [-halfWidth, halfWidth], dtick: halfWidth > 1 ? 1 : 0.1, showgrid: false };
  const layout = houseLayout(div, {
    xaxis: { ...axis, title: { text: "w₁", standoff: 4 } },
    yaxis: { ...axis, title: { text: "w₂", standoff: 4 } },
    margin: { l: 46, r: 8, t: 8, b: 40 },
  });
  return Plotly.react(div, [contour, valley, marks], layout, CONFIG);
}

function drawRuns(strokes, all, halfWidth) {
  strokes.clear();
  for (const { method, xs, ys } of all) strokes.line(method, { xs, ys });
  const { context, axes } = strokes;
  for (const { method, xs, ys, divergedAt } of all) {
    if (divergedAt) continue;
    const end = xs.length - 1;
    context.fillStyle = METHOD_COLOURS[method];
    context.beginPath();
    context.arc(axes.xaxis._offset + axes.xaxis.l2p(xs[end]), axes.yaxis._offset + axes.yaxis.l2p(ys[end]), 5, 0, 7);
    context.fill();
  }
  const inside = (v) => Math.max(-0.9 * halfWidth, Math.min(0.9 * halfWidth, v));
  for (const { method, xs, ys, divergedAt } of all) {
    if (divergedAt) {
      strokes.label(method, `✕ ${method} diverges`, { x: inside(xs[xs.length - 1]), y: inside(ys[ys.length - 1]) });
    }
  }
}

function drawFrame(Plotly, div, data, s, top) {
  const { text } = ink(div);
  const valley = data.b / data.a;
  const title = (content, y) => panelTitle(div, content, y);
  const second = houseAxis(div);
  const dotted = (axis, x, y) => ({
    type: "line",
    xref: axis,
    x0: 0,
    x1: s.steps,
    yref: x,
    y0: y,
    y1: y,
    line: { color: text, width: 1, dash: "dot" },
  });
  const reach = valley > 0 ? [-0.05 * valley, 1.3 * valley] : [1.8 * valley, -0.8 * valley];
  const layout = houseLayout(div, {
    margin: { l: 56, r: 10, t: 26, b: 40 },
    xaxis: { range: [0, s.steps], anchor: "y", showticklabels: false, nticks: 6 },
    yaxis: { domain: [0.56, 1], range: [0, top], nticks: 5 },
    xaxis2: { ...second, range: [0, s.steps], anchor: "y2", nticks: 6, title: { text: "step", standoff: 4 } },
    yaxis2: { ...second, domain: [0, 0.42], range: reach, nticks: 5 },
    annotations: [title("‖w‖ (dotted: least on the valley)", 1), title("w₁w₂ (dotted: the valley)", 0.43)],
    shapes: [dotted("x", "y", Math.sqrt(2 * Math.abs(valley))), dotted("x2", "y2", valley)],
  });
  return Plotly.react(div, [{ x: [], y: [] }, { x: [], y: [], xaxis: "x2", yaxis: "y2" }], layout, CONFIG);
}

function drawCurves(strokes, all, every, steps) {
  strokes.clear();
  for (const { method, xs, ys } of all) {
    const at = xs.map((_, k) => Math.min(steps, k * every));
    strokes.line(method, { xs: at, ys: xs.map((v, k) => Math.hypot(v, ys[k])) });
    strokes.line(method, { xs: at, ys: xs.map((v, k) => v * ys[k]), xaxis: "xaxis2", yaxis: "yaxis2" });
  }
}

// ---- render ----------------------------------------------------------------------------------------------------------

function legend() {
  const item = (name) =>
    h("li", {}, h("span", { class: "flatlab-swatch", style: `background:${METHOD_COLOURS[name]}` }), name);
  return h(
    "ul",
    { class: "flatlab-census" },
    ...METHODS.map(item),
    h("li", {}, "broad: the valley of minima; +: least norm; ●: where a run ends"),
  );
}

async function render({ model, el }) {
  const Plotly = await loadPlotly(model);
  const [plane, frame, layer] = ["flatlab-plot", "flatlab-plot", "flatlab-layer"].map((name) => h("div", { class: name }));
  const [runStrokes, curveStrokes] = [new Strokes(), new Strokes()];
  const map = h("div", { class: "flatlab-map" }, plane, runStrokes.canvas, layer);
  const curves = h("div", { class: "flatlab-curves" }, frame, curveStrokes.canvas);
  const status = h("p", { class: "flatlab-status", "aria-live": "polite", "data-says": "norms" });
  const controls = h(
    "div",
    { class: "flatlab-controls" },
    slider(model, "lr", { label: "learning rate η", log: true }),
    slider(model, "steps", { label: "steps", log: true }),
    slider(model, "rho", { label: "SAM’s radius ρ", step: 0.005 }),
    slider(model, "batch", { label: "minibatch b", log: true }),
    slider(model, "lam", { label: "COV’s weight λ", step: 0.01 }),
    choice(model, "factor", {
      label: "penalty λ Tr C",
      options: { with: "with the factor (n − b) / (b (n − 1))", without: "without it" },
    }),
    choice(model, "data", { label: "data made with w₁w₂ =", options: { clear: "1", paper: "−0.01, as in the paper" } }),
  );
  el.classList.add("flatlab");
  el.replaceChildren(
    presets(model, "See:", SITUATIONS),
    h("div", { class: "flatlab-panels" }, map, curves),
    legend(),
    status,
    controls,
  );
  handle(model, layer, { label: "Start, in half-widths of the plane" });

  const settings = () => {
    const s = Object.fromEntries(NAMES.map((name) => [name, model.get(name)]));
    return { ...s, batch: Math.round(s.batch), steps: Math.round(s.steps) };
  };
  const made = new Map(); // pairs and their moments, by data and seed
  let [drawn, batches, framed, grounded] = ["", null, "", ""];
  const update = () => {
    const s = settings();
    const name = `${s.data} ${s.seed}`;
    if (!made.has(name)) {
      const pairs = sample({ n: N, scale: 2, product: DATA[s.data].product, seed: s.seed });
      made.set(name, { pairs, data: moments(pairs) });
    }
    const { pairs, data } = made.get(name);
    const asked = `${name} ${s.batch} ${s.steps}`;
    if (drawn !== asked) {
      batches = minibatches(pairs, { ...s, seed: s.seed + 1 });
      drawn = asked;
    }
    const began = performance.now();
    const found = runs(pairs, data, batches, s);
    const { halfWidth } = DATA[s.data];
    const top = Math.max(1, Math.ceil(2 * Math.hypot(s.x, s.y))) * halfWidth / 2; // few values: a new frame takes 30 ms
    if (grounded !== name) {
      drawPlane(Plotly, plane, data, s);
      const { xaxis, yaxis } = plane._fullLayout;
      Object.assign(layer.style, {
        left: `${xaxis._offset}px`,
        top: `${yaxis._offset}px`,
        width: `${xaxis._length}px`,
        height: `${yaxis._length}px`,
      });
      runStrokes.fit(plane);
      grounded = name;
    }
    if (framed !== `${name} ${s.steps} ${top}`) {
      drawFrame(Plotly, frame, data, s, top);
      curveStrokes.fit(frame);
      framed = `${name} ${s.steps} ${top}`;
    }
    drawRuns(runStrokes, found.all, halfWidth);
    drawCurves(curveStrokes, found.all, found.every, s.steps);
    status.textContent = words(found, data, s);
    performance.measure("flatlab:valley", { start: began, end: performance.now() });
  };
  const redraw = () => {
    for (const div of [plane, frame]) Plotly.purge(div);
    [framed, grounded] = ["", ""];
    update();
  };
  redraw();
  const stops = [onChange(model, NAMES, update), onAppearance(el, redraw)];
  return () => stops.forEach((stop) => stop());
}

export default { render };
