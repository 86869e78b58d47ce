// Noise in the plane: a bowl's gradient, the gradients of single samples around it, and the worst points that SAM, SAMGCM
// and the ellipsoid turned round see. A symmetric matrix is {xx, xy, yy}. All three sets have the area of SAM's disc.

import { add, norm, scale, withLength } from "flatlab/explorable/plane.mjs";

export const CURVATURE = { x: 1, y: 3 };
export const grad = (w) => ({ x: CURVATURE.x * w.x, y: CURVATURE.y * w.y });
export const loss = (w) => 0.5 * (CURVATURE.x * w.x ** 2 + CURVATURE.y * w.y ** 2);

const apply = (m, v) => ({ x: m.xx * v.x + m.xy * v.y, y: m.xy * v.x + m.yy * v.y });
const det = (m) => m.xx * m.yy - m.xy * m.xy;
const inverse = (m) => ({ xx: m.yy / det(m), xy: -m.xy / det(m), yy: m.xx / det(m) });
const inner = (a, b) => a.x * b.x + a.y * b.y;

// Deviations of the single gradients from their mean: so many on an ellipse with standard deviations `along` the
// direction at `angle` (degrees) and `across` it.
export const SAMPLES = 24;
export function deviations({ along, across, angle }) {
  const [c, s] = [Math.cos((angle * Math.PI) / 180), Math.sin((angle * Math.PI) / 180)];
  return Array.from({ length: SAMPLES }, (_, k) => {
    const t = (2 * Math.PI * (k + 0.5)) / SAMPLES;
    const [p, q] = [Math.SQRT2 * along * Math.cos(t), Math.SQRT2 * across * Math.sin(t)];
    return { x: c * p - s * q, y: s * p + c * q };
  });
}

export function covariance(points) {
  const mean = (f) => points.reduce((sum, p) => sum + f(p), 0) / points.length;
  return { xx: mean((p) => p.x * p.x), xy: mean((p) => p.x * p.y), yy: mean((p) => p.y * p.y) };
}

// The point of {e : e . M e <= radius^2} where g . e is largest.
export function worst(m, g, radius) {
  const x = apply(inverse(m), g);
  const energy = inner(g, x);
  return scale(energy > 0 ? radius / Math.sqrt(energy) : 0, x);
}

// The border of that set.
export function border(m, radius, count = 120) {
  return Array.from({ length: count + 1 }, (_, k) => {
    const t = (2 * Math.PI * k) / count;
    const v = { x: Math.cos(t), y: Math.sin(t) };
    return scale(radius / Math.sqrt(inner(v, apply(m, v))), v);
  });
}

// At w: each method's set (matrix and radius), its worst point, that step's length, the noise along it and its rise in
// loss.
export function compare({ w, rho, damping, along, across, angle }) {
  const g = grad(w);
  const c = covariance(deviations({ along, across, angle }));
  const d = { xx: c.xx + damping, xy: c.xy, yy: c.yy + damping };
  const stretch = det(d) ** 0.25;
  const sets = { SAM: [{ xx: 1, xy: 0, yy: 1 }, rho], SAMGCM: [d, rho * stretch], turned: [inverse(d), rho / stretch] };
  return Object.fromEntries(
    Object.entries(sets).map(([name, [m, radius]]) => {
      const e = name === "SAM" ? withLength(rho, g) : worst(m, g, radius);
      const length = norm(e);
      const noise = length > 0 ? inner(e, apply(c, e)) / length ** 2 : 0;
      return [name, { m, radius, e, length, noise, rise: loss(add(w, e)) - loss(w) }];
    }),
  );
}
