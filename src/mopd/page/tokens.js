"use strict";
// Token by token: where the teacher moves probability, what peers contribute, and where a failed rollout goes wrong.

const STRONG = 3; // nats at which a colour is full

const MODES = {
  gain: "teacher − student: blue where the teacher gives the token more probability, orange where less; full colour from 3 nats on",
  divergence: "divergence between teacher and student, over all tokens that could stand there",
  of_successes: "contribution of the successful peers: with them, minus without them",
  of_failures: "contribution of the failed peers: with them, minus without them",
  moved: "style or content: grey where a success's and a failure's context move the token alike, purple where they move it apart",
};
let mode = "gain";

function scored_group(place) {
  return block("tokens").find((found) => found.group === place);
}

function is_scored(place, index) {
  const found = block("overview").scores && scored_group(place);
  return Boolean(found) && found.rollouts.some((rollout) => rollout.index === index);
}

/** The colour of a token, and how strong it is from 0 to 100. */
function colour(scores, at) {
  if (mode === "divergence") return ["--spread", scores.divergence[at] / Math.LN2];
  if (mode === "moved") {
    if (!scores.alike) return null;
    const [alike, apart] = [Math.abs(scores.alike[at]), Math.abs(scores.apart[at])];
    return [apart > alike ? "--spread" : "--style", (alike + apart) / STRONG];
  }
  const column = scores[mode];
  return column ? [column[at] > 0 ? "--more" : "--less", Math.abs(column[at]) / STRONG] : null;
}

function paint(strip, scores) {
  for (const token of strip.querySelectorAll("span")) {
    const found = colour(scores, Number(token.dataset.at));
    token.style.backgroundColor = found ? `color-mix(in srgb, var(${found[0]}) ${Math.min(75, 75 * found[1]).toFixed(0)}%, transparent)` : "";
  }
}

function quoted(text) {
  return h("code", { dir: "auto" }, text === "" ? "(part of a character)" : text.replaceAll("\n", "⏎"));
}

function times(nats) {
  return `${number(Math.exp(nats))} times the student's probability`;
}

/** What there is to tell of one token, at the foot of the window. */
function tell(scores, at) {
  const lines = [["success peers contribute", scores.of_successes], ["failure peers contribute", scores.of_failures],
    ["moved alike", scores.alike], ["moved apart", scores.apart]].filter(([, column]) => column);
  const panel = document.getElementById("panel");
  panel.replaceChildren(h("div", null,
    h("p", null, quoted(scores.pieces[at]), ` teacher − student ${signed(scores.gain[at], 2)} nats: the teacher gives it ${times(scores.gain[at])}; divergence ${number(scores.divergence[at])} nats`),
    h("p", { class: "pale" }, lines.map(([name, column]) => `${name} ${signed(column[at], 2)}`).join(" · ")),
    h("p", { class: "tops" }, "the teacher would write ", scores.tops[at].map(([text, teacher, student]) =>
      h("span", null, quoted(text), ` ${share(teacher)} (student ${share(student)})`)))));
  panel.hidden = false;
}

function token_strip(scores) {
  const strip = h("div", { class: "tokens", tabindex: 0, dir: "auto", role: "group", "aria-label": "tokens; arrow keys move from one to the next" });
  scores.pieces.forEach((piece, at) => {
    if (at === scores.here) strip.append(h("b", null, "here"));
    const looks = [at === scores.here ? "here" : "", at === scores.pieces.length - 1 ? "last" : ""].join(" ").trim();
    strip.append(h("span", { "data-at": at, class: looks || null }, piece));
  });
  const choose = (at) => {
    const token = strip.querySelector(`[data-at="${at}"]`);
    if (!token) return;
    document.querySelectorAll(".tokens .chosen").forEach((other) => other.classList.remove("chosen"));
    token.classList.add("chosen");
    strip.dataset.chosen = at;
    tell(scores, at);
  };
  const pointed = (event) => { if (event.target.dataset.at) choose(Number(event.target.dataset.at)); };
  strip.addEventListener("pointerover", pointed);
  strip.addEventListener("click", pointed);
  strip.addEventListener("focus", () => choose(Number(strip.dataset.chosen || scores.here || 0)));
  strip.addEventListener("keydown", (event) => {
    const by_key = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by_key) return;
    event.preventDefault();
    choose(Math.max(0, Math.min(scores.pieces.length - 1, Number(strip.dataset.chosen || 0) + by_key)));
  });
  paint(strip, scores);
  strip.repaint = () => paint(strip, scores);
  return strip;
}

