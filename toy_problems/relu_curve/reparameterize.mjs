// Explorable: one function, many weights. In: network, alpha (on the whole hidden layer), neuron and beta (on one neuron),
// normalize (of relative flatness). Shows a ReLU network that does not change, and the measures of its flatness, which do.

import { choice, columnHead, h, onChange, presets, rounded, slider } from "flatlab/explorable/controls.mjs";
import { dots, path, words } from "flatlab/explorable/pen.mjs";
import { CONFIG, houseLayout, loadPlotly, METHOD_COLOURS, onAppearance, panelTitle } from "flatlab/explorable/plotly.mjs";
import { Strokes } from "flatlab/explorable/strokes.mjs";
import { INPUTS, measures, NETWORKS, output, rescaled, sweep, TARGETS } from "./landscape.mjs";

const NAMES = ["network", "alpha", "neuron", "beta", "normalize"];
const LINES = {
  kappa: { colour: METHOD_COLOURS.LSAM, dash: [], label: "— κ" },
  trace: { colour: METHOD_COLOURS.SAM, dash: [9, 5], label: "– – Tr H" },
  top: { colour: METHOD_COLOURS.SAMGCM, dash: [2, 4], label: "··· λ max" },
  norm: { colour: METHOD_COLOURS.GD, dash: [9, 4, 2, 4], label: "–·– ‖w‖" },
};
const KAPPA = { plain: "last", sd: "sd", variance: "variance" };
const ROWS = [
  ["loss", "loss"],
  ["trace", "Tr H"],
  ["top", "λ max"],
  ["norm", "‖w‖"],
  ["fisher", "Fisher–Rao norm"],
  ["first", "κ, first layer"],
  ["last", "κ, last layer"],
  ["sd", "κ, last, ÷ st. dev."],
  ["variance", "κ, last, ÷ variance"],
];
const SITUATIONS = {
  "As trained": { network: "alive", alpha: 1, beta: 1, neuron: 2, normalize: "plain" },
  "Layers": { network: "alive", alpha: 5, beta: 1, neuron: 2, normalize: "plain" },
  "A dead neuron": { network: "dead", alpha: 1, beta: 0.1, neuron: 1, normalize: "plain" },
  "One neuron": { network: "alive", alpha: 1, beta: 5, neuron: 2, normalize: "plain" },
  "… unless normalized": { network: "alive", alpha: 1, beta: 5, neuron: 2, normalize: "sd" },
  "… by the variance": { network: "alive", alpha: 1, beta: 5, neuron: 2, normalize: "variance" },
};

// ---- compute ---------------------------------------------------------------------------------------------------------

const GRID = Array.from({ length: 21 }, (_, k) => k / 10 - 1); // exponents of alpha

const TRAINED = Object.fromEntries(Object.entries(NETWORKS).map(([name, w]) => [name, measures(w)]));

// The logarithm of each line's ratio to the trained weights against alpha, the other settings as they are.
function curves(s, trained, base) {
  const rows = sweep(trained, s, GRID.map((exponent) => 10 ** exponent));
  const line = (name) => rows.map((row) => Math.log10(row[name] / base[name]));
  return { trace: line("trace"), top: line("top"), norm: line("norm"), kappa: line(KAPPA[s.normalize]) };
}

const show = (v) => (v >= 1e4 || v < 1e-3 ? v.toExponential(2).replace("-", "−") : String(rounded(v, 4)));

function sentence(s, base, now) {
  const moved = (
    key,
    name,
  ) => (Math.abs(now[key] / base[key] - 1) < 1e-9
    ? `${name} has not moved`
    : `${name} is ${show(now[key] / base[key])} times what it was`);
  const first = `The function is the same; ${moved("trace", "Tr H")}, ${moved("top", "λ max")}, and ${
    moved(KAPPA[s.normalize], "relative flatness")
  }.`;
  if (!now.dead) return first;
  const several = now.dead === 1 ? "One neuron is" : `${now.dead} neurons are`;
  return `${first} ${several} dead: 0 at every input, with no standard deviation to divide by. The two normalized rows are undefined; shown is what remains without ${
    now.dead === 1 ? "it" : "them"
  }.`;
}

// ---- draw ------------------------------------------------------------------------------------------------------------

const LEGEND = Object.values(LINES).map(({ colour, label }) => `<b style="color:${colour}">${label}</b>`).join("   ");

function drawFrames(Plotly, left, right) {
  const title = (content) => ({ ...panelTitle(left, content), align: "left" });
  const margin = { l: 40, r: 8, t: 44, b: 40 };
  Plotly.react(
    left,
    [{ x: [], y: [] }],
    houseLayout(left, {
      xaxis: { range: [-1.6, 1.6], dtick: 0.5, title: { text: "input x", standoff: 4 } },
      yaxis: { range: [-1.6, 1.6], dtick: 0.5 },
      margin,
      annotations: [title("the network’s output<br>thick: trained, thin: now")],
    }),
    CONFIG,
  );
  const tickvals = [0.01, 0.1, 1, 10, 100];
  Plotly.react(
    right,
    [{ x: [], y: [] }],
    houseLayout(right, {
      xaxis: {
        type: "log",
        range: [-1, 1],
        tickvals: [0.1, 0.3, 1, 3, 10],
        ticktext: ["0.1", "0.3", "1", "3", "10"],
        title: { text: "α", standoff: 4 },
      },
      yaxis: { type: "log", range: [-2.2, 2.2], tickvals, ticktext: tickvals.map(String) },
      margin,
      annotations: [title(`measures, relative to the trained network<br>${LEGEND}`)],
    }),
    CONFIG,
  );
}

