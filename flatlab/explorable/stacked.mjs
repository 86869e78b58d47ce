// A row of panels on a narrow screen: one below the other. In: a Plotly layout; out: the same, taller.

const AXIS = /^([xy])axis(\d*)$/;

// The panels of a layout, `{x, y}` names of their axes, from left to right; none unless they stand in one row.
export function row(layout) {
  const panels = Object.keys(layout).filter((key) => key.startsWith("xaxis")).map((x) => {
    const y = `yaxis${(layout[x].anchor ?? "y").slice(1)}`;
    return { x, y, from: layout[x].domain?.[0] ?? 0 };
  }).filter(({ y }) => AXIS.test(y) && layout[y]);
  // Axes without places of their own are those of a scatter matrix: Plotly places them, in rows and columns.
  const level = panels.every(({ x, y }) => layout[x].domain && (layout[y].domain ?? [0, 1]).join() === "0,1");
  return level && panels.length > 1 ? panels.sort((a, b) => a.from - b.from) : [];
}

// The layout with its row of panels stacked, each as high as all were; titles over the panels and a legend below them move along.
export function stacked(layout) {
  const panels = row(layout);
  if (!panels.length) return layout;
  const [count, gap] = [panels.length, 0.4];
  const tall = (1 - (gap * (count - 1)) / count) / count;
  const whole = { ...layout, height: Math.round((layout.height ?? 400) * (0.3 + 0.7 * count)) };
  panels.forEach(({ x, y }, k) => {
    const top = 1 - k * (tall + gap / count);
    const [left, right] = layout[x].domain ?? [0, 1];
    whole[x] = { ...layout[x], domain: [0, 1] };
    whole[y] = { ...layout[y], domain: [Math.max(0, top - tall), top], showticklabels: true };
    whole.annotations = (whole.annotations ?? []).map((note) => {
      const over = note.xref === "paper" && note.yref === "paper" && note.y === 1 && note.x >= left && note.x <= right;
      return over && !note.moved ? { ...note, x: 0.5, y: top, moved: true } : note;
    });
  });
  whole.annotations?.forEach((note) => delete note.moved);
  if (layout.legend?.y < 0) whole.legend = { ...layout.legend, y: layout.legend.y / count };
  return whole;
}
