// Explorable: SGD, SAM and SAMGCM race on sparse regression. In: features, samples, nonzeros, init, rho (SAM's), gcm_rho,
// damping, seed. Shows the recovered coefficients over the true ones, the losses and the l1 norm, as they come.

import { columnHead, h, onChange, presets, slider } from "flatlab/explorable/controls.mjs";
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
import { FIXED, LANES } from "./race.mjs";
import program from "./race_worker.mjs?text";

const NAMES = ["features", "samples", "nonzeros", "init", "rho", "gcm_rho", "damping", "seed"];
const PAPER = { features: 150, samples: 100, nonzeros: 3, init: 0.2, rho: 0.3, gcm_rho: 0.0005, damping: 1e-6 };
const SITUATIONS = {
  "The paper’s code": PAPER,
  "Both climb 0.3": { ...PAPER, rho: 0.3, gcm_rho: 0.0003 },
  "Both climb 0.5": { ...PAPER, rho: 0.5 },
  "The paper’s text": { ...PAPER, rho: 0.1, gcm_rho: 0.005 },
  "Ten times the damping": { ...PAPER, damping: 1e-5 },
  "Small start": { ...PAPER, init: 0.02 },
};

// ---- compute ---------------------------------------------------------------------------------------------------------

// The history of a race, a list a lane and quantity, with what came in the latest slice put behind it.
export function extended(history, epochs) {
  for (const { epoch, lanes } of epochs) {
    history.epochs.push(epoch);
    for (const name of LANES) {
      for (const key of ["test", "train", "l1", "length"]) history[name][key].push(lanes[name][key]);
      history[name].divergedAt = lanes[name].divergedAt;
    }
  }
  const { truth, lanes } = epochs[epochs.length - 1];
  history.truth = truth;
  for (const name of LANES) history[name].theta = lanes[name].theta;
  return history;
}

export function empty() {
  const lane = () => ({ test: [], train: [], l1: [], length: [], theta: [], divergedAt: 0 });
  return { epochs: [], truth: [], ...Object.fromEntries(LANES.map((name) => [name, lane()])) };
}

const final = (values) => values[values.length - 1];
const mean = (values) => values.reduce((sum, v) => sum + v, 0) / values.length;
export const show = (v) => (v === 0 ? "0" : v < 1e-3 || v >= 1e4 ? v.toExponential(1) : v.toPrecision(3));

function words(s, history) {
  const going = LANES.filter((name) => !history[name].divergedAt);
  const lost = LANES.filter((name) => history[name].divergedAt).map((name) =>
    `${name} diverged in epoch ${history[name].divergedAt}`
  );
  const best = going.sort((a, b) => final(history[a].test) - final(history[b].test))[0];
  const lead = best
    ? `After ${final(history.epochs)} epochs ${best} has the lowest test loss, ${show(final(history[best].test))}`
    : "Nothing is left to compare";
  const length = history.SAMGCM.length.slice(1);
  const radius = length.length
    ? ` SAMGCM climbed ${show(mean(length))} on average; ρ/√δ is ${show(s.gcm_rho / Math.sqrt(s.damping))}, SAM’s ρ ${
      show(s.rho)
    }.`
    : "";
  return `${[lead, ...lost].join("; ")}.${radius}`;
}

// ---- draw ------------------------------------------------------------------------------------------------------------

const [LOW, TALL] = [-0.35, 1.3]; // of the axes of the coefficients

function drawBarFrame(Plotly, div, { features }) {
  const { text, grid } = ink(div);
  const axis = {
    range: [LOW, TALL],
    tickvals: [0, 1],
    gridcolor: grid,
    linecolor: grid,
    zeroline: true,
    zerolinecolor: grid,
    fixedrange: true,
  };
  const rows = LANES.map((name, k) => ({ name, domain: [0.7 - 0.35 * k, 0.94 - 0.35 * k], id: k ? k + 1 : "" }));
  const axes = Object.fromEntries(rows.map(({ domain, id }) => [`yaxis${id}`, { ...axis, domain }]));
  const layout = houseLayout(div, {
    margin: { l: 30, r: 8, t: 4, b: 40 },
    xaxis: {
      range: [-0.5, features - 0.5],
      showgrid: false,
      anchor: "y3",
      title: { text: "coefficient (outlined: the true ones)", standoff: 4 },
    },
    ...axes,
    annotations: rows.map(({ name, domain }) => ({
      text: `<b>${name}</b>`,
      xref: "paper",
      yref: "paper",
      x: 0,
      y: domain[1],
      xanchor: "left",
      yanchor: "bottom",
      showarrow: false,
      font: { color: METHOD_COLOURS[name], size: 14 },
    })),
    font: { family: "inherit", size: 13, color: text },
  });
  return Plotly.react(div, rows.map(({ id }) => ({ x: [], y: [], yaxis: `y${id}` })), layout, CONFIG);
}

