// Lines, dots and words of any colour on a canvas over a plot (see strokes.mjs), clipped to its axes. On a logarithmic axis
// coordinates are exponents of ten.

function clipped(strokes, draw) {
  const { context, axes } = strokes;
  const [ax, ay] = [axes.xaxis, axes.yaxis];
  context.save();
  context.beginPath();
  context.rect(ax._offset, ay._offset, ax._length, ay._length);
  context.clip();
  draw(context, (x) => ax._offset + ax.l2p(x), (y) => ay._offset + ay.l2p(y));
  context.restore();
}

export function path(strokes, xs, ys, { colour, dash = [], width = 2, closed = false }) {
  clipped(strokes, (context, px, py) => {
    Object.assign(context, { strokeStyle: colour, lineWidth: width, lineJoin: "round" });
    context.setLineDash(dash);
    context.beginPath();
    for (let k = 0; k < ys.length; k++) if (Number.isFinite(ys[k])) context.lineTo(px(xs[k]), py(ys[k]));
    if (closed) context.closePath();
    context.stroke();
  });
}

export function dots(strokes, xs, ys, { colours, radius = 3, hollow = false }) {
  clipped(strokes, (context, px, py) => {
    xs.forEach((x, k) => {
      context.fillStyle = context.strokeStyle = typeof colours === "string" ? colours : colours[k];
      context.lineWidth = 1.5;
      context.beginPath();
      context.arc(px(x), py(ys[k]), radius, 0, 2 * Math.PI);
      if (hollow) context.stroke();
      else context.fill();
    });
  });
}

// A filled rectangle between two corners.
export function block(strokes, [x0, y0], [x1, y1], colour) {
  clipped(strokes, (context, px, py) => {
    context.fillStyle = colour;
    context.fillRect(px(x0), py(y0), px(x1) - px(x0), py(y1) - py(y0));
  });
}

// Words at (x, y), `below` by so many pixels, with a halo in the colour of the page.
export function words(strokes, text, { x, y, colour, below = 0, align = "left" }) {
  const { context, axes } = strokes;
  const [ax, ay] = [axes.xaxis, axes.yaxis];
  const light = getComputedStyle(strokes.canvas).color.match(/\d+/g)[0] > 128; // light words stand on a dark page
  Object.assign(context, { font: "600 13px sans-serif", textAlign: align, textBaseline: "middle", lineWidth: 3 });
  context.strokeStyle = light ? "#141414" : "#ffffff";
  context.fillStyle = colour;
  const at = [text, ax._offset + ax.l2p(x), ay._offset + ay.l2p(y) + below];
  context.strokeText(...at);
  context.fillText(...at);
}
