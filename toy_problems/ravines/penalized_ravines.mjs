// Explorable: a sharp and a flat valley under FA-regularization. In: lam, batch (the penalty's weight is lam / batch), x, y
// (the start). Shows the penalized surface, where descent on it and on the loss alone ends from there and from everywhere,
// and a section.

import { columnHead, h, onChange, presets, slider } from "flatlab/explorable/controls.mjs";
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
import { Strokes } from "flatlab/explorable/strokes.mjs";
import { axisMinima, CELLS, descend, eigenvalues, fate, FATES, HALF_WIDTH, look, penalized } from "./landscape.mjs";
import program from "./ravines_worker.mjs?text";

const NAMES = ["lam", "batch", "x", "y"];
const METHODS = { GD: "loss alone", FA: "with penalty" };
const COLOURS = { sharp: FATE_COLOURS.lower, flat: FATE_COLOURS.upper, outside: FATE_COLOURS.astray };
const VALLEY = { sharp: "the sharp valley", flat: "the flat valley", outside: "neither valley" };

const SITUATIONS = {
  "The flat valley becomes the lower one": { lam: 0.026, batch: 128, x: -1.7, y: 1.3 },
  "The sharp minimum splits in two": { lam: 0.1, batch: 128, x: -1.7, y: 1.3 },
  "The flat one, too": { lam: 10, batch: 128, x: 1.6, y: 0.8 },
  "Flat, and no minimum at all": { lam: 10, batch: 20, x: -1.9, y: 0.3 },
  "Batches of one example": { lam: 0.1, batch: 1, x: -1.7, y: 1.3 },
};

// ---- compute ---------------------------------------------------------------------------------------------------------

// Both runs from the start: points and, at the end, what the loss looks like there.
export function runs({ x, y, lam, batch }) {
  return Object.entries({ GD: 0, FA: lam / batch }).map(([method, weight]) => {
    const [xs, ys] = [[], []];
    const visit = (u, v) => {
      xs.push(u);
      ys.push(v);
    };
    const end = descend(x, y, weight, { visit });
    const at = look(end.x, end.y);
    return {
      method,
      xs,
      ys,
      end,
      valley: FATES[fate(end)],
      loss: at.loss,
      slope: Math.hypot(at.gx, at.gy),
      curvature: at.curvature,
      eigenvalues: eigenvalues(at),
    };
  });
}

const show = (v) => {
  const size = Math.abs(v);
  return (size < 5e-4 ? "0" : size < 10 ? v.toFixed(size < 0.1 ? 3 : 2) : v.toFixed(0)).replace("-", "−");
};

const tiny = (
  v,
) => (v < 0.001
  ? v.toExponential(1).replace("e-", " · 10⁻").replace(/\d$/, (d) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[d])
  : String(Number(v.toPrecision(2))));

function words([plain, fa], { lam, batch }) {
  const away = Math.hypot(fa.end.x - plain.end.x, fa.end.y - plain.end.y);
  const where = plain.valley === fa.valley
    ? `both runs end in ${VALLEY[fa.valley]}, ${show(away)} apart`
    : `the loss alone leads to ${VALLEY[plain.valley]}, the penalty to ${VALLEY[fa.valley]}`;
  const inside = { sharp: 0, flat: 0, outside: 0 };
  const minima = axisMinima(lam / batch).map((x) => ({
    height: penalized(x, 0, lam / batch),
    name: FATES[fate({ x, y: 0 })],
  }));
  for (const { name } of minima) inside[name] += 1;
  const lowest = minima.reduce((best, m) => (m.height < best.height ? m : best)).name;
  const split = ["sharp", "flat"].filter((name) => inside[name] > 1);
  const torn = split.length
    ? ` The minimum of ${split.map((name) => VALLEY[name]).join(" and that of ")} ${
      split.length > 1 ? "have each" : "has"
    } split in two, on the slopes.`
    : "";
  const kind = fa.slope < 0.01
    ? ""
    : ` Where FA ends the loss still has a slope of ${show(fa.slope)}${
      fa.eigenvalues[0] < -0.005 ? " and bends down one way" : ""
    }: no minimum of the loss.`;
  return `Weight λ/B = ${tiny(lam / batch)}: ${where}. The penalized loss is lowest in ${VALLEY[lowest]}.${torn}${kind}`;
}

