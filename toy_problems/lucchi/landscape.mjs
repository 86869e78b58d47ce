// f(x, y) = x^4/4 - x y + y^2/2: a strict saddle at the origin between the global minima (1, 1) and (-1, -1).

export const HALF_WIDTH = 2; // the plane of starts is [-2, 2]^2
export const LOWEST = -0.25;
export const MINIMUM = { x: 1, y: 1 };

export const loss = ({ x, y }) => x ** 4 / 4 - x * y + (y * y) / 2;
export const grad = ({ x, y }) => ({ x: x * x * x - y, y: y - x });

// Where a run is that stands at (x, y): near a minimum, near the saddle, elsewhere, or no longer finite.
export const FATES = ["upper", "lower", "saddle", "astray", "diverged"];
export function fate(x, y, radius) {
  if (!(Number.isFinite(x) && Number.isFinite(y))) return 4;
  if (Math.hypot(x - 1, y - 1) <= radius) return 0;
  if (Math.hypot(x + 1, y + 1) <= radius) return 1;
  return Math.hypot(x, y) <= radius ? 2 : 3;
}

// What the twin in Python has, on arrays; a test compares the two.
export const twin = () => ({ loss: ([x, y]) => loss({ x, y }), grad: ([x, y]) => Object.values(grad({ x, y })) });
