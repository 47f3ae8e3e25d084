// One version: everything that was measured of it, where it comes from, how it differs from what serves, and its past.

import { move } from "../actions.js";
import { interval, spanOf } from "../charts.js";
import { h } from "../dom.js";
import { capital, count, duration, known, metricName, METRIC_NAMES, number, percent, short, signed, words } from "../format.js";
import { button, chip, counts, empty, facts, from, heading, hiddenParts, link, note, panel, reasons, table, versionLink, when } from "../parts.js";
import { forbidden } from "../session.js";
import { differences } from "./differences.js";
import { change, timeline } from "./shared.js";
import { toneOfInterval } from "./versions.js";

export const title = ({ name }) => name;

export function needs({ name }, data) {
  const version = data.version?.value;
  const active = version && data.retriever?.value?.models?.[version.type]?.active;
  return {
    version: { path: `/models/${encodeURIComponent(name)}` },
    past: { path: `/models/${encodeURIComponent(name)}/timeline`, every: 15_000 },
    ...(version && { retriever: { path: `/retrievers/${encodeURIComponent(version.retriever)}` } }),
    ...(active && active !== name && { active: { path: `/models/${encodeURIComponent(active)}`, every: 30_000 } }),
  };
}

export function render(data, { name }) {
  const version = data.version?.value;
  const [does, why] = version ? way(version, data) : [null, null];
  return [
    heading(name, {
      chips: version ? [chip(version.stage ?? "Pending")] : [],
      under: version && [capital(version.type), " version ", count(version.version), " of ", link(version.retriever, "retrievers", version.retriever), version.promotedAt && [", last promoted ", when(version.promotedAt)]],
      actions: does ? [does] : [],
    }),
    reasons(why),
    ...[from(data.version, (known) => body(known, data))].flat(),
  ];
}

/** The button that fits, and why it is grey. */
function way(version, data) {
  const model = data.retriever?.value?.models?.[version.type];
  if (!model || model.active === version.name) return [null, null];
  const active = data.active?.value;
  const back = known(active?.version) && version.version < active.version;
  const unfit = version.retired
    ? "Its files are deleted; train it again."
    : ["training", "evaluating", undefined].includes(version.stage)
      ? "It is not finished."
      : version.stage === "failed" && !version.promotedAt
        ? "It failed, and cannot serve."
        : null;
  const why = forbidden(back ? "rollback" : "promote") ?? unfit;
  const text = back ? "Roll back to it" : "Promote";
  return [button(text, { why, tone: back ? "" : "primary", onclick: () => move(version.name, model, { back }) }), why];
}

function body(version, data) {
  const { status, spec } = version;
  return [
    version.notes && h("div", { key: "notes" }, note(version.stage === "failed" ? "bad" : "info", h("p", {}, version.notes))),
    asked(version),
    version.retired && h("div", { key: "retired" }, note("info", h("p", {}, `Its files are deleted: ${status.retirement?.cause ?? ""}`))),
    panel("Measured", { key: "measured", side: measuredOn(status) }, measured(version)),
    h("div", { class: "grid", key: "columns" }, panel("Its past", { key: "past" }, hiddenParts(data.past?.value?.hidden), from(data.past, (past) => timeline(past.entries, { self: version.name }))), h("div", { class: "stack" }, made(version), artifact(status, spec), report(status))),
    panel("Differences to the active version", { key: "differences" }, differences(version, data)),
  ];
}

function asked(version) {
  const promotion = version.promotion;
  const waits = version.requestID && version.requestID !== promotion?.handledRequestID;
  if (!waits && promotion?.result !== "Pending" && promotion?.result !== "Refused") return null;
  const tone = promotion?.result === "Refused" && !waits ? "warn" : "info";
  const text = waits && promotion?.result !== "Pending" ? "It is asked for; the operator has not answered yet." : `${promotion.result}: ${promotion.message ?? ""}`;
  return h("div", { key: "asked" }, note(tone, h("p", {}, h("strong", {}, "Promotion. "), text)));
}

function measuredOn(status) {
  const found = status.evaluationMetrics;
  if (!found) return null;
  const parts = [known(found.queries) && `${count(found.queries)} held-out queries`, known(found.documents) && `${count(found.documents)} documents`];
  return [h("span", { class: "under" }, parts.filter(Boolean).join(", ")), found.verdict && h("span", { class: `chip ${{ better: "good", worse: "bad" }[found.verdict] ?? "muted"}` }, capital(words(found.verdict)))];
}

