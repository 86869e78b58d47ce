// What scrolls by itself, a wide formula, table or block of code, is a stop of the Tab key while it is too wide for the screen.
(() => {
  const SCROLLS = "div.math, pre, .cell_output > .output:not(:has([data-explorable])), .pst-scrollable-table-container, " +
    ".flatlab-scrolls, .flatlab table";
  const check = (el) => {
    if (el.scrollWidth > el.clientWidth + 1 || el.scrollHeight > el.clientHeight + 1) el.tabIndex = 0;
    else el.removeAttribute("tabindex");
  };
  const watch = () => {
    const sizes = new ResizeObserver((entries) => entries.forEach(({ target }) => check(target)));
    for (const el of document.querySelectorAll(SCROLLS)) sizes.observe(el);
  };
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", watch);
  else watch();
})();
