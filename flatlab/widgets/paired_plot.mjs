// The plot of paired runs, as SVG: differences of pairs with their intervals and the papers' marks, and each run's accuracy.

import { METHOD_COLOURS } from "flatlab/explorable/plotly.mjs";
import { distinct, fewPairs, methodOf, plain, saidBase, saidDifference, side, signed } from "./paired_rows.mjs";

export const SHAPES = { LSAM: "○", Nonuniformity: "□", StableSAM: "◇" };

const middle = (list) => [...list].sort((a, b) => a - b)[(list.length - 1) >> 1] ?? 0;

// What is drawn: a method that has not been run has a row in the table, and in the plot only with a paper's marks.
const drawnOf = (rows) => rows.filter((row) => row.runs || row.told.length);

// What the axis of differences spans. Gains are all in sight, claimed ones too; a loss far beyond what is usual is drawn at
// the edge.
export function spanOfDifferences(rows) {
  const found = rows.filter((row) => row.pairs);
  const pairs = found.flatMap((row) => row.pairs.map(([, a, b]) => a - b));
  const ends = found.filter((row) => row.half != null).flatMap((row) => [row.mean - row.half, row.mean + row.half]);
  const claims = rows.flatMap((row) => row.told.map((claim) => claim.difference));
  const high = Math.max(0.3, ...pairs, ...ends);
  const usual = (list) => list.filter((v) => v >= -Math.max(high, 6 * middle(list.map(Math.abs))));
  return padded(Math.min(-0.3, ...usual([...pairs, ...ends]), ...usual(claims)), Math.max(high, ...claims));
}

// What the axis of accuracies spans: runs that fell far below the usual stand at the edge.
export function spanOfAccuracies(rows) {
  const all = rows.flatMap((row) => (row.runs ?? []).map(([, accuracy]) => accuracy));
  if (!all.length) return [0, 100];
  const high = Math.max(...all);
  return padded(Math.max(Math.min(...all), high - Math.max(0.5, 6 * middle(all.map((v) => high - v)))), high);
}

const padded = (low, high) => [low - 0.05 * (high - low || 1), high + 0.05 * (high - low || 1)];

// Round numbers inside the span, at most `most` of them, but two at least.
export function ticks([low, high], most) {
  const rough = (high - low) / Math.max(1, most);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((k) => k * power).find((s) => s >= rough * 0.999);
  const count = Math.floor(high / step + 1e-9) - Math.ceil(low / step - 1e-9) + 1;
  if (count < 2 && most < 8) return ticks([low, high], most + 1);
  return Array.from(
    { length: Math.max(0, count) },
    (_, k) => Number(((Math.ceil(low / step - 1e-9) + k) * step).toPrecision(12)),
  );
}

export const colourOf = (method) => METHOD_COLOURS[method] ?? "currentColor";

