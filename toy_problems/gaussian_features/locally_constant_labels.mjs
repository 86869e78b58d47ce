// Explorable: what flatness sees of the labels. In: classes, loss, separation, delta, sample. Shows four Gaussians in
// feature space, a linear classifier, and the rise of its loss under perturbed features with the labels held and with true
// labels.

import { choice, h, onChange, presets, rounded, slider } from "flatlab/explorable/controls.mjs";
import { block, dots, path } from "flatlab/explorable/pen.mjs";
import { CONFIG, houseLayout, loadPlotly, METHOD_COLOURS, onAppearance, panelTitle } from "flatlab/explorable/plotly.mjs";
import { Strokes } from "flatlab/explorable/strokes.mjs";
import { draw, fit, LABELS, relativeFlatness, risk, robustness, SAMPLES, trainLoss } from "./landscape.mjs";

const NAMES = ["classes", "loss", "separation", "delta", "sample"];
const CLASS = { 1: METHOD_COLOURS.SAM, [-1]: METHOD_COLOURS.StableSAM };
const LINES = {
  held: { colour: METHOD_COLOURS.LSAM, dash: [], label: "— labels held" },
  predicted: { colour: METHOD_COLOURS.LSAM, dash: [2, 4], label: "··· δ²κ/2m" },
  real: { colour: METHOD_COLOURS.SAMGCM, dash: [9, 5], label: "– – true labels" },
  gap: { colour: METHOD_COLOURS.GD, dash: [9, 4, 2, 4], label: "–·– gap" },
};
const inked = ({ colour, label }) => `<b style="color:${colour}">${label}</b>`;
const LEGEND = `${inked(LINES.held)}   ${inked(LINES.predicted)}<br>${inked(LINES.real)}   ${inked(LINES.gap)}`;
const SITUATIONS = {
  "Far apart: they agree": { classes: "rectangle", loss: "squared", separation: 6, delta: 0.2 },
  "Near: they part": { classes: "rectangle", loss: "squared", separation: 1, delta: 0.4 },
  "Crossed classes": { classes: "crossed", loss: "squared", separation: 4, delta: 0.8 },
  "Logistic loss": { classes: "rectangle", loss: "logistic", separation: 4, delta: 0.6 },
};

// ---- compute ---------------------------------------------------------------------------------------------------------

const DELTAS = Array.from({ length: 21 }, (_, k) => k / 20);

// All that the page shows: the classifier, its flatness and gap, both rises at delta, and their curves over DELTAS.
export function study(s) {
  const data = draw(s);
  const w = fit(data, s.loss);
  const kappa = relativeFlatness(data, w, s.loss);
  const gap = risk(w, s.loss, s.classes, s.separation) - trainLoss(data, w, s.loss);
  const at = robustness(data, w, s.loss, s.classes, s.delta);
  const rows = DELTAS.map((delta) => robustness(data, w, s.loss, s.classes, delta));
  const lines = {
    held: rows.map((row) => row.held),
    predicted: DELTAS.map((delta) => (delta ** 2 * kappa) / 4),
    real: rows.map((row) => row.real),
    gap: DELTAS.map(() => gap),
  };
  return { data, w, kappa, gap, ...at, predicted: (s.delta ** 2 * kappa) / 4, rest: gap - at.real, lines };
}

const show = (v) => {
  const text = Math.abs(v) < 5e-5 ? "0" : String(rounded(v));
  return text.replace("-", "−");
};

// The next larger of 1, 2, 5, 10, ...
function rounder(v) {
  const ten = 10 ** Math.floor(Math.log10(v));
  return ten * [1, 2, 5, 10].find((k) => k * ten >= v);
}

function sentence({ held, real, crossed }) {
  const share = `${rounded(100 * crossed, 2)}% of the perturbed features have another label`;
  if (crossed === 0) {
    return "No perturbed feature has another label: labels are locally constant, and flatness is feature robustness.";
  }
  const apart = Math.abs(held - real) / Math.max(Math.abs(held), 1e-12);
  if (apart < 0.1) return `${share}; flatness and feature robustness still agree within ${rounded(100 * apart, 2)}%.`;
  return `${share}: with labels held the loss rises by ${show(held)}, with true labels it changes by ${
    show(real)
  }. Flatness sees the first only.`;
}

// ---- draw ------------------------------------------------------------------------------------------------------------

const EDGE = 7; // of the plane of features

function drawFrames(Plotly, left, right, top) {
  const title = (content) => ({ ...panelTitle(left, content), align: "left" });
  const margin = { l: 44, r: 10, t: 26, b: 44 };
  const axis = { range: [-EDGE, EDGE], dtick: 2, showgrid: false };
  Plotly.react(
    left,
    [{ x: [], y: [] }],
    houseLayout(left, {
      xaxis: { ...axis, title: { text: "feature φ₁", standoff: 4 } },
      yaxis: { ...axis, title: { text: "φ₂", standoff: 2 } },
      margin,
      annotations: [title("features, labels, the classifier’s border")],
    }),
    CONFIG,
  );
  Plotly.react(
    right,
    [{ x: [], y: [] }],
    houseLayout(right, {
      xaxis: { range: [0, 1], dtick: 0.25, title: { text: "relative size of the perturbation δ", standoff: 4 } },
      yaxis: { range: [-0.25 * top, top], nticks: 6 },
      margin: { ...margin, l: 52, t: 68 },
      annotations: [title(`rise of the loss<br>${LEGEND}`)],
    }),
    CONFIG,
  );
}