// ---- draw ------------------------------------------------------------------------------------------------------------

const PIXELS = 200; // of the map's side
const MOST_INK = 0.16; // share of it that level lines may cover

// The level line that a height lies above: evenly spaced below 1, by ratio above.
const level = (f) => Math.floor(f < 1 ? 8 * f : 8 + 4 * Math.log2(f));

// Which pixels a level line runs through; where lines would cover the ground, every second line, or every fourth, and so on.
function linesOf(levels) {
  for (let step = 1;; step *= 2) {
    const line = levels.map((level, k) => {
      const own = Math.floor(level / step);
      const [column, row] = [k % PIXELS, Math.floor(k / PIXELS)];
      return (column + 1 < PIXELS && own !== Math.floor(levels[k + 1] / step)) ||
          (row + 1 < PIXELS && own !== Math.floor(levels[k + PIXELS] / step))
        ? 1
        : 0;
    });
    if (line.reduce((sum, v) => sum + v, 0) < MOST_INK * line.length) return line;
  }
}

const rgb = (hex) => [1, 3, 5].map((k) => Number.parseInt(hex.slice(k, k + 2), 16));

// Basins as colours, level lines of the penalized surface on them.
function drawMap(canvas, weight, fates, dark) {
  const context = canvas.getContext("2d");
  const image = context.createImageData(PIXELS, PIXELS);
  const place = (k) => ((k + 0.5) / PIXELS) * 2 * HALF_WIDTH - HALF_WIDTH;
  const levels = new Int16Array(PIXELS * PIXELS);
  for (let row = 0; row < PIXELS / 2; row++) {
    for (let column = 0; column < PIXELS; column++) {
      levels[row * PIXELS + column] = levels[(PIXELS - 1 - row) * PIXELS + column] = level(
        penalized(place(column), place(row), weight),
      );
    }
  }
  const colours = FATES.map((name) => rgb(COLOURS[name]));
  const lines = linesOf(levels);
  const line = dark ? 255 : 0;
  for (let row = 0; row < PIXELS; row++) {
    for (let column = 0; column < PIXELS; column++) {
      const k = row * PIXELS + column;
      const at = 4 * ((PIXELS - 1 - row) * PIXELS + column);
      const edge = lines[k] === 1;
      const cell = Math.floor((row * CELLS) / PIXELS) * CELLS + Math.floor((column * CELLS) / PIXELS);
      const colour = fates ? colours[fates[cell]] : [128, 128, 128];
      for (let c = 0; c < 3; c++) image.data[at + c] = edge ? 0.45 * line + 0.55 * colour[c] : colour[c];
      image.data[at + 3] = fates || edge ? 255 : 0;
    }
  }
  context.putImageData(image, 0, 0);
}

function drawGround(Plotly, div) {
  const axis = { range: [-HALF_WIDTH, HALF_WIDTH], dtick: 1, showgrid: false };
  const layout = houseLayout(div, {
    xaxis: { ...axis, title: { text: "w₁", standoff: 4 } },
    yaxis: { ...axis, title: { text: "w₂", standoff: 4 } },
    margin: { l: 40, r: 8, t: 8, b: 40 },
  });
  return Plotly.react(div, [{ x: [], y: [] }], layout, CONFIG);
}

function drawRuns(strokes, both) {
  strokes.clear();
  const { context, axes } = strokes;
  for (const { method, xs, ys } of both) strokes.line(method, { xs, ys });
  for (const { method, end } of both) {
    context.fillStyle = METHOD_COLOURS[method];
    context.strokeStyle = "#ffffff";
    context.lineWidth = 1.5;
    context.beginPath();
    context.arc(axes.xaxis._offset + axes.xaxis.l2p(end.x), axes.yaxis._offset + axes.yaxis.l2p(end.y), 6, 0, 7);
    context.fill();
    context.stroke();
  }
}

const XS = Array.from({ length: 401 }, (_, k) => -HALF_WIDTH + (k * 2 * HALF_WIDTH) / 400);
const SECTION = XS.map((x) => look(x, 0));

