// plotly.js and the house style of a plot. The library itself comes with the page or with the widget, never from afar.

import palette from "flatlab/palette.json";
import kinds from "./plotly/kinds.json";

export const METHOD_COLOURS = palette.methods;
export const METHOD_DASHES = palette.dashes;
export const FATE_COLOURS = palette.fates;

// The address of what a live host sends gzipped with the widget.
async function unpacked(packed) {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const text = await new Response(stream).text();
  return URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
}

// A classic script that sets a global name; what a host has under that name stays.
function loadScript(url) {
  const found = globalThis.Plotly;
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = url;
    script.onload = () => {
      resolve(globalThis.Plotly);
      globalThis.Plotly = found ?? globalThis.Plotly;
    };
    script.onerror = () => reject(new Error(`plotly.js did not load from ${url}`));
    document.head.append(script);
  });
}

// A build of plotly.js that draws these traces, fetched and run once a page, of which each explorable is a script of its
// own. A live host sends that for axes; a page of the site has all beside itself.
export function loadPlotly(model, traces = ["scatter"]) {
  const builds = (globalThis.flatlabPlotly ??= {});
  const packed = model.get("_plotly");
  if (packed?.byteLength) return (builds.live ??= unpacked(packed).then(loadScript));
  const able = Object.keys(kinds).find((name) => traces.every((trace) => kinds[name].includes(trace)));
  if (!able) return Promise.reject(new Error(`no build of plotly.js draws ${traces.join(", ")} together`));
  return (builds[able] ??= loadScript(model.get("_beside")(`plotly-${able}.min.js`)));
}

export const CONFIG = { displayModeBar: false, responsive: false, scrollZoom: false, doubleClick: false };

// Colours of text and grid as the page has them now, so that a plot is at home in light and in dark.
export function ink(el) {
  const [r, g, b] = getComputedStyle(el).color.match(/[\d.]+/g).map(Number);
  return { text: `rgb(${r}, ${g}, ${b})`, grid: `rgba(${r}, ${g}, ${b}, 0.18)`, faint: `rgba(${r}, ${g}, ${b}, 0.45)` };
}

// A layout in the house style; `axes` adds what a plot wants of its own to each axis.
export function houseLayout(el, { xaxis = {}, yaxis = {}, ...rest }) {
  const { text, grid } = ink(el);
  const axis = { gridcolor: grid, linecolor: grid, zeroline: false, ticks: "", fixedrange: true, automargin: false };
  axis.ticklabeloverflow = "allow"; // else each label is measured, a quarter of the time that a plot takes
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "inherit", size: 13, color: text },
    margin: { l: 52, r: 12, t: 28, b: 40 },
    showlegend: false,
    hovermode: false,
    dragmode: false,
    xaxis: { ...axis, ...xaxis },
    yaxis: { ...axis, ...yaxis },
    ...rest,
  };
}

// An axis beside the two of `houseLayout`, for a figure of several panels.
export function houseAxis(el) {
  const { grid } = ink(el);
  return { gridcolor: grid, linecolor: grid, zeroline: false, fixedrange: true, ticklabeloverflow: "allow" };
}

// A panel's title over the left end of its top edge, which is at the share `y` of the figure's height.
export function panelTitle(el, text, y = 1) {
  const place = { xref: "paper", yref: "paper", x: 0, y, xanchor: "left", yanchor: "bottom", showarrow: false };
  return { ...place, text, font: { color: ink(el).text, size: 13 } };
}

// Calls `redraw` when the page turns light or dark, or `el` changes its width; returns what stops that.
export function onAppearance(el, redraw) {
  let width = el.clientWidth;
  let colour = getComputedStyle(el).color;
  let frame = 0;
  const check = () => {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(() => {
      const now = getComputedStyle(el).color;
      if (el.clientWidth === width && now === colour) return;
      [width, colour] = [el.clientWidth, now];
      if (width > 0) redraw();
    });
  };
  const size = new ResizeObserver(check);
  size.observe(el);
  const theme = new MutationObserver(check);
  for (const node of [document.documentElement, document.body]) theme.observe(node, { attributes: true });
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", check);
  return () => {
    size.disconnect();
    theme.disconnect();
    scheme.removeEventListener("change", check);
  };
}
