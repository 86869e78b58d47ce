// Explorable: the noise ellipsoid. In: x, y (the point), rho, damping, along, across, angle (of the noise). Shows where SAM
// and SAMGCM look for the worst point, and the gradients of single samples whose covariance makes the ellipse.

import { columnHead, h, onChange, presets, slider } from "flatlab/explorable/controls.mjs";
import { handle } from "flatlab/explorable/handle.mjs";
import { add } from "flatlab/explorable/plane.mjs";
import {
  CONFIG,
  houseLayout,
  ink,
  loadPlotly,
  METHOD_COLOURS,
  METHOD_DASHES,
  onAppearance,
} from "flatlab/explorable/plotly.mjs";
import { DASHES, Strokes } from "flatlab/explorable/strokes.mjs";
import { border, compare, covariance, deviations, grad, loss } from "./ellipse.mjs";

const NAMES = ["x", "y", "rho", "damping", "along", "across", "angle"];
const HALF = 2;
const LABELS = { SAM: "SAM", SAMGCM: "SAMGCM", turned: "turned round" };
const colour = (name, canvas) => METHOD_COLOURS[name] ?? getComputedStyle(canvas).color; // the turned ellipse is no method's
const POINT = { x: -0.9, y: 0.5 };
const SITUATIONS = {
  "Noise along the gradient": { ...POINT, along: 1.6, across: 0.3, angle: 121, damping: 0.01 },
  "Noise across the gradient": { ...POINT, along: 1.6, across: 0.3, angle: 31, damping: 0.01 },
  "Equal noise: SAM again": { ...POINT, along: 0.8, across: 0.8, angle: 0, damping: 0.01 },
  "Damping wins": { ...POINT, along: 1.6, across: 0.3, angle: 85, damping: 10 },
};

// ---- compute ---------------------------------------------------------------------------------------------------------

const show = (v) => (v === 0 ? "0" : v.toPrecision(3));

function words(all) {
  const { SAM, SAMGCM, turned } = all;
  if (SAM.length === 0 || SAMGCM.length === 0) return "At the minimum there is no gradient, and no ascent.";
  const ratio = SAM.noise / SAMGCM.noise;
  const than = ratio > 1.02
    ? `${show(ratio)} times less gradient noise than along SAM’s`
    : ratio < 0.98
    ? `${show(1 / ratio)} times more gradient noise than along SAM’s`
    : "the same gradient noise as along SAM’s";
  return `Along SAMGCM’s step there is ${than}. Turned round, the ellipse has ${
    show(turned.noise / SAM.noise)
  } times SAM’s noise along its step.`;
}

// ---- draw ------------------------------------------------------------------------------------------------------------

function drawGround(Plotly, div) {
  const { text, faint } = ink(div);
  const ticks = Array.from({ length: 61 }, (_, k) => -HALF + (k * 2 * HALF) / 60);
  const z = ticks.map((y) => ticks.map((x) => Math.sqrt(loss({ x, y }))));
  const contour = {
    type: "contour",
    x: ticks,
    y: ticks,
    z,
    ncontours: 12,
    contours: { coloring: "none" },
    line: { color: faint, width: 1 },
    hoverinfo: "skip",
  };
  const minimum = { x: [0], y: [0], mode: "markers", marker: { symbol: "cross", size: 9, color: text } };
  const axis = { range: [-HALF, HALF], dtick: 1, showgrid: false };
  const layout = houseLayout(div, {
    xaxis: { ...axis, title: { text: "w₁", standoff: 4 } },
    yaxis: { ...axis, title: { text: "w₂", standoff: 4 } },
    margin: { l: 40, r: 8, t: 8, b: 40 },
  });
  return Plotly.react(div, [contour, minimum], layout, CONFIG);
}

const REACH = 5; // of the plane of gradients

