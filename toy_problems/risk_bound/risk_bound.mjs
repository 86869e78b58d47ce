// Explorable: Table 1 of the StableSAM paper. In: mu, L, G, rho, C, gamma0, gamma1, n.
// Shows the bound on the expected excess risk and the largest admissible learning rate of SGD, SAM and StableSAM.

import { columnHead, h, onChange, presets, rounded, slider } from "flatlab/explorable/controls.mjs";
import { CONFIG, houseLayout, loadPlotly, METHOD_COLOURS, onAppearance } from "flatlab/explorable/plotly.mjs";
import { Strokes } from "flatlab/explorable/strokes.mjs";

const NAMES = ["mu", "L", "G", "rho", "C", "gamma0", "gamma1", "n"];

// ---- compute ---------------------------------------------------------------------------------------------------------

// For each method the stability term `generalization`, the slope of the optimization term in eta, and eta's limit.
export function bounds({ mu, L, G, rho, C, gamma0, gamma1, n }) {
  const generalization = (2 * G * G * (mu + L)) / (n * mu * L);
  const slope = (G * G * L) / (4 * mu);
  const limit = 2 / (mu + L);
  const gain = 1 + (mu * rho) / G;
  const shrink = gain / (1 + (C * L * rho) / G) ** 2;
  return {
    SGD: { generalization, slope, limit },
    SAM: { generalization: generalization / gain, slope: slope / gain, limit: limit * shrink },
    StableSAM: {
      generalization: (gamma1 * generalization) / gain,
      slope: (gamma1 ** 2 * slope) / (gamma0 * gain),
      limit: (limit * shrink) / gamma1,
    },
  };
}

// What Assumption 3 asks of the smallest curvature, and the most that Assumptions 1 and 2 leave it.
export function assumption3({ mu, G, rho, gamma0 }) {
  const most = ((G / rho) * (1 - gamma0)) / gamma0;
  return { asked: most + mu / gamma0, most };
}

const at = ({ generalization, slope }, eta) => generalization + slope * eta;

// ---- draw ------------------------------------------------------------------------------------------------------------

const X = [1e-3, 1];
const Y = [1e-3, 3];

function drawFrame(Plotly, div) {
  const log = (range, ticks) => ({
    type: "log",
    range: range.map(Math.log10),
    tickvals: ticks,
    ticktext: ticks.map(String),
  });
  const layout = houseLayout(div, {
    xaxis: { ...log(X, [0.001, 0.01, 0.1, 1]), title: { text: "learning rate / SGD’s limit", standoff: 4 } },
    yaxis: { ...log(Y, [0.001, 0.01, 0.1, 1]), title: { text: "bound / SGD’s at its limit", standoff: 4 } },
    margin: { l: 64, r: 12, t: 10, b: 44 },
  });
  return Plotly.react(div, [{ x: [], y: [] }], layout, CONFIG);
}

function drawLines(strokes, all) {
  strokes.clear();
  const whole = at(all.SGD, all.SGD.limit);
  for (const [name, row] of Object.entries(all)) {
    const end = Math.min(1, row.limit / all.SGD.limit);
    const xs = Array.from({ length: 61 }, (_, k) => X[0] * (Math.max(X[0], end) / X[0]) ** (k / 60));
    const ys = xs.map((x) => at(row, x * all.SGD.limit) / whole);
    strokes.line(name, { xs: xs.map(Math.log10), ys });
    const tip = { x: Math.log10(xs[60]), y: Math.log10(ys[60]) };
    strokes.label(name, "●", { ...tip, align: "center" });
    strokes.label(name, name, { ...tip, below: name === "SAM" ? 14 : -14 });
  }
}

const show = (v) => (v === 0 ? "0" : v >= 1e4 || v < 1e-3 ? v.toExponential(2) : String(rounded(v)));

