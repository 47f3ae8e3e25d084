// One run: how far it is, live; its loss, its data, its attempts, and in words why it failed.

import { cancelRun } from "../actions.js";
import { Problem } from "../api.js";
import { h } from "../dom.js";
import { capital, count, duration, known, metricName, number, words } from "../format.js";
import { button, chip, counts, empty, facts, from, heading, link, note, panel, progress, reasons, sub, table, tiles, versionLink, when } from "../parts.js";
import { forbidden } from "../session.js";
import { lossCurve } from "./loss.js";
import { flat, stored } from "./differences.js";

const STEPS = ["Preparing", "Training", "Evaluating", "Succeeded"];
const NAMES = ["Prepare the data", "Train", "Evaluate", "Done"];
const ENDED = ["Succeeded", "Failed"];
const VERDICTS = { better: "Better", notWorse: "Not worse", worse: "Worse" };

export const title = ({ name }) => name;

export const needs = ({ name }) => ({ run: { path: `/models/train/${encodeURIComponent(name)}`, every: 10_000 } });

/** The stream that this page follows while the run goes on. */
export function events({ name }, data) {
  const run = data.run?.value;
  return run && !ENDED.includes(run.phase) ? `/models/train/${encodeURIComponent(name)}/events` : null;
}

/** What is said aloud of a new state: phases, and each tenth of a stage. */
export function spoken(state, before) {
  if (state.deleted) return `${state.name} was deleted.`;
  if (state.phase !== before?.phase) return `${state.name}: ${state.phase}. ${state.message ?? ""}`;
  const [now, then] = [state, before].map((one) => Math.floor((one.progress?.percent ?? 0) / 10));
  if (now === then) return null;
  const left = state.progress?.estimatedRemainingSeconds;
  return `${state.phase}: ${10 * now}%${known(left) ? `, about ${duration(left)} left` : ""}`;
}

export function render(data, { name }, { state, stream, at }) {
  const newest = state && (stream === "live" || at > data.run?.at) ? state : {};
  const run = data.run?.value && { ...data.run.value, ...newest };
  const over = run && (ENDED.includes(run.phase) || run.deleted);
  const why = forbidden("deleteRun");
  return [
    heading(name, {
      chips: run ? [chip(run.phase)] : [],
      under: run && [capital(run.type), " model of ", link(run.retriever, "retrievers", run.retriever), ", created ", when(run.createdAt), run.schedule && ` by ${run.schedule}`],
      actions: run && !over ? [button("Cancel this run", { why, onclick: () => cancelRun(run) })] : [],
    }),
    run && !over ? reasons(why) : null,
    ...[from(data.run, () => body(run, name, stream))].flat(),
  ];
}

function body(run, name, stream) {
  const { status } = run;
  return [
    run.deleted && h("div", { key: "deleted" }, note("warn", h("p", {}, "The run was deleted; what is shown is its last state."))),
    run.phase === "Failed" && failed(run),
    panel("Progress", { key: "progress", side: ENDED.includes(run.phase) || run.deleted ? null : connection(stream) }, steps(run), how(run)),
    h("div", { class: "grid", key: "columns" }, h("div", { class: "stack" }, result(run), lossCurve(name, run)), dataset(run)),
    panel("Attempts", { key: "attempts" }, attempts(run)),
    panel("Configuration", { key: "configuration" }, facts(flat(withoutNames(run.spec)).map(([field, value]) => [field, stored(value)]), "columns")),
  ];
}

const withoutNames = ({ retriever: _, type: __, ...rest }) => rest;

function failed(run) {
  return h(
    "div",
    { key: "failed" },
    note("bad", h("p", {}, h("strong", {}, `It failed: ${words(run.reason ?? "for a reason that was not given")}.`)), run.message && h("p", {}, run.message)),
  );
}

function connection(stream) {
  if (stream instanceof Problem) return h("span", { class: "chip warn", title: stream.detail }, "Not followed");
  const [tone, text] = { live: ["good", "Live"], waiting: ["warn", "Connecting again"] }[stream] ?? ["muted", "Connecting"];
  return h("span", { class: `chip ${tone}` }, text);
}

function steps(run) {
  const at = STEPS.indexOf(run.phase);
  const stage = { prepare: 0, train: 1, evaluate: 2 }[run.progress?.stage];
  const reached = at >= 0 ? at : (stage ?? (run.status.artifact ? 2 : run.status.dataset ? 1 : 0));
  return h(
    "ol",
    { class: "steps", "aria-label": "Stages" },
    NAMES.map((text, place) => {
      const done = place < reached || run.phase === "Succeeded";
      const now = place === reached && run.phase !== "Succeeded";
      const failedHere = now && run.phase === "Failed";
      const state = failedHere ? "bad" : done ? "done" : now ? "now" : "";
      return h("li", { class: state, "aria-current": now ? "step" : null }, text, h("span", { class: "unseen" }, done ? " (done)" : failedHere ? " (failed)" : now ? " (now)" : ""));
    }),
  );
}