function drawCloudFrame(Plotly, div) {
  const { text, grid } = ink(div);
  const axis = { dtick: 2, gridcolor: grid };
  // One unit is as long on both axes, or the ellipse would lie about its shape.
  const tall = div.clientHeight - 22 - 40;
  const wide = div.clientWidth - 40 - 10;
  const unit = Math.min(tall, wide) / (2 * REACH);
  const layout = houseLayout(div, {
    margin: { l: 40, r: 10, t: 22, b: 40 },
    xaxis: { ...axis, range: [-wide / unit / 2, wide / unit / 2], title: { text: "∂ℓᵢ/∂w₁", standoff: 4 } },
    yaxis: { ...axis, range: [-tall / unit / 2, tall / unit / 2], title: { text: "∂ℓᵢ/∂w₂", standoff: 2 } },
    annotations: [{
      text: "gradients of single samples",
      xref: "paper",
      yref: "paper",
      x: 0,
      y: 1,
      xanchor: "left",
      yanchor: "bottom",
      showarrow: false,
      font: { color: text, size: 13 },
    }],
  });
  return Plotly.react(div, [{ x: [], y: [] }], layout, CONFIG);
}

const place = (strokes, p) => {
  const { xaxis, yaxis } = strokes.axes;
  return [xaxis._offset + xaxis.l2p(p.x), yaxis._offset + yaxis.l2p(p.y)];
};

function polyline(strokes, points, { colour, dash = [], width = 2 }) {
  const { context, axes } = strokes;
  context.save();
  context.beginPath();
  context.rect(axes.xaxis._offset, axes.yaxis._offset, axes.xaxis._length, axes.yaxis._length);
  context.clip();
  Object.assign(context, { strokeStyle: colour, lineWidth: width });
  context.setLineDash(dash);
  context.beginPath();
  for (const p of points) context.lineTo(...place(strokes, p));
  context.stroke();
  context.restore();
}

function disc(strokes, p, radius, colour) {
  const { context } = strokes;
  context.fillStyle = colour;
  context.beginPath();
  context.arc(...place(strokes, p), radius, 0, 2 * Math.PI);
  context.fill();
}

// Where a worst point's name stands: beyond the point, inside the plot, and not on a name that is there.
function clear(end, w, taken) {
  const inside = (v) => Math.max(-HALF + 0.1, Math.min(HALF - 0.1, v));
  const away = end.y >= w.y ? 0.16 : -0.16;
  const place = { x: inside(end.x), y: inside(end.y + away) };
  const covered = () => taken.some(({ x, y }) => Math.abs(x - place.x) < 1.1 && Math.abs(y - place.y) < 0.15);
  for (let k = 0; k < 4 && covered(); k++) place.y = inside(place.y + away);
  taken.push(place);
  return place;
}

const dash = (name) => DASHES[METHOD_DASHES[name] ?? "dot"];

function drawSets(strokes, w, all) {
  strokes.clear();
  const text = getComputedStyle(strokes.canvas).color;
  const g = grad(w);
  const size = Math.hypot(g.x, g.y);
  if (size > 0) {
    polyline(strokes, [w, add(w, { x: (0.6 * g.x) / size, y: (0.6 * g.y) / size })], { colour: text, width: 1 });
  }
  const taken = [];
  for (const [name, { m, radius, e }] of Object.entries(all)) {
    const style = { colour: colour(name, strokes.canvas), dash: dash(name) };
    if (radius > 0) polyline(strokes, border(m, radius).map((p) => add(w, p)), style);
    polyline(strokes, [w, add(w, e)], style);
    disc(strokes, add(w, e), 5, style.colour);
    if (radius > 0) strokes.label(name, LABELS[name], clear(add(w, e), w, taken));
  }
}

function drawCloud(strokes, w, s) {
  strokes.clear();
  const text = getComputedStyle(strokes.canvas).color;
  const g = grad(w);
  const around = deviations(s);
  const c = covariance(around);
  for (const p of around) disc(strokes, add(g, p), 3, text);
  polyline(strokes, [{ x: 0, y: 0 }, g], { colour: text, width: 2 });
  disc(strokes, g, 5, text);
  // One standard deviation: {z : z . C^-1 z = 1}.
  const d = c.xx * c.yy - c.xy * c.xy;
  if (d > 1e-12) {
    polyline(strokes, border({ xx: c.yy / d, xy: -c.xy / d, yy: c.xx / d }, 1).map((p) => add(g, p)), {
      colour: text,
      dash: [4, 4],
      width: 1,
    });
  }
  // The direction that the slider turns, and its angle to the w₁ axis.
  const turn = (s.angle * Math.PI) / 180;
  const far = { x: Math.cos(turn) * 2.6, y: Math.sin(turn) * 2.6 };
  polyline(strokes, [add(g, { x: -far.x, y: -far.y }), add(g, far)], { colour: text, width: 1 });
  strokes.label(null, `${Math.round(s.angle)}°`, add(g, { x: 1.15 * far.x, y: 1.15 * far.y }));
}

