// Explorable: a ball in d dimensions. In: d, rho, k (draws that are averaged), stiff, curvature (of a quadratic loss).
// Shows how long a uniform draw and one of its coordinates are, and how far LSAM and SAM move the gradient: computed at any
// d, and drawn as well where d is small.

import { columnHead, h, onChange, presets, rounded, slider } from "flatlab/explorable/controls.mjs";
import { CONFIG, houseLayout, loadPlotly, METHOD_COLOURS, onAppearance, panelTitle } from "flatlab/explorable/plotly.mjs";
import { normal, uniform } from "flatlab/explorable/random.mjs";
import { Strokes } from "flatlab/explorable/strokes.mjs";

const NAMES = ["d", "rho", "k", "stiff", "curvature"];
const DRAWN = 1000; // largest d for which draws are made
const DRAWS = 160;

// ---- compute ---------------------------------------------------------------------------------------------------------

// Of a draw u, uniform in the ball: mean and 5% quantile of its length, root mean square of a coordinate. For the
// quadratic: root mean square of the change of the gradient by averaging k draws, the change by SAM along a stiff
// direction, and the rise of the loss by either.
export function ball({ d, rho, k, stiff, curvature }) {
  const m = Math.min(stiff, d);
  const coordinate = rho / Math.sqrt(d + 2); // E u_i^2 = rho^2 / (d + 2)
  return {
    length: (rho * d) / (d + 1),
    low: rho * 0.05 ** (1 / d),
    coordinate,
    lsam: curvature * coordinate * Math.sqrt(m / k),
    sam: curvature * rho,
    lsamLoss: (curvature * m * coordinate ** 2) / 2,
    samLoss: (curvature * rho ** 2) / 2,
  };
}

// Densities of the length of a draw and of the size of a coordinate, both at x times rho, over their largest value.
export const lengthDensity = (d, x) => x ** (d - 1);
export const coordinateDensity = (d, x) => (1 - x * x) ** ((d - 1) / 2);

// Draws from the ball of radius 1: their lengths, their first coordinates, and the measured `lsam` for rho = curvature = 1.
export function drawn({ d, k, stiff }, seed = 1) {
  const m = Math.min(stiff, d);
  const [gauss, flat] = [normal(seed), uniform(seed + 1)];
  const [lengths, firsts] = [[], []];
  let [sum, groups, part] = [0, 0, new Float64Array(m)];
  for (let j = 0; j < DRAWS; j++) {
    const z = Float64Array.from({ length: d }, gauss);
    const length = flat() ** (1 / d);
    const scale = length / Math.sqrt(z.reduce((total, v) => total + v * v, 0));
    lengths.push(length);
    firsts.push(Math.abs(z[0] * scale));
    for (let i = 0; i < m; i++) part[i] += (z[i] * scale) / k;
    if ((j + 1) % k === 0) {
      sum += part.reduce((total, v) => total + v * v, 0);
      groups += 1;
      part = new Float64Array(m);
    }
  }
  return { lengths, firsts, lsam: Math.sqrt(sum / groups) };
}

// ---- draw ------------------------------------------------------------------------------------------------------------

const TOP = 1e6;

function drawFrames(Plotly, left, right) {
  const title = (content) => panelTitle(left, content);
  Plotly.react(
    left,
    [{ x: [], y: [] }],
    houseLayout(left, {
      xaxis: { range: [-0.02, 1.02], dtick: 0.25, title: { text: "size / ρ", standoff: 4 } },
      yaxis: { range: [-0.12, 1.05], tickvals: [0, 0.5, 1] },
      margin: { l: 40, r: 12, t: 26, b: 44 },
      annotations: [title("density / its largest value")],
    }),
    CONFIG,
  );
  Plotly.react(
    right,
    [{ x: [], y: [] }],
    houseLayout(right, {
      xaxis: {
        type: "log",
        range: [0, 6],
        tickvals: [1, 100, 1e4, 1e6],
        ticktext: ["1", "100", "10⁴", "10⁶"],
        title: { text: "dimension d", standoff: 4 },
      },
      yaxis: {
        type: "log",
        range: [-4, 0.3],
        tickvals: [1e-4, 1e-3, 0.01, 0.1, 1],
        ticktext: ["10⁻⁴", "0.001", "0.01", "0.1", "1"],
      },
      margin: { l: 52, r: 12, t: 26, b: 44 },
      annotations: [title("size / ρ, change of gradient / SAM’s")],
    }),
    CONFIG,
  );
}