const XS = Array.from({ length: 161 }, (_, k) => -1.6 + k / 50);

function drawFunction(strokes, s, trained, now) {
  const text = getComputedStyle(strokes.canvas).color;
  strokes.clear();
  path(strokes, XS, XS.map((x) => output(trained, x)), { colour: METHOD_COLOURS.ASAM, width: 7 });
  path(strokes, XS, XS.map((x) => output(now, x)), { colour: METHOD_COLOURS.StableSAM, width: 2 });
  dots(strokes, INPUTS, TARGETS, { colours: text, radius: 3 });
  const knots = now.a.map((a, j) => -now.b[j] / a);
  path(strokes, [knots[s.neuron - 1], knots[s.neuron - 1]], [-1.6, 1.6], { colour: text, width: 1, dash: [2, 4] });
  const inside = Math.abs(knots[s.neuron - 1]) < 1.6;
  if (inside) {
    words(strokes, `neuron ${s.neuron} bends here`, {
      x: knots[s.neuron - 1],
      y: -1.45,
      colour: text,
      align: knots[s.neuron - 1] > 0 ? "right" : "left",
    });
  }
}

function drawRatios(strokes, s, lines) {
  const text = getComputedStyle(strokes.canvas).color;
  strokes.clear();
  path(strokes, [Math.log10(s.alpha), Math.log10(s.alpha)], [-3, 3], { colour: text, width: 1 });
  for (const [name, { colour, dash }] of Object.entries(LINES)) {
    path(strokes, GRID, lines[name], { colour, dash, width: name === "kappa" ? 3 : 2 });
  }
}

function drawTable(body, base, now, chosen) {
  const dead = (name) => now.dead && (name === "sd" || name === "variance");
  body.replaceChildren(
    ...ROWS.map(([name, label]) =>
      h(
        "tr",
        { "data-row": name, style: name === chosen ? "font-weight:600" : "" },
        h("th", { scope: "row" }, label),
        ...[base[name], now[name], now[name] / base[name]].map((v, k) =>
          h("td", k === 2 ? { "data-says": `${name}-ratio` } : {}, `${dead(name) && k < 2 ? "undefined; " : ""}${show(v)}`)
        ),
      )
    ),
  );
}

// ---- render ----------------------------------------------------------------------------------------------------------

async function render({ model, el }) {
  const Plotly = await loadPlotly(model);
  const [left, right] = [h("div", { class: "flatlab-plot" }), h("div", { class: "flatlab-plot" })];
  const [shape, ratios] = [new Strokes(), new Strokes()];
  const low = "min-height: clamp(11.5rem, 42cqi, 18rem)"; // on a phone both panels stay in sight of the sliders
  const panel = (frame, strokes) => h("div", { class: "flatlab-curves", style: low }, frame, strokes.canvas);
  const body = h("tbody");
  const table = h(
    "table",
    {},
    h("thead", {}, h("tr", {}, ...["", "as trained", "now", "ratio"].map(columnHead))),
    body,
  );
  const status = h("p", { class: "flatlab-status", "aria-live": "polite", "data-says": "measures" });
  const times = (v) => `× ${v}`;
  const controls = h(
    "div",
    { class: "flatlab-controls" },
    slider(model, "alpha", {
      label: "layer × α",
      hint: "multiplies the hidden layer, divides the last",
      log: true,
      show: times,
    }),
    slider(model, "beta", {
      label: "one neuron × β",
      hint: "multiplies what goes into one neuron, divides what leaves it",
      log: true,
      show: times,
    }),
    slider(model, "neuron", { label: "which neuron" }),
    choice(model, "network", { label: "network", options: { alive: "six neurons at work", dead: "two of six dead" } }),
    choice(model, "normalize", {
      label: "κ of the last layer",
      options: { plain: "as defined", sd: "features ÷ standard deviation", variance: "÷ variance" },
    }),
  );
  el.classList.add("flatlab");
  el.replaceChildren(
    presets(model, "See:", SITUATIONS),
    h("div", { class: "flatlab-panels" }, panel(left, shape), panel(right, ratios)),
    controls,
    status,
    table,
  );

  const update = () => {
    const began = performance.now();
    const s = Object.fromEntries(NAMES.map((name) => [name, model.get(name)]));
    const trained = NETWORKS[s.network];
    const now = rescaled(trained, s);
    const [before, after] = [TRAINED[s.network], measures(now)];
    drawFunction(shape, s, trained, now);
    drawRatios(ratios, s, curves(s, trained, before));
    drawTable(body, before, after, KAPPA[s.normalize]);
    status.textContent = sentence(s, before, after);
    performance.measure("flatlab:reparameterize", { start: began, end: performance.now() });
  };
  const redraw = () => {
    for (const div of [left, right]) Plotly.purge(div);
    drawFrames(Plotly, left, right);
    shape.fit(left);
    ratios.fit(right);
    update();
  };
  redraw();
  const stops = [onChange(model, NAMES, update), onAppearance(el, redraw)];
  return () => stops.forEach((stop) => stop());
}

export default { render };
