// What scrolls sideways by itself fades at its right edge while more of it follows. A picture that scrolls is a stop of the
// Tab key; `scrollable.js` sees to the others.
(() => {
  const PICTURES = ".cell_output:has(> img)";
  const FADES =
    `div.math, .flatlab-scrolls, .flatlab table, .pst-scrollable-table-container, div.highlight pre, ${PICTURES}`;
  const check = (el) => {
    el.toggleAttribute("data-more", el.scrollLeft + el.clientWidth < el.scrollWidth - 2);
    if (!el.matches(PICTURES)) return;
    if (el.scrollWidth > el.clientWidth + 1) el.tabIndex = 0;
    else el.removeAttribute("tabindex");
  };
  const sizes = new ResizeObserver((entries) => entries.forEach(({ target }) => check(target.closest(FADES))));
  const watched = new WeakSet();
  const watch = () => {
    for (const el of document.querySelectorAll(FADES)) {
      if (watched.has(el)) continue;
      watched.add(el);
      sizes.observe(el);
      for (const inside of el.children) sizes.observe(inside); // a picture or a formula that comes late
      el.addEventListener("scroll", () => check(el), { passive: true });
    }
  };
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", watch);
  else watch();
  addEventListener("flatlab:drawn", watch); // an explorable's tables come with it
})();
