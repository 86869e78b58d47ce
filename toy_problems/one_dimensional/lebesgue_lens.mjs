// Explorable: Lebesgue's lens. In: curve, rho, w (where the numbers are read), table (a slice of a network, or empty).
// Shows a loss, its average and its maximum over [w - rho, w + rho], where each is least, and both sides of equation (21).

import { choice, columnHead, h, onChange, presets, slider } from "flatlab/explorable/controls.mjs";
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
import { DASHES, Strokes } from "flatlab/explorable/strokes.mjs";
import { average, CURVES, GRID, maxima, oscillation, rows, table } from "./landscape.mjs";

const NAMES = ["curve", "rho", "w"];
const OPTIONS = {
  wells: "two wells",
  needle: "a needle",
  kink: "|w|",
  step: "a step",
  rough: "rough",
  network: "a network",
};
const COLOURS = { average: METHOD_COLOURS.LSAM, maximum: METHOD_COLOURS.SAM, oscillation: METHOD_COLOURS.CSAM };
const WORDS = { loss: "loss (SGD)", average: "average (LSAM)", maximum: "maximum (SAM)" };

const SITUATIONS = {
  "The maximum leaves first": { curve: "wells", rho: 0.1, w: -0.9 },
  "Then both": { curve: "wells", rho: 0.25, w: 0.6 },
  "A needle in the best valley": { curve: "needle", rho: 0.35, w: 0.6 },
  "Equation (21) fails": { curve: "kink", rho: 0.5, w: 0 },
  "No Lebesgue point": { curve: "step", rho: 0.1, w: 0 },
  "The average sits on a peak": { curve: "rough", rho: 1, w: 0 },
  "The error falls like √ρ": { curve: "rough", rho: 0.05, w: 0 },
};

// ---- compute ---------------------------------------------------------------------------------------------------------

const SPARSE = GRID.filter((_, k) => k % 4 === 0); // the oscillation is an integral at every place: few, and coarse

export function reading(curve, rho, w) {
  const [mean, loss] = [average(curve, w, rho), curve.value(w)];
  return {
    loss,
    average: mean,
    maximum: maxima(curve, [w], rho)[0],
    oscillation: oscillation(curve, w, rho),
    bias: Math.abs(mean - loss),
  };
}

// ---- draw ------------------------------------------------------------------------------------------------------------

const FLOOR = 1e-5;

class Lens extends Strokes {
  // A line in any colour through (xs[k], ys[k]), clipped to the axes of its panel.
  curve(xs, ys, { colour, dash = "solid", width = 2, yaxis = "yaxis" }) {
    const [ax, ay, context] = [this.axes.xaxis, this.axes[yaxis], this.context];
    const bound = (v) => Math.max(-1e4, Math.min(1e4, v));
    context.save();
    context.beginPath();
    context.rect(ax._offset, ay._offset, ax._length, ay._length);
    context.clip();
    Object.assign(context, { strokeStyle: colour, lineWidth: width });
    context.setLineDash(DASHES[dash]);
    context.beginPath();
    ys.forEach((y, k) =>
      context.lineTo(
        ax._offset + ax.l2p(xs[k]),
        bound(ay._offset + ay.l2p(ay.type === "log" ? Math.log10(Math.max(y, FLOOR / 10)) : y)),
      )
    );
    context.stroke();
    context.restore();
  }

  // The interval, over both panels.
  band(w, rho, colour) {
    const { xaxis, yaxis, yaxis2 } = this.axes;
    const px = (x) => xaxis._offset + Math.max(0, Math.min(xaxis._length, xaxis.l2p(x)));
    this.context.fillStyle = colour;
    for (const axis of [yaxis, yaxis2]) {
      this.context.fillRect(px(w - rho), axis._offset, Math.max(1, px(w + rho) - px(w - rho)), axis._length);
    }
  }

  point(x, y, colour, hollow) {
    const { xaxis, yaxis } = this.axes;
    const [px, py] = [xaxis._offset + xaxis.l2p(x), yaxis._offset + yaxis.l2p(y)];
    this.context.beginPath();
    this.context.arc(px, py, 5, 0, 2 * Math.PI);
    Object.assign(this.context, { fillStyle: colour, strokeStyle: hollow, lineWidth: 1.5 });
    this.context.fill();
    this.context.stroke();
  }
}

