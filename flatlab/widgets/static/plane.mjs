// Vectors in the plane, {x, y}. Small literals on purpose: the engine keeps them in registers when it inlines a rule.

export const add = (a, b) => ({ x: a.x + b.x, y: a.y + b.y });
export const scale = (k, v) => ({ x: k * v.x, y: k * v.y });
export const times = (a, b) => ({ x: a.x * b.x, y: a.y * b.y });
export const abs = (v) => ({ x: Math.abs(v.x), y: Math.abs(v.y) });
export const norm = (v) => Math.sqrt(v.x * v.x + v.y * v.y);

// v with another length, and 0 where v is 0. One literal, not one a branch: two would be allocated at every step.
export const withLength = (length, v) => {
  const n = norm(v);
  return scale(n > 0 ? length / n : 0, v);
};