function here_element(scores, group) {
  const peer = scores.beside && group.rollouts.find((rollout) => rollout.index === scores.beside.index);
  const beside = peer ? [h("p", null, `Its nearest successful peer, rollout ${peer.index}, with a mark where the two part:`),
    h("pre", { dir: "auto" }, peer.text.slice(0, scores.beside.shared), h("mark", null, peer.text.slice(scores.beside.shared, scores.beside.shared + 1) || "(its end)"),
      peer.text.slice(scores.beside.shared + 1))] : [h("p", { class: "pale" }, "No rollout of its group succeeded.")];
  if (scores.here === null) return [h("p", null, "To the teacher no other token is twice as probable as what was written: it does not say where this goes wrong."), beside];
  const [best, chance] = scores.tops[scores.here][0];
  return [h("p", null, h("strong", { class: "bad" }, "Here: "), "instead of ", quoted(scores.pieces[scores.here]), " the teacher would write ", quoted(best),
    ` (${share(chance)}), which it holds to be ${number(Math.exp(scores.doubt[scores.here]))} times as probable (${number(scores.doubt[scores.here])} nats).`), beside];
}

function scored_element(scores, group, place) {
  const rollout = group.rollouts.find((found) => found.index === scores.index);
  const failed = !rollout.success && rollout.kind !== "error";
  return h("article", { id: `scores-${place}-${scores.index}` }, h("h3", null, sign(rollout), ` rollout ${rollout.index}: ${rollout.kind}`),
    h("div", { class: "grid" }, h("div", null, token_strip(scores)), failed ? h("div", null, here_element(scores, group)) : null),
    lesson_element(rollout, group, -1));
}

let shown_place = null;

/** Open the view of tokens at one rollout. */
function show_scores(place, index) {
  shown_place = place;
  open_view("tokens", true);
  const found = document.getElementById(`scores-${place}-${index}`);
  found.scrollIntoView({ block: "center" });
  found.querySelector(".tokens").focus({ preventScroll: true });
}

function moved_section(scores) {
  if (!scores.moved_rollouts) return h("p", { class: "pale" }, "Style and content cannot be told apart: no scored rollout has both a successful and a failed peer.");
  return h("section", null, h("h2", null, "What contexts do besides telling"),
    h("p", null, `Over ${number(scores.moved_rollouts)} rollouts with peers of both kinds: how far a context with one success alone and one with one failure alone move the written tokens alike (style: any context does that), and how far apart (content).`),
    parts_bar([{ name: "alike: style", value: scores.alike, colour: "var(--style)" }, { name: "apart: content", value: scores.apart, colour: "var(--spread)" }],
      (value) => `${number(value)} nats`));
}

views.push({ id: "tokens", title: "Token credit", has: () => Boolean((block("overview").scores || {}).groups), draw: () => {
  const scores = block("overview").scores, tokens = block("tokens"), groups = block("groups");
  const body = h("div"), explained = h("p", { class: "pale" }, MODES[mode]);
  const draw = (place) => {
    shown_place = place;
    const group = groups[place];
    body.replaceChildren(h("h2", null, `step ${group.step}, problem `, h("bdi", null, group.problem)), ...prompt_element(group.prompt).flat(),
      ...scored_group(place).rollouts.map((found) => scored_element(found, group, place)));
  };
  const [label, select] = choice("group", tokens.map(({ group }) => [group, `step ${groups[group].step}, ${groups[group].problem}`]), (value) => draw(Number(value)));
  const modes = h("div", { class: "controls", role: "radiogroup", "aria-label": "what colours say" }, Object.entries({ gain: "teacher − student", divergence: "divergence",
    of_successes: "success peers", of_failures: "failure peers", moved: "style or content" }).map(([name, text]) => h("label", { class: "choice" },
    h("input", { type: "radio", name: "mode", value: name, checked: name === mode, change: () => {
      mode = name;
      explained.textContent = MODES[name];
      document.querySelectorAll(".tokens").forEach((strip) => strip.repaint());
    } }), text)));
  draw(shown_place !== null && scored_group(shown_place) ? shown_place : tokens[0].group);
  select.value = shown_place;
  const other = scores.otherwise_encoded ? ` ${number(scores.otherwise_encoded)} texts give another number of tokens than were sampled.` : "";
  return [h("p", null, `${number(scores.rollouts)} rollouts of ${number(scores.groups)} groups, scored when this page was made by the student and the teacher (${scores.teacher}) of the checkpoint after step ${scores.step}: not by the weights of the steps in which they were written. Texts were encoded again.${other}`),
    moved_section(scores), h("div", { class: "controls" }, label), modes, explained, body];
} });
