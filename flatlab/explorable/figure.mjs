// A plain Plotly figure on a page without a kernel. In: figure, {data, layout} as Python made it.

import { CONFIG, houseLayout, loadPlotly, onAppearance } from "./plotly.mjs";
import { h } from "./controls.mjs";
import { stacked } from "./stacked.mjs";

const NARROW = 520; // pixels, below which panels do not stand side by side

// Python's figure in the page's colours: its axes keep their own settings over those of the house.
function dressed(el, { data, layout }) {
  const narrow = el.clientWidth < NARROW;
  const own = narrow ? stacked(layout) : layout;
  const square = Object.values(own).some((axis) => axis?.scaleanchor); // such panels are as high as they are wide
  const house = houseLayout(el, {});
  const axes = Object.fromEntries(
    Object.keys(own).filter((key) => /^[xy]axis\d*$/.test(key)).map((
      key,
    ) => [key, { ...house[key.slice(0, 5)], ...own[key], fixedrange: true }]),
  );
  // A finger that draws a box over a figure as wide as the screen could not scroll the page.
  const select = own.dragmode !== "select" || !matchMedia("(pointer: coarse)").matches;
  return {
    ...house,
    hovermode: "closest",
    showlegend: data.length > 1,
    ...own,
    ...axes,
    ...(select ? {} : { dragmode: false }),
    width: el.clientWidth,
    ...(narrow && square ? { height: Math.round(el.clientWidth * 1.1) + 40 } : {}),
    font: { ...house.font, ...own.font, color: house.font.color },
  };
}

// The canvas of a scene comes out blank on paper: while a page is printed, a copy of what it shows lies upon it.
function printable(plot) {
  const copies = [];
  const cover = () => {
    const scenes = Object.entries(plot._fullLayout ?? {}).filter(([key]) => /^scene\d*$/.test(key));
    for (const [, { _scene: { glplot } }] of scenes) {
      glplot.redraw(); // its pixels can be read until this task ends
      const copy = h("canvas", { class: "flatlab-copy", width: glplot.canvas.width, height: glplot.canvas.height });
      copy.style.cssText = glplot.canvas.style.cssText;
      copy.getContext("2d").drawImage(glplot.canvas, 0, 0);
      glplot.canvas.after(copy);
      copies.push(copy);
    }
  };
  const uncover = () => copies.splice(0).forEach((copy) => copy.remove());
  addEventListener("beforeprint", cover);
  addEventListener("afterprint", uncover);
  return () => {
    removeEventListener("beforeprint", cover);
    removeEventListener("afterprint", uncover);
  };
}

async function render({ model, el }) {
  const Plotly = await loadPlotly(model, model.get("figure").data.map(({ type }) => type ?? "scatter"));
  const plot = h("div", { class: "flatlab-plot" });
  el.classList.add("flatlab");
  el.replaceChildren(plot);
  const redraw = () => {
    const figure = structuredClone(model.get("figure")); // Plotly writes into what it is given
    Plotly.purge(plot);
    return Plotly.newPlot(plot, figure.data, dressed(el, figure), CONFIG);
  };
  const drawing = redraw();
  const stops = [onAppearance(el, redraw), printable(plot)]; // before the drawing is done: the page may turn dark meanwhile
  await drawing;
  return () => stops.forEach((stop) => stop());
}

export default { render };
