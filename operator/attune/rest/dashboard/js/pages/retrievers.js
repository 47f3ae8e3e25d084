// The first page: every Retriever with what serves, what is on its way, what is wrong.

import { h } from "../dom.js";
import { button, empty, from, heading, hiddenParts, link, more, panel, reasons } from "../parts.js";
import { forbidden } from "../session.js";
import { train } from "../train.js";
import { inOrder, problems, served, underWay } from "./shared.js";

export const title = () => "Retrievers";

export const needs = ({ query }) => ({ page: { path: "/retrievers", query: { limit: query.limit } } });

export function render(data, route) {
  const items = data.page?.value?.items ?? [];
  const why = forbidden("train");
  const start = button("Start a training", { why, onclick: () => train(items) });
  return [
    heading("Retrievers", { actions: items.length ? [start] : [] }),
    items.length ? reasons(why) : null,
    from(data.page, (page) => [
      hiddenParts(page.items[0]?.hidden),
      page.items.length ? page.items.map(one) : nothing(),
      more(page, route),
    ]),
  ].flat();
}

function one(view) {
  const training = inOrder(view.training);
  return panel(
    link(view.retriever, "retrievers", view.retriever),
    { key: `retriever-${view.retriever}`, tone: "titled", side: view.serving && h("span", { class: "under" }, view.serving) },
    problems(view.problems),
    h("div", { class: "grid" }, Object.entries(view.models).map(([type, model]) => served(type, model, { actions: false }))),
    training.length > 0 && h("ul", { class: "ways", "aria-label": "On its way" }, training.map(underWay)),
  );
}

function nothing() {
  return [
    empty("There is no Retriever in this namespace."),
    h("p", { class: "empty" }, "A Retriever names a base model, the articles and a store: ", h("code", {}, "kubectl explain rtr.spec"), "."),
  ];
}
