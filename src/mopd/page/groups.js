"use strict";
// What was written: groups with verdicts and contexts, and held-out problems before and after.

function prompt_element(turns) {
  return turns.map(([role, text]) => [h("div", { class: "pale" }, role), h("pre", { dir: "auto" }, text)]);
}

function completion(rollout) {
  const told = [rollout.kind, `reward ${number(rollout.reward)}`, `${number(rollout.tokens)} tokens`];
  return [
    h("h3", null, sign(rollout), ` rollout ${rollout.index}: ${told.join(", ")}`),
    h("pre", { dir: "auto" }, rollout.text || "(empty)"),
    rollout.answer !== null ? h("p", null, h("span", { class: "pale" }, "answer: "), h("code", { dir: "auto" }, rollout.answer)) : null,
    rollout.feedback ? h("p", { dir: "auto" }, h("span", { class: "pale" }, "feedback: "), rollout.feedback) : null,
  ];
}

/** Text with what stands for a part that was cut out marked. */
function with_marks(text, marker) {
  return text.split(marker).flatMap((part, place) => (place ? [h("mark", { title: "a part was cut out here" }, marker), part] : [part]));
}

function block_element(shown, others) {
  const template = block("overview").template;
  const [before, behind] = (template[shown.kind] || "{text}").split("{text}");
  const whose = shown.kind === "feedback" ? "the rollout's own feedback"
    : `${shown.kind} peer, ${others.length ? "of another problem" : `rollout ${shown.peer}`}${shown.short ? ", shortened" : ""}`;
  const text = shown.short ? with_marks(shown.text, template.marker) : shown.text;
  return h("span", { class: `shown ${shown.kind}`, dir: "auto" }, h("b", { class: shown.kind === "success" ? "good" : shown.kind === "failure" ? "bad" : "" }, whose),
    before, text, behind);
}

/** The turn that the teacher read, its blocks marked; turns before it as in the prompt. */
function context_element(rollout, group) {
  const found = rollout.context;
  if (found.unread) return h("p", { class: "missing" }, `The context cannot be rendered again: ${found.unread}`);
  const problem = group.prompt.length ? group.prompt[group.prompt.length - 1][1] : "";
  const turn = found.blocks.length ? block("overview").template.turn : "{problem}";
  const parts = turn.split(/(\{problem\}|\{blocks\})/).map((part) => part === "{problem}" ? problem
    : part === "{blocks}" ? found.blocks.map((shown) => block_element(shown, rollout.others)) : part);
  return [prompt_element(group.prompt.slice(0, -1)), h("div", { class: "pale" }, "user"), h("pre", { dir: "auto" }, parts)];
}

function lesson_element(rollout, group, place) {
  const lost = rollout.context ? [rollout.context.shortened ? `${rollout.context.shortened} shortened` : "",
    rollout.context.dropped ? `${rollout.context.dropped} left out` : ""].filter(Boolean) : [];
  const peers = [...rollout.peers.successes.map((peer) => `+${peer}`), ...rollout.peers.failures.map((peer) => `−${peer}`)];
  const told = [`${number(rollout.context && rollout.context.tokens)} tokens`, `peers ${peers.join(" ") || "none"}`, ...lost];
  return [
    rollout.lesson === false ? h("p", { class: "pale" }, `no lesson: ${(rollout.reason || "not recorded").replaceAll("_", " ")}`) : null,
    rollout.alone ? h("p", { class: "pale" }, `GRPO alone, no teacher: ${rollout.alone.replaceAll("_", " ")}`) : null,
    rollout.context ? fold({}, `what its teacher read: ${told.join(", ")}`, () => context_element(rollout, group)) : null,
    is_scored(place, rollout.index)
      ? h("button", { class: "link", type: "button", click: () => show_scores(place, rollout.index) }, "token by token") : null,
  ];
}

function group_item(group) {
  const place = block("groups").indexOf(group);
  const summary = [`step ${group.step} · `, h("bdi", null, group.problem), " · ",
    h("span", { class: "verdicts" }, group.rollouts.map(sign)), ` · ${group.successes} of ${group.judged}`,
    group.gain === null ? "" : ` · gain ${signed(group.gain, 2)}`];
  return fold({ class: "item" }, summary, () => [
    group.domain ? h("p", { class: "pale" }, "domain ", h("bdi", null, group.domain)) : null,
    prompt_element(group.prompt),
    group.reference ? h("p", { class: "pale" }, "reference ", h("bdi", null, group.reference)) : null,
    h("div", { class: "grid" }, group.rollouts.map((rollout) => h("article", null, completion(rollout), lesson_element(rollout, group, place)))),
  ]);
}

