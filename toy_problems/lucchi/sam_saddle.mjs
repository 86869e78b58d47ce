// Explorable: Lucchi's saddle. In: lr, rho, steps, radius, method (of the basin map), x, y (the start).
// Shows the runs of GD, SAM and StableSAM from one start, and where every start of the square ends.

import { choice, h, onChange, presets, slider } from "flatlab/explorable/controls.mjs";
import { trajectory } from "flatlab/explorable/descent.mjs";
import { handle } from "flatlab/explorable/handle.mjs";
import {
  CONFIG,
  FATE_COLOURS,
  houseAxis,
  houseLayout,
  ink,
  loadPlotly,
  METHOD_COLOURS,
  onAppearance,
  panelTitle,
} from "flatlab/explorable/plotly.mjs";
import { RULES } from "flatlab/explorable/rules.mjs";
import { Strokes } from "flatlab/explorable/strokes.mjs";
import { CELLS, census } from "./basin.mjs";
import { BasinPool } from "./basin_pool.mjs";
import { FATES, grad, HALF_WIDTH, loss, LOWEST } from "./landscape.mjs";

const METHODS = { GD: "gd", SAM: "sam", StableSAM: "stable_sam" };
const NAMES = ["lr", "rho", "steps", "radius", "x", "y"];

const SITUATIONS = {
  "Circling the minimum": { lr: 0.25, rho: 0.2, steps: 300, radius: 0.1, method: "SAM", x: -0.6, y: 1.6 },
  "Both fall into the saddle": { lr: 0.1, rho: 0.3, steps: 300, radius: 0.1, method: "StableSAM", x: -1.5, y: 1.2 },
  "Only out of time": { lr: 0.004, rho: 0.1, steps: 300, radius: 0.1, method: "GD", x: -0.6, y: 1.6 },
  "SAM diverges": { lr: 0.3, rho: 0.5, steps: 300, radius: 0.1, method: "SAM", x: 1.9, y: -1.9 },
};

// ---- compute ---------------------------------------------------------------------------------------------------------

export function runs({ lr, rho, steps, x, y }) {
  return Object.entries(METHODS).map(([name, key]) => ({
    name,
    ...trajectory(RULES[key], grad, { x, y }, { lr, steps, rho }),
  }));
}

const POINTS = { "(1, 1)": { x: 1, y: 1 }, "(−1, −1)": { x: -1, y: -1 }, "the saddle": { x: 0, y: 0 } };
const distance = (a, b) => Math.hypot(a.x - b.x, a.y - b.y);

const two = (v) => v.toFixed(2).replace("-", "−");

// What became of a run, in words.
export function verdict({ name, path, divergedAt }, radius) {
  if (divergedAt) return `${name} diverged at step ${divergedAt}`;
  const [before, last, end] = path.slice(-3);
  const [where, away] =
    Object.entries(POINTS).map(([label, point]) => [label, distance(end, point)]).sort((a, b) => a[1] - b[1])[0];
  const step = distance(end, last);
  if (step > 1e-3 && distance(end, before) < 0.1 * step) {
    return `${name} circles ${where} at distance ${away.toFixed(3)}${away <= radius ? ", within the success radius" : ""}`;
  }
  if (away > radius) {
    return `${name} is at (${two(end.x)}, ${two(end.y)})${step > 1e-6 ? ", still moving" : ""}`;
  }
  return where === "the saddle" ? `${name} is caught at the saddle` : `${name} reached ${where}`;
}

// ---- draw ------------------------------------------------------------------------------------------------------------

const FLOOR = 1e-12; // of the loss panel's logarithm

function contour() {
  const ticks = Array.from({ length: 81 }, (_, k) => -HALF_WIDTH + (k * 2 * HALF_WIDTH) / 80);
  return { x: ticks, y: ticks, z: ticks.map((y) => ticks.map((x) => Math.log10(loss({ x, y }) - LOWEST + 0.02))) };
}

