"use strict";
// Curves over steps as SVG, read with the pointer or the arrow keys; and the first view.

const SVG = "http://www.w3.org/2000/svg";
const DASHES = ["", "6 3", "2 3", "8 3 2 3", "1 3", "12 4"];

function s(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** A round number at or above `value`. */
function round_up(value) {
  const unit = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((times) => times * unit).find((found) => found >= value * (1 - 1e-9));
}

/** The scales of a chart: from steps and values to places in a drawing of 560 x 220. */
function scales(lines) {
  const xs = lines.flatMap((line) => line.points.map((point) => point[0]));
  const ys = lines.flatMap((line) => [...line.points.map((point) => point[1]), ...(line.band || []).flat()]);
  const [left, right] = [Math.min(...xs), Math.max(...xs)];
  const top = round_up(Math.max(...ys, 0) || 1), low = Math.min(...ys, 0);
  const bottom = low < 0 ? -round_up(-low) : 0;
  return {
    left, right, top, bottom, steps: [...new Set(xs)].sort((a, b) => a - b),
    x: (value) => 48 + (right > left ? (value - left) / (right - left) : 0.5) * 500,
    y: (value) => 195 - ((value - bottom) / (top - bottom)) * 180,
  };
}

function axes(scale) {
  const at = [0, 0.5, 1].map((part) => scale.bottom + part * (scale.top - scale.bottom));
  const whole = scale.steps.every(Number.isInteger);
  const ends = [scale.left, scale.right].map((step) => (whole ? step : step.toFixed(1)));
  return [
    ...at.flatMap((value) => [
      s("line", { class: "axis", x1: 48, x2: 548, y1: scale.y(value), y2: scale.y(value) }),
      s("text", { x: 42, y: scale.y(value) + 4, "text-anchor": "end" }, number(value)),
    ]),
    s("text", { x: 48, y: 214 }, `step ${ends[0]}`),
    ...(scale.right > scale.left ? [s("text", { x: 548, y: 214, "text-anchor": "end" }, `step ${ends[1]}`)] : []),
  ];
}

function curve(line, place, scale) {
  const colour = `var(--c${place % 8})`, parts = [];
  if (line.band) {
    const up = line.points.map(([step], i) => `${scale.x(step)},${scale.y(line.band[i][1])}`);
    const down = line.points.map(([step], i) => `${scale.x(step)},${scale.y(line.band[i][0])}`).reverse();
    parts.push(s("polygon", { points: [...up, ...down].join(" "), fill: colour, opacity: 0.15 }));
  }
  const points = line.points.map(([step, value]) => `${scale.x(step)},${scale.y(value)}`).join(" ");
  parts.push(s("polyline", { class: "curve", points, stroke: colour, "stroke-dasharray": DASHES[place % 6] }));
  if (line.points.length < 30) {
    parts.push(...line.points.map(([step, value]) => s("circle", { cx: scale.x(step), cy: scale.y(value), r: 2.5, fill: colour })));
  }
  return parts;
}

/** A chart with its legend and a line that tells the values at one step. */
function chart(found, alarms) {
  const scale = scales(found.lines);
  const marks = alarms.filter((alarm) => alarm.step >= scale.left && alarm.step <= scale.right)
    .map((alarm) => s("line", { class: "alarm", x1: scale.x(alarm.step), x2: scale.x(alarm.step), y1: 15, y2: 195 },
      s("title", {}, alarm.told)));
  const cursor = s("line", { class: "cursor", y1: 15, y2: 195, x1: -9, x2: -9 });
  const drawing = s("svg", { viewBox: "0 0 560 220", role: "img", "aria-label": `${found.title}, ${found.unit}` },
    ...axes(scale), ...marks, ...found.lines.flatMap((line, place) => curve(line, place, scale)), cursor);
  const told = h("output", { "aria-live": "polite" });
  let place = scale.steps.length - 1;
  const tell = (index) => {
    place = Math.max(0, Math.min(scale.steps.length - 1, index));
    const step = scale.steps[place];
    cursor.setAttribute("x1", scale.x(step));
    cursor.setAttribute("x2", scale.x(step));
    const values = found.lines.map((line) => [line.name, line.points.findIndex((point) => point[0] === step), line])
      .filter(([, at]) => at >= 0)
      .map(([name, at, line]) => `${name} ${number(line.points[at][1])}${line.band ? " " + interval(line.band[at]) : ""}`);
    told.textContent = `step ${number(step)}: ${values.join(", ")}`;
  };
  drawing.addEventListener("pointermove", (event) => {
    const box = drawing.getBoundingClientRect(), at = ((event.clientX - box.left) / box.width) * 560;
    const near = scale.steps.map((step) => Math.abs(scale.x(step) - at));
    tell(near.indexOf(Math.min(...near)));
  });
  const figure = h("figure", { class: "card", tabindex: 0, focus: () => tell(place), keydown: (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    event.preventDefault();
    tell(place + (event.key === "ArrowRight" ? 1 : -1));
  } }, h("figcaption", null, found.title, " ", h("span", null, found.unit)), drawing, legend(found.lines), told);
  return figure;
}

function legend(lines) {
  return h("div", { class: "legend" }, lines.map((line, place) => {
    const colour = h("i");
    colour.style.background = `var(--c${place % 8})`;
    return h("span", null, colour, line.name);
  }));
}

/** Parts of a whole as one bar with a table below. */
function parts_bar(parts, write) {
  const whole = parts.reduce((sum, part) => sum + part.value, 0) || 1;
  const bar = h("div", { class: "bar", role: "img", "aria-label": parts.map((part) => `${part.name} ${share(part.value / whole)}`).join(", ") });
  parts.forEach((part, place) => {
    const piece = h("i", { title: part.name });
    piece.style.width = `${(100 * part.value) / whole}%`;
    piece.style.background = part.colour || `var(--c${place % 8})`;
    bar.append(piece);
  });
  const coloured = legend(parts);
  parts.forEach((part, place) => { if (part.colour) coloured.querySelectorAll("i")[place].style.background = part.colour; });
  return h("div", null, bar, coloured, table(["", "", "share"], parts.map((part) => [part.name, write(part.value), share(part.value / whole)])));
}

function figures_cards(figures, gain) {
  const cards = figures.map((row) => h("div", { class: "card" },
    h("div", { class: "pale" }, `${row.name} on held-out problems`),
    h("div", { class: "number" }, row.before ? `${row.before.value.toFixed(3)} → ` : "", row.after.value.toFixed(3)),
    h("div", { class: "pale" }, `95 % intervals ${row.before ? interval(row.before.interval) + " → " : ""}${interval(row.after.interval)}`)));
  if (gain) {
    const sure = gain.interval[0] > 0 ? "good" : gain.interval[1] < 0 ? "bad" : "";
    cards.push(h("div", { class: "card" }, h("div", { class: "pale" }, "gain in the mean"),
      h("div", { class: `number ${sure}` }, signed(gain.mean)),
      h("div", { class: "pale" }, `paired 95 % interval ${interval(gain.interval, signed)}`)));
  }
  return h("div", { class: "grid" }, cards);
}

function list_of(title, items, look) {
  return items.length ? h("section", { class: look }, h("h2", null, title), h("ul", null, items.map((item) => h("li", null, item)))) : null;
}

function cost_section(cost) {
  if (!cost) return null;
  const told = [`${number(cost.tokens_written)} tokens written, ${number(cost.tokens_learnt)} learnt from`];
  if (cost.step_seconds) told.push(`${number(cost.tokens_written / cost.step_seconds)} tokens written a second of steps`);
  if (cost.peak_gib) told.push(`${number(cost.peak_gib)} GiB of memory at most`);
  const whole = Object.entries(cost.run_seconds).map(([name, value]) => `${name} ${seconds(value)}`);
  if (whole.length) told.push(`the newest process: ${whole.join(", ")}`);
  return h("section", null, h("h2", null, "Where the time went, and what it cost"), h("p", null, told.join("; ")),
    cost.phases.length ? parts_bar(cost.phases.map((phase) => ({ name: phase.name, value: phase.seconds })), seconds) : null);
}

function groups_section(groups) {
  if (!groups || !groups.all) return null;
  const counts = (found) => Object.entries(found).map(([name, count]) => `${name.replaceAll("_", " ")} ${number(count)}`).join(", ");
  return h("section", null, h("h2", null, "Groups"),
    h("p", null, `${number(groups.all)} groups with ${number(groups.rollouts)} rollouts: ${counts(groups.outcomes)}.`),
    h("p", null, `Verdicts: ${counts(groups.kinds)}.`),
    Object.keys(groups.reasons).length ? h("p", null, `Rollouts without a lesson: ${counts(groups.reasons)}.`) : null);
}

views.push({ id: "overview", title: "Overview", has: () => true, draw: () => {
  const found = block("overview");
  return [
    figures_cards(found.figures, found.gain),
    found.told ? h("p", { class: "missing" }, found.told) : null,
    list_of("Alarms", found.alarms.map((alarm) => `step ${alarm.step}: ${alarm.told}`), "missing"),
    list_of("Warnings", found.warnings, "missing"),
    list_of("What is missing from this page", found.missing, "missing"),
    found.charts.length ? h("h2", null, "Over the steps") : null,
    h("div", { class: "grid" }, found.charts.map((one) => chart(one, found.alarms))),
    cost_section(found.cost),
    groups_section(found.groups),
  ];
} });
