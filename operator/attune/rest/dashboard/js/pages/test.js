// One A/B test: the verdict in words, the primary metric over time, every metric with its interval and what it means.

import { cancelTest } from "../actions.js";
import { interval, plot, spanOf, ticks } from "../charts.js";
import { h } from "../dom.js";
import { capital, count, digitsFor, duration, exact, known, number, percent, probability, share, signed, words } from "../format.js";
import { button, chip, empty, facts, from, heading, link, note, panel, reasons, sub, table, tiles, versionLink, when } from "../parts.js";
import { forbidden } from "../session.js";
import { split } from "./shared.js";

const ENDED = ["Concluded", "Cancelled", "Failed"];
const MEANINGS = {
  better: ["up", "B is better"],
  worse: ["down", "B is worse"],
  open: ["open", "not proven"],
  withinMargin: ["up", "within its margin"],
  harmed: ["down", "B does harm"],
  noValues: ["open", "no values yet"],
  notTested: ["open", "shown only"],
};

export const title = ({ name }) => name;

export const needs = ({ name }) => ({ test: { path: `/models/ab-test/${encodeURIComponent(name)}` } });

export function render(data, { name }) {
  const test = data.test?.value;
  const over = test && ENDED.includes(test.phase);
  const why = forbidden("cancelABTest") ?? (test?.spec.cancel ? "It was asked to end." : null);
  return [
    heading(name, {
      chips: test ? [chip(test.phase)] : [],
      under: test && [versionLink(test.a), " (A) against ", versionLink(test.b), " (B) for ", link(test.retriever, "retrievers", test.retriever)],
      actions: test && !over ? [button("Cancel the test", { why, onclick: () => cancelTest(test) })] : [],
    }),
    test && !over ? reasons(why) : null,
    ...[from(data.test, body)].flat(),
  ];
}

function body(test) {
  return [
    verdict(test),
    test.problems.map((one) => h("div", { key: `problem-${one.type}` }, note("bad", h("p", {}, h("strong", {}, `${capital(words(one.type))}: `), one.message), one.since && h("p", { class: "under" }, "since ", when(one.since))))),
    test.notes && h("div", { key: "notes" }, note("info", h("p", {}, test.notes))),
    h("div", { class: "grid wide-left", key: "columns" }, overTime(test), queries(test)),
    panel("Metrics", { key: "metrics" }, metrics(test)),
    rules(test),
  ];
}

/** The sentence that matters, in the colour of what it says. */
function verdict(test) {
  const said = test.recommendation ?? test.message ?? (test.reason ? words(test.reason) : "Nothing was measured yet.");
  const tone = { B: "good", A: "bad", inconclusive: "warn" }[test.winner] ?? (test.phase === "Failed" ? "bad" : "info");
  const head = test.winner === "B" ? `B wins: ${test.b}` : test.winner === "A" ? `A stays: ${test.a}` : test.winner ? "Inconclusive" : test.phase === "Running" ? "Not decided yet" : capital(words(test.phase));
  return h(
    "div",
    { key: "verdict", class: `note verdict ${tone}` },
    h("p", { class: "lead" }, head),
    h("p", {}, said),
    test.recommendation && test.message && test.phase !== "Running" && h("p", { class: "under" }, test.message),
    test.promotion && h("p", {}, h("strong", {}, `Promotion of B: ${words(test.promotion.result)}. `), test.promotion.message),
  );
}

// ---- the primary metric over time

const primaryOf = (test) => test.metrics.find((metric) => metric.role === "primary") ?? test.metrics[0];

/** Of latency, whose unit is a logarithm, in percent. */
function unitOf(metric) {
  if (metric?.name !== "latency") return { of: (value) => value, text: (value, digits = 3) => signed(value, digits), name: "B minus A" };
  return { of: (value) => (known(value) ? 100 * Math.expm1(value) : value), text: (value) => percent(value), name: "B against A, in percent" };
}

function overTime(test) {
  const primary = primaryOf(test);
  const unit = unitOf(primary);
  const looks = test.looks
    .filter((look) => known(look.low) && known(look.high))
    .map((look) => ({ ...look, x: Date.parse(look.at), y: unit.of(look.difference ?? (look.low + look.high) / 2), low: unit.of(look.low), high: unit.of(look.high) }));
  const side = h("span", { class: "under" }, `${unit.name}; ${primary?.direction === "decrease" ? "lower" : "higher"} is better`);
  return panel(`Primary metric over time: ${primary?.name ?? ""}`, { key: "looks", side }, looks.length > 1 ? [drawn(looks, unit, { A: "bad", B: "good" }[test.winner] ?? "info"), asTable(looks, unit)] : empty("Fewer than two looks have an interval yet."));
}

function drawn(looks, unit, tone) {
  const [first, last] = [looks[0], looks.at(-1)];
  const y = spanOf(looks);
  const x = [first.x, last.x];
  const up = ticks(y[0], y[1], 5);
  return plot({
    label: `${looks.length} looks: the interval goes from ${unit.text(first.low)} to ${unit.text(first.high)} at first, and from ${unit.text(last.low)} to ${unit.text(last.high)} now. A table follows.`,
    x,
    y,
    xTicks: times(x),
    yTicks: up.found.map((at) => ({ at, text: unit.text(at, up.digits) })),
    line: looks,
    band: looks,
    zero: 0,
    tone,
    read: (look) => `${exact(look.x)}: ${unit.text(look.y)} (${unit.text(look.low)} to ${unit.text(look.high)})`,
  });
}