function drawContour(Plotly, div) {
  const { text, faint } = ink(div);
  const line = {
    type: "contour",
    ...contour(),
    ncontours: 14,
    contours: { coloring: "none" },
    line: { color: faint, width: 1 },
    hoverinfo: "skip",
  };
  const marks = {
    x: [1, -1, 0],
    y: [1, -1, 0],
    mode: "markers+text",
    text: ["minimum", "minimum", "saddle"],
    textposition: ["top center", "bottom center", "bottom center"],
    textfont: { color: text },
    marker: { symbol: ["cross", "cross", "x"], size: 9, color: text },
  };
  const axis = { range: [-HALF_WIDTH, HALF_WIDTH], dtick: 1, showgrid: false };
  const layout = houseLayout(div, {
    xaxis: { ...axis, title: { text: "x", standoff: 4 } },
    yaxis: { ...axis, title: { text: "y", standoff: 4 } },
    margin: { l: 40, r: 8, t: 8, b: 40 },
  });
  return Plotly.react(div, [line, marks], layout, CONFIG);
}

function drawRuns(strokes, all) {
  strokes.clear();
  for (const { name, path } of all) strokes.line(name, { xs: path.map((w) => w.x), ys: path.map((w) => w.y), dots: true });
  for (const { name, path, divergedAt } of all) if (divergedAt) strokes.label(name, `✕ ${name} diverges`, leaving(path));
}

// Where a diverging run leaves the plane, drawn back inside.
function leaving(path) {
  const inside = (v) => Math.min(HALF_WIDTH * 0.95, Math.max(-HALF_WIDTH * 0.95, v));
  const out = path.find((w) => Math.max(Math.abs(w.x), Math.abs(w.y)) > HALF_WIDTH) ?? path[path.length - 1];
  return { x: inside(out.x), y: inside(out.y) };
}

function drawFrame(Plotly, div, steps) {
  const { text } = ink(div);
  const title = (content, y) => panelTitle(div, content, y);
  const second = houseAxis(div);
  const layout = houseLayout(div, {
    margin: { l: 48, r: 20, t: 26, b: 40 },
    xaxis: { range: [0, steps], anchor: "y", showticklabels: false },
    yaxis: { domain: [0.56, 1], type: "log", range: [-6.2, 1.4], dtick: 2, exponentformat: "power" },
    xaxis2: { ...second, range: [0, steps], anchor: "y2", title: { text: "step", standoff: 4 } },
    yaxis2: { ...second, domain: [0, 0.42], type: "log", range: [-2.1, 1.1], dtick: 1, exponentformat: "power" },
    annotations: [title("f(w) − min f (dotted: at the saddle)", 1.0), title("‖gradient‖ / ‖direction‖", 0.43)],
    shapes: [{
      type: "line",
      xref: "x",
      x0: 0,
      x1: steps,
      yref: "y",
      y0: 0.25,
      y1: 0.25,
      line: { color: text, width: 1, dash: "dot" },
    }],
  });
  return Plotly.react(div, [{ x: [], y: [] }, { x: [], y: [], xaxis: "x2", yaxis: "y2" }], layout, CONFIG);
}

function drawCurves(strokes, all) {
  strokes.clear();
  for (const { name, path, ratios } of all) {
    strokes.line(name, { ys: path.map((w) => Math.max(FLOOR, loss(w) - LOWEST)) });
    strokes.line(name, { ys: ratios, xaxis: "xaxis2", yaxis: "yaxis2" });
  }
}

const FATE_PIXELS = FATES.map((name) =>
  Number(`0xff${FATE_COLOURS[name].slice(5, 7)}${FATE_COLOURS[name].slice(3, 5)}${FATE_COLOURS[name].slice(1, 3)}`)
);

function drawBasin(canvas, fates) {
  const context = canvas.getContext("2d");
  const image = context.createImageData(CELLS, CELLS);
  const pixels = new Uint32Array(image.data.buffer); // alpha, blue, green, red in one number
  for (let row = 0; row < CELLS; row++) {
    for (let i = 0; i < CELLS; i++) pixels[(CELLS - 1 - row) * CELLS + i] = FATE_PIXELS[fates[row * CELLS + i]];
  }
  context.putImageData(image, 0, 0);
}

const FATE_WORDS = {
  upper: "to (1, 1)",
  lower: "to (−1, −1)",
  saddle: "to the saddle",
  astray: "elsewhere",
  diverged: "diverged",
};

function drawCensus(list, method, fates) {
  const counts = census(fates);
  const share = (k) => `${((100 * counts[k]) / fates.length).toFixed(1)}%`;
  const items = FATES.map((name, k) =>
    h(
      "li",
      { "data-fate": name },
      h("span", { class: "flatlab-swatch", style: `background:${FATE_COLOURS[name]};opacity:0.62` }),
      `${FATE_WORDS[name]} ${share(k)}`,
    )
  );
  list.replaceChildren(h("li", {}, `${method}, ${CELLS} × ${CELLS} starts:`), ...items);
}