function measured(version) {
  const found = version.status.evaluationMetrics;
  if (!found) return empty(version.stage === "training" || version.stage === "evaluating" ? "Not measured yet." : "Nothing was measured.");
  const names = METRIC_NAMES.filter((name) => known(found[name]));
  const span = spanOf(names.map((name) => found.intervals?.[name] ?? {}));
  const other = (key, head) => (found[key] ? [{ head, num: true, cell: (name) => number(found[key][name]) }] : []);
  const columns = [
    { head: "Metric", lead: true, cell: metricName },
    { head: version.name, num: true, cell: (name) => h("strong", {}, number(found[name])) },
    ...other("baseline", "Active then"),
    { head: "Difference, 95% interval", wide: true, cell: (name) => difference(found, name, span) },
    ...other("base", "Base model"),
    ...other("hybrid", "In hybrid search"),
    ...other("bm25", "BM25 alone"),
  ];
  return [
    h("div", { class: "flush" }, table("Metrics", columns, names, (name) => name)),
    facts([
      ["Change of nDCG@10", known(found.improvementPercent) && change(found.improvementPercent)],
      ["Score against evalThreshold", known(found.score) && [number(found.score), found.scoreMetric && h("span", { class: "under" }, ` (${found.scoreMetric})`)]],
      ["Hybrid search", known(found.hybrid?.ndcgAt10) && known(found.hybridBaseline?.ndcgAt10) && hybrid(found)],
      ["Forgetting", found.general && general(found.general)],
      ["Judge", found.judge && `${found.judge.model}: ${count(found.judge.queries)} queries, ${count(found.judge.calls)} requests`],
    ]),
    absent(version.status.conditions),
  ];
}

function difference(found, name, span) {
  const given = found.intervals?.[name];
  const before = found.baseline?.[name];
  const value = known(before) ? found[name] - before : null;
  if (!given) return known(value) ? signed(value) : "–";
  const text = `${signed(given.low)} to ${signed(given.high)}`;
  const tone = toneOfInterval(given);
  return h("span", { class: "changed" }, interval({ ...given, value, span, tone, label: `difference ${known(value) ? signed(value) : "not known"}, 95% interval ${text}` }), h("span", { class: "num" }, known(value) && h("strong", { class: tone }, signed(value)), h("span", { class: "under" }, ` ${text}`)));
}

function general({ name, ndcgAt10, base, interval: ends }) {
  return `nDCG@10 ${number(base)} (base model) → ${number(ndcgAt10)} on ${name}, 95% interval ${signed(ends.low)} to ${signed(ends.high)}`;
}

function hybrid({ hybrid: after, hybridBaseline: before, baseline, intervals }) {
  const ends = intervals?.hybridNdcgAt10;
  const sure = ends ? `, 95% interval ${signed(ends.low)} to ${signed(ends.high)}` : "";
  return `nDCG@10 ${number(before.ndcgAt10)} (${baseline ? "active then" : "base"}) → ${number(after.ndcgAt10)}${sure}`;
}

/** Conditions that say why a metric is absent. */
function absent(conditions) {
  const told = (conditions ?? []).filter((one) => one.status !== "True");
  return told.map((one) => note("info", h("p", {}, h("strong", {}, `${capital(words(one.type))}: `), one.message || words(one.reason))));
}

function made(version) {
  const { status, spec } = version;
  const training = status.trainingMetrics ?? {};
  const data = status.dataset;
  const { trainingJob, import: imported } = version.source;
  return panel(
    "Where it comes from",
    { key: "made" },
    facts([
      ["Made by", trainingJob ? link(trainingJob, "training", trainingJob) : [`import of `, h("code", {}, imported)]],
      ["Starts from", base(spec)],
      ["Trained for", known(training.trainingDurationSeconds) && [duration(training.trainingDurationSeconds), known(training.epochs) && `, ${number(training.epochs, 1)} epochs`]],
      ["Training loss", known(training.loss) && number(training.loss)],
      ["Validation nDCG@10", known(training.validationNdcgAt10) && number(training.validationNdcgAt10)],
      ["Share of the tuned weights", known(training.tunedShare) && percent(100 * training.tunedShare, 0).replace("+", "")],
      ["Training pairs", known(data?.examples) && count(data.examples)],
      ["Created", when(version.createdAt)],
    ]),
    data?.bySource && Object.keys(data.bySource).length > 0 && [h("h3", {}, "Pairs by source"), counts(data.bySource)],
  );
}

function base(spec) {
  const text = spec.baseModel ?? "";
  return text.startsWith("version:") ? versionLink(text.slice("version:".length)) : h("code", {}, text);
}

function artifact(status, spec) {
  const digest = status.artifact?.digest;
  return panel(
    "Files and index",
    { key: "artifact" },
    facts([
      ["Artifact", h("code", {}, status.artifact?.uri ?? spec.artifact?.uri)],
      ["Digest", digest && h("code", { title: digest }, short(digest))],
      ["Dimensions", known(status.artifact?.dimensions) && count(status.artifact.dimensions)],
      ["Collection", status.index && [h("code", {}, status.index.collection), ` with ${count(status.index.documents)} documents`]],
      ["Built", status.index?.builtAt && when(status.index.builtAt)],
    ]),
  );
}

function report(status) {
  if (!status.report) return null;
  return panel("Report", { key: "report" }, facts([["Report", h("code", {}, status.report.page)], ["Model card", h("code", {}, status.report.card)]]), h("p", { class: "under" }, "They lie in the artifact store; ", h("code", {}, "kubectl attune report"), " shows them."));
}
