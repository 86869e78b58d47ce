// Lines that move, on a canvas over a Plotly plot and on its axes: plotly.js takes 30 ms to redraw a plot, a drag leaves
// 16.

import { h } from "./controls.mjs";
import { METHOD_COLOURS, METHOD_DASHES } from "./plotly.mjs";

export const DASHES = {
  solid: [],
  dot: [2, 4],
  dash: [9, 5],
  longdash: [14, 5],
  dashdot: [9, 4, 2, 4],
  longdashdot: [14, 4, 2, 4],
};

export class Strokes {
  constructor() {
    this.canvas = h("canvas", { class: "flatlab-strokes", "aria-hidden": "true" });
  }

  // Take the plot's present axes and size.
  fit(plot) {
    this.axes = plot._fullLayout;
    const scale = devicePixelRatio || 1;
    Object.assign(this.canvas, { width: plot.clientWidth * scale, height: plot.clientHeight * scale });
    this.context = this.canvas.getContext("2d");
    this.context.scale(scale, scale);
    this.context.lineJoin = "round";
  }

  clear() {
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
  }

  // A method's line through (xs[k], ys[k]), clipped to the axes; without xs, k itself is the abscissa.
  line(method, { xs = null, ys, xaxis = "xaxis", yaxis = "yaxis", dots = false }) {
    const [ax, ay, context] = [this.axes[xaxis], this.axes[yaxis], this.context];
    const bound = (v) => Math.max(-1e4, Math.min(1e4, v));
    const px = (k) => bound(ax._offset + ax.l2p(xs ? xs[k] : k));
    const py = (k) => bound(ay._offset + ay.l2p(ay.type === "log" ? Math.log10(ys[k]) : ys[k]));
    context.save();
    context.beginPath();
    context.rect(ax._offset, ay._offset, ax._length, ay._length);
    context.clip();
    context.strokeStyle = context.fillStyle = METHOD_COLOURS[method];
    context.lineWidth = 2;
    context.setLineDash(DASHES[METHOD_DASHES[method]]);
    context.beginPath();
    for (let k = 0; k < ys.length; k++) context.lineTo(px(k), py(k));
    context.stroke();
    if (dots) { for (let k = 0; k < ys.length; k++) context.fillRect(px(k) - 1.5, py(k) - 1.5, 3, 3); }
    context.restore();
  }

  // A thin vertical line at x over the whole plot, in a method's colour or in that of the text, with words at height y.
  mark({ x, method = null, text = null, y = 0 }) {
    const [ax, ay, context] = [this.axes.xaxis, this.axes.yaxis, this.context];
    const px = ax._offset + ax.l2p(x);
    context.save();
    context.strokeStyle = method ? METHOD_COLOURS[method] : getComputedStyle(this.canvas).color;
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(px, ay._offset);
    context.lineTo(px, ay._offset + ay._length);
    context.stroke();
    context.restore();
    if (text) this.label(method, ` ${text} `, { x, y });
  }

  // Words in a method's colour, or in that of the text, at (x, y), `below` it by so many pixels, turned away from the nearer border of the plot.
  label(method, text, { x, y, below = 0, align = null, xaxis = "xaxis", yaxis = "yaxis" }) {
    const [ax, ay, context] = [this.axes[xaxis], this.axes[yaxis], this.context];
    context.font = "600 13px sans-serif";
    const [px, py] = [ax._offset + ax.l2p(x), ay._offset + ay.l2p(y) + below];
    context.textAlign = align ?? (px > ax._offset + ax._length / 2 ? "right" : "left");
    context.textBaseline = "middle";
    context.lineWidth = 3;
    const light = getComputedStyle(this.canvas).color.match(/\d+/g)[0] > 128; // light words stand on a dark page
    context.strokeStyle = light ? "#141414" : "#ffffff";
    context.strokeText(text, px, py);
    context.fillStyle = METHOD_COLOURS[method] ?? getComputedStyle(this.canvas).color;
    context.fillText(text, px, py);
  }
}
