// All runs: what trains now, what came of the others.

import { h } from "../dom.js";
import { count, duration, known, number, words } from "../format.js";
import { button, chip, choices, empty, from, heading, link, more, progress, reasons, sub, table, versionLink, when } from "../parts.js";
import { forbidden } from "../session.js";
import { train } from "../train.js";

const PHASES = [
  ["", "All"],
  ["live", "Under way"],
  ["Succeeded", "Succeeded"],
  ["Failed", "Failed"],
];
const LIVE = ["Pending", "Preparing", "Training", "Evaluating", "Suspended"];

export const title = () => "Training";

export function needs({ query }) {
  const phase = query.phase === "live" ? LIVE : query.phase;
  return {
    page: { path: "/models/train", query: { retriever: query.retriever, phase, limit: query.limit } },
    retrievers: { path: "/retrievers", query: { limit: "1000" }, every: 60_000 },
  };
}

export function render(data, route) {
  const retrievers = data.retrievers?.value?.items ?? [];
  const why = forbidden("train") ?? (data.retrievers?.problem && !data.retrievers.value ? "The Retrievers cannot be listed." : null);
  return [
    heading("Training", { actions: [button("Start a training", { why: why ?? (retrievers.length ? null : "There is no Retriever to train for."), onclick: () => train(retrievers, route.query.retriever) })] }),
    reasons(why),
    h("div", { class: "filters", key: "filters" }, choices("Phase", "phase", PHASES, route)),
    ...[from(data.page, (page) => [page.items.length ? rows(page.items) : empty("No run fits."), more(page, route)])].flat(),
  ];
}

function rows(items) {
  const columns = [
    { head: "Run", lead: true, cell: (run) => [link(run.name, "training", run.name), sub(`${run.retriever}, ${run.type}`)] },
    { head: "Phase", cell: (run) => chip(run.phase) },
    { head: "Progress", wide: true, cell: how },
    { head: "Pairs", num: true, cell: (run) => (known(run.examples) ? count(run.examples) : "–") },
    { head: "Score", num: true, cell: (run) => number(run.score) },
    { head: "Version", cell: (run) => versionLink(run.modelVersion) },
    { head: "Created", cell: (run) => [when(run.createdAt, { brief: true }), run.schedule && sub(`by ${run.schedule}`)] },
    { head: "Took", num: true, cell: took },
  ];
  return h("div", { class: "panel flush", key: "table" }, table("Runs", columns, items, (run) => run.name));
}

function how(run) {
  const done = run.progress?.percent;
  if (LIVE.includes(run.phase) && known(done)) {
    const left = run.progress.estimatedRemainingSeconds;
    return h("span", { class: "how" }, progress(done, `${run.name}: ${run.progress.stage}`), h("span", { class: "num" }, `${Math.floor(done)}%`), known(left) && h("span", { class: "under" }, `${duration(left)} left`));
  }
  const said = run.message ?? (run.reason ? words(run.reason) : "");
  return h("span", { class: "under clamp", title: said }, said || "–");
}

function took(run) {
  if (!run.startedAt || !run.completedAt) return "–";
  return duration((Date.parse(run.completedAt) - Date.parse(run.startedAt)) / 1000);
}