function drawTable(body, all) {
  body.replaceChildren(
    ...Object.entries(all).map(([name, row]) =>
      h(
        "tr",
        { "data-method": name },
        h(
          "th",
          { scope: "row" },
          h("span", { class: "flatlab-swatch", style: `background:${METHOD_COLOURS[name]}` }),
          ` ${name}`,
        ),
        ...[row.limit, row.generalization, row.slope * row.limit, at(row, row.limit)].map((v) => h("td", {}, show(v))),
      )
    ),
  );
}

function words(s, all) {
  const best = Object.entries(all).sort(([, a], [, b]) => at(a, a.limit) - at(b, b.limit))[0][0];
  const start = `Each at its own largest rate, the bound of ${best} is the lowest; SAM’s largest rate is ${
    show(all.SGD.limit / all.SAM.limit)
  } times smaller than SGD’s.`;
  if (s.rho === 0) return `${start} With ρ = 0, Assumption 3 asks for infinite curvature.`;
  const { asked, most } = assumption3(s);
  return `${start} Assumption 3 asks every curvature to be at least ${
    show(asked)
  }; Assumptions 1 and 2 leave the smallest at most ${show(most)}: never both.`;
}

// ---- render ----------------------------------------------------------------------------------------------------------

async function render({ model, el }) {
  const Plotly = await loadPlotly(model);
  // Keep mu <= L and gamma0 <= gamma1: the one that the reader does not hold gives way.
  const giveWay = (held, other, wrong) =>
    model.on(`change:${held}`, () => wrong(model.get(held), model.get(other)) && model.set(other, model.get(held)));
  giveWay("mu", "L", (mu, L) => mu > L);
  giveWay("L", "mu", (L, mu) => mu > L);
  giveWay("gamma0", "gamma1", (a, b) => a > b);
  giveWay("gamma1", "gamma0", (b, a) => a > b);
  const controls = h(
    "div",
    { class: "flatlab-controls" },
    slider(model, "mu", { label: "convexity μ", log: true }),
    slider(model, "L", { label: "smoothness L", log: true }),
    slider(model, "G", { label: "Lipschitz G", log: true }),
    slider(model, "rho", { label: "radius ρ", step: 0.005 }),
    slider(model, "C", { label: "constant C", log: true }),
    slider(model, "n", { label: "samples n", log: true }),
    slider(model, "gamma0", { label: "γ₀, least ratio", step: 0.01 }),
    slider(model, "gamma1", { label: "γ₁, largest ratio", step: 0.01 }),
  );
  const frame = h("div", { class: "flatlab-plot" });
  const strokes = new Strokes();
  const chart = h("div", { class: "flatlab-curves" }, frame, strokes.canvas);
  const body = h("tbody");
  const head = ["", "largest η", "generalization", "optimization", "sum"];
  const table = h("table", {}, h("thead", {}, h("tr", {}, ...head.map(columnHead))), body);
  const status = h("p", { class: "flatlab-status", "aria-live": "polite" });
  const situations = presets(model, "See:", {
    "SAM’s narrow window": { mu: 0.1, L: 10, G: 1, rho: 0.2, C: 2, n: 50000, gamma0: 0.5, gamma1: 0.8 },
    "StableSAM’s bound worse": { mu: 0.1, L: 10, G: 1, rho: 0.05, C: 2, n: 50000, gamma0: 0.1, gamma1: 0.9 },
    "Few samples": { mu: 1, L: 2, G: 1, rho: 0.05, C: 1.5, n: 100, gamma0: 0.7, gamma1: 0.8 },
  });
  el.classList.add("flatlab");
  el.replaceChildren(
    situations,
    h("div", { class: "flatlab-panels flatlab-wide" }, chart, h("div", {}, table, status)),
    controls,
  );

  const update = () => {
    const s = Object.fromEntries(NAMES.map((name) => [name, model.get(name)]));
    const all = bounds(s);
    drawLines(strokes, all);
    drawTable(body, all);
    status.textContent = words(s, all);
  };
  const redraw = () => {
    Plotly.purge(frame);
    drawFrame(Plotly, frame);
    strokes.fit(frame);
    update();
  };
  redraw();
  const stops = [onChange(model, NAMES, update), onAppearance(el, redraw)];
  return () => stops.forEach((stop) => stop());
}

export default { render };
