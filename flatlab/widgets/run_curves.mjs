// Explorable: curves of training runs. In: runs {evaluated_on, lines, facets, runs: [{line, method, problem, setting, rho,
// seed, epochs, gradients (an epoch), and a list a metric}]}, metric, axis, scale, part, spread, problem, setting, rho,
// hidden.

import { choice, h, onChange, pick } from "flatlab/explorable/controls.mjs";
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

const METRICS = {
  accuracy: "HELD accuracy",
  error: "HELD error",
  loss: "HELD loss",
  train_loss: "training loss, during the epoch",
  train_accuracy: "training accuracy, during the epoch",
  whole_train_loss: "training loss",
  whole_train_accuracy: "training accuracy",
  generalization: "generalization error",
  gap: "accuracy gap",
  distance: "distance of the twins",
};
const SHARES = ["accuracy", "error", "train_accuracy", "whole_train_accuracy", "gap"];
const AXES = { epochs: "epochs", gradients: "gradient evaluations" };
const SCALES = { linear: "linear", log: "log" };
const SPREADS = { range: "least to most", seeds: "each seed" };
const PARTS = { all: "all epochs", half: "last half", fifth: "last fifth" };
const SHARE_OF = { all: 0, half: 0.5, fifth: 0.8 };
const FACETS = { problem: "network and data", setting: "setting", rho: "radius ρ" };
const STATE = ["metric", "axis", "scale", "part", "spread", "problem", "setting", "rho", "hidden"];

// ---- compute ---------------------------------------------------------------------------------------------------------

const distinct = (values) => [...new Set(values)];

// The values of a metric of one run, null where a share or a loss is not there; error is 1 - accuracy.
export function values(run, metric) {
  if (metric === "error") return run.accuracy?.map((v) => 1 - v);
  return run[metric];
}

// Epochs, or gradient evaluations, at which those values were taken; the distance of twins is taken at the start, too.
export function abscissae(run, metric, axis) {
  const epochs = values(run, metric).length > run.epochs.length ? [0, ...run.epochs] : run.epochs;
  return axis === "gradients" ? epochs.map((epoch) => epoch * run.gradients) : epochs;
}

export const mean = (list) => list.reduce((sum, v) => sum + v, 0) / list.length;
export const deviation = (list) => Math.sqrt(list.reduce((sum, v) => sum + (v - mean(list)) ** 2, 0) / (list.length - 1));

// The lines that the state asks for: mean, least and most over the seeds, and each seed's last value. A line that other
// runs have but this choice of facets has not is there with no seeds.
export function linesOf({ runs, lines: names }, state) {
  const lines = [];
  for (const line of names) {
    const all = runs.filter((run) => run.line === line);
    const here = all.filter((run) => run.problem === state.problem && run.setting === state.setting);
    const radii = distinct(here.map((run) => run.rho)).sort((a, b) => a - b);
    const asked = radii.filter((rho) => state.rho === "all" || rho == null || rho === state.rho);
    const missing = all.every((run) => run.rho == null) || state.rho === "all" ? null : state.rho;
    for (const rho of asked.length ? asked : [missing]) {
      const chosen = here.filter((run) => run.rho === rho);
      const drawn = chosen.filter((run) => values(run, state.metric)?.length && (state.axis === "epochs" || run.gradients));
      const several = asked.length > 1;
      // Fainter for a smaller radius, where several are shown at once.
      const strength = several ? 0.4 + (0.6 * asked.indexOf(rho)) / (asked.length - 1) : 1;
      const name = several ? `${line} ${rho}` : line;
      lines.push({ line, rho, name, strength, method: all[0].method, ran: chosen.length, ...summary(drawn, state) });
    }
  }
  return lines;
}

function summary(runs, { metric, axis }) {
  const rows = runs.map((run) => ({
    seed: run.seed,
    epochs: run.epochs[run.epochs.length - 1],
    xs: abscissae(run, metric, axis),
    ys: values(run, metric),
  }));
  const longest = rows.reduce((best, row) => (row.xs.length > best.length ? row.xs : best), []);
  const at = longest.map((_, k) => rows.filter((row) => k < row.ys.length).map((row) => row.ys[k]));
  const last = Object.fromEntries(rows.map((row) => [row.seed, row.ys[row.ys.length - 1]]));
  return {
    rows,
    xs: longest,
    mean: at.map(mean),
    least: at.map((v) => Math.min(...v)),
    most: at.map((v) => Math.max(...v)),
    last,
  };
}

// Last value of each seed less that of the plain run of the same seed.
export function paired(line, plain) {
  return Object.keys(line.last).filter((seed) => seed in plain.last).map((seed) => line.last[seed] - plain.last[seed]);
}