// ---- render ----------------------------------------------------------------------------------------------------------

async function render({ model, el }) {
  const Plotly = await loadPlotly(model);
  const canvas = h("canvas", {
    width: CELLS,
    height: CELLS,
    role: "img",
    "aria-label": "Basin map: where every start ends",
  });
  const ground = h("div", { class: "flatlab-plot" });
  const layer = h("div", { class: "flatlab-layer" });
  const [runStrokes, curveStrokes] = [new Strokes(), new Strokes()];
  const map = h(
    "div",
    { class: "flatlab-map" },
    h("div", { class: "flatlab-area" }, canvas),
    ground,
    runStrokes.canvas,
    layer,
  );
  const frame = h("div", { class: "flatlab-plot" });
  const curves = h("div", { class: "flatlab-curves" }, frame, curveStrokes.canvas);
  const words = h("p", { class: "flatlab-status", "aria-live": "polite", "data-says": "runs" });
  const list = h("ul", { class: "flatlab-census" });
  const controls = h(
    "div",
    { class: "flatlab-controls" },
    slider(model, "lr", { label: "learning rate η", log: true }),
    slider(model, "rho", { label: "radius ρ", hint: "length of the ascent step of SAM and StableSAM", step: 0.005 }),
    slider(model, "steps", { label: "steps", log: true }),
    slider(model, "radius", { label: "success radius", hint: "how near to a minimum a run must end to count", log: true }),
    choice(model, "method", {
      label: "basin map of",
      options: { GD: "GD", SAM: "SAM", StableSAM: "StableSAM" },
      colours: METHOD_COLOURS,
    }),
  );
  el.classList.add("flatlab");
  el.replaceChildren(
    presets(model, "See:", SITUATIONS),
    h("div", { class: "flatlab-panels" }, map, curves),
    words,
    controls,
    list,
  );
  handle(model, layer, { label: "Start" });

  const state = () => Object.fromEntries([...NAMES, "method"].map((name) => [name, model.get(name)]));
  let framed = null; // the number of steps that the frame of the curves is drawn for
  const drawAll = () => {
    const began = performance.now();
    const s = state();
    const all = runs(s);
    if (framed !== s.steps) {
      drawFrame(Plotly, frame, s.steps);
      curveStrokes.fit(frame);
      framed = s.steps;
    }
    drawRuns(runStrokes, all);
    drawCurves(curveStrokes, all);
    words.textContent = `After ${s.steps} steps: ${all.map((run) => verdict(run, s.radius)).join("; ")}.`;
    performance.measure("flatlab:runs", { start: began, end: performance.now() });
  };
  const pool = new BasinPool();
  let latest = null;
  let fills = 0;
  const fill = async () => {
    const turn = ++fills;
    const asked = performance.now();
    map.setAttribute("aria-busy", "true");
    const { method, lr, rho, steps, radius } = state();
    const fates = await pool.map({ method: METHODS[method], lr, rho, steps, radius });
    if (!fates) return;
    drawBasin(canvas, fates);
    drawCensus(list, method, fates);
    latest = fates;
    if (turn === fills) map.setAttribute("aria-busy", "false"); // else this map is of settings that have passed
    performance.measure("flatlab:basin", { start: asked, end: performance.now() });
  };
  const place = () => {
    const { xaxis, yaxis } = ground._fullLayout;
    for (const box of [canvas.parentElement, layer]) {
      Object.assign(box.style, {
        left: `${xaxis._offset}px`,
        top: `${yaxis._offset}px`,
        width: `${xaxis._length}px`,
        height: `${yaxis._length}px`,
      });
    }
  };
  const redraw = () => {
    for (const div of [ground, frame]) Plotly.purge(div);
    drawContour(Plotly, ground);
    place();
    runStrokes.fit(ground);
    framed = null;
    drawAll();
    if (latest) drawBasin(canvas, latest);
  };
  redraw();
  const stops = [
    onChange(model, NAMES, drawAll),
    onChange(model, ["lr", "rho", "steps", "radius", "method"], fill),
    onAppearance(el, redraw),
    () => pool.stop(),
  ];
  await fill();
  return () => stops.forEach((stop) => stop());
}

export default { render };
