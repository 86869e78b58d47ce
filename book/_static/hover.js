// What a pointer rests on, a finger touches or the Tab key reaches shows what it stands for: a citation its reference, the
// number of an equation the equation, a term and each symbol of a formula what the notation page says of it. Escape puts it
// away, and the pointer may enter it.
(() => {
  const WAIT = 250; // milliseconds, so that a pointer on its way elsewhere opens nothing
  const LINKS = 'a:is([href*="#equation-"], [href*="#footcite-"], .flatlab-term):not(.headerlink)';
  const HOLDS = `.bd-article :is(${LINKS})`;
  const SYMBOLS = ".bd-article mjx-container :is(mjx-mi, mjx-mo)";
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

  // ---- symbols: MathJax keeps a formula's characters in the names of classes, `mjx-c1D70C` is ρ -------------------------

  const [HAT, BAR, TILDE] = ["\u0302", "\u0305", "\u0303"]; // as plain.py has them
  const ACCENTS = { "^": HAT, "ˆ": HAT, "ˉ": BAR, "\u0304": BAR, "\u0305": BAR, "~": TILDE, "\u0303": TILDE };
  const characters = (el) =>
    [...el.querySelectorAll("mjx-c")]
      .map(({ className }) => String.fromCodePoint(parseInt(className.match(/mjx-c([0-9A-F]+)/)[1], 16)))
      .join("").normalize("NFKC");
  const accented = (el) => {
    const [base, accent] = [el.querySelector("mjx-base"), el.querySelector("mjx-over")];
    return `${characters(base)}${ACCENTS[characters(accent).trim()] ?? "?"}`.normalize("NFKC");
  };
  const spelled = (el) => {
    const over = el.matches("mjx-mover") ? el : el.querySelector("mjx-mover");
    return over ? accented(over) : characters(el);
  };

  // What a letter belongs to: [the whole, its name], from the letter outward. An index of one running letter changes no
  // meaning; a hat, or another index, makes another symbol.
  function named(letter) {
    let [whole, name] = [letter, characters(letter)];
    for (let el = letter.parentElement; el && !el.matches("mjx-math"); el = el.parentElement) {
      if (el.matches("mjx-mover")) [whole, name] = [el, accented(el)];
      if (!el.matches("mjx-msub, mjx-msubsup")) continue;
      const script = el.querySelector(":scope > mjx-script");
      if (script.contains(whole)) break; // an index is a symbol of its own
      const index = characters(el.matches("mjx-msub") ? script : script.lastElementChild);
      if (!/^[ijklmnt\d]$/.test(index)) [whole, name] = [el, `${spelled(el.firstElementChild)}_${index}`];
      break;
    }
    return [whole, name];
  }

  async function symbol(letter) {
    const [whole, name] = named(letter);
    const { symbols } = await notation();
    const here = (chapters) => !chapters.length || chapters.some((chapter) => location.pathname.includes(`/${chapter}`));
    const told = (Object.hasOwn(symbols, name) ? symbols[name] : []).filter(([, chapters]) => here(chapters));
    return [whole, told.map(([line]) => line)];
  }

  // ---- what is told ----------------------------------------------------------------------------------------------------

  const filled = (tag, content) => Object.assign(document.createElement(tag), { innerHTML: content });

  async function page(url) {
    if (url.href.split("#")[0] === location.href.split("#")[0]) return document;
    return new DOMParser().parseFromString(await (await fetch(url)).text(), "text/html");
  }

  // Nodes to show, or nothing where a page read from disk may not look into another.
  async function told(el) {
    if (!el.matches("a")) return [filled("ul", (await symbol(el))[1].map((line) => `<li>${line}</li>`).join(""))];
    const url = new URL(el.href);
    const name = decodeURIComponent(url.hash.slice(1));
    if (el.matches(".flatlab-term")) return [filled("div", (await notation()).terms[name])];
    const target = (await page(url)).getElementById(name);
    if (!target) return [];
    const copy = target.cloneNode(true);
    copy.removeAttribute("id");
    for (const part of copy.querySelectorAll(".headerlink, .backrefs, .label, mjx-assistive-mml, [id]")) {
      if (part.matches("[id]")) part.removeAttribute("id");
      else part.remove();
    }
    return [copy];
  }

  // ---- the box ---------------------------------------------------------------------------------------------------------

  const away = () => {
    clearTimeout(timer);
    holder?.removeAttribute("aria-describedby");
    holder?.classList.remove("flatlab-held");
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
    if (holder !== el || !nodes.some((node) => node.childNodes.length)) return;
    box.replaceChildren(...nodes);
    document.body.append(box);
    el.classList.add("flatlab-held");
    box.showPopover();
    place();
    const unset = [...box.querySelectorAll(".math")].some((math) => !math.querySelector("mjx-container"));
    if (unset) await globalThis.flatlabFormulas?.().then(() => globalThis.MathJax?.typesetPromise?.([box]));
    if (holder !== el) return;
    place();
    if (el.matches("a")) el.setAttribute("aria-describedby", box.id); // a formula is read out by its own words
  }

  // ---- pointer, finger, keyboard ---------------------------------------------------------------------------------------

  const soon = (act) => {
    clearTimeout(timer);
    timer = setTimeout(act, WAIT);
  };
  const held = (target) => target instanceof Element ? target.closest(HOLDS) ?? target.closest(SYMBOLS) : null;
  addEventListener("pointerover", ({ target, pointerType }) => {
    if (pointerType === "touch") return;
    const el = held(target);
    if (el && el !== holder) soon(() => show(el));
    else if (el || box.contains(target)) clearTimeout(timer);
    else if (holder) soon(away);
    else clearTimeout(timer);
  });
  let before = null; // what was shown as the finger came down: the touch itself moves the focus
  addEventListener("pointerdown", () => before = holder, { capture: true });
  addEventListener("click", (event) => {
    if (event.pointerType !== "touch" || box.contains(event.target)) return;
    const el = held(event.target);
    if (!el || el === before && el.matches("a")) return away(); // a second touch follows a link
    if (el.matches(".flatlab-term")) event.preventDefault();
    if (el.matches(".flatlab-term") || !el.matches("a")) show(el);
  });
  addEventListener("focusin", ({ target }) => {
    if (target.matches(HOLDS)) show(target);
    else if (!box.contains(target)) away();
  });
  addEventListener("keydown", ({ key }) => key === "Escape" && away());
  addEventListener("scroll", place, { passive: true });
})();
