// Sentences that hold an explorable of their page: numbers to scrub, phrases that set a state, results that follow, and
// guesses. In: spans `data-live` and field sets of the page; they become controls here, and stay words where this never runs.

import { sketch } from "./sketch.mjs";

const PIXELS = 6; // of a drag, for one stop of the slider

// {model, frame, drawn} of the first explorable of this name, now or as soon as it is there.
function held(name) {
  const find = () => (globalThis.flatlabMounted ?? []).find((one) => one.name === name);
  return new Promise((resolve) => {
    if (find()) return resolve(find());
    const look = () => find() && (removeEventListener("flatlab:mounted", look), resolve(find()));
    addEventListener("flatlab:mounted", look);
  });
}

const BAR = 64; // pixels of the bar that stays at the top

const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

function show(frame) {
  const { top, bottom } = frame.getBoundingClientRect();
  const block = bottom - top > innerHeight - BAR ? "start" : "nearest"; // of what is taller than the window, the top
  if (top < 0 || bottom > innerHeight) frame.scrollIntoView({ block, behavior: still() ? "auto" : "smooth" });
}

// ---- a phrase --------------------------------------------------------------------------------------------------------

const parsed = (text, state) =>
  Object.fromEntries(
    text.split("; ").map((part) => {
      const [name, value] = part.split("=");
      return [name, typeof state[name] === "number" ? Number(value) : value];
    }),
  );

async function set({ model, frame, drawn }, text, scroll = true) {
  await drawn();
  for (const [name, value] of Object.entries(parsed(text, model.state))) model.set(name, value);
  model.save_changes();
  if (scroll) show(frame);
}

async function phrase(span) {
  const one = await held(span.dataset.live);
  span.setAttribute("role", "button");
  span.tabIndex = 0;
  const now = () => {
    const wanted = Object.entries(parsed(span.dataset.state, one.model.state));
    span.setAttribute("aria-pressed", wanted.every(([name, value]) => one.model.get(name) === value));
  };
  for (const name of Object.keys(one.model.state)) one.model.on(`change:${name}`, now);
  now();
  span.addEventListener("click", () => set(one, span.dataset.state));
  span.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    set(one, span.dataset.state);
  });
}

// ---- a number: a second handle of the explorable's own slider --------------------------------------------------------

async function number(span) {
  const name = span.dataset.number;
  const { model, frame, drawn } = await held(span.dataset.live);
  const written = model.initial[name];
  span.setAttribute("role", "slider");
  const range = model.get("_ranges")[name]; // one of a few numbers has none
  if (range) {
    span.setAttribute("aria-valuemin", range.min);
    span.setAttribute("aria-valuemax", range.max);
  }
  span.setAttribute("aria-label", name);
  span.tabIndex = 0;
  const words = span.textContent;
  const input = () => frame.querySelector(`input[type="range"][data-name="${name}"]`);
  const draw = () => {
    const value = model.get(name);
    const told = input()?.getAttribute("aria-valuetext");
    span.textContent = value === written ? words : told?.replace(/^× /, "") ?? String(value);
    span.setAttribute("aria-valuenow", value);
    span.setAttribute("aria-valuetext", span.textContent);
  };
  model.on(`change:${name}`, () => requestAnimationFrame(draw)); // after the slider has said its own
  draw();
  const move = (stops, from) => {
    const slider = input();
    slider.value = Number(from ?? slider.value) + stops;
    slider.dispatchEvent(new Event("input", { bubbles: true }));
  };
  span.addEventListener("keydown", async (event) => {
    const keys = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10 };
    if (!(event.key in keys)) return;
    event.preventDefault();
    await drawn();
    move(keys[event.key] * Math.max(1, Math.round(Number(input().max) / 100)));
  });
  span.addEventListener("pointerdown", async (event) => {
    event.preventDefault();
    span.focus({ preventScroll: true });
    span.setPointerCapture(event.pointerId);
    await drawn();
    const [x, from] = [event.clientX, Number(input().value)];
    const stride = Math.max(1, Math.round(Number(input().max) / 100));
    const drag = (e) => move(Math.round((e.clientX - x) / PIXELS) * stride, from);
    span.addEventListener("pointermove", drag);
    const end = () => {
      span.removeEventListener("pointermove", drag);
      show(frame);
    };
    for (const kind of ["pointerup", "pointercancel"]) span.addEventListener(kind, end, { once: true });
  });
}

// ---- a result --------------------------------------------------------------------------------------------------------

async function result(span) {
  const { frame, drawn } = await held(span.dataset.live);
  await drawn(false);
  const copy = () => {
    const told = frame.querySelector(`[data-says="${span.dataset.says}"]`)?.textContent || "not shown";
    if (told !== span.textContent) span.textContent = told;
  };
  new MutationObserver(copy).observe(frame, { subtree: true, childList: true, characterData: true });
  copy();
}

// ---- a guess ---------------------------------------------------------------------------------------------------------

// The state in which an explorable of the page shows it; the answer stays in sight, with a way to that picture.
async function reveal(fields) {
  if (!fields.dataset.live) return;
  const one = await held(fields.dataset.live);
  set(one, fields.dataset.state, false);
  const answer = fields.querySelector("details");
  if (answer.querySelector(".flatlab-see")) return;
  const see = Object.assign(document.createElement("button"), { type: "button", className: "flatlab-see" });
  see.textContent = "See it in the picture";
  see.addEventListener("click", () => set(one, fields.dataset.state));
  answer.append(see);
}

function guess(fields) {
  const answer = fields.querySelector("details");
  const box = fields.querySelector("[data-sketch]");
  if (box) {
    const opened = sketch(box, { show: () => (answer.open = true), hide: () => (answer.open = false) });
    answer.addEventListener("toggle", () => {
      opened(answer.open);
      if (answer.open) reveal(fields);
    });
    return;
  }
  fields.addEventListener("change", ({ target }) => {
    const right = answer.dataset.right;
    for (const input of fields.querySelectorAll("input")) {
      input.closest("label").dataset.was = input.value === right ? "true" : input === target ? "false" : "";
    }
    answer.querySelector("summary").textContent = target.value === right ? "Right" : "Not so";
    answer.open = true;
    reveal(fields);
  });
}

for (const fields of document.querySelectorAll(".flatlab-guess")) guess(fields);
for (const span of document.querySelectorAll("span.flatlab-live")) {
  if (span.dataset.number) number(span);
  else if (span.dataset.state) phrase(span);
  else result(span);
}
