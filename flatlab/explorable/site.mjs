// An explorable on a page without a kernel: a model shim with the widget's state, kept in the page's address so that a
// reader can send what they see, and the explorable mounted when it comes near the screen.

import { h } from "./controls.mjs";

class Shim {
  constructor(name, state, given) {
    this.name = name;
    this.initial = state;
    this.state = { ...state, ...given };
    this.listeners = new Map();
    for (const [key, text] of new URLSearchParams(location.search)) {
      const [owner, field] = key.split(".");
      if (owner === name && field in state) this.state[field] = typeof state[field] === "number" ? Number(text) : text;
    }
  }
  get(name) {
    return this.state[name];
  }
  set(name, value) {
    if (Object.is(this.state[name], value)) return;
    this.state[name] = value;
    for (const listener of this.listeners.get(`change:${name}`) ?? []) listener();
  }
  on(event, listener) {
    this.listeners.set(event, [...(this.listeners.get(event) ?? []), listener]);
  }
  off(event, listener) {
    this.listeners.set(event, (this.listeners.get(event) ?? []).filter((l) => l !== listener));
  }
  // The address of this page with the present state, what differs from the initial one only.
  address() {
    const url = new URL(location.href);
    for (const key of [...url.searchParams.keys()]) if (key.startsWith(`${this.name}.`)) url.searchParams.delete(key);
    for (const [field, value] of Object.entries(this.initial)) {
      if (["number", "string"].includes(typeof value) && this.state[field] !== value) {
        url.searchParams.set(`${this.name}.${field}`, this.state[field]);
      }
    }
    return url;
  }
  save_changes() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      try {
        history.replaceState(null, "", this.address());
      } catch {
        // A page opened from disk may not change its address; its link can still be copied.
      }
    }, 200);
  }
  reset() {
    for (const [field, value] of Object.entries(this.initial)) this.set(field, value);
    this.save_changes();
  }
}

// A button that copies what `text()` gives, or shows it where the browser does not let it.
function copier(words, said, done, text) {
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text());
      said.textContent = done;
    } catch {
      said.textContent = text();
    }
  };
  return h("button", { type: "button", onclick: copy }, words);
}

// On a page of the book this explorable also stands alone, in embed/; there its toolbar leads to the chapter.
function toolbar(model, frame) {
  const said = h("span", { role: "status" });
  const { content_root: root, chapter, title } = document.documentElement.dataset;
  const address = () => (model.save_changes(), model.address());
  const alone = () => {
    const url = new URL(`${root}embed/${model.name}.html`, location.href);
    for (const [key, value] of address().searchParams) {
      if (key.startsWith(`${model.name}.`)) url.searchParams.set(key, value);
    }
    const height = Math.ceil(frame.getBoundingClientRect().height);
    const src = url.href.replaceAll("&", "&amp;");
    return `<iframe src="${src}" title="${model.name}" width="100%" height="${height}" style="border: 0"></iframe>`;
  };
  const home = () => {
    const link = h("a", { target: "_blank", href: chapter }, `From “${title}”, Flatlab`);
    link.addEventListener("click", () => (link.href = new URL(chapter, location.href).href + address().search));
    return link;
  };
  return h(
    "div",
    { class: "flatlab-toolbar" },
    copier("Copy link to this state", said, "Link copied.", () => address().href),
    h("button", { type: "button", onclick: () => model.reset() }, "Reset"),
    ...(chapter ? [home()] : root === undefined ? [] : [copier("Copy as iframe", said, "Frame copied.", alone)]),
    said,
  );
}

const SHEET = 640; // pixels that every usual sheet has

// The library that draws codes, fetched once a page when there is nothing else to do: nothing can be when paper is asked for.
function fetchCodes(url) {
  if (globalThis.flatlabCodes) return;
  globalThis.flatlabCodes = h("script", { src: url });
  (globalThis.requestIdleCallback ?? setTimeout)(() => document.head.append(globalThis.flatlabCodes));
}

// On paper an explorable is as it stands, only smaller: nothing would draw it anew for another width. Below it: where the
// present state is live, as an address and as a code to photograph.
function onPaper(model, frame) {
  const code = h("span", { class: "flatlab-code", "aria-hidden": "true" });
  const link = h("a");
  const published = document.querySelector('link[rel="canonical"]')?.href;
  addEventListener("beforeprint", () => {
    const { href, search } = model.address();
    link.href = link.textContent = published ? published + search : href;
    code.innerHTML = globalThis.uqr?.renderSVG(link.href, { border: 0 }) ?? "";
    const width = frame.offsetWidth;
    if (!width || matchMedia("print").matches) return; // it has been measured
    frame.style.setProperty("--flatlab-width", `${width}px`);
    frame.style.setProperty("--flatlab-zoom", Math.min(1, SHEET / width));
  });
  return h("p", { class: "flatlab-address" }, code, h("span", {}, "Live: ", link));
}

// Show `explorable` in the element with this id; `linkable` adds the toolbar.
export function mount(explorable, { id, name, state, ranges, linkable }) {
  const frame = document.getElementById(id);
  const root = document.documentElement.dataset.content_root ?? "./";
  const beside = (file) => new URL(`${root}_static/${file}`, location.href).href;
  const model = new Shim(name, state, { _beside: beside, _ranges: ranges });
  let drawing = null;
  const start = () => (drawing ??= draw());
  const draw = async () => {
    const el = h("div");
    frame.setAttribute("aria-busy", "true");
    try {
      await explorable.render({ model, el: frame.appendChild(el) });
      frame.querySelector(".flatlab-placeholder")?.remove();
      frame.classList.remove("flatlab-waiting");
      if (linkable) frame.append(toolbar(model, frame), onPaper(model, frame));
      if (linkable) fetchCodes(beside("uqr.min.js"));
    } catch (error) {
      el.remove();
      frame.querySelector(".flatlab-placeholder").textContent = `This figure could not be drawn: ${error.message}`;
      throw error;
    } finally {
      frame.removeAttribute("aria-busy");
      dispatchEvent(new Event("flatlab:drawn"));
    }
  };
  let near = null;
  const seen = new Promise((resolve) => {
    near = new IntersectionObserver(
      (entries) => {
        if (!entries.some((entry) => entry.isIntersecting)) return;
        near.disconnect();
        resolve(start());
      },
      { rootMargin: "300px" },
    );
  });
  near.observe(frame);
  addEventListener("beforeprint", start, { once: true }); // nothing comes near on paper
  // What sentences of the page hold on to: `drawn()` draws it now, `drawn(false)` waits until it is drawn.
  (globalThis.flatlabMounted ??= []).push({ name, model, frame, drawn: (now = true) => now ? start() : seen });
  dispatchEvent(new Event("flatlab:mounted"));
}
