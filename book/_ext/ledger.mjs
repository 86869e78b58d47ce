// The ledger's page: shows the rows that fit the filters, sorts them, and keeps both, and the open row, in the address.

const ledger = document.querySelector(".ledger");
const [form, shown, none] = [".filters", ".shown", ".none"].map((name) => ledger.querySelector(name));
const body = ledger.querySelector("tbody");
const rows = [...body.rows].map((row, place) => ({
  row,
  place,
  details: row.querySelector("details"),
  text: `${row.textContent} ${row.id}`.toLowerCase(),
  scale: row.querySelector(".scale")?.textContent ?? "\uffff", // rows without a scale come last
}));
const order = [...form.elements.verdict.options].map((option) => option.value);
const by = {
  verdict: (a, b) => order.indexOf(a.row.dataset.verdict) - order.indexOf(b.row.dataset.verdict),
  kind: (a, b) => a.row.dataset.kind.localeCompare(b.row.dataset.kind),
  scale: (a, b) => a.scale.localeCompare(b.scale),
};
const fields = ["q", "paper", "verdict", "kind", "sort"];
const first = shown.textContent;

function show() {
  const words = form.elements.q.value.toLowerCase().split(/\s+/).filter(Boolean);
  const wanted = ["paper", "verdict", "kind"].map((name) => [name, form.elements[name].value]).filter(([, value]) => value);
  let count = 0;
  for (const { row, text } of rows) {
    const fits = wanted.every(([name, value]) => row.dataset[name] === value) && words.every((word) => text.includes(word));
    row.hidden = !fits;
    count += fits;
  }
  shown.textContent = count === rows.length ? first : `${count} of ${rows.length} claims.`;
  none.hidden = count > 0;
  for (const link of ledger.querySelectorAll(".tally a")) {
    const { paper, verdict } = link.dataset;
    const on = paper === form.elements.paper.value && verdict === form.elements.verdict.value;
    on ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current");
  }
}

function sort() {
  const compare = by[form.elements.sort.value] ?? (() => 0);
  body.append(...[...rows].sort((a, b) => compare(a, b) || a.place - b.place).map(({ row }) => row));
}

function write(hash = location.hash) {
  const state = new URLSearchParams(fields.map((name) => [name, form.elements[name].value]).filter(([, value]) => value));
  history.replaceState(null, "", `${location.pathname}${state.size ? `?${state}` : ""}${hash}`);
}

function read() {
  const state = new URLSearchParams(location.search);
  for (const name of fields) form.elements[name].value = state.get(name) ?? "";
  for (const select of form.querySelectorAll("select")) if (select.selectedIndex < 0) select.value = "";
  sort();
  show();
  open();
}

const addressed = () => rows.find(({ row }) => row.id === decodeURIComponent(location.hash.slice(1)).replaceAll("/", "--"));

function open() {
  const found = addressed();
  if (!found) return;
  if (found.row.hidden) {
    for (const name of ["q", "paper", "verdict", "kind"]) form.elements[name].value = "";
    show();
    write();
  }
  found.details.open = true;
  found.row.scrollIntoView();
}

form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("input", (event) => {
  if (event.target.name === "sort") sort();
  show();
  // A row that the filters hide leaves the address: it would take them away when the page is loaded anew.
  write(addressed()?.row.hidden ? "" : location.hash);
});
form.addEventListener("reset", () =>
  setTimeout(() => { // the fields are empty only after the event
    sort();
    show();
    write("");
  }));
ledger.querySelector(".tallies").addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  for (const name of ["paper", "verdict"]) form.elements[name].value = link.dataset[name];
  show();
  history.pushState(null, "", location.href); // back leads to the list as it was
  write("");
  shown.scrollIntoView({ block: "center" });
});
for (const { row, details } of rows) {
  details.addEventListener("toggle", () => {
    if (details.open) write(`#${row.id}`);
    else if (location.hash === `#${row.id}`) write("");
  });
}
addEventListener("hashchange", open);
addEventListener("popstate", read);
form.hidden = false;
read();