function drawFrame(Plotly, div) {
  const { text } = ink(div);
  const title = (content, y) => panelTitle(div, content, y);
  const second = houseAxis(div);
  const inked = (name, content) => `<b style="color:${METHOD_COLOURS[name]}">${content}</b>`;
  const layout = houseLayout(div, {
    margin: { l: 48, r: 10, t: 24, b: 40 },
    xaxis: { range: [-HALF_WIDTH, HALF_WIDTH], dtick: 1, anchor: "y", showticklabels: false },
    yaxis: { domain: [0.42, 1], range: [-1.3, 0.7], dtick: 0.5 },
    xaxis2: {
      ...second,
      range: [-HALF_WIDTH, HALF_WIDTH],
      dtick: 1,
      anchor: "y2",
      title: { text: "w₁, at w₂ = 0", standoff: 4 },
    },
    yaxis2: {
      ...second,
      domain: [0, 0.31],
      type: "log",
      range: [-2.2, 3.2],
      tickvals: [0.01, 1, 100],
      ticktext: ["0.01", "1", "100"],
    },
    annotations: [
      title(`${inked("GD", "loss")} and ${inked("FA", "loss + penalty")}, dots: minima`, 1),
      title("curvature tr(H²)", 0.31),
    ],
  });
  const curvature = {
    x: XS,
    y: SECTION.map((at) => at.curvature),
    xaxis: "x2",
    yaxis: "y2",
    mode: "lines",
    line: { color: text, width: 1.5 },
  };
  return Plotly.react(div, [{ x: [], y: [] }, curvature], layout, CONFIG);
}

function drawSection(strokes, weight) {
  strokes.clear();
  const { context, axes } = strokes;
  const [ax, ay] = [axes.xaxis, axes.yaxis];
  for (const [method, w] of [["GD", 0], ["FA", weight]]) {
    strokes.line(method, { xs: XS, ys: SECTION.map((at) => at.loss + w * at.curvature) });
    context.fillStyle = METHOD_COLOURS[method];
    for (const x of axisMinima(w)) {
      const y = ay._offset + ay.l2p(penalized(x, 0, w));
      if (y < ay._offset || y > ay._offset + ay._length) continue;
      context.beginPath();
      context.arc(ax._offset + ax.l2p(x), y, 4.5, 0, 7);
      context.fill();
    }
  }
}

function drawTable(body, both) {
  body.replaceChildren(
    ...both.map(({ method, end, loss, slope, curvature, eigenvalues: [least, most] }) =>
      h(
        "tr",
        { "data-method": method },
        h(
          "th",
          { scope: "row", style: "white-space: normal" },
          h("span", { class: "flatlab-swatch", style: `background:${METHOD_COLOURS[method]}` }),
          ` ${METHODS[method]}`,
        ),
        ...Object.entries({
          end: `(${show(end.x)}, ${show(end.y)})`,
          loss: show(loss),
          slope: show(slope),
          curvature: show(curvature),
          eigenvalues: `${show(least)}, ${show(most)}`,
        }).map(([key, text]) => h("td", { "data-value": key }, text)),
      )
    ),
  );
}

function drawCensus(list, maps) {
  const share = (fates, k) => `${((100 * fates.reduce((sum, f) => sum + (f === k), 0)) / fates.length).toFixed(0)}%`;
  const items = FATES.map((name, k) =>
    h(
      "li",
      { "data-fate": name },
      h("span", { class: "flatlab-swatch", style: `background:${COLOURS[name]}` }),
      `${VALLEY[name]} ${share(maps.FA, k)} (loss alone ${share(maps.GD, k)})`,
    )
  );
  list.replaceChildren(h("li", {}, `Of ${CELLS} × ${CELLS} starts end in`), ...items);
}

// ---- render ----------------------------------------------------------------------------------------------------------

