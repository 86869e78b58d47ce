// Where every start of the square ends. Input: a method's name and settings; output: one fate a cell, row by row from
// the bottom. A worker answers only for one method: the engine inlines a rule as long as its loop meets no other.

import { FATES, HALF_WIDTH, fate, grad } from "./lucchi.mjs";
import { RULES } from "./rules.mjs";

export const CELLS = 256;
const centre = (k) => ((k + 0.5) / CELLS) * 2 * HALF_WIDTH - HALF_WIDTH;

// Fates of the rows from..to-1. Starts advance together, row by row, so that the processor overlaps independent ones.
export function basinRows({ method, lr, rho, steps, radius, from, to }) {
  const rule = RULES[method];
  const options = { rho };
  const out = new Uint8Array((to - from) * CELLS);
  const xs = new Float64Array(CELLS);
  const ys = new Float64Array(CELLS);
  const before = new Float64Array(CELLS);
  for (let row = from; row < to; row++) {
    for (let i = 0; i < CELLS; i++) {
      xs[i] = centre(i);
      ys[i] = centre(row);
    }
    for (let t = 0; t < steps; t++) {
      if ((steps - t) % 20 === 0) before.set(xs);
      for (let i = 0; i < CELLS; i++) {
        const d = rule({ x: xs[i], y: ys[i] }, grad, options);
        xs[i] -= lr * d.x;
        ys[i] -= lr * d.y;
      }
      // Two steps later, an even number to go, and the whole row is at rest or in a cycle of two: it ends where it is.
      if (t > 0 && (steps - t) % 20 === 19 && settled(before, xs)) break;
    }
    for (let i = 0; i < CELLS; i++) out[(row - from) * CELLS + i] = fate(xs[i], ys[i], radius);
  }
  return out;
}

function settled(before, now) {
  for (let i = 0; i < CELLS; i++) if (Math.abs(now[i] - before[i]) > 1e-6) return false;
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
  scope.onmessage = ({ data }) => scope.postMessage(basinRows(data));
}