function drawBars(strokes, history) {
  strokes.clear();
  const { context, axes } = strokes;
  const ax = axes.xaxis;
  LANES.forEach((name, k) => {
    const ay = axes[`yaxis${k ? k + 1 : ""}`];
    const y = (v) => ay._offset + ay.l2p(Math.max(LOW, Math.min(TALL, v)));
    const width = Math.max(1.5, (0.8 * ax._length) / history[name].theta.length);
    const left = (j) => ax._offset + ax.l2p(j) - width / 2;
    context.fillStyle = METHOD_COLOURS[name];
    history[name].theta.forEach((v, j) =>
      context.fillRect(left(j), Math.min(y(0), y(v)), width, Math.max(0.5, Math.abs(y(v) - y(0))))
    );
    context.strokeStyle = getComputedStyle(strokes.canvas).color;
    context.lineWidth = 1;
    history.truth.forEach((v, j) => v && context.strokeRect(left(j) - 1, y(v), width + 2, y(0) - y(v)));
  });
}

function drawCurveFrame(Plotly, div, { nonzeros }) {
  const title = (content, y) => panelTitle(div, content, y);
  const axis = houseAxis(div);
  const log = (range) => ({ ...axis, type: "log", range, dtick: 2, exponentformat: "power" });
  const layout = houseLayout(div, {
    margin: { l: 44, r: 10, t: 22, b: 40 },
    xaxis: { range: [0, FIXED.epochs], anchor: "y3", title: { text: "epoch", standoff: 4 } },
    yaxis: { ...log([-4.2, 1.2]), domain: [0.72, 1] },
    yaxis2: { ...log([-6.5, 1.2]), domain: [0.36, 0.64] },
    yaxis3: { ...axis, range: [0, Math.max(12, 2 * nonzeros)], nticks: 4, domain: [0, 0.28] },
    annotations: [title("test loss", 1.0), title("training loss", 0.64), title("ℓ₁ norm of the coefficients", 0.28)],
  });
  return Plotly.react(div, ["y", "y2", "y3"].map((yaxis) => ({ x: [], y: [], yaxis })), layout, CONFIG);
}

function drawCurves(strokes, history) {
  strokes.clear();
  for (const name of LANES) {
    const lane = history[name];
    const end = lane.divergedAt || Infinity; // a lane that has left the numbers draws no further
    const cut = (values) => values.slice(0, end).map((v) => Math.max(v, 1e-12));
    strokes.line(name, { xs: history.epochs, ys: cut(lane.test) });
    strokes.line(name, { xs: history.epochs, ys: cut(lane.train), yaxis: "yaxis2" });
    strokes.line(name, { xs: history.epochs, ys: cut(lane.l1), yaxis: "yaxis3" });
  }
}

function drawTable(body, history) {
  body.replaceChildren(
    ...LANES.map((name) => {
      const lane = history[name];
      const values = lane.divergedAt
        ? Array(4).fill(`epoch ${lane.divergedAt}: ∞`)
        : [final(lane.test), final(lane.train), final(lane.l1), name === "SGD" ? 0 : mean(lane.length.slice(1))].map((
          v,
        ) => (Number.isFinite(v) ? show(v) : "–"));
      return h(
        "tr",
        { "data-method": name },
        h(
          "th",
          { scope: "row" },
          h("span", { class: "flatlab-swatch", style: `background:${METHOD_COLOURS[name]}` }),
          ` ${name}`,
        ),
        ...["test", "train", "l1", "length"].map((key, k) =>
          h("td", { "data-value": key, "data-says": `${name}-${key}` }, values[k])
        ),
      );
    }),
  );
}

// ---- render ----------------------------------------------------------------------------------------------------------