export function s(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const widthOf = (texts, font) => {
  const context = document.createElement("canvas").getContext("2d");
  context.font = font;
  return Math.max(0, ...texts.map((text) => context.measureText(text).width));
};

// Two panels side by side, or one below the other on a narrow screen, where a label takes two lines and the lower panel has
// only the rows with runs. A panel: what it spans from left to right, its top, its foot, and the middle of each row.
function layoutOf(rows, width, font) {
  const wide = width >= 640;
  const size = wide ? 13 : 11;
  const left = Math.ceil(widthOf(rows.flatMap((row) => linesOf(row, wide)), `600 ${size}px ${font}`)) + 12;
  const height = Math.max(wide ? 22 : 28, Math.min(40, 440 / rows.length));
  const panel = (range, top, list) => ({
    range,
    top: top + 24,
    foot: top + 24 + height * list.length,
    list,
    at: (row) => top + 24 + height * (list.indexOf(row) + 0.5),
  });
  const [numbers, runs] = wide ? [100, Math.max(150, Math.round(0.22 * width))] : [0, 0];
  const differences = panel(wide ? [left, width - runs - numbers - 12] : [left, width - 8], 0, rows);
  const accuracies = wide
    ? panel([width - runs + 8, width - 8], 0, rows)
    : panel([left, width - 8], differences.foot + 30, rows.filter((row) => row.runs));
  return { wide, size, font, left, height, width, numbers, differences, accuracies, tall: accuracies.foot + 22 };
}

const linesOf = (
  { label },
  wide,
) => (wide || !label.includes(", ") ? [label] : [label.slice(0, label.indexOf(",")), label.slice(label.indexOf(",") + 2)]);

// The axis of a panel, its title, and the names of its rows unless another panel beside it has them; what places a value.
function drawFrame(svg, plan, { range, top, foot, list, at }, { span, title, show, names }) {
  const { size, left, wide } = plan;
  const place = (v) => range[0] + ((v - span[0]) / (span[1] - span[0])) * (range[1] - range[0]);
  svg.append(s("text", { x: wide ? range[0] : 0, y: top - 10, "font-weight": 600, "font-size": size }, title));
  for (const v of ticks(span, (range[1] - range[0]) / 58)) {
    svg.append(
      s("line", {
        x1: place(v),
        x2: place(v),
        y1: top,
        y2: foot,
        stroke: "currentColor",
        ...(v === 0 ? { "stroke-opacity": 0.9, "stroke-width": 1.5 } : { "stroke-opacity": 0.16 }),
      }),
      s("text", { x: place(v), y: foot + 15, "text-anchor": "middle", "font-size": size - 1 }, show(v)),
    );
  }
  for (const row of names ? list : []) {
    const [first, second] = linesOf(row, wide);
    svg.append(
      s("text", {
        x: left - 8,
        y: at(row) + (second ? -2 : 4),
        "text-anchor": "end",
        "font-weight": 600,
        "font-size": size,
      }, first),
    );
    if (second) {
      svg.append(s("text", { x: left - 8, y: at(row) + size - 2, "text-anchor": "end", "font-size": size - 1 }, second));
    }
  }
  return place;
}

// A paper's mark at (x, y): filled where its difference is larger than its own interval.
function claimed({ paper, difference, half }, x, y, r) {
  const look = {
    class: "flatlab-claim",
    "data-paper": paper,
    stroke: "currentColor",
    "stroke-width": 1.1,
    fill: "currentColor",
    "fill-opacity": Math.abs(difference) > half ? 0.6 : 0,
  };
  if (SHAPES[paper] === "○") return s("circle", { ...look, cx: x, cy: y, r });
  if (SHAPES[paper] === "□") return s("rect", { ...look, x: x - 0.9 * r, y: y - 0.9 * r, width: 1.8 * r, height: 1.8 * r });
  return s("path", {
    ...look,
    d: `M${x} ${y - 1.3 * r}l${1.3 * r} ${1.3 * r}l${-1.3 * r} ${1.3 * r}l${-1.3 * r} ${-1.3 * r}z`,
  });
}

// A triangle at the left edge: what it stands for lies beyond.
const beyond = (x, y, colour) => s("path", { class: "flatlab-beyond", d: `M${x} ${y}l7 -4.5v9z`, fill: colour });

// How far from the middle of its row the dot of the k-th of n seeds lies: equal numbers do not hide each other.
const lane = (k, n, height) => (k - (n - 1) / 2) * Math.min(6, (0.56 * height) / Math.max(1, n - 1));

const dot = (what, x, y, fill, stroke = "currentColor") =>
  s("circle", { class: `flatlab-${what}`, cx: x, cy: y, r: 2.8, fill, stroke, "stroke-width": 0.8 });

// What is drawn of differences, and each mark's place with its words.
function drawDifferences(svg, plan, rows, { base, papers, resolve }) {
  const { size, font, height, numbers, differences } = plan;
  const { range, top, foot, at } = differences;
  const span = spanOfDifferences(rows);
  const place = drawFrame(svg, plan, differences, {
    span,
    title: `test accuracy minus ${methodOf(base)}’s, same seed, in points`,
    show: (v) => signed(v).replace(/\.?0+$/, ""),
    names: true,
  });
  const inside = (v) => Math.max(range[0], Math.min(range[1], place(v)));
  const reach = (low, high) => ({ x: inside(low), width: inside(high) - inside(low) });
  svg.append(
    s("rect", {
      class: "flatlab-band",
      ...reach(-resolve, resolve),
      y: top,
      height: foot - top,
      fill: "currentColor",
      "fill-opacity": 0.09,
    }),
  );
  const marks = [];
  for (const row of rows) {
    const colour = colourOf(row.method);
    const y = at(row) - (row.told.length ? 0.2 * height : 0);
    const lanes = distinct(row.told.map((claim) => claim.paper));
    const group = s("g", { "data-row": row.label });
    // Words to the right of what is drawn at these places, else to its left, else between, where there is room for them.
    const note = (text, ...drawn) => {
      const xs = drawn.sort((a, b) => a - b);
      const needed = 14 + widthOf([text], `italic ${size - 1}px ${font}`);
      const between = xs.slice(1).map((x, k) => [xs[k], x]);
      const gaps = [[xs[xs.length - 1], range[1] + 7], [range[0], xs[0]], ...between];
      const [from, to] = gaps.find(([a, b]) => b - a >= needed) ?? gaps[0];
      const left = to === xs[0];
      group.append(
        s("text", {
          x: left ? to - 7 : from + 7,
          y: y + 4,
          "text-anchor": left ? "end" : "start",
          "font-size": size - 1,
          "font-style": "italic",
          "fill-opacity": 0.75,
        }, text),
      );
    };
    if (row.why) note(...(row.why === "base" ? [saidBase(row, rows), place(0)] : [row.why, range[0]]));
    else {
      const sure = side(row) !== 0;
      const [low, high] = [row.mean - row.half, row.mean + row.half];
      if (row.half != null && row.mean >= span[0]) {
        group.append(
          s("rect", {
            class: "flatlab-interval",
            ...reach(low, high),
            y: y - 5,
            height: 10,
            rx: 2,
            fill: colour,
            stroke: colour,
            ...(sure ? { "fill-opacity": 0.85 } : { "fill-opacity": 0.22, "stroke-opacity": 0.6 }),
          }),
        );
      }
      const reached = [];
      for (const [k, [seed, a, b]] of row.pairs.entries()) {
        const lower = y + lane(k, row.pairs.length, row.told.length ? 0.5 * height : height);
        const [out, x] = [a - b < span[0], inside(a - b)];
        group.append(out ? beyond(x, lower, colour) : dot("pair", x, lower, colour, sure ? "#fff" : "currentColor"));
        reached.push(out ? x + 5 : x);
        marks.push({
          x,
          y: lower,
          text: `${row.label}, seed ${seed}: ${a.toFixed(2)} − ${b.toFixed(2)} = ${signed(a - b)} points${
            out ? ", beyond the edge" : ""
          }`,
        });
      }
      if (row.mean < span[0]) {
        note(`mean ${saidDifference(row)}`, ...reached);
      } else if (row.half != null) {
        group.append(
          s("rect", {
            class: "flatlab-mean",
            x: place(row.mean) - 1.25,
            y: y - 8,
            width: 2.5,
            height: 16,
            fill: "currentColor",
          }),
        );
      } else note(fewPairs(row), ...reached);
      if (numbers) {
        group.append(
          s("text", {
            class: "flatlab-number",
            x: range[1] + numbers,
            y: y + 4,
            "text-anchor": "end",
            "font-size": size - 1,
            "font-weight": sure ? 700 : 400,
          }, saidDifference(row)),
        );
      }
    }
    for (const claim of row.told) {
      const [x, lane] = [inside(claim.difference), at(row) + height * (0.1 + 0.13 * lanes.indexOf(claim.paper))];
      group.append(
        claim.difference < span[0]
          ? beyond(x, lane, "currentColor")
          : claimed(claim, x, lane, Math.min(3.4, 0.13 * height)),
      );
      marks.push({
        x,
        y: lane,
        text: `${claim.paper} paper, ${row.method} on ${claim.network}, ${papers[claim.paper]} epochs: ${
          claim.ours.toFixed(2)
        } − ${claim.theirs.toFixed(2)} = ${signed(claim.difference)} ± ${claim.half.toFixed(2)} points`,
      });
    }
    svg.append(group);
  }
  return marks;
}

function drawAccuracies(svg, plan, rows) {
  const { wide, accuracies } = plan;
  const { range, list, at } = accuracies;
  const span = spanOfAccuracies(rows);
  const place = drawFrame(svg, plan, accuracies, { span, title: "each run, in %", show: plain, names: !wide });
  const marks = [];
  for (const row of list) {
    for (const [k, [seed, accuracy]] of (row.runs ?? []).entries()) {
      const [out, colour] = [accuracy < span[0], colourOf(row.method)];
      const y = at(row) + lane(k, row.runs.length, plan.height);
      const x = out ? range[0] : place(accuracy);
      svg.append(out ? beyond(x, y, colour) : dot("run", x, y, colour));
      marks.push({ x, y, text: `${row.label}, seed ${seed}: ${accuracy.toFixed(2)}% after ${row.epochs} epochs` });
    }
  }
  return marks;
}

// The plot of these rows in a width: its node, each mark's place with its words, and whether its panels stand side by side.
export function drawPlot(rows, width, font, { base, papers, problem, resolve }) {
  const drawn = drawnOf(rows);
  const plan = layoutOf(drawn, width, font);
  const svg = s("svg", {
    width: plan.width,
    height: plan.tall,
    viewBox: `0 0 ${plan.width} ${plan.tall}`,
    role: "img",
    "aria-label": `Differences to ${base} on ${problem}; the table below has the numbers`,
    fill: "currentColor",
    style: "display:block;font-variant-numeric:tabular-nums",
  });
  const marks = [...drawDifferences(svg, plan, drawn, { base, papers, resolve }), ...drawAccuracies(svg, plan, drawn)];
  return { svg, marks, wide: plan.wide };
}