const inked = (name, words) => `<b style="color:${COLOURS[name]}">${words}</b>`;

function drawFrame(Plotly, div, curve) {
  const values = GRID.map(curve.value);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const margin = 0.08 * (high - low);
  const title = (content, y) => panelTitle(div, content, y);
  const second = houseAxis(div);
  const layout = houseLayout(div, {
    margin: { l: 52, r: 10, t: 26, b: 40 },
    xaxis: { range: [-2, 2], dtick: 1, anchor: "y", showticklabels: false },
    yaxis: { domain: [0.42, 1], range: [low - margin, high + margin], nticks: 6 },
    xaxis2: { ...second, range: [-2, 2], dtick: 1, anchor: "y2", title: { text: "w", standoff: 4 } },
    yaxis2: {
      ...second,
      domain: [0, 0.3],
      type: "log",
      range: [Math.log10(FLOOR), Math.log10(2 * (high - low))],
      tickvals: [1e-4, 0.01, 1],
      ticktext: ["10⁻⁴", "0.01", "1"],
    },
    annotations: [
      title(`loss, ${inked("average", "average (LSAM)")}, ${inked("maximum", "maximum (SAM)")}`, 1.0),
      title(`${inked("average", "|average − loss|")}, ${inked("oscillation", "oscillation")}`, 0.31),
    ],
  });
  return Plotly.react(div, [{ x: [], y: [] }, { x: [], y: [], xaxis: "x2", yaxis: "y2" }], layout, CONFIG);
}

function drawLines(strokes, curve, rho, w, all) {
  const { text, grid } = ink(strokes.canvas);
  const paper = Number(text.match(/\d+/)[0]) > 128 ? "#141414" : "#ffffff";
  strokes.clear();
  strokes.band(w, rho, grid);
  strokes.curve(GRID, all.loss, { colour: text, width: 1.2 });
  strokes.curve(GRID, all.maximum, { colour: COLOURS.maximum });
  strokes.curve(GRID, all.average, { colour: COLOURS.average, dash: "longdash", width: 2.5 });
  strokes.curve(SPARSE, SPARSE.map((x) => oscillation(curve, x, rho, 80)), {
    colour: COLOURS.oscillation,
    dash: "dashdot",
    yaxis: "yaxis2",
  });
  strokes.curve(GRID, all.average.map((v, k) => Math.abs(v - all.loss[k])), {
    colour: COLOURS.average,
    dash: "longdash",
    yaxis: "yaxis2",
  });
  for (const [name, row] of [["loss", all.loss], ["maximum", all.maximum], ["average", all.average]]) {
    const x = all.lowest[name];
    strokes.point(x, row[GRID.indexOf(x)], COLOURS[name] ?? text, paper);
  }
}

const show = (v) => (v !== 0 && Math.abs(v) < 5e-4 ? v.toExponential(1) : v.toFixed(3)).replace("-", "−");

function drawTable(body, all, read) {
  const swatch = (name) => h("span", { class: "flatlab-swatch", style: `background:${COLOURS[name] ?? "currentColor"}` });
  const row = (name, words, ...cells) =>
    h(
      "tr",
      { "data-row": name },
      h("th", { scope: "row" }, swatch(name), ` ${words}`),
      ...cells.map((text, k) => h("td", { "data-says": `${name}-${["value", "at", "loss"][k]}` }, text)),
    );
  body.replaceChildren(
    ...Object.entries(WORDS).map(([name, words]) =>
      row(
        name,
        words,
        show(read[name]),
        all.lowest[name].toFixed(2).replace("-", "−"),
        show(all.loss[GRID.indexOf(all.lowest[name])]),
      )
    ),
    row("oscillation", "oscillation", show(read.oscillation), "", ""),
  );
}