// What the axes span: the part of the epochs that is asked for, and all that the lines reach in it.
export function spans(lines, { part, scale }) {
  const [first, last] = [Math.min(...lines.map((l) => l.xs[0])), Math.max(...lines.map((l) => l.xs[l.xs.length - 1]))];
  const from = part === "all" ? first : last * SHARE_OF[part];
  // The first steep steps may leave the plot, but on a log scale, and where a curve starts from zero.
  const seen = part === "all" && scale === "linear" && first > 0 ? first + 0.08 * (last - first) : from;
  const ys = lines.flatMap((l) =>
    [...l.least, ...l.most].filter((v, k) => l.xs[k % l.xs.length] >= seen && (scale === "linear" || v > 0))
  );
  if (!ys.length) return null;
  const place = scale === "log" ? Math.log10 : (v) => v;
  const [low, high] = [place(Math.min(...ys)), place(Math.max(...ys))];
  const margin = 0.04 * (high - low) || Math.abs(high) * 0.05 || 0.5;
  return { x: [from, last], y: [low - margin, high + margin] };
}

// Places and texts of the ticks of a log axis over fewer than one and a half decades, where powers of ten are too few.
export function logTicks([low, high], percent) {
  const [from, to] = [10 ** low, 10 ** high];
  const stepped = (step) =>
    Array.from(
      { length: Math.max(0, Math.floor(to / step) - Math.ceil(from / step) + 1) },
      (_, k) => Number(((Math.ceil(from / step) + k) * step).toPrecision(12)),
    );
  const powers = [Math.floor(low), Math.floor(low) + 1, Math.floor(low) + 2].map((k) => 10 ** k);
  const round = powers.flatMap((p) => [1, 2, 5].map((k) => Number((k * p).toPrecision(12)))).filter((v) =>
    v >= from && v <= to
  );
  const unit = 10 ** Math.floor(Math.log10(to - from));
  const at = round.length > 2 ? round : [1, 0.5, 0.2, 0.1].map((k) => stepped(k * unit)).find((list) => list.length > 2);
  return { at, said: at.map((v) => percent ? `${Number((100 * v).toPrecision(4))}%` : String(Number(v.toPrecision(4)))) };
}

// ---- words -----------------------------------------------------------------------------------------------------------

const titled = (metric, held) => METRICS[metric].replace("HELD", held);
const minus = (text) => text.replace("-", "−");
const slug = (name) => name.replace(/\W+/g, "-");

// Mean ± standard deviation, both with the decimals that give the larger of the two three digits.
export function said(list, metric, sign = false) {
  const [m, d] = [mean(list), list.length > 1 ? deviation(list) : 0];
  const largest = Math.floor(Math.log10(Math.max(Math.abs(m), d) || 1));
  const share = SHARES.includes(metric);
  const show = (v) => minus(share ? (100 * v).toFixed(2) : v.toFixed(Math.min(8, Math.max(0, 2 - largest))));
  return `${sign && m > 0 ? "+" : ""}${show(m)}${list.length > 1 ? ` ± ${show(d)}` : ""}`;
}

// The last epoch in a sentence: the mean of each line that is shown.
function endsSaid(shown, { metric }, title) {
  const [last, ...others] = new Set(shown.map((line) => line.rows[0].epochs));
  const when = others.length ? "the last epoch" : `${last} epochs`; // one of 20 does not end after another's 40
  const unit = SHARES.includes(metric) ? "%" : "";
  const ends = shown.map((line) => `${line.name} ${said([mean(Object.values(line.last))], metric)}${unit}`);
  return `After ${when}, ${title}: ${ends.join("; ")}.`;
}

const nothingSaid = (runs, drawable, shown) =>
  !runs.length
    ? "No run yet."
    : !drawable.length
    ? "Not run yet."
    : shown.length
    ? "Nothing above zero to draw on a log scale."
    : "No method is ticked.";

// ---- draw ------------------------------------------------------------------------------------------------------------

// A method's colour and dashes; a second line of one method has other dashes, and a method that the palette lacks the
// colour of the text.
const OTHERS = ["solid", "dash", "dashdot", "dot"];
function look(line, lines, el) {
  const known = METHOD_COLOURS[line.method];
  const kin = distinct(
    lines.filter((l) => (known ? l.method === line.method : !METHOD_COLOURS[l.method])).map((l) => l.line),
  );
  const dashes = known
    ? [METHOD_DASHES[line.method], ...OTHERS.filter((dash) => dash !== METHOD_DASHES[line.method])]
    : OTHERS;
  return { colour: known ?? ink(el).text, dash: dashes[kin.indexOf(line.line) % dashes.length] };
}