function drawTable(body, all) {
  body.replaceChildren(
    ...Object.entries(all).map(([name, { length, noise, rise }]) =>
      h(
        "tr",
        { "data-method": name },
        h(
          "th",
          { scope: "row" },
          h("span", {
            class: "flatlab-swatch",
            style: `background:${METHOD_COLOURS[name] ?? "currentColor"}`,
          }),
          ` ${LABELS[name]}`,
        ),
        ...[["length", length], ["noise", noise], ["rise", rise]].map(([key, v]) =>
          h("td", { "data-value": key }, show(v))
        ),
      )
    ),
  );
}

// ---- render ----------------------------------------------------------------------------------------------------------

async function render({ model, el }) {
  const Plotly = await loadPlotly(model);
  const [ground, cloud] = [h("div", { class: "flatlab-plot" }), h("div", { class: "flatlab-plot" })];
  const [setStrokes, cloudStrokes] = [new Strokes(), new Strokes()];
  const layer = h("div", { class: "flatlab-layer" });
  const map = h("div", { class: "flatlab-map" }, ground, setStrokes.canvas, layer);
  const side = h("div", { class: "flatlab-curves" }, cloud, cloudStrokes.canvas);
  const status = h("p", { class: "flatlab-status", "aria-live": "polite" });
  const body = h("tbody");
  const head = ["worst point of", "length", "noise along it", "rise of the loss"];
  const table = h("table", {}, h("thead", {}, h("tr", {}, ...head.map(columnHead))), body);
  const controls = h(
    "div",
    { class: "flatlab-controls" },
    slider(model, "along", {
      label: "noise along its direction",
      hint: "standard deviation of the single gradients along the thin line of the right panel",
      step: 0.05,
    }),
    slider(model, "across", { label: "noise across it", hint: "standard deviation across that line", step: 0.05 }),
    slider(model, "angle", {
      label: "its angle to the w₁ axis, °",
      hint: "of the thin line in the right panel: 0° is along w₁, 90° along w₂",
      step: 1,
      show: (v) => `${v}°`,
    }),
    slider(model, "rho", { label: "radius ρ", hint: "of SAM’s disc; the ellipses have its area", step: 0.01 }),
    slider(model, "damping", { label: "damping δ", log: true }),
  );
  el.classList.add("flatlab");
  el.replaceChildren(
    presets(model, "See:", SITUATIONS),
    h("div", { class: "flatlab-panels" }, map, side),
    status,
    table,
    controls,
  );
  handle(model, layer, { label: "Point" });

  const drawAll = () => {
    const began = performance.now();
    const { x, y, ...s } = Object.fromEntries(NAMES.map((name) => [name, model.get(name)]));
    const w = { x, y };
    const all = compare({ w, ...s });
    drawSets(setStrokes, w, all);
    drawCloud(cloudStrokes, w, s);
    drawTable(body, all);
    status.textContent = words(all);
    performance.measure("flatlab:ellipsoid", { start: began, end: performance.now() });
  };
  const redraw = () => {
    for (const div of [ground, cloud]) Plotly.purge(div);
    drawGround(Plotly, ground);
    drawCloudFrame(Plotly, cloud);
    const { xaxis, yaxis } = ground._fullLayout;
    Object.assign(layer.style, {
      left: `${xaxis._offset}px`,
      top: `${yaxis._offset}px`,
      width: `${xaxis._length}px`,
      height: `${yaxis._length}px`,
    });
    setStrokes.fit(ground);
    cloudStrokes.fit(cloud);
    drawAll();
  };
  redraw();
  const stops = [onChange(model, NAMES, drawAll), onAppearance(el, redraw)];
  return () => stops.forEach((stop) => stop());
}

export default { render };