function sentence(read, rho, w, { lowest, loss }) {
  const holds = read.bias <= read.oscillation * (1 + 1e-6) + 1e-12;
  const law = `At w = ${w.toFixed(2).replace("-", "−")} the average is off by ${show(read.bias)}, the oscillation is ${
    show(read.oscillation)
  }: equation (21) ${holds ? "holds" : "fails"} here.`;
  const near = Math.min(rho, 0.1);
  const height = (name) => loss[GRID.indexOf(lowest[name])];
  const beside = height("average") - height("loss") > 0.1
    ? ` The average’s own is near it, at a loss of ${show(height("average"))} where the lowest is ${show(height("loss"))}.`
    : "";
  const together = (a, b) => Math.abs(lowest[a] - lowest[b]) <= near;
  if (together("loss", "average") && together("loss", "maximum")) {
    return `${law} All three are least at about the same place.`;
  }
  if (together("average", "maximum")) return `${law} Average and maximum have left the lowest point of the loss.`;
  if (together("loss", "average")) {
    return `${law} Only the maximum has left the valley of the lowest point of the loss.${beside}`;
  }
  if (together("loss", "maximum")) return `${law} Only the average has left the lowest point of the loss.`;
  return `${law} All three are least at different places.`;
}

// ---- render ----------------------------------------------------------------------------------------------------------

async function render({ model, el }) {
  const Plotly = await loadPlotly(model);
  const slice = model.get("table");
  const curves = slice?.values?.length > 1 ? { ...CURVES, network: table(slice) } : CURVES;
  const options = Object.fromEntries(Object.keys(curves).map((name) => [name, OPTIONS[name]]));
  const situations = curves.network
    ? { ...SITUATIONS, "Between two trained networks": { curve: "network", rho: 0.4, w: 1 } }
    : SITUATIONS;
  const frame = h("div", { class: "flatlab-plot" });
  const layer = h("div", { class: "flatlab-layer", style: "touch-action: pan-y; cursor: ew-resize" });
  const strokes = new Lens();
  const chart = h("div", { class: "flatlab-curves", style: "min-height: 24rem" }, frame, strokes.canvas, layer);
  const body = h("tbody");
  const head = ["", "at w", "least at", "loss there"];
  const data = h("table", {}, h("thead", {}, h("tr", {}, ...head.map(columnHead))), body);
  const status = h("p", { class: "flatlab-status", "aria-live": "polite" });
  const controls = h(
    "div",
    { class: "flatlab-controls" },
    choice(model, "curve", { label: "loss", options }),
    slider(model, "rho", { label: "radius ρ", log: true }),
    slider(model, "w", { label: "read at w", step: 0.01 }),
  );
  el.classList.add("flatlab");
  el.replaceChildren(presets(model, "See:", situations), chart, status, controls, data);

  // Press or drag anywhere in the plot to move w; the slider does the same for the keyboard.
  let dragging = false;
  const put = (event) => {
    const box = layer.getBoundingClientRect();
    const w = Math.max(-2, Math.min(2, ((event.clientX - box.left) / box.width) * 4 - 2));
    model.set("w", Math.round(w * 100) / 100);
    model.save_changes();
  };
  layer.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    dragging = true;
    layer.setPointerCapture(event.pointerId);
    put(event);
  });
  layer.addEventListener("pointermove", (event) => dragging && put(event));
  for (const end of ["pointerup", "pointercancel"]) layer.addEventListener(end, () => (dragging = false));

  let framed = null; // the curve that the frame is drawn for
  const update = () => {
    const [name, rho, w] = NAMES.map((key) => model.get(key));
    const curve = curves[name];
    if (framed !== name) {
      drawFrame(Plotly, frame, curve);
      strokes.fit(frame);
      const { xaxis, yaxis, yaxis2 } = frame._fullLayout;
      const height = yaxis2._offset + yaxis2._length - yaxis._offset;
      Object.assign(layer.style, {
        left: `${xaxis._offset}px`,
        top: `${yaxis._offset}px`,
        width: `${xaxis._length}px`,
        height: `${height}px`,
      });
      framed = name;
    }
    const began = performance.now();
    const all = rows(curve, rho);
    const read = reading(curve, rho, w);
    drawLines(strokes, curve, rho, w, all);
    drawTable(body, all, read);
    status.textContent = sentence(read, rho, w, all);
    performance.measure("flatlab:lens", { start: began, end: performance.now() });
  };
  const redraw = () => {
    Plotly.purge(frame);
    framed = null;
    update();
  };
  redraw();
  const stops = [onChange(model, NAMES, update), onAppearance(el, redraw)];
  return () => stops.forEach((stop) => stop());
}

export default { render };
