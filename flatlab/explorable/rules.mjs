// The twin of flatlab/methods, for points of the plane: rule(w, grad, options) is the direction a method descends along.

import { abs, add, norm, scale, times, withLength } from "./plane.mjs";

export const gd = (w, grad) => grad(w);

export const sam = (w, grad, { rho }) => grad(add(w, withLength(rho, grad(w))));

export const usam = (w, grad, { rho }) => grad(add(w, scale(rho, grad(w))));

const adaptiveAscent = (w, g, rho, eta) => {
  const size = add(abs(w), { x: eta, y: eta });
  return add(w, times(size, withLength(rho, times(size, g))));
};

export const asam = (w, grad, { rho, eta }) => grad(adaptiveAscent(w, grad(w), rho, eta));

export const stable_sam = (w, grad, { rho }) => {
  const g = grad(w);
  return withLength(norm(g), grad(add(w, withLength(rho, g))));
};

export const stable_asam = (w, grad, { rho, eta }) => {
  const g = grad(w);
  return withLength(norm(g), grad(adaptiveAscent(w, g, rho, eta)));
};

export const RULES = { gd, sam, usam, asam, stable_sam, stable_asam };
