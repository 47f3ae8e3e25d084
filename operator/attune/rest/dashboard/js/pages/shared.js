// Views that several pages have: what serves, a timeline, a run on its way. Used by the pages.

import { move } from "../actions.js";
import { h } from "../dom.js";
import { capital, count, duration, known, metricName, METRIC_NAMES, number, percent, share, words } from "../format.js";
import { button, chip, empty, link, progress, reasons, tiles, versionLink, when } from "../parts.js";
import { forbidden } from "../session.js";

const PLACES = { Retriever: "retrievers", TrainingJob: "training", ModelVersion: "versions", ABTest: "tests" };
const KINDS = { promotion: "good", rollback: "bad", test: "accent", run: "info", data: "info", version: "info", retirement: "muted" };

/** Metrics as tiles, nDCG@10 with its change. */
export function metricTiles(metrics, improvement, most = 5) {
  const names = METRIC_NAMES.filter((name) => known(metrics?.[name])).slice(0, most);
  if (!names.length) return null;
  const value = (name) => [h("span", { class: "big" }, number(metrics[name])), name === "ndcgAt10" && known(improvement) && change(improvement)];
  return tiles(names.map((name) => [metricName(name), value(name)]));
}

export function change(value) {
  const tone = value > 0.05 ? "up" : value < -0.05 ? "down" : "";
  return h("span", { class: `change ${tone}`, title: "against the version that was active when it was measured" }, percent(value));
}

/** What serves of one type, with the ways forward and back. */
export function served(type, model, { actions = true } = {}) {
  const next = (model.staged ?? []).at(-1);
  const name = h("p", { class: "serves" }, model.active ? h("strong", {}, versionLink(model.active)) : "nothing yet", model.active && chip("active"), model.since && h("span", { class: "under" }, "since ", when(model.since)));
  return h(
    "article",
    { class: "served", key: type, "aria-label": `${capital(type)} model` },
    h("h3", {}, capital(type)),
    name,
    model.active && model.metrics && (metricTiles(model.metrics, model.improvementPercent, actions ? 5 : 3) ?? empty("Nothing was measured of it.")),
    model.index && h("p", { class: "under" }, "Index ", h("code", {}, model.index.collection), ` with ${count(model.index.documents)} documents`),
    model.split && split(model.active, model.split),
    actions ? moves(model, next) : (model.staged ?? []).length > 0 && h("p", { class: "under" }, "Staged: ", versionLink(next)),
  );
}

function moves(model, next) {
  if (!next && !model.previous) return null;
  const [forward, back] = [forbidden("promote"), forbidden("rollback")];
  return h(
    "div",
    { class: "moves" },
    h(
      "div",
      { class: "actions" },
      next && button(`Promote ${next}`, { why: forward, tone: "primary", onclick: () => move(next, model, { back: false }) }),
      model.previous && button(`Roll back to ${model.previous}`, { why: back, onclick: () => move(model.previous, model, { back: true }) }),
    ),
    reasons(next && forward, model.previous && back),
  );
}

/** The traffic of a test as a bar of two parts. */
export function split(active, { test, challenger, fraction }) {
  const label = `${share(1 - fraction)} of the queries to ${active}, ${share(fraction)} to ${challenger}`;
  return h(
    "div",
    { class: "split" },
    test && h("p", { class: "under" }, "Test ", link(test, "tests", test), " runs"),
    h("div", { class: "split-bar", role: "img", "aria-label": label }, h("span", { style: { width: `${100 * (1 - fraction)}%` } }), h("span", { class: "b" })),
    h("p", { class: "split-ends under" }, h("span", {}, `A ${share(1 - fraction)} `, versionLink(active)), h("span", {}, `B ${share(fraction)} `, versionLink(challenger))),
  );
}

/** Those that are computed now before those that wait. */
export const inOrder = (runs) => [...(runs ?? [])].sort((one, other) => known(other.percent) - known(one.percent));

/** A run in a list of what is on its way. */
export function underWay(run) {
  const left = known(run.remainingSeconds) ? `about ${duration(run.remainingSeconds)} left in this stage` : "";
  return h(
    "li",
    { class: "way", key: `run-${run.name}` },
    h("div", { class: "way-head" }, link(run.name, "training", run.name), chip(run.phase ?? "Pending"), h("span", { class: "under" }, run.type)),
    known(run.percent) && h("div", { class: "way-bar" }, progress(run.percent, `${run.name}: ${run.phase}`), h("span", { class: "num" }, `${Math.floor(run.percent)}%`), h("span", { class: "under" }, left)),
    !known(run.percent) && run.message && h("p", { class: "under" }, run.message),
  );
}

/** Version trained, Data prepared, Rolled back. */
function what({ kind, what: word }) {
  const said = words(word);
  return ["promotion", "rollback", "retirement"].includes(kind) || said.startsWith(kind) ? capital(said) : `${capital(kind)} ${said}`;
}

/** Dated entries; `entries` oldest first, shown newest first where `newest`. `self`: the page's own object, which needs no link. */
export function timeline(entries, { newest = false, self = null } = {}) {
  if (!entries.length) return empty("Nothing is written down.");
  const shown = newest ? [...entries].reverse() : entries;
  return h(
    "ol",
    { class: "timeline" },
    shown.map((entry) =>
      h(
        "li",
        { class: KINDS[entry.kind] ?? "muted" },
        h("div", { class: "timeline-head" }, h("strong", {}, what(entry)), when(entry.at)),
        h("p", {}, entry.message, entry.object && entry.object.name !== self && PLACES[entry.object.kind] && [" ", h("span", { class: "under" }, "(", link(entry.object.name, PLACES[entry.object.kind], entry.object.name), ")")]),
      ),
    ),
  );
}

/** Conditions that need attention. */
export function problems(list) {
  return (list ?? []).map((one) =>
    h(
      "div",
      { class: `note ${one.type === "RolledBack" || one.type === "Ready" ? "bad" : "warn"}`, key: `problem-${one.type}` },
      h("p", {}, h("strong", {}, `${capital(words(one.type))}: ${words(one.reason)}`), " ", one.since && h("span", { class: "under" }, "since ", when(one.since))),
      h("p", {}, one.message),
    ),
  );
}
