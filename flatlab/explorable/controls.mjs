// Labelled native inputs, tied to the model both ways. Ranges come with the model, from the Python face of the explorable;
// the model never leaves them.

import { stopNear, stopsOf } from "./stops.mjs";

export function h(tag, attributes = {}, ...children) {
  const el = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) el.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) el.setAttribute(name, value === true ? "" : value);
  }
  el.append(...children);
  return el;
}

// Of a column of a table; an empty cell heads nothing.
export function columnHead(text) {
  return text ? h("th", { scope: "col" }, text) : h("td");
}

// Counted over the page: each explorable on it is a script of its own, and radio buttons of one name exclude each other.
export function freshId(name) {
  globalThis.flatlabSerial = (globalThis.flatlabSerial ?? 0) + 1;
  return `flatlab-${name}-${globalThis.flatlabSerial}`;
}

export const rounded = (value, digits = 3) => Number(value.toPrecision(digits));

// {min, max, initial, whole} of a number of the state.
export const rangeOf = (model, name) => model.get("_ranges")[name];

// Keep model[name] inside its range: what comes from an address may lie outside, or be no number.
export function clamp(model, name) {
  const { min, max, initial } = rangeOf(model, name);
  const value = model.get(name);
  const inside = typeof value === "number" && Number.isFinite(value) ? Math.min(max, Math.max(min, value)) : initial;
  if (inside !== value) model.set(name, inside);
}

// A number as a field: what is typed counts as soon as it is allowed, and is put right once the reader leaves it.
function field(model, name, label, stops) {
  const { min, max, whole } = rangeOf(model, name);
  const input = h("input", { type: "number", min, max, step: whole ? 1 : "any", "aria-label": label });
  const put = (value) => {
    model.set(name, value);
    model.save_changes();
  };
  const draw = () => {
    const value = model.get(name); // few digits fit into the field
    const written = value !== 0 && Math.abs(value) < 1e-4 ? value.toExponential() : String(value);
    if (input.value === "" || Number(input.value) !== value) input.value = written;
  };
  input.addEventListener("input", () => input.value !== "" && input.validity.valid && put(Number(input.value)));
  input.addEventListener("change", () => {
    const value = Math.min(max, Math.max(min, Number(input.value)));
    if (input.value !== "") put(whole ? Math.round(value) : value);
    draw();
  });
  input.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowUp" && event.key !== "ArrowDown") return;
    event.preventDefault(); // a step of 1 would leave most ranges
    const now = model.get(name);
    const next = event.key === "ArrowUp" ? stops.find((v) => v > now) : stops.findLast((v) => v < now);
    if (next !== undefined) put(next);
  });
  return { input, draw };
}

// A slider over the whole range of a number, and a field beside it for what lies between its stops. `log` spaces the stops
// by ratio, `step` evenly; `show` says the value in words. A double click goes back to where the number began.
export function slider(model, name, { label, hint, log = false, step, show = String }) {
  clamp(model, name);
  const { initial, ...range } = rangeOf(model, name);
  const began = model.initial?.[name] ?? initial;
  const stops = stopsOf(range, { log, step, also: began });
  const id = freshId(name);
  const title = `Double click: back to ${show(began)}`;
  const input = h("input", { type: "range", id, min: 0, max: stops.length - 1, step: 1, "data-name": name, title });
  const number = field(model, name, label, stops);
  const put = (value) => {
    model.set(name, value);
    model.save_changes();
  };
  const draw = () => {
    const value = model.get(name);
    input.value = stopNear(stops, value);
    input.setAttribute("aria-valuetext", show(value));
    number.draw();
  };
  input.addEventListener("input", () => put(stops[Number(input.value)]));
  input.addEventListener("dblclick", () => put(began));
  model.on(`change:${name}`, () => {
    clamp(model, name);
    draw();
  });
  draw();
  return h("div", { class: "flatlab-control" }, h("label", { for: id, title: hint }, label), input, number.input);
}

// Which of some numbers above 0 is nearest to v, by ratio.
export const nearest = (values, v) =>
  values.reduce((best, u, k) => (Math.abs(Math.log(u / v)) < Math.abs(Math.log(values[best] / v)) ? k : best), 0);