const LEAD = 12; // pixels between the end of a line and its name
const font = (width) => `600 ${width < 480 ? 11 : 13}px sans-serif`;

class Curves extends Strokes {
  // Pixels of (x, y); a value that a log axis cannot hold has none.
  at(x, y) {
    const { xaxis, yaxis } = this.axes;
    const py = yaxis.type === "log" ? (y > 0 ? yaxis.l2p(Math.log10(y)) : NaN) : yaxis.l2p(y);
    return [xaxis._offset + xaxis.l2p(x), yaxis._offset + py];
  }

  within(draw) {
    const { context } = this;
    const { xaxis, yaxis } = this.axes;
    context.save();
    context.beginPath();
    context.rect(xaxis._offset, yaxis._offset - 2, xaxis._length, yaxis._length + 4);
    context.clip();
    draw(context);
    context.restore();
  }

  path(xs, ys) {
    let pen = false;
    for (let k = 0; k < xs.length; k++) {
      const [px, py] = this.at(xs[k], ys[k]);
      if (Number.isNaN(py)) pen = false;
      else if (pen) this.context.lineTo(px, py);
      else {
        this.context.moveTo(px, py);
        pen = true;
      }
    }
  }

  curve(xs, ys, { colour, dash, width, alpha }) {
    this.within((context) => {
      Object.assign(context, { strokeStyle: colour, fillStyle: colour, lineWidth: width, globalAlpha: alpha });
      context.setLineDash(DASHES[dash]);
      context.beginPath();
      this.path(xs, ys);
      context.stroke();
      if (xs.length === 1) context.fillRect(this.at(xs[0], ys[0])[0] - 3, this.at(xs[0], ys[0])[1] - 3, 6, 6);
    });
  }

  band(xs, least, most, { colour, alpha }) {
    this.within((context) => {
      Object.assign(context, { fillStyle: colour, globalAlpha: alpha });
      const low = this.axes.yaxis._offset + this.axes.yaxis._length + 2;
      const points = [...xs.map((x, k) => this.at(x, most[k])), ...xs.map((x, k) => this.at(x, least[k])).reverse()];
      context.beginPath();
      for (const [px, py] of points) context.lineTo(px, Number.isNaN(py) ? low : py);
      context.fill();
    });
  }

  // From the end of a line to its name.
  lead(from, to, colour) {
    const { context } = this;
    context.save();
    context.setLineDash([]);
    context.beginPath();
    context.moveTo(...from);
    context.lineTo(...to);
    Object.assign(context, { strokeStyle: colour, lineWidth: 1 });
    context.stroke();
    context.restore();
  }

  // Names at the ends of the lines, moved apart where they would lie on one another.
  names(items) {
    const { context } = this;
    const { xaxis, yaxis } = this.axes;
    context.font = font(this.canvas.clientWidth);
    const [top, bottom] = [yaxis._offset + 8, yaxis._offset + yaxis._length - 8];
    const boxes = items.map((item) => {
      const [x, y] = this.at(item.x, item.y);
      return {
        ...item,
        x: Math.min(x, xaxis._offset + xaxis._length) + LEAD,
        end: y,
        y: Math.max(top, Math.min(bottom, Number.isNaN(y) ? bottom : y)),
      };
    }).sort((a, b) => a.y - b.y);
    for (let k = 1; k < boxes.length; k++) boxes[k].y = Math.max(boxes[k].y, boxes[k - 1].y + 16);
    for (let k = boxes.length - 1, limit = bottom; k >= 0; k--, limit = boxes[k + 1].y - 16) {
      boxes[k].y = Math.min(boxes[k].y, limit);
    }
    const dark = getComputedStyle(this.canvas).color.match(/\d+/g)[0] > 128;
    Object.assign(context, {
      textAlign: "left",
      textBaseline: "middle",
      lineWidth: 3,
      strokeStyle: dark ? "#141414" : "#ffffff",
    });
    for (const { x, y, end, text, colour } of boxes) {
      if (Math.abs(end - y) > 6) this.lead([x - LEAD + 1, end], [x - 2, y], colour);
      context.strokeText(text, x, y);
      context.fillStyle = colour;
      context.fillText(text, x, y);
    }
  }
}

const widthOf = (texts, width) => {
  const context = document.createElement("canvas").getContext("2d");
  context.font = font(width);
  return Math.max(...texts.map((text) => context.measureText(text).width));
};

function logAxis(range, percent) {
  if (range[1] - range[0] > 1.5) return { dtick: 1 };
  const { at, said } = logTicks(range, percent);
  return { tickmode: "array", tickvals: at, ticktext: said };
}

