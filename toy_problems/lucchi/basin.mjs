// Where every start of the square ends. Input: a method's name and settings; output: one fate a cell, row by row from
// the bottom. Two starts advance at once where the browser has WebAssembly with vectors of numbers, else one after the
// other by the rules themselves: the same numbers, to the bit.

import { RULES } from "flatlab/explorable/rules.mjs";
import basin_step from "./basin_step.wasm";
import { fate, FATES, grad, HALF_WIDTH } from "./landscape.mjs";

export const CELLS = 256;
const centre = (k) => ((k + 0.5) / CELLS) * 2 * HALF_WIDTH - HALF_WIDTH;

// Neighbours advance together, so that the processor overlaps independent starts.
const TOGETHER = 32;

// `xs` and `ys` hold TOGETHER starts, and `step` moves them. A worker answers only for one method: the engine inlines a
// rule as long as its loop meets no other.
export function byRules({ method, lr, rho }) {
  const rule = RULES[method];
  const options = { rho };
  const [xs, ys] = [new Float64Array(TOGETHER), new Float64Array(TOGETHER)];
  const step = () => {
    for (let i = 0; i < TOGETHER; i++) {
      const d = rule({ x: xs[i], y: ys[i] }, grad, options);
      xs[i] -= lr * d.x;
      ys[i] -= lr * d.y;
    }
  };
  return { xs, ys, step };
}

const IN_PAIRS = ["gd", "sam", "stable_sam"]; // in the order that basin_step.wat numbers them
let kernel; // null where there is none: an old browser, or a page that forbids it

export function inPairs({ method, lr, rho }) {
  if (kernel === undefined) {
    try {
      kernel = new WebAssembly.Instance(
        new WebAssembly.Module(Uint8Array.from(atob(basin_step), (letter) => letter.charCodeAt(0))),
      ).exports;
    } catch {
      kernel = null;
    }
  }
  const number = IN_PAIRS.indexOf(method);
  if (!kernel || number < 0) return null;
  const [xs, ys] = [0, 1].map((k) => new Float64Array(kernel.memory.buffer, k * 8 * TOGETHER, TOGETHER));
  return { xs, ys, step: () => kernel.step(number, lr, rho) };
}

// Fates of the rows from..to-1. Neighbours stop together: after two more steps all of them stand where they stood, at
// rest or in a cycle of two.
export function basinRows({ steps, radius, from, to, ...settings }, stepper = inPairs(settings) ?? byRules(settings)) {
  const { xs, ys, step } = stepper;
  const out = new Uint8Array((to - from) * CELLS);
  const before = new Float64Array(TOGETHER);
  for (let first = from * CELLS; first < to * CELLS; first += TOGETHER) {
    for (let i = 0; i < TOGETHER; i++) {
      xs[i] = centre((first + i) % CELLS);
      ys[i] = centre(Math.floor(first / CELLS));
    }
    for (let left = steps; left > 0; left--) {
      if (left % 10 === 0) before.set(xs);
      step();
      if (left % 10 === 9 && left < steps && settled(before, xs)) break; // with an even number of steps to go
    }
    for (let i = 0; i < TOGETHER; i++) out[first - from * CELLS + i] = fate(xs[i], ys[i], radius);
  }
  return out;
}

function settled(before, now) {
  for (let i = 0; i < TOGETHER; i++) if (Math.abs(now[i] - before[i]) > 1e-5) return false;
  return true;
}

// f(-w) = f(w): the upper half of the square mirrors the lower one, with the minima exchanged.
export function mirrored(lowerHalf) {
  const whole = new Uint8Array(2 * lowerHalf.length);
  whole.set(lowerHalf);
  for (let k = 0; k < lowerHalf.length; k++) {
    const f = lowerHalf[k];
    whole[whole.length - 1 - k] = f < 2 ? 1 - f : f;
  }
  return whole;
}

// How many cells have each fate, in the order of FATES.
export function census(fates) {
  const counts = FATES.map(() => 0);
  for (const f of fates) counts[f]++;
  return counts;
}

export function serve(scope) {
  scope.onmessage = ({ data }) => {
    const rows = basinRows(data);
    scope.postMessage(rows, [rows.buffer]);
  };
}