function times([low, high]) {
  const days = high - low > 36 * 3600 * 1000;
  const form = days ? { day: "numeric", month: "short" } : { hour: "2-digit", minute: "2-digit" };
  return [0.02, 0.5, 0.98].map((part) => {
    const at = low + part * (high - low);
    return { at, text: new Date(at).toLocaleString("en-GB", form) };
  });
}

function asTable(looks, unit) {
  return h(
    "details",
    { key: "as-table" },
    h("summary", {}, "As a table"),
    h(
      "div",
      { class: "flush" },
      table(
        "Looks at the primary metric, the newest first",
        [
          { head: "When", cell: (look) => when(look.at) },
          { head: "Queries A / B", num: true, cell: (look) => `${count(look.samplesA)} / ${count(look.samplesB)}` },
          { head: "Difference", num: true, cell: (look) => unit.text(look.y) },
          { head: "Interval", num: true, cell: (look) => `${unit.text(look.low)} to ${unit.text(look.high)}` },
        ],
        [...looks].reverse(),
        (look) => look.at,
      ),
    ),
  );
}

// ---- every metric

function metrics(test) {
  const columns = [
    { head: "Metric", lead: true, cell: (metric) => [metric.name, sub(`${metric.role}, ${metric.direction === "increase" ? "higher" : "lower"} is better`)] },
    { head: `A: ${test.a ?? "?"}`, num: true, cell: (metric) => arm(metric, metric.a) },
    { head: `B: ${test.b}`, num: true, cell: (metric) => arm(metric, metric.b) },
    { head: "B minus A, with its interval", wide: true, cell: difference },
    { head: "p", num: true, cell: (metric) => probability(metric.p) },
    { head: "Meaning", cell: meaning },
  ];
  return h("div", { class: "flush" }, table("Metrics", columns, test.metrics, (metric) => metric.name));
}

function arm(metric, value) {
  if (!value) return "–";
  const latency = metric.name === "latency";
  const more = [latency && known(value.p99) && `p99 ${number(value.p99, 0)} ms`, known(value.samples) && `n ${count(value.samples)}`];
  return [latency ? `${number(value.value, 1)} ms` : number(value.value, value.value < 0.1 ? 4 : 3), sub(more.filter(Boolean).join(", "))];
}

/** Each metric on a scale of its own: their units differ. */
function difference(metric) {
  if (!known(metric.low) || !known(metric.high)) return "–";
  const unit = unitOf(metric);
  const [low, high, value, limit] = [metric.low, metric.high, metric.difference, metric.role === "guardrail" ? metric.harmfulFrom : null].map(unit.of);
  const span = spanOf([{ low, high }, ...(known(limit) ? [{ low: limit, high: limit }] : [])]);
  const digits = digitsFor(low, high);
  const text = `${unit.text(low, digits)} to ${unit.text(high, digits)}`;
  const [tone] = MEANINGS[metric.meaning] ?? ["open"];
  const harm = known(limit) ? `, harm from ${unit.text(limit, digits)}` : "";
  const relative = metric.name !== "latency" && known(metric.percent) ? ` (${percent(metric.percent)})` : "";
  const level = known(metric.level) ? ` ${share(metric.level)} interval` : "";
  return h(
    "span",
    { class: "changed" },
    interval({ low, high, value, span, tone, limit, label: `difference ${unit.text(value, digits)}${relative},${level} ${text}${harm}` }),
    h("span", { class: "num" }, h("strong", { class: tone }, unit.text(value, digits)), relative, sub(text), known(limit) && sub(`harm from ${unit.text(limit, digits)}`)),
  );
}

function meaning(metric) {
  const [tone, text] = MEANINGS[metric.meaning] ?? ["open", words(metric.meaning)];
  return h("span", { class: tone }, text);
}

// ---- beside the chart

function queries(test) {
  const p = test.sampleRatioPValue;
  const wrong = known(p) && p < 0.001;
  return panel(
    "Distinct queries",
    { key: "queries" },
    known(test.samplesA) ? tiles([["A", h("span", { class: "big" }, count(test.samplesA))], ["B", h("span", { class: "big" }, count(test.samplesB ?? 0))]]) : empty("None was counted yet."),
    test.a && split(test.a, { challenger: test.b, fraction: test.split }),
    wrong
      ? note("bad", h("p", {}, h("strong", {}, "The shares are wrong "), `(p ${probability(p)}): the arms did not get what they should, and the numbers are not to be trusted.`))
      : known(p) && h("p", { class: "under" }, `The arms get the shares that they should (p ${probability(p)}).`),
    facts([
      ["Started", test.startedAt && when(test.startedAt)],
      ["Ended", test.concludedAt && [when(test.concludedAt), test.startedAt && `, after ${duration((Date.parse(test.concludedAt) - Date.parse(test.startedAt)) / 1000)}`]],
      ["Ends at the latest", test.endsAt && when(test.endsAt)],
      ["Last look", test.lookedAt && when(test.lookedAt)],
      ["Confidence", known(test.confidence) && share(test.confidence)],
    ]),
  );
}

function rules(test) {
  const { method, alpha, correction, samples, minSamples, maxDuration } = test.rules;
  return panel(
    "Rules",
    { key: "rules" },
    facts([
      ["Method", capital(words(method))],
      ["Error of the first kind", `at most ${share(alpha)}${correction ? `, ${capital(correction)}` : ""}`],
      ["Before anything is decided", `${count(minSamples)} distinct queries in each arm`],
      ["The one look at", known(samples) && `${count(samples)} distinct queries in each arm`],
      ["It ends after", maxDuration],
      ["If B wins", test.spec.autoPromote ? "it is promoted by itself" : "somebody promotes it, or not"],
    ], "columns"),
  );
}