const XS = Array.from({ length: 401 }, (_, j) => j / 400);
const DS = Array.from({ length: 121 }, (_, j) => TOP ** (j / 120));

function drawDensities(strokes, s, sample) {
  strokes.clear();
  // At large d all happens within a sliver of either end: finer there than XS.
  const near = XS.map((x) => x ** 3 / s.d ** 0.5).filter((x) => x < 1);
  const xs = [...XS, ...near].sort((a, b) => a - b);
  const ends = [...XS, ...XS.map((x) => 1 - (12 * x) / s.d).filter((x) => x > 0)].sort((a, b) => a - b);
  strokes.line("CSAM", { xs, ys: xs.map((x) => coordinateDensity(s.d, x)) });
  strokes.line("LSAM", { xs: ends, ys: ends.map((x) => lengthDensity(s.d, x)) });
  if (sample) {
    const { xaxis, yaxis } = strokes.axes;
    for (const [name, sizes, y] of [["LSAM", sample.lengths, -0.045], ["CSAM", sample.firsts, -0.09]]) {
      strokes.context.fillStyle = METHOD_COLOURS[name];
      for (const x of sizes) {
        strokes.context.fillRect(xaxis._offset + xaxis.l2p(x) - 0.75, yaxis._offset + yaxis.l2p(y) - 4, 1.5, 8);
      }
    }
  }
  const room = s.d > 3;
  strokes.label("CSAM", "one coordinate", { x: room ? 0.03 + 1.5 / Math.sqrt(s.d + 2) : 0.03, y: room ? 0.4 : 0.9 });
  strokes.label("LSAM", "length", { x: room ? 0.97 - 1.4 / (s.d + 2) : 0.97, y: room ? 0.6 : 0.72 });
}

function drawScales(strokes, s) {
  strokes.clear();
  const xs = DS.map(Math.log10);
  const rows = DS.map((d) => ball({ ...s, d }));
  strokes.line("CSAM", { xs, ys: rows.map((row) => row.coordinate / s.rho) });
  strokes.line("SAM", { xs, ys: rows.map(() => 1) });
  strokes.line("LSAM", { xs, ys: rows.map((row) => row.lsam / row.sam) });
  strokes.mark({ x: Math.log10(s.d) });
  strokes.label("SAM", "SAM", { x: 5.9, y: 0, below: 12 });
  const at = ball({ ...s, d: 10 ** 3 });
  strokes.label("LSAM", `LSAM, k = ${s.k}`, {
    x: 3,
    y: Math.log10(at.lsam / at.sam),
    below: at.lsam > 0.3 * at.sam ? 16 : -14,
  });
  strokes.label("CSAM", "coordinate", { x: 3.05, y: Math.log10(at.coordinate / s.rho), below: 16 });
}

export function show(v) {
  if (v === 0) return "0";
  return Math.abs(v) >= 1e4 || Math.abs(v) < 1e-3 ? v.toExponential(2).replace("-", "−") : String(rounded(v));
}

function drawTable(body, s, b, sample) {
  const row = (name, words, ...cells) =>
    h("tr", { "data-row": name }, h("th", { scope: "row" }, words), ...cells.map((text) => h("td", {}, text)));
  const mean = (values) => values.reduce((sum, v) => sum + v, 0) / values.length;
  const measured = sample
    ? [
      s.rho * mean(sample.lengths),
      s.rho * Math.sqrt(mean(sample.firsts.map((v) => v * v))),
      s.rho * s.curvature * sample.lsam,
    ].map(show)
    : ["–", "–", "–"];
  body.replaceChildren(
    row("length", "mean length of a draw", show(b.length), measured[0]),
    row("coordinate", "size of a coordinate", show(b.coordinate), measured[1]),
    row("lsam", "LSAM moves the gradient by", show(b.lsam), measured[2]),
    row("sam", "SAM moves it by at most", show(b.sam), ""),
    row("lsamLoss", "the average lifts the loss by", show(b.lsamLoss), ""),
    row("samLoss", "the maximum lifts it by", show(b.samLoss), ""),
  );
}

