// The twin of flatlab/descent.py: a rule run from one start.

import { norm } from "./plane.mjs";

// Every iterate, the start first, up to `steps` steps; a run that leaves the numbers ends with its last finite iterate
// and `divergedAt`. `ratios[t]` is |g| / |direction| at step t.
export function trajectory(rule, grad, w0, { lr, steps, ...options }) {
  const path = [w0];
  const ratios = [];
  let divergedAt = null;
  for (let t = 0; t < steps; t++) {
    const w = path[t];
    const d = rule(w, grad, options);
    const next = { x: w.x - lr * d.x, y: w.y - lr * d.y };
    if (!(Number.isFinite(next.x) && Number.isFinite(next.y))) {
      divergedAt = t + 1;
      break;
    }
    ratios.push(norm(grad(w)) / norm(d));
    path.push(next);
  }
  return { path, ratios, divergedAt };
}
