"use strict";
// Several runs beside one another; then the page itself: its views, and its keys.

views.push({ id: "runs", title: "Runs", has: () => Boolean(block("overview").comparison), draw: () => {
  const { runs, settings, charts } = block("overview").comparison;
  const cell = (found) => (found ? `${found.value.toFixed(3)} ${interval(found.interval)}` : "–");
  const beside = (found) => (found === null ? "" : found.why ? found.why
    : `${signed(found.mean)} ${interval(found.interval, signed)} on ${found.problems} problems`);
  return [
    h("h2", null, "Held-out problems"),
    table(["run", "steps", "before", "after", "gain", `after, minus ${runs[0].name}`], runs.map((run) => [run.name, number(run.steps),
      cell((run.figures[0] || {}).before), cell((run.figures[0] || {}).after),
      run.gain ? `${signed(run.gain.mean)} ${interval(run.gain.interval, signed)}` : "–", beside(run.beside_first)])),
    h("p", { class: "pale" }, `Figures are ${runs[0].figures.length ? runs[0].figures[0].name : "means"} with 95 % intervals; gains and differences are paired by problem.`),
    h("div", { class: "grid" }, charts.map((found) => chart(found, []))),
    h("h2", null, "Settings that differ"),
    settings.length ? table(["key", ...runs.map((run) => run.name)], settings.map((row) => [row.key, ...row.values])) : h("p", null, "None."),
  ];
} });

const main = h("main", { id: "main" }), panel = h("aside", { id: "panel", class: "panel", "aria-live": "polite", hidden: true });
let tabs = [], open_now = null;

/** Show a view; it is drawn when it is first shown, or when `again` is set. */
function open_view(id, again) {
  const view = views.find((found) => found.id === id && found.has()) || views[0];
  if (open_now === view && !again) return;
  open_now = view;
  panel.hidden = true;
  if (!view.element || again) view.element = h("div", { role: "tabpanel", "aria-label": view.title }, view.draw());
  main.replaceChildren(view.element);
  for (const tab of tabs) {
    tab.setAttribute("aria-selected", tab.dataset.view === view.id);
    tab.tabIndex = tab.dataset.view === view.id ? 0 : -1;
  }
  if (location.hash.slice(1) !== view.id) history.replaceState(null, "", "#" + view.id);
  window.scrollTo(0, 0);
}

/** Go to the next or the previous thing that can be opened or read. */
function move(by_one) {
  const stops = [...main.querySelectorAll("details.item > summary, .tokens, figure")];
  const now = stops.findIndex((stop) => stop === document.activeElement || stop.parentElement.contains(document.activeElement));
  const next = stops[now < 0 ? 0 : Math.max(0, Math.min(stops.length - 1, now + by_one))];
  if (next) { next.focus(); next.scrollIntoView({ block: "nearest" }); }
}

function on_key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT)$/.test(event.target.tagName) && event.target.type !== "radio") return;
  const place = Number(event.key) - 1;
  if (event.key === "Escape") panel.hidden = true;
  else if (event.key === "j" || event.key === "k") move(event.key === "j" ? 1 : -1);
  else if (event.key === "/" && main.querySelector("input[type=search]")) { event.preventDefault(); main.querySelector("input[type=search]").focus(); }
  else if (tabs[place]) { open_view(tabs[place].dataset.view); tabs[place].focus(); }
}

function start() {
  const found = block("overview"), [done, asked] = found.steps;
  const shown = views.filter((view) => view.has());
  tabs = shown.map((view) => h("button", { type: "button", role: "tab", "data-view": view.id, "aria-controls": "main", click: () => open_view(view.id) }, view.title));
  const nav = h("nav", { role: "tablist", "aria-label": "views", keydown: (event) => {
    const by_one = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by_one) return;
    const tab = tabs[(tabs.indexOf(document.activeElement) + by_one + tabs.length) % tabs.length];
    tab.focus();
    open_view(tab.dataset.view);
  } }, tabs);
  document.body.append(
    h("header", null, h("h1", null, h("bdi", null, found.name)),
      h("p", { class: "pale" }, `${found.objective} on `, h("bdi", null, found.student), `; ${number(done)} of ${number(asked)} steps, ${found.problems_per_step} problems x ${found.group_size} rollouts a step, seed ${found.seed}${found.finished ? "" : "; not finished"}`),
      h("p", { class: "pale" }, "Keys: 1 to 9 views, j and k on and back, Enter opens, arrows move in charts and tokens, / filters.")),
    nav, main, panel);
  document.addEventListener("keydown", on_key);
  window.addEventListener("hashchange", () => open_view(location.hash.slice(1)));
  open_view(location.hash.slice(1));
}

start();
