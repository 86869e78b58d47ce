// What a pointer rests on, or the Tab key reaches, shows what it stands for: a citation its reference, the number of an
// equation the equation, a symbol its lines of the notation page. Escape puts it away, and the pointer may enter it.
(() => {
  const WAIT = 250; // milliseconds, so that a pointer on its way elsewhere opens nothing
  const HOLDS = '.bd-article a:is([href*="#equation-"], [href*="#footcite-"]):not(.headerlink), .bd-article [data-symbol]';
  const root = document.documentElement.dataset.content_root ?? "./";
  const box = document.createElement("div");
  box.className = "flatlab-hover";
  box.popover = "manual";
  box.id = "flatlab-hover";
  box.setAttribute("role", "tooltip");
  let holder = null;
  let timer = 0;

  let lines = null;
  const notation = () =>
    lines ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      Object.assign(script, { src: `${root}_static/notation.js`, onload: () => resolve(flatlabNotation), onerror: reject });
      document.head.append(script);
    });

  async function page(url) {
    if (url.href.split("#")[0] === location.href.split("#")[0]) return document;
    return new DOMParser().parseFromString(await (await fetch(url)).text(), "text/html");
  }

  // Nodes to show, or nothing where a page read from disk may not look into another.
  async function told(el) {
    if (el.dataset.symbol) {
      const list = document.createElement("ul");
      list.innerHTML = (await notation())[el.dataset.symbol].map((line) => `<li>${line}</li>`).join("");
      return [list];
    }
    const url = new URL(el.href);
    const target = (await page(url)).getElementById(decodeURIComponent(url.hash.slice(1)));
    if (!target) return [];
    const copy = target.cloneNode(true);
    copy.removeAttribute("id");
    for (const part of copy.querySelectorAll(".headerlink, .backrefs, .label, mjx-assistive-mml, [id]")) {
      if (part.matches("[id]")) part.removeAttribute("id");
      else part.remove();
    }
    return [copy];
  }

  const away = () => {
    clearTimeout(timer);
    holder?.removeAttribute("aria-describedby");
    holder = null;
    if (box.isConnected && box.matches(":popover-open")) box.hidePopover();
  };

  function place() {
    if (!holder || !box.isConnected) return;
    const at = holder.getBoundingClientRect();
    if (at.bottom < 0 || at.top > innerHeight) return away();
    const { offsetWidth: width, offsetHeight: height } = box;
    const above = at.bottom + height + 8 > innerHeight && at.top > height + 8;
    box.style.left = `${Math.max(8, Math.min(at.left, document.documentElement.clientWidth - width - 8))}px`;
    box.style.top = `${above ? at.top - height - 4 : at.bottom + 4}px`;
  }

  async function show(el) {
    away();
    holder = el;
    const nodes = await told(el).catch(() => []);
    if (holder !== el || !nodes.length) return;
    box.replaceChildren(...nodes);
    document.body.append(box);
    box.showPopover();
    place();
    const unset = [...box.querySelectorAll(".math")].some((math) => !math.querySelector("mjx-container"));
    if (unset) await globalThis.MathJax?.typesetPromise?.([box]);
    if (holder !== el) return;
    place();
    el.setAttribute("aria-describedby", box.id);
  }

  const soon = (act) => {
    clearTimeout(timer);
    timer = setTimeout(act, WAIT);
  };
  addEventListener("pointerover", ({ target, pointerType }) => {
    if (pointerType === "touch" || !(target instanceof Element)) return;
    const el = target.closest(HOLDS);
    if (el && el !== holder) soon(() => show(el));
    else if (el || box.contains(target)) clearTimeout(timer);
    else if (holder) soon(away);
    else clearTimeout(timer);
  });
  addEventListener("focusin", ({ target }) => target.matches(HOLDS) ? show(target) : box.contains(target) || away());
  addEventListener("keydown", ({ key }) => key === "Escape" && away());
  addEventListener("scroll", place, { passive: true });
})();