function how(run) {
  if (ENDED.includes(run.phase)) {
    const lasted = run.startedAt && run.completedAt ? (Date.parse(run.completedAt) - Date.parse(run.startedAt)) / 1000 : null;
    return facts([
      ["Outcome", run.phase === "Succeeded" && run.message],
      ["Took", known(lasted) && duration(lasted)],
      ["Version", run.modelVersion && versionLink(run.modelVersion)],
    ]);
  }
  const now = run.progress ?? {};
  return [
    h("div", { class: "progress-line" }, progress(now.percent, `${capital(now.stage ?? run.phase)} of ${run.name}`), h("span", { class: "big" }, known(now.percent) ? `${Math.floor(now.percent)}%` : "–")),
    tiles([
      ["Left in this stage", known(now.estimatedRemainingSeconds) && `about ${duration(now.estimatedRemainingSeconds)}`],
      ["Epoch", known(now.epoch) && number(now.epoch, 2)],
      ["Step", known(now.step) && count(now.step)],
      ["Loss", known(now.loss) && number(now.loss)],
      ["Pairs a second", known(now.examplesPerSecond) && number(now.examplesPerSecond, 0)],
      ["Makes", run.modelVersion && versionLink(run.modelVersion)],
    ]),
    run.message && h("p", { class: "under" }, run.message),
  ];
}

function dataset(run) {
  const data = run.status.dataset;
  if (!data) return panel("Data", { key: "data" }, empty(ENDED.includes(run.phase) ? "No data was prepared." : "The data is not prepared yet."));
  const dropped = data.droppedByReason ?? {};
  return panel(
    "Data",
    { key: "data", side: h("span", { class: "under" }, `${count(data.examples)} training pairs`) },
    facts([
      ["New since the last training", known(data.newPairs) && count(data.newPairs)],
      ["For validation", known(data.validationExamples) && count(data.validationExamples)],
      ["Held-out queries", known(data.heldOutQueries) && count(data.heldOutQueries)],
      ["Documents", known(data.documents) && count(data.documents)],
      ["Cost of synthetic questions", known(data.costUSD) && `${number(data.costUSD, 2)} US dollars`],
    ]),
    h("h3", {}, "Pairs by source"),
    Object.keys(data.bySource ?? {}).length ? counts(data.bySource) : empty("Not told."),
    h("h3", {}, "Left out, by reason"),
    Object.keys(dropped).length ? counts(dropped, "dim") : empty("Nothing was left out."),
  );
}

function result(run) {
  const measured = run.status.evaluation?.metrics;
  if (!measured) return null;
  const names = ["ndcgAt10", "mrrAt10", "recallAt10"].filter((name) => known(measured[name]));
  return panel(
    "Result",
    { key: "result" },
    tiles([
      ...names.map((name) => [metricName(name), [h("span", { class: "big" }, number(measured[name])), known(measured.baseline?.[name]) && h("span", { class: "under" }, `was ${number(measured.baseline[name])}`)]]),
      ["Score", known(measured.score) && [h("span", { class: "big" }, number(measured.score)), h("span", { class: "under" }, `of ${number(run.spec.evalThreshold ?? 0.85, 2)}`)]],
    ]),
    measured.verdict && h("p", { class: "under" }, `${VERDICTS[measured.verdict] ?? words(measured.verdict)} than what was active then, by the 95% interval. `, run.modelVersion && ["All of it: ", versionLink(run.modelVersion)]),
  );
}

function attempts(run) {
  const { attempts: list, failures } = run.status;
  if (!list?.length) return empty(ENDED.includes(run.phase) ? "No Job was started." : "No Job was started yet.");
  const lasted = (one) => (one.startedAt && one.finishedAt ? duration((Date.parse(one.finishedAt) - Date.parse(one.startedAt)) / 1000) : "–");
  const outcome = (one) => (one.finishedAt ? chip(one.reason ?? "Ended", one.exitCode === 0 ? "good" : "bad") : chip("Running", "info"));
  return [
    known(failures) && failures > 0 && h("p", { class: "under" }, `${count(failures)} of them failed.`),
    h(
      "div",
      { class: "flush" },
      table(
        "Attempts",
        [
          { head: "Stage", lead: true, cell: (one) => [capital(one.stage), sub(one.job)] },
          { head: "Outcome", cell: outcome },
          { head: "Exit code", num: true, cell: (one) => one.exitCode ?? "–" },
          { head: "Started", cell: (one) => when(one.startedAt, { brief: true }) },
          { head: "Took", num: true, cell: lasted },
          { head: "Message", wide: true, cell: (one) => one.message ?? "–" },
        ],
        [...list].reverse(),
        (one) => one.job,
      ),
    ),
  ];
}