function drawFrame(Plotly, div, { span, title, state, margin }) {
  const percent = SHARES.includes(state.metric);
  const layout = houseLayout(div, {
    xaxis: {
      range: span.x,
      nticks: Math.max(3, div.clientWidth / 90),
      title: { text: AXES[state.axis], standoff: 4 },
      tickformat: state.axis === "gradients" ? ".3~s" : "",
    },
    yaxis: {
      type: state.scale,
      range: span.y,
      title: { text: title, standoff: 4 },
      tickformat: percent ? ".3~%" : "",
      exponentformat: "power",
      ...(state.scale === "log" ? logAxis(span.y, percent) : {}),
    },
    margin: { l: 64, r: margin, t: 10, b: 44 },
  });
  return Plotly.react(div, [{ x: [], y: [] }], layout, CONFIG);
}

function drawLines(curves, lines, state, el) {
  curves.clear();
  const looks = new Map(lines.map((line) => [line, look(line, lines, el)]));
  const shown = lines.filter((line) => line.rows.length && !line.hidden);
  for (const line of shown) {
    const { colour, dash } = looks.get(line);
    if (state.spread === "seeds") {
      for (const row of line.rows) {
        curves.curve(row.xs, row.ys, { colour, dash: "solid", width: 1, alpha: 0.45 * line.strength });
      }
    } else if (line.rows.length > 1) curves.band(line.xs, line.least, line.most, { colour, alpha: 0.2 * line.strength });
    curves.curve(line.xs, line.mean, { colour, dash, width: 2, alpha: line.strength });
  }
  curves.names(shown.map((line) => ({
    text: line.name,
    x: line.xs[line.xs.length - 1],
    y: line.mean[line.mean.length - 1],
    colour: looks.get(line).colour,
  })));
}

function drawTable(body, lines, state, el) {
  const plain = lines.find((line) => line.rho == null && line.rows.length);
  body.replaceChildren(
    ...lines.filter((line) => !line.hidden).map((line) => {
      const name = h(
        "th",
        { scope: "row" },
        h("span", { class: "flatlab-swatch", style: `background:${look(line, lines, el).colour}` }),
        ` ${line.line}${line.rho != null ? `, ρ ${line.rho}` : ""}`,
      );
      if (!line.rows.length) {
        return h(
          "tr",
          { "data-line": line.name },
          name,
          h("td", { colspan: 3 }, line.ran ? "not recorded" : "not run yet"),
        );
      }
      const differences = plain && plain !== line ? paired(line, plain) : [];
      return h(
        "tr",
        { "data-line": line.name },
        name,
        h("td", { "data-cell": "last", "data-says": slug(line.name) }, said(Object.values(line.last), state.metric)),
        h("td", { "data-cell": "seeds" }, String(line.rows.length)),
        ...(plain
          ? [h("td", { "data-cell": "paired" }, differences.length ? said(differences, state.metric, true) : "–")]
          : []),
      );
    }),
  );
}

// ---- controls --------------------------------------------------------------------------------------------------------

// Which lines are shown: a box each, ticked unless its name stands in `hidden`.
function boxes(model, names) {
  const group = h("fieldset", { class: "flatlab-choice" }, h("legend", {}, "methods"));
  const hidden = () => model.get("hidden").split("|");
  for (const name of names) {
    const input = h("input", { type: "checkbox", value: name, "data-name": "hidden" });
    input.checked = !hidden().includes(name);
    input.addEventListener("change", () => {
      const rest = names.filter((other) => hidden().includes(other) && other !== name);
      model.set("hidden", [...rest, ...(input.checked ? [] : [name])].join("|"));
      model.save_changes();
    });
    model.on("change:hidden", () => (input.checked = !hidden().includes(name)));
    group.append(h("label", {}, input, name));
  }
  return group;
}

// ---- render ----------------------------------------------------------------------------------------------------------

