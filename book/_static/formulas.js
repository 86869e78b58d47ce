// MathJax, once a formula comes near or the page has nothing else to do: its start takes as long as drawing a toy.
// `flatlabFormulas()` starts it at once, and resolves when it has found the page's formulas.
(() => {
  const folder = document.currentScript.src.replace(/[^/]*$/, "");
  const NEAR = "500px"; // as far ahead as MathJax itself sets formulas, see _config.yml
  let started = null;
  const start = () =>
    started ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      Object.assign(script, { src: `${folder}mathjax/startup.js`, onload: resolve, onerror: reject });
      document.head.append(script);
    }).then(() => globalThis.MathJax.startup?.promise);
  globalThis.flatlabFormulas = start;

  const watch = () => {
    const near = new IntersectionObserver((seen) => {
      if (!seen.some(({ isIntersecting }) => isIntersecting)) return;
      near.disconnect();
      start();
    }, { rootMargin: NEAR });
    for (const el of document.querySelectorAll(".math")) near.observe(el);
  };
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", watch);
  else watch();

  const idle = globalThis.requestIdleCallback ?? setTimeout;
  const rest = () => idle(() => document.querySelector("[data-explorable][aria-busy=true]") || start());
  addEventListener("load", rest);
  addEventListener("flatlab:drawn", rest);
})();