// A slider over a few numbers above 0, which need not be evenly spaced.
export function stepped(model, name, values, label, show = String) {
  const id = freshId(name);
  const input = h("input", { type: "range", id, min: 0, max: values.length - 1, step: 1, "data-name": name });
  const output = h("output", { for: id });
  const draw = () => {
    if (!values.includes(model.get(name))) model.set(name, values[nearest(values, model.get(name) || values[0])]);
    input.value = values.indexOf(model.get(name));
    output.value = show(model.get(name));
    input.setAttribute("aria-valuetext", show(model.get(name)));
  };
  input.addEventListener("input", () => {
    model.set(name, values[Number(input.value)]);
    model.save_changes();
  });
  model.on(`change:${name}`, draw);
  draw();
  return h("div", { class: "flatlab-control" }, h("label", { for: id }, label), input, output);
}

// One of a few: radio buttons in a row.
export function choice(model, name, { label, options, colours = {} }) {
  if (!(model.get(name) in options)) model.set(name, Object.keys(options)[0]);
  const group = freshId(name);
  const inputs = new Map();
  const row = h("fieldset", { class: "flatlab-choice" }, h("legend", {}, label));
  for (const [value, text] of Object.entries(options)) {
    const input = h("input", { type: "radio", name: group, value, "data-name": name });
    input.addEventListener("change", () => {
      model.set(name, value);
      model.save_changes();
    });
    inputs.set(value, input);
    const swatch = colours[value] ? [h("span", { class: "flatlab-swatch", style: `background:${colours[value]}` })] : [];
    row.append(h("label", {}, input, ...swatch, text));
  }
  const draw = () => {
    if (!inputs.has(model.get(name))) model.set(name, Object.keys(options)[0]);
    inputs.get(model.get(name)).checked = true;
  };
  model.on(`change:${name}`, draw);
  draw();
  return row;
}

// The entries of a menu; those of one head stand under it, and say only what they do not share.
function menuOf(entries, headOf) {
  const option = (value, text) => h("option", { value, style: "color:CanvasText;background:Canvas" }, text);
  return [...Map.groupBy(entries, ([, text]) => headOf(text))].flatMap(([, kin]) => {
    if (kin.length === 1) return option(...kin[0]);
    const words = kin.map(([, text]) => text.split(", "));
    const shared = words[0].findIndex((word, k) => words.some((other) => other[k] !== word || other.length === k + 1));
    return h(
      "optgroup",
      { label: words[0].slice(0, shared).join(", "), style: "color:CanvasText;background:Canvas" },
      ...kin.map(([value], k) => option(value, words[k].slice(shared).join(", "))),
    );
  });
}

// One of several, made anew where they change: radio buttons, or a menu where those would fill the screen. In a menu those
// stand together whose texts have the same head.
export function pick(model, name, label, options, headOf = (text) => text) {
  const id = freshId(name);
  const put = (value) => {
    model.set(name, value);
    model.save_changes();
  };
  const entries = Object.entries(options);
  if (Object.values(options).join("").length < 48) {
    const group = h("fieldset", { class: "flatlab-choice" }, h("legend", {}, label));
    for (const [value, text] of entries) {
      const input = h("input", { type: "radio", name: id, value, "data-name": name, onchange: () => put(value) });
      const draw = () => (input.checked = model.get(name) === value);
      model.on(`change:${name}`, draw);
      draw();
      group.append(h("label", {}, input, text));
    }
    return group;
  }
  const select = h("select", {
    id,
    "data-name": name,
    style: "font:inherit;color:inherit;background:transparent;max-width:100%;min-height:2rem",
    onchange: () => put(select.value),
  }, ...menuOf(entries, headOf));
  const draw = () => (select.value = model.get(name));
  model.on(`change:${name}`, draw);
  draw();
  return h("div", { class: "flatlab-choice" }, h("label", { for: id, style: "margin-right:0.6rem" }, label), select);
}

// Buttons that set several values at once: situations worth seeing.
export function presets(model, label, situations) {
  const row = h("div", { class: "flatlab-presets", role: "group", "aria-label": label }, h("span", {}, label));
  for (const [text, values] of Object.entries(situations)) {
    const set = () => {
      for (const [name, value] of Object.entries(values)) model.set(name, value);
      model.save_changes();
    };
    row.append(h("button", { type: "button", onclick: set }, text));
  }
  return row;
}

// Calls `update` once a frame, however many values have changed.
export function onChange(model, names, update) {
  let frame = 0;
  const ask = () => {
    if (!frame) {
      frame = requestAnimationFrame(() => {
        frame = 0;
        update();
      });
    }
  };
  for (const name of names) model.on(`change:${name}`, ask);
  return () => cancelAnimationFrame(frame);
}
