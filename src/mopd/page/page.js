"use strict";
// What all views share: data, elements, numbers. Text of models is only ever a text node.

const parsed = {};

/** A block of the page's data, parsed when it is first asked for. */
function block(name) {
  if (!(name in parsed)) parsed[name] = JSON.parse(document.getElementById("data-" + name).textContent);
  return parsed[name];
}

/** An element with attributes (functions are listeners) and children; strings become text. */
function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

/** A fold whose content is drawn when it is first opened. */
function fold(attributes, summary, draw) {
  const details = h("details", attributes, h("summary", null, summary));
  details.addEventListener("toggle", () => {
    if (details.open && details.children.length === 1) details.append(h("div", null, draw()));
  });
  return details;
}

/** A number for people: counts with separators, others with three digits that count. */
function number(value) {
  if (value === null || value === undefined) return "–";
  if (Number.isInteger(value)) return value.toLocaleString("en");
  return Math.abs(value) < 0.001 ? value.toExponential(1) : value.toLocaleString("en", { maximumSignificantDigits: 3 });
}

/** A number with its sign. */
function signed(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  return (value < 0 ? "−" : "+") + Math.abs(value).toFixed(digits);
}

function interval([low, high], write = (value) => value.toFixed(3)) {
  return `[${write(low)}, ${write(high)}]`;
}

function share(value) {
  return value === null || value === undefined ? "–" : `${(100 * value).toFixed(value > 0 && value < 0.1 ? 1 : 0)} %`;
}

function seconds(value) {
  if (value < 90) return `${value.toFixed(1)} s`;
  return value < 5400 ? `${(value / 60).toFixed(1)} min` : `${(value / 3600).toFixed(1)} h`;
}

/** The sign of a verdict, and its name for whoever cannot see colours. */
function sign(rollout) {
  const mark = rollout.success ? "✓" : rollout.kind === "error" ? "?" : "✗";
  const look = rollout.success ? "good" : rollout.kind === "error" ? "pale" : "bad";
  return h("span", { class: look, title: `rollout ${rollout.index}: ${rollout.kind}`, "aria-label": rollout.kind, role: "img" }, mark);
}

function table(heads, rows) {
  const cell = (tag) => (value, place) => h(tag, { class: place ? "right" : null }, value);
  return h("div", { class: "wide" }, h("table", null,
    h("thead", null, h("tr", null, heads.map(cell("th")))),
    h("tbody", null, rows.map((row) => h("tr", null, row.map(cell("td")))))));
}

/** A labelled choice; `options` are [value, text]. */
function choice(label, options, changed) {
  const select = h("select", { change: () => changed(select.value) }, options.map(([value, text]) => h("option", { value }, text)));
  return [h("label", null, label, select), select];
}

function search(label, changed) {
  const input = h("input", { type: "search", input: () => changed(input.value.toLowerCase()) });
  return h("label", null, label, input);
}

/** A list of which 100 items stand at once, with a button for more. */
function long_list(items, draw) {
  const list = h("div"), AT_ONCE = 100;
  const more = (from) => {
    list.append(...items.slice(from, from + AT_ONCE).map(draw));
    const left = items.length - from - AT_ONCE;
    if (left <= 0) return;
    const button = h("button", { class: "more", type: "button", click: () => { button.remove(); more(from + AT_ONCE); } },
      `show more (${left} left)`);
    list.append(button);
  };
  more(0);
  return list;
}

const views = [];