const by = {
  step: (a, b) => a.step - b.step,
  problem: (a, b) => (a.problem < b.problem ? -1 : a.problem > b.problem ? 1 : 0),
  fewest: (a, b) => (a.judged ? a.successes / a.judged : 2) - (b.judged ? b.successes / b.judged : 2),
  most: (a, b) => (b.judged ? b.successes / b.judged : -1) - (a.judged ? a.successes / a.judged : -1),
  gained: (a, b) => (b.gain ?? -9) - (a.gain ?? -9),
  lost: (a, b) => (a.gain ?? 9) - (b.gain ?? 9),
};
const GAINS = { any: () => true, gained: (gain) => gain > 0, lost: (gain) => gain !== null && gain < 0, same: (gain) => gain === 0, once: (gain) => gain === null };

/** Controls above a list that is drawn again when one of them changes. */
function filtered(items, kept, order, draw, extra) {
  const wanted = { text: "", gain: "any", sort: order[0][0] };
  const list = h("div"), count = h("output", { "aria-live": "polite" });
  const redraw = () => {
    const found = items.filter((item) => kept(item, wanted)).sort(by[wanted.sort]);
    count.textContent = `${found.length} of ${items.length}`;
    list.replaceChildren(long_list(found, draw));
  };
  const change = (name) => (value) => { wanted[name] = value; redraw(); };
  const controls = h("div", { class: "controls" }, search("problem or prompt ( / )", change("text")), extra ? extra(wanted, change) : null,
    choice("gain", [["any", "any"], ["gained", "gained"], ["lost", "lost"], ["same", "unchanged"], ["once", "unknown"]], change("gain"))[0],
    choice("order", order, change("sort"))[0], count);
  redraw();
  return h("div", null, controls, list);
}

function has_text(item, text) {
  return !text || item.problem.toLowerCase().includes(text) || item.prompt.some((turn) => turn[1].toLowerCase().includes(text));
}

views.push({ id: "groups", title: "Groups", has: () => Boolean((block("overview").groups || {}).shown), draw: () => {
  const counts = block("overview").groups, groups = block("groups");
  const all = counts.shown === counts.all ? `All ${number(counts.all)} groups` : `${number(counts.shown)} of ${number(counts.all)} groups, evenly over the steps`;
  const kinds = Object.keys(counts.kinds).map((kind) => [`kind ${kind}`, `with ${kind}`]);
  const outcomes = ["mixed", "solved", "failed", "unjudged"].filter((name) => counts.outcomes[name]).map((name) => [name, name]);
  return [
    h("p", null, `${all}, ${number(counts.shown_rollouts)} of ${number(counts.rollouts)} rollouts. A problem's gain is its share of successes in its last group of the run minus that in its first.`),
    filtered(groups.slice(), (group, wanted) => has_text(group, wanted.text) && GAINS[wanted.gain](group.gain) && (!wanted.verdict || wanted.verdict === "any"
      || wanted.verdict === group.outcome || group.rollouts.some((rollout) => `kind ${rollout.kind}` === wanted.verdict)),
    [["step", "step"], ["problem", "problem"], ["fewest", "fewest successes"], ["most", "most successes"], ["gained", "largest gain"], ["lost", "largest loss"]],
    group_item, (wanted, change) => choice("verdicts", [["any", "any"], ...outcomes, ...kinds], change("verdict"))[0]),
  ];
} });

function problem_item(problem) {
  const gain = problem.gain === null ? "" : signed(problem.gain, 2);
  const summary = [h("bdi", null, problem.problem), ` · ${share(problem.shares[0])} → ${share(problem.shares[1])} `,
    h("span", { class: problem.gain > 0 ? "good" : problem.gain < 0 ? "bad" : "pale" }, gain), " · ",
    h("span", { class: "verdicts" }, problem.before.map(sign), " → ", problem.after.map(sign))];
  return fold({ class: "item" }, summary, () => [prompt_element(problem.prompt), h("div", { class: "grid" },
    [["before", problem.before], ["after", problem.after]].map(([when, rollouts]) => h("section", null, h("h2", null, when),
      rollouts.map((rollout) => h("article", null, completion(rollout))))))]);
}

views.push({ id: "before-and-after", title: "Before and after", has: () => Boolean((block("overview").held_out || {}).shown), draw: () => {
  const counts = block("overview").held_out, problems = block("held-out");
  return [
    h("p", null, `${number(counts.shown)} of ${number(counts.all)} held-out problems, after step ${counts.before} and after step ${counts.after}: the same problems, the same number of attempts.`),
    filtered(problems.slice(), (problem, wanted) => has_text(problem, wanted.text) && GAINS[wanted.gain](problem.gain),
      [["gained", "largest gain"], ["lost", "largest loss"], ["problem", "problem"]], problem_item),
  ];
} });