async function render({ model, el }) {
  const Plotly = await loadPlotly(model);
  const frame = h("div", { class: "flatlab-plot" });
  const curves = new Curves();
  const nothing = h("p", {
    class: "flatlab-nothing",
    style: "position:absolute;inset:40% 0 auto;text-align:center;margin:0",
    hidden: true,
  });
  const chart = h(
    "div",
    { class: "flatlab-curves", style: "height:min(26rem, 75vw);min-height:17rem" },
    frame,
    curves.canvas,
    nothing,
  );
  const caption = h("caption", { class: "flatlab-caption" });
  const compared = h("th", { scope: "col" });
  const body = h("tbody");
  const table = h(
    "table",
    {},
    caption,
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        h("td"),
        h("th", { scope: "col" }, "last epoch"),
        h("th", { scope: "col" }, "seeds"),
        compared,
      ),
    ),
    body,
  );
  const places = h("div");
  const wishes = h("div");
  const methods = h("div");
  el.classList.add("flatlab");
  const ends = h("p", { class: "flatlab-status", role: "status", "data-says": "ends" });
  el.replaceChildren(
    chart,
    methods,
    wishes,
    places,
    choice(model, "axis", { label: "against", options: AXES }),
    choice(model, "part", { label: "show", options: PARTS }),
    choice(model, "scale", { label: "scale", options: SCALES }),
    choice(model, "spread", { label: "seeds", options: SPREADS }),
    ends,
    table,
  );

  let data = null;
  let framed = null;
  let built = null;

  // A state that these runs do not have gives way to their first: it may come from an address, or a live run has ended.
  const settle = (name, options) => {
    if (options.length && !options.includes(model.get(name))) model.set(name, options[0]);
  };
  const settleAll = () => {
    for (const facet of Object.keys(FACETS)) settle(facet, data.facets[facet]);
    settle("metric", Object.keys(METRICS).filter((metric) => data.runs.some((run) => values(run, metric)?.length)));
  };

  // The controls over what these runs have; made anew only when that changes, so that a live run does not take the focus.
  const build = () => {
    data = model.get("runs");
    settleAll();
    const { runs, facets, evaluated_on: held } = data;
    const metrics = Object.keys(METRICS).filter((metric) => runs.some((run) => values(run, metric)?.length));
    const names = data.lines;
    const key = JSON.stringify([metrics, facets, names, held]);
    if (key === built) return;
    built = key;
    const asked = Object.keys(FACETS).filter((facet) => facets[facet].length > 1);
    places.replaceChildren(
      ...asked.map((facet) =>
        pick(model, facet, FACETS[facet], Object.fromEntries(facets[facet].map((value) => [value, value])))
      ),
    );
    wishes.replaceChildren(
      ...(metrics.length > 1
        ? [pick(model, "metric", "curves of", Object.fromEntries(metrics.map((metric) => [metric, titled(metric, held)])))]
        : []),
    );
    methods.replaceChildren(...(names.length > 1 ? [boxes(model, names)] : []));
  };

  const update = () => {
    const began = performance.now();
    settleAll();
    const s = Object.fromEntries(STATE.map((name) => [name, model.get(name)]));
    const { runs, evaluated_on: held } = data;
    const hidden = s.hidden.split("|");
    const lines = linesOf(data, s).map((line) => ({ ...line, hidden: hidden.includes(line.line) }));
    const drawable = lines.filter((line) => line.rows.length);
    const shown = drawable.filter((line) => !line.hidden);
    const span = shown.length ? spans(shown, s) : null;
    nothing.hidden = span !== null;
    frame.style.visibility = span ? "visible" : "hidden";
    if (span) {
      const title = `${titled(s.metric, held)}${
        s.scale === "log" && s.metric === "generalization" ? ", where positive" : ""
      }`;
      const margin = LEAD + 9 + widthOf(shown.map((line) => line.name), chart.clientWidth);
      const key = JSON.stringify([span, title, margin, s.axis, s.scale]);
      if (key !== framed) {
        drawFrame(Plotly, frame, { span, title, state: s, margin });
        curves.fit(frame);
        framed = key;
      }
      drawLines(curves, lines, s, el);
    } else {
      if (curves.context) curves.clear();
      nothing.textContent = nothingSaid(runs, drawable, shown);
    }
    ends.textContent = shown.length ? endsSaid(shown, s, titled(s.metric, held)) : "";
    table.hidden = !runs.length;
    const plain = lines.find((line) => line.rho == null && line.rows.length);
    compared.hidden = !plain;
    compared.textContent = plain ? `minus ${plain.line}, same seeds` : "";
    drawTable(body, lines, s, el);
    const unit = SHARES.includes(s.metric) ? " in percent" : "";
    caption.textContent = runs.length
      ? `${titled(s.metric, held)}${unit} after the last epoch: mean ± standard deviation over seeds`
      : "";
    performance.measure("flatlab:runs", { start: began });
  };
  const redraw = () => {
    Plotly.purge(frame);
    framed = null;
    update();
  };
  build();
  redraw();
  const stops = [
    onChange(model, STATE, update),
    onChange(model, ["runs"], () => {
      build();
      update();
    }),
    onAppearance(el, redraw),
  ];
  return () => stops.forEach((stop) => stop());
}

export default { render };
