// Explorable: the frozen success-rate experiment on Lucchi's saddle. In: record {settings, result}, rho, steps, radius,
// axis ("learning rate" or "learning rate x steps"), at (the learning rate whose shares are read out).

import { choice, columnHead, h, nearest, onChange, slider, stepped } from "flatlab/explorable/controls.mjs";
import { CONFIG, houseLayout, loadPlotly, METHOD_COLOURS, onAppearance } from "flatlab/explorable/plotly.mjs";
import { Strokes } from "flatlab/explorable/strokes.mjs";

const METHODS = ["GD", "SAM", "StableSAM"];
const AXES = { rate: "learning rate", time: "learning rate × steps" };

// ---- compute ---------------------------------------------------------------------------------------------------------

export function curve({ result }, method, rho) {
  return result.curves.find((c) => c.method === method && (method === "GD" || c.rho === rho));
}

// Shares of the starts that end near a minimum, near the saddle, elsewhere, or not finite.
export function shares({ settings, result }, { rho, steps, radius, at }) {
  const [t, r, k] = [settings.steps.indexOf(steps), settings.radii.indexOf(radius), nearest(result.learning_rates, at)];
  return METHODS.map((method) => {
    const c = curve({ result }, method, rho);
    const [success, saddle, diverged] = [c.success[k][t][r], c.saddle[k][t][r], c.diverged[k][t]].map((v) =>
      v / settings.starts
    );
    return { method, success, saddle, diverged, elsewhere: 1 - success - saddle - diverged };
  });
}

// The learning rate at which the half-width of SAM's cycle around a minimum, eta L rho / (2 - eta L), equals the radius.
const SHARPEST = 2 + Math.SQRT2; // largest eigenvalue of the Hessian at a minimum
export const collapse = (rho, radius) => (2 * radius) / (SHARPEST * (rho + radius));

// ---- draw ------------------------------------------------------------------------------------------------------------

function drawFrame(Plotly, div, { settings, result }, axis) {
  const rates = result.learning_rates;
  const [least, most] = [settings.steps[0], settings.steps[settings.steps.length - 1]];
  const range = axis === "rate" ? [rates[0], rates[rates.length - 1]] : [rates[0] * least, rates[rates.length - 1] * most];
  const ticks = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300].filter((v) =>
    v >= range[0] * 0.99 && v <= range[1] * 1.01
  );
  const layout = houseLayout(div, {
    xaxis: {
      type: "log",
      range: range.map(Math.log10),
      tickvals: ticks,
      ticktext: ticks.map(String),
      title: { text: AXES[axis], standoff: 4 },
    },
    yaxis: { range: [0, 1.02], tickformat: ".0%", title: { text: "runs that end near a minimum", standoff: 4 } },
    margin: { l: 64, r: 12, t: 10, b: 44 },
  });
  return Plotly.react(div, [{ x: [], y: [] }], layout, CONFIG);
}

function drawLines(strokes, record, { rho, steps, radius, axis, at }) {
  const { settings, result } = record;
  const r = settings.radii.indexOf(radius);
  const abscissae = (count) => result.learning_rates.map((lr) => Math.log10(axis === "rate" ? lr : lr * count));
  const ordinates = (c, count) => c.success.map((row) => row[settings.steps.indexOf(count)][r] / settings.starts);
  strokes.clear();
  // On the axis of learning rate times steps, GD after every number of steps: the curves fall on one another.
  if (axis === "time") {
    for (const count of settings.steps) {
      strokes.line("GD", { xs: abscissae(count), ys: ordinates(curve(record, "GD"), count) });
    }
  }
  for (const method of METHODS) {
    strokes.line(method, { xs: abscissae(steps), ys: ordinates(curve(record, method, rho), steps) });
  }
  const place = (lr) => Math.log10(axis === "rate" ? lr : lr * steps);
  strokes.mark({ x: place(at) });
  const limit = collapse(rho, radius);
  if (limit < result.learning_rates[result.learning_rates.length - 1]) {
    strokes.mark({ x: place(limit), method: "SAM", text: "cycle = success radius", y: 0.93 });
  }
}

const percent = (v) => `${(100 * v).toFixed(1)}%`;

function drawTable(body, rows) {
  body.replaceChildren(
    ...rows.map((row) =>
      h(
        "tr",
        { "data-method": row.method },
        h(
          "th",
          { scope: "row" },
          h("span", { class: "flatlab-swatch", style: `background:${METHOD_COLOURS[row.method]}` }),
          ` ${row.method}`,
        ),
        ...["success", "saddle", "elsewhere", "diverged"].map((name) =>
          h("td", { "data-share": name }, percent(row[name]))
        ),
      )
    ),
  );
}

// ---- render ----------------------------------------------------------------------------------------------------------

async function render({ model, el }) {
  const Plotly = await loadPlotly(model);
  const record = model.get("record");
  const { settings, result } = record;
  const rates = result.learning_rates;
  const frame = h("div", { class: "flatlab-plot" });
  const strokes = new Strokes();
  const chart = h("div", { class: "flatlab-curves" }, frame, strokes.canvas);
  const body = h("tbody");
  const caption = h("caption", { class: "flatlab-caption" });
  const head = ["", "minimum", "saddle", "elsewhere", "diverged"];
  const table = h(
    "table",
    {},
    caption,
    h("thead", {}, h("tr", {}, ...head.map(columnHead))),
    body,
  );
  const controls = h(
    "div",
    { class: "flatlab-controls" },
    stepped(model, "rho", settings.rhos, "radius ρ"),
    stepped(model, "steps", settings.steps, "steps"),
    stepped(model, "radius", settings.radii, "success radius"),
    slider(model, "at", { label: "read at η", log: true }),
    choice(model, "axis", { label: "horizontal axis", options: AXES }),
  );
  el.classList.add("flatlab");
  el.replaceChildren(h("div", { class: "flatlab-panels flatlab-wide" }, chart, h("div", {}, table)), controls);

  let framed = null;
  const update = () => {
    const s = Object.fromEntries(["rho", "steps", "radius", "axis", "at"].map((name) => [name, model.get(name)]));
    if (framed !== s.axis) {
      drawFrame(Plotly, frame, record, s.axis);
      strokes.fit(frame);
      framed = s.axis;
    }
    drawLines(strokes, record, s);
    drawTable(body, shares(record, s));
    caption.textContent = `Where ${settings.starts.toLocaleString("en")} starts are after ${s.steps} steps at η = ${
      rates[nearest(rates, s.at)].toPrecision(2)
    }, within ${s.radius} of it`;
  };
  const redraw = () => {
    Plotly.purge(frame);
    framed = null;
    update();
  };
  redraw();
  const stops = [onChange(model, ["rho", "steps", "radius", "axis", "at"], update), onAppearance(el, redraw)];
  return () => stops.forEach((stop) => stop());
}

export default { render };
