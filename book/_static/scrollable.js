// What scrolls by itself, a wide formula or table of results, is a stop of the Tab key while it is too wide for the screen, and
// fades where more of it follows.
(() => {
  const SCROLLS = "div.math, .flatlab-scrolls, .flatlab table, .cell_output:has(> img)";
  const FADES = `${SCROLLS}, .pst-scrollable-table-container, div.highlight pre`; // the theme makes stops of the last two
  const fade = (el) => el.toggleAttribute("data-more", el.scrollLeft + el.clientWidth < el.scrollWidth - 2);
  const check = (el) => {
    fade(el);
    if (!el.matches(SCROLLS)) return;
    if (el.scrollWidth > el.clientWidth + 1 || el.scrollHeight > el.clientHeight + 1) el.tabIndex = 0;
    else el.removeAttribute("tabindex");
  };
  const watch = () => {
    const sizes = new ResizeObserver((entries) => entries.forEach(({ target }) => check(target)));
    for (const el of document.querySelectorAll(FADES)) {
      sizes.observe(el);
      el.addEventListener("scroll", () => fade(el), { passive: true });
    }
  };
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", watch);
  else watch();
})();