async function render({ model, el }) {
  const Plotly = await loadPlotly(model);
  const [barFrame, curveFrame] = [h("div", { class: "flatlab-plot" }), h("div", { class: "flatlab-plot" })];
  const [barStrokes, curveStrokes] = [new Strokes(), new Strokes()];
  const tall = (frame, strokes) => h("div", { class: "flatlab-curves", style: "min-height: 24rem" }, frame, strokes.canvas);
  const panels = h("div", { class: "flatlab-panels" }, tall(barFrame, barStrokes), tall(curveFrame, curveStrokes));
  const progress = h("progress", { max: FIXED.epochs, value: 0, "aria-label": "epochs run", style: "width: 100%" });
  const status = h("p", { class: "flatlab-status", "aria-live": "polite" });
  const body = h("tbody");
  const head = ["", "test loss", "training loss", "ℓ₁ norm", "mean ascent"];
  const table = h("table", {}, h("thead", {}, h("tr", {}, ...head.map(columnHead))), body);
  const tiny = (v) => v.toExponential(1);
  const controls = h(
    "div",
    { class: "flatlab-controls" },
    slider(model, "rho", { label: "SAM’s ρ", step: 0.01 }),
    slider(model, "gcm_rho", { label: "SAMGCM’s ρ", log: true, show: tiny }),
    slider(model, "damping", {
      label: "damping δ",
      hint: "added to the covariance before it is inverted",
      log: true,
      show: tiny,
    }),
    slider(model, "init", { label: "start’s size", hint: "standard deviation of u and v at the start", log: true }),
    slider(model, "features", { label: "features", step: 10 }),
    slider(model, "samples", { label: "samples n", step: 10 }),
    slider(model, "nonzeros", { label: "nonzeros" }),
    slider(model, "seed", { label: "problem no.", hint: "seed of data, start and order" }),
  );
  el.classList.add("flatlab");
  el.replaceChildren(presets(model, "See:", SITUATIONS), panels, progress, status, controls, table);

  const url = URL.createObjectURL(new Blob([program], { type: "text/javascript" }));
  const worker = new Worker(url);
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const state = () => Object.fromEntries(NAMES.map((name) => [name, model.get(name)]));
  let [id, history, settings, framed, asked] = [0, empty(), state(), "", 0];
  const frameOf = ({ features, nonzeros }) => `${features} ${nonzeros}`;
  const frames = () => {
    drawBarFrame(Plotly, barFrame, settings);
    drawCurveFrame(Plotly, curveFrame, settings);
    barStrokes.fit(barFrame);
    curveStrokes.fit(curveFrame);
    framed = frameOf(settings);
  };
  const drawAll = () => {
    const began = performance.now();
    if (framed !== frameOf(settings)) frames();
    drawBars(barStrokes, history);
    drawCurves(curveStrokes, history);
    drawTable(body, history);
    performance.measure("flatlab:race-frame", { start: began, end: performance.now() });
  };
  worker.onerror = (event) => {
    status.textContent = `The race stopped: ${event.message}`;
    panels.setAttribute("aria-busy", "false");
  };
  worker.onmessage = ({ data }) => {
    if (data.id !== id) return;
    if (data.epochs.length) extended(history, data.epochs);
    progress.value = final(history.epochs);
    if (data.done || !calm.matches) drawAll();
    if (!data.done) return;
    status.textContent = words(settings, history);
    el.dataset.finished = id;
    panels.setAttribute("aria-busy", "false");
    performance.measure("flatlab:race", { start: asked, end: performance.now() });
  };
  const start = () => {
    [id, history, settings, asked] = [id + 1, empty(), state(), performance.now()];
    status.textContent = `Running ${FIXED.epochs} epochs on ${settings.samples} samples of ${settings.features} features …`;
    panels.setAttribute("aria-busy", "true");
    worker.postMessage({ id, settings });
  };
  const redraw = () => {
    for (const div of [barFrame, curveFrame]) Plotly.purge(div);
    frames();
    if (history.epochs.length) drawAll();
  };
  redraw();
  start();
  const stops = [
    onChange(model, NAMES, start),
    onAppearance(el, redraw),
    () => worker.terminate(),
    () => URL.revokeObjectURL(url),
  ];
  return () => stops.forEach((stop) => stop());
}

export default { render };
