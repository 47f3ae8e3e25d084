// All A/B tests.

import { h } from "../dom.js";
import { count, known, share } from "../format.js";
import { chip, choices, empty, from, heading, link, more, sub, table, versionLink, when } from "../parts.js";

const PHASES = [
  ["", "All"],
  ["Running", "Running"],
  ["Pending", "Pending"],
  ["Concluded", "Concluded"],
  ["Cancelled", "Cancelled"],
  ["Failed", "Failed"],
];

export const title = () => "A/B tests";

export const needs = ({ query }) => ({ page: { path: "/models/ab-test", query: { retriever: query.retriever, phase: query.phase, limit: query.limit } } });

export function render(data, route) {
  return [
    heading("A/B tests"),
    h("div", { class: "filters", key: "filters" }, choices("Phase", "phase", PHASES, route)),
    ...[from(data.page, (page) => [page.items.length ? rows(page.items) : nothing(route), more(page, route)])].flat(),
  ];
}

function winner(test) {
  if (!test.winner) return "–";
  return test.winner === "inconclusive" ? "inconclusive" : [`${test.winner}: `, versionLink(test.winner === "A" ? test.a : test.b)];
}

function nothing(route) {
  return empty(route.query.phase ? "No test is in this phase." : "No test was made yet. A test is an ABTest: kubectl explain abt.spec.");
}

function rows(items) {
  const samples = (test) => (known(test.samplesA) ? `${count(test.samplesA)} / ${count(test.samplesB ?? 0)}` : "–");
  const columns = [
    { head: "Test", lead: true, cell: (test) => [link(test.name, "tests", test.name), sub(test.retriever)] },
    { head: "Phase", cell: (test) => chip(test.phase) },
    { head: "A (serves)", cell: (test) => versionLink(test.a) },
    { head: "B (challenger)", cell: (test) => versionLink(test.b) },
    { head: "Share of B", num: true, cell: (test) => share(test.split) },
    { head: "Distinct queries A / B", num: true, cell: samples },
    { head: "Winner", cell: winner },
    { head: "Since", cell: (test) => when(test.since ?? test.createdAt, { brief: true }) },
  ];
  return h("div", { class: "panel flush", key: "table" }, table("A/B tests", columns, items, (test) => test.name));
}