async function render({ model, el }) {
  const Plotly = await loadPlotly(model);
  const canvas = h("canvas", {
    width: PIXELS,
    height: PIXELS,
    role: "img",
    "aria-label": "Level lines of the penalized loss, and in colour where every start ends",
  });
  const [ground, frame] = [h("div", { class: "flatlab-plot" }), h("div", { class: "flatlab-plot" })];
  const layer = h("div", { class: "flatlab-layer" });
  const [runStrokes, sectionStrokes] = [new Strokes(), new Strokes()];
  const map = h(
    "div",
    { class: "flatlab-map" },
    h("div", { class: "flatlab-area flatlab-relief" }, canvas),
    ground,
    runStrokes.canvas,
    layer,
  );
  const side = h("div", { class: "flatlab-curves", style: "order:1" }, frame, sectionStrokes.canvas);
  const late = { style: "order:2" }; // on a phone the section comes before them, right after the sliders
  const status = h("p", { class: "flatlab-status", "aria-live": "polite", "data-says": "runs", ...late });
  const body = h("tbody");
  const head = ["descent", "ends at", "loss", "its slope", "tr(H²)", "H’s eigenvalues"];
  const table = h("table", late, h("thead", {}, h("tr", {}, ...head.map(columnHead))), body);
  const list = h("ul", { class: "flatlab-census" });
  const controls = h(
    "div",
    { class: "flatlab-controls" },
    slider(model, "lam", {
      label: "λ",
      hint: "weight of the penalty before it is divided by the batch size",
      log: true,
      show: (v) => String(Number(v.toPrecision(2))),
    }),
    slider(model, "batch", { label: "batch size B", hint: "the paper divides the penalty by it", log: true }),
  );
  el.classList.add("flatlab");
  el.replaceChildren(
    presets(model, "See:", SITUATIONS),
    h("div", { class: "flatlab-panels" }, map, side),
    list,
    controls,
    status,
    table,
  );
  handle(model, layer, { label: "Start" });

  const state = () => Object.fromEntries(NAMES.map((name) => [name, model.get(name)]));
  const maps = {};
  const dark = () => Number(ink(el).text.match(/\d+/)[0]) > 128;
  const drawAll = () => {
    const began = performance.now();
    const s = state();
    const both = runs(s);
    drawMap(canvas, s.lam / s.batch, maps.FA, dark());
    drawRuns(runStrokes, both);
    drawSection(sectionStrokes, s.lam / s.batch);
    drawTable(body, both);
    status.textContent = words(both, s);
    performance.measure("flatlab:ravines", { start: began, end: performance.now() });
  };
  const url = URL.createObjectURL(new Blob([program], { type: "text/javascript" }));
  const worker = new Worker(url);
  // One request at a time, and the latest wish next: a drag asks for many.
  let [busy, wanted, asked] = [false, null, 0];
  const send = (request) => {
    [busy, wanted, asked] = [true, null, performance.now()];
    map.setAttribute("aria-busy", "true");
    worker.postMessage(request);
  };
  const fill = () => {
    const request = { id: "FA", weight: model.get("lam") / model.get("batch") };
    if (busy) wanted = request;
    else send(request);
  };
  worker.onerror = (event) => {
    status.textContent = `The basin map stopped: ${event.message}`;
  };
  worker.onmessage = ({ data: { id, fates } }) => {
    maps[id] = fates;
    busy = false;
    map.setAttribute("aria-busy", "false");
    if (wanted) send(wanted);
    if (!maps.FA) return;
    drawCensus(list, maps);
    drawMap(canvas, model.get("lam") / model.get("batch"), maps.FA, dark());
    performance.measure("flatlab:ravines-basins", { start: asked, end: performance.now() });
  };
  const redraw = () => {
    for (const div of [ground, frame]) Plotly.purge(div);
    drawGround(Plotly, ground);
    drawFrame(Plotly, frame);
    const { xaxis, yaxis } = ground._fullLayout;
    for (const box of [canvas.parentElement, layer]) {
      Object.assign(box.style, {
        left: `${xaxis._offset}px`,
        top: `${yaxis._offset}px`,
        width: `${xaxis._length}px`,
        height: `${yaxis._length}px`,
      });
    }
    runStrokes.fit(ground);
    sectionStrokes.fit(frame);
    drawAll();
  };
  redraw();
  send({ id: "GD", weight: 0 });
  fill();
  const stops = [
    onChange(model, NAMES, drawAll),
    onChange(model, ["lam", "batch"], fill),
    onAppearance(el, redraw),
    () => worker.terminate(),
    () => URL.revokeObjectURL(url),
  ];
  return () => stops.forEach((stop) => stop());
}

export default { render };
