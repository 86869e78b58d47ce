// What scrolls by itself, a wide formula or table of results, is a stop of the Tab key while it is too wide for the screen.
(() => {
  const SCROLLS = "div.math, .flatlab-scrolls, .flatlab table"; // the theme sees to blocks of code and the tables of a page
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