function drawPlane(strokes, s, { data, w }) {
  const text = getComputedStyle(strokes.canvas).color;
  strokes.clear();
  for (const x of [-1, 1]) {
    for (const y of [-1, 1]) block(strokes, [0, 0], [x * EDGE, y * EDGE], `${CLASS[LABELS[s.classes](x, y)]}2e`);
  }
  const shown = data.xs.map((_, i) => i).filter((i) => i % 4 === 0);
  const turn = Array.from({ length: 41 }, (_, k) => (2 * Math.PI * k) / 40);
  for (const i of shown) {
    const reach = s.delta * Math.hypot(data.xs[i], data.ys[i]);
    path(strokes, turn.map((t) => data.xs[i] + reach * Math.cos(t)), turn.map((t) => data.ys[i] + reach * Math.sin(t)), {
      colour: `${CLASS[data.labels[i]]}aa`,
      width: 1,
    });
  }
  for (const label of [1, -1]) {
    const own = data.labels.map((_, i) => i).filter((i) => data.labels[i] === label);
    dots(strokes, own.map((i) => data.xs[i]), own.map((i) => data.ys[i]), {
      colours: CLASS[label],
      radius: label === 1 ? 3.5 : 3,
      hollow: label === -1,
    });
  }
  const size = Math.hypot(...w);
  if (size > 0) {
    path(strokes, [(-2 * EDGE * w[1]) / size, (2 * EDGE * w[1]) / size], [
      (2 * EDGE * w[0]) / size,
      (-2 * EDGE * w[0]) / size,
    ], { colour: text, width: 2 });
  }
}

function drawCurves(strokes, s, { lines }, top) {
  const text = getComputedStyle(strokes.canvas).color;
  strokes.clear();
  path(strokes, [s.delta, s.delta], [-top, top], { colour: text, width: 1 });
  for (const [name, { colour, dash }] of Object.entries(LINES)) {
    path(strokes, DELTAS, lines[name], { colour, dash, width: 2 });
  }
}

function drawTable(body, all) {
  const rows = [
    ["kappa", "relative flatness κ", all.kappa],
    ["predicted", "δ²κ/2m", all.predicted],
    ["held", "rise of the loss, labels held", all.held],
    ["real", "the same with true labels: feature robustness", all.real],
    ["rest", "representativeness: the rest of the gap", all.rest],
    ["gap", "generalization gap, the sum of the last two", all.gap],
  ];
  body.replaceChildren(
    ...rows.map(([name, label, v]) =>
      h(
        "tr",
        { "data-row": name },
        h("th", { scope: "row", style: "white-space:normal" }, label),
        h("td", { "data-says": name }, show(v)),
      )
    ),
  );
}

// ---- render ----------------------------------------------------------------------------------------------------------

async function render({ model, el }) {
  const Plotly = await loadPlotly(model);
  const [left, right] = [h("div", { class: "flatlab-plot" }), h("div", { class: "flatlab-plot" })];
  const [plane, rises] = [new Strokes(), new Strokes()];
  const map = h("div", { class: "flatlab-map" }, left, plane.canvas);
  const side = h("div", { class: "flatlab-curves" }, right, rises.canvas);
  const body = h("tbody");
  const table = h("table", { style: "order: 3" }, body); // after the curves, which come last on a phone
  const status = h("p", { class: "flatlab-status", "aria-live": "polite", "data-says": "labels" });
  const controls = h(
    "div",
    { class: "flatlab-controls" },
    slider(model, "separation", { label: "class separation", step: 0.25 }),
    slider(model, "delta", { label: "perturbation δ", hint: "each feature moves by δ times its own length", step: 0.01 }),
    slider(model, "sample", { label: "sample no.", hint: `another ${SAMPLES} features` }),
    choice(model, "classes", { label: "classes", options: { rectangle: "side by side", crossed: "crossed" } }),
    choice(model, "loss", { label: "loss", options: { squared: "squared", logistic: "logistic" } }),
  );
  el.classList.add("flatlab");
  el.replaceChildren(
    presets(model, "See:", SITUATIONS),
    h("div", { class: "flatlab-panels" }, map, side),
    controls,
    status,
    table,
  );

  let framed = 0; // the top of the right frame as it stands
  const update = () => {
    const s = Object.fromEntries(NAMES.map((name) => [name, model.get(name)]));
    const began = performance.now();
    const all = study(s);
    const peak = 1.05 * Math.max(...all.lines.held, 1.2 * all.gap, 1e-3);
    if (!(peak <= framed && peak > framed / 6)) {
      framed = rounder(peak); // seldom: plotly.js takes 30 ms for a frame
      drawFrames(Plotly, left, right, framed);
      plane.fit(left);
      rises.fit(right);
    }
    drawPlane(plane, s, all);
    drawCurves(rises, s, all, framed);
    drawTable(body, all);
    status.textContent = sentence(all);
    performance.measure("flatlab:labels", { start: began, end: performance.now() });
  };
  const redraw = () => {
    for (const div of [left, right]) Plotly.purge(div);
    framed = 0;
    update();
  };
  redraw();
  const stops = [onChange(model, NAMES, update), onAppearance(el, redraw)];
  return () => stops.forEach((stop) => stop());
}

export default { render };
