// All versions in a table, each with the interval of its change against what was active when it was measured.

import { interval, spanOf } from "../charts.js";
import { h } from "../dom.js";
import { count, known, metricName, METRIC_NAMES, number, signed } from "../format.js";
import { chip, choices, empty, from, heading, link, more, sub, table, when } from "../parts.js";
import { address } from "../router.js";
import { session } from "../session.js";

const STAGES = [
  ["", "All"],
  ["active", "Active"],
  ["staged", "Staged"],
  ["making", "In the making"],
  ["deprecated", "Deprecated"],
  ["failed", "Failed"],
];
const TYPES = [
  ["", "Both"],
  ["embedding", "Embedding"],
  ["reranker", "Reranker"],
];

export const title = () => "Versions";

export function needs({ query }) {
  const stage = query.stage === "making" ? ["training", "evaluating"] : query.stage;
  return {
    page: { path: "/models", query: { retriever: query.retriever, type: query.type, stage, limit: query.limit } },
    retrievers: { path: "/retrievers", query: { limit: "1000" }, every: 60_000 },
  };
}

export function render(data, route) {
  return [
    heading("Versions", { under: "Measured on held-out queries. The change is against the version that was active then, with its 95% interval: where that holds 0, nothing is proven." }),
    filters(data, route),
    ...[from(data.page, (page) => [page.items.length ? rows(page.items, route) : empty("No version fits."), more(page, route)])].flat(),
  ];
}

function filters(data, route) {
  const names = new Set([...(data.retrievers?.value?.items ?? []).map((one) => one.retriever), ...(data.page?.value?.items ?? []).map((one) => one.retriever)]);
  if (route.query.retriever) names.add(route.query.retriever);
  return h(
    "div",
    { class: "filters", key: "filters" },
    choices("Stage", "stage", STAGES, route),
    chosen("Type", "type", TYPES, route),
    names.size > 1 && chosen("Retriever", "retriever", [["", "All"], ...[...names].sort().map((name) => [name, name])], route),
    chosen("Change of", "metric", METRIC_NAMES.map((name) => [name === "ndcgAt10" ? "" : name, metricName(name)]), route),
  );
}

function chosen(text, name, options, route) {
  const go = (event) => (location.hash = address(session.namespace, route.place, null, { ...route.query, [name]: event.target.value }));
  const now = route.query[name] ?? "";
  return h("label", { class: "select" }, text, h("select", { onchange: go }, options.map(([value, said]) => h("option", { value, selected: value === now }, said))));
}

function rows(items, route) {
  const metric = METRIC_NAMES.includes(route.query.metric) ? route.query.metric : "ndcgAt10";
  const span = spanOf(items.map((version) => version.intervals?.[metric] ?? {}));
  const several = new Set(items.map((version) => version.retriever)).size > 1;
  const measured = (name) => ({ head: metricName(name), num: true, cell: (version) => number(version.metrics[name]) });
  const columns = [
    { head: "Version", lead: true, cell: (version) => [link(version.name, "versions", version.name), sub(several ? `${version.retriever}, ${version.type}` : version.type)] },
    { head: "Stage", cell: (version) => [chip(version.stage ?? "Pending"), version.retired && sub(version.retired === "Retired" ? "files deleted" : "being deleted")] },
    ...["ndcgAt10", "mrrAt10", "recallAt10"].map(measured),
    ...(["ndcgAt10", "mrrAt10", "recallAt10"].includes(metric) ? [] : [measured(metric)]),
    { head: `Change of ${metricName(metric)}, 95% interval`, wide: true, cell: (version) => changed(version, metric, span) },
    { head: "Queries", num: true, cell: (version) => (known(version.queries) ? count(version.queries) : "–") },
    { head: "Made by", cell: origin },
    { head: "Created", cell: (version) => when(version.createdAt, { brief: true }) },
  ];
  return h("div", { class: "panel flush", key: "table" }, table("Versions", columns, items, (version) => version.name));
}

/** From a run, or from outside. */
export function origin(version) {
  const { trainingJob, import: imported } = version.source;
  return trainingJob ? link(trainingJob, "training", trainingJob) : h("span", { class: "under", title: imported }, "import");
}

/** Better, worse or open, by the interval; never by the estimate alone. */
export const toneOfInterval = ({ low, high }) => (low > 0 ? "up" : high < 0 ? "down" : "open");

/** The interval, drawn and printed. */
export function changed(version, metric, span) {
  const found = version.intervals?.[metric];
  const [now, before] = [version.metrics[metric], version.baseline?.[metric]];
  const value = known(now) && known(before) ? now - before : null;
  if (!found) return known(value) ? signed(value) : "–";
  const text = `${signed(found.low)} to ${signed(found.high)}`;
  const tone = toneOfInterval(found);
  const label = `change ${known(value) ? signed(value) : "not known"}, 95% interval ${text}`;
  return h(
    "span",
    { class: "changed" },
    interval({ ...found, value, span, tone, label }),
    h("span", { class: "num" }, known(value) && h("strong", { class: tone }, signed(value)), sub(text)),
  );
}
