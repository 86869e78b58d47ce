// Vectors in the plane, {x, y}. Small literals on purpose: the engine keeps them in registers when it inlines a rule.

export const add = (a, b) => ({ x: a.x + b.x, y: a.y + b.y });
export const scale = (k, v) => ({ x: k * v.x, y: k * v.y });
export const times = (a, b) => ({ x: a.x * b.x, y: a.y * b.y });
export const abs = (v) => ({ x: Math.abs(v.x), y: Math.abs(v.y) });
// Squares of entries below 1e-162 vanish, above 1e154 they overflow: such a norm must not be taken of the plain squares.
const sound = (n) => n > 1e-140 && n < 1e150;
const plainNorm = (v) => Math.sqrt(v.x * v.x + v.y * v.y);
const largest = (v) => Math.max(Math.abs(v.x), Math.abs(v.y));
const levelled = (v) => (largest(v) > 0 ? { x: v.x / largest(v), y: v.y / largest(v) } : v);
export const norm = (v) => (sound(plainNorm(v)) ? plainNorm(v) : largest(v) * plainNorm(levelled(v)));

// v with another length, and 0 where v is 0. One literal, not one a branch: two would be allocated at every step.
export const withLength = (length, v) => {
  const u = sound(plainNorm(v)) ? v : levelled(v);
  const n = plainNorm(u);
  return scale(n > 0 ? length / n : 0, u);
};
