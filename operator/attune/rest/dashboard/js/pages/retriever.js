// One Retriever: what serves of each type, what is on its way, what is wrong, how it came about.

import { h } from "../dom.js";
import { capital, count, words } from "../format.js";
import { button, chip, empty, facts, from, heading, hiddenParts, link, note, panel, reasons, table, versionLink, when } from "../parts.js";
import { forbidden } from "../session.js";
import { train } from "../train.js";
import { inOrder, problems, served, timeline, underWay } from "./shared.js";

export const title = ({ name }) => name;

export const needs = ({ name }) => ({
  view: { path: `/retrievers/${encodeURIComponent(name)}` },
  schedules: { path: "/schedules", query: { retriever: name }, every: 30_000 },
});

export function render(data, { name }) {
  const view = data.view?.value;
  const why = forbidden("train");
  return [
    heading(name, {
      under: view && [view.serving ?? "Nothing is said of its replicas.", " · ", link("All versions", "versions", null, { retriever: name })],
      actions: view ? [button("Start a training", { why, onclick: () => train([view], name) })] : [],
    }),
    view && reasons(why),
    ...[from(data.view, (known) => body(known, data))].flat(),
  ];
}

function body(view, data) {
  return [
    hiddenParts(view.hidden),
    problems(view.problems),
    panel("Serves now", { key: "serves" }, h("div", { class: "grid" }, Object.entries(view.models).map(([type, model]) => served(type, model)))),
    h("div", { class: "grid", key: "columns" }, onItsWay(view, data), past(view)),
    panel("Conditions", { key: "conditions" }, h("div", { class: "flush" }, conditions(view.conditions))),
  ];
}

function onItsWay(view, data) {
  const rows = [
    ...(view.promoting ?? []).map(candidate),
    ...inOrder(view.training).map(underWay),
    ...(view.tests ?? []).map(test),
  ];
  return panel(
    "On its way",
    { key: "way" },
    rows.length ? h("ul", { class: "ways" }, rows) : empty("Nothing is trained, tested or promoted now."),
    h("h3", {}, "Schedules"),
    from(data.schedules, (page) => (page.items.length ? page.items.map(schedule) : empty("No TrainingSchedule: it is trained when somebody asks for it."))),
  );
}

function candidate(one) {
  return h(
    "li",
    { class: "way", key: `candidate-${one.type}` },
    h("div", { class: "way-head" }, versionLink(one.version), chip(one.test ? "loading" : "promoting", "info"), h("span", { class: "under" }, one.type, ", asked for ", when(one.since))),
    one.message && h("p", { class: "under" }, one.message),
  );
}

function test(one) {
  const samples = one.samplesA !== null && one.samplesA !== undefined ? `${count(one.samplesA)} and ${count(one.samplesB ?? 0)} distinct queries` : null;
  return h(
    "li",
    { class: "way", key: `test-${one.name}` },
    h("div", { class: "way-head" }, link(one.name, "tests", one.name), chip(one.phase ?? "Pending"), h("span", { class: "under" }, "A/B test")),
    h("p", { class: "under" }, versionLink(one.a), " against ", versionLink(one.b), samples && `: ${samples}`, one.message && ` – ${one.message}`),
  );
}

function schedule({ name, spec, status }) {
  const least = spec.training?.minNewPairs ?? 500;
  return h(
    "div",
    { key: `schedule-${name}` },
    facts([
      ["Schedule", [h("code", {}, name), spec.suspend ? [" ", chip("Suspended")] : null]],
      ["Next training", status.nextTraining && [when(status.nextTraining), h("span", { class: "under" }, ` if at least ${count(least)} pairs are new`)]],
      ["Next data preparation", status.nextPreparation && when(status.nextPreparation)],
      ["New pairs so far", status.newPairs !== undefined && status.newPairs !== null ? `${count(status.newPairs)} of ${count(least)}` : null],
      ["Last training", status.lastTraining && [when(status.lastTraining), status.lastTrainingJob && [": ", link(status.lastTrainingJob, "training", status.lastTrainingJob)]]],
    ]),
  );
}

function past(view) {
  const kinds = { Promoted: "promotion", Imported: "promotion", RolledBack: "rollback" };
  const entries = (view.changes ?? []).map((one) => ({
    at: one.at,
    kind: kinds[one.action],
    what: one.action,
    message: [versionLink(one.version), one.previous && [" instead of ", versionLink(one.previous)], one.cause && `: ${one.cause}`],
  }));
  return panel(
    "What has served",
    { key: "past" },
    timeline(entries, { newest: true }),
    (view.quarantined ?? []).length > 0 && [
      h("h3", {}, "Taken back"),
      (view.quarantined ?? []).map((one) => note("bad", h("p", {}, versionLink(one.version), " ", when(one.at), `: ${one.cause}`), h("p", { class: "under" }, "It is not promoted again unless somebody asks for it anew."))),
    ],
  );
}

function conditions(list) {
  if (!list?.length) return empty("The operator has not looked at it yet. Does it run?");
  return table(
    "Conditions",
    [
      { head: "Condition", cell: (one) => capital(words(one.type)) },
      { head: "Status", cell: (one) => one.status },
      { head: "Reason", cell: (one) => capital(words(one.reason)) },
      { head: "Since", cell: (one) => when(one.lastTransitionTime, { brief: true }) },
      { head: "Message", cell: (one) => one.message, wide: true },
    ],
    list,
    (one) => one.type,
  );
}