function sentence(s, b, sample) {
  const share = (v) => `${rounded(100 * v, 2)}%`;
  const made = sample
    ? `${DRAWS} draws made here and now.`
    : `Computed, not drawn: beyond d = ${DRAWN.toLocaleString("en")} nothing new would be seen.`;
  return `19 draws of 20 fall short of ρ by less than ${share(1 - b.low / s.rho)}; a coordinate moves by ${
    share(b.coordinate / s.rho)
  } of ρ. Averaging moves the gradient ${share(b.lsam / b.sam)} as far as SAM can. ${made}`;
}

// ---- render ----------------------------------------------------------------------------------------------------------

async function render({ model, el }) {
  const Plotly = await loadPlotly(model);
  const [left, right] = [h("div", { class: "flatlab-plot" }), h("div", { class: "flatlab-plot" })];
  const [densities, scales] = [new Strokes(), new Strokes()];
  const panel = (frame, strokes) => h("div", { class: "flatlab-curves" }, frame, strokes.canvas);
  const body = h("tbody");
  const table = h(
    "table",
    {},
    h("thead", {}, h("tr", {}, ...["", "computed", "drawn"].map(columnHead))),
    body,
  );
  const status = h("p", { class: "flatlab-status", "aria-live": "polite" });
  const whole = (v) => v.toLocaleString("en");
  const controls = h(
    "div",
    { class: "flatlab-controls" },
    slider(model, "d", { label: "dimension d", log: true, show: whole }),
    slider(model, "k", { label: "draws k" }),
    slider(model, "rho", { label: "radius ρ", log: true }),
    slider(model, "stiff", { label: "stiff directions", log: true, show: whole }),
    slider(model, "curvature", { label: "their curvature λ", log: true }),
  );
  const situations = presets(model, "See:", {
    "A disc": { d: 2, k: 1, rho: 0.05, stiff: 2, curvature: 10 },
    "A hundred weights": { d: 100, k: 1, rho: 0.05, stiff: 10, curvature: 10 },
    "ResNet-20": { d: 272474, k: 1, rho: 0.05, stiff: 10, curvature: 10 },
    "More draws, less noise": { d: 272474, k: 16, rho: 0.05, stiff: 10, curvature: 10 },
    "All directions stiff": { d: 1000, k: 1, rho: 0.05, stiff: 1000, curvature: 10 },
  });
  el.classList.add("flatlab");
  el.replaceChildren(
    situations,
    h("div", { class: "flatlab-panels" }, panel(left, densities), panel(right, scales)),
    status,
    controls,
    table,
  );

  let sampled = null; // what the draws in hand were made for
  let sample = null;
  const update = () => {
    const began = performance.now();
    const s = Object.fromEntries(NAMES.map((name) => [name, model.get(name)]));
    const key = [s.d, s.k, s.stiff].join();
    if (key !== sampled) [sampled, sample] = [key, s.d <= DRAWN ? drawn(s) : null];
    const b = ball(s);
    drawDensities(densities, s, sample);
    drawScales(scales, s);
    drawTable(body, s, b, sample);
    status.textContent = sentence(s, b, sample);
    performance.measure("flatlab:ball", { start: began, end: performance.now() });
  };
  const redraw = () => {
    for (const div of [left, right]) Plotly.purge(div);
    drawFrames(Plotly, left, right);
    densities.fit(left);
    scales.fit(right);
    update();
  };
  redraw();
  const stops = [onChange(model, NAMES, update), onAppearance(el, redraw)];
  return () => stops.forEach((stop) => stop());
}

export default { render };
