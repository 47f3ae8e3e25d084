// What can be done here, each with what will happen before it does. Used by the pages.

import { act, get, newKey, one, Problem } from "./api.js";
import { followMove, followTest, told } from "./activity.js";
import { ask } from "./dialog.js";
import { h } from "./dom.js";
import { count, metricName, number, signed } from "./format.js";
import { facts } from "./parts.js";
import { address } from "./router.js";
import { session } from "./session.js";

const FORCED = new Set(["Quarantined", "OlderThanActive", "NewerThanActive"]);

/** Ask for a version, forward or back. `model` is what serves of its type ({active, split}). */
export async function move(name, model, { back }) {
  const [to, from] = await Promise.all([detail(name), detail(model?.active)]);
  const key = newKey();
  const sureKey = newKey();
  const verb = back ? "Roll back" : "Promote";
  ask({
    title: back ? `Roll back to ${name}?` : `Promote ${name}?`,
    verb,
    tone: back ? "danger" : "primary",
    body: [switching(model?.active, name), happens(to, from, model, back)],
    run: (sure) => act("POST", `${one("/models", name)}/${back ? "rollback" : "promote"}`, sure ? { force: true } : undefined, sure ? sureKey : key),
    again: (problem) => (FORCED.has(problem.reason) ? `${verb} all the same` : null),
    done: (moved) => followMove(moved, verb),
  });
}

/** What is known of a version; null where it cannot be read now: the question is asked all the same. */
async function detail(name) {
  if (!name) return null;
  try {
    return await get(one("/models", name));
  } catch (error) {
    if (error instanceof Problem) return null;
    throw error;
  }
}

const switching = (from, to) => h("p", { class: "switch" }, h("span", {}, from ?? "nothing"), h("span", { "aria-label": "to", role: "img" }, "→"), h("strong", {}, to));

function happens(to, from, model, back) {
  const said = [
    "Every serving replica loads it and verifies its files and its collection; then one write switches all queries to it, and no request fails.",
    indexes(to, from),
    back && model?.active && `${model.active} is marked as failed and is not promoted again unless somebody asks for it anew.`,
    !back && model?.active && `${model.active} stays loaded for the way back.`,
    model?.split && `The test ${model.split.test} of this type, which runs now, ends with it.`,
  ];
  return [h("ul", {}, said.filter(Boolean).map((line) => h("li", {}, line))), compared(to, from)];
}

function indexes(to, from) {
  const index = to?.status?.index;
  if (to?.type === "reranker") return "A reranker has no index of its own: the index stays as it is.";
  if (!index) return "The index switches with it; its collection is built first where it is missing.";
  const before = from?.status?.index?.collection;
  const change = before && before !== index.collection ? `${before} → ${index.collection}` : index.collection;
  return `The index switches with it: ${change} (${count(index.documents)} documents).`;
}

function compared(to, from) {
  const shared = Object.keys(to?.metrics ?? {}).filter((name) => from?.metrics?.[name] !== undefined);
  if (!shared.length) return null;
  return facts(
    shared.slice(0, 3).map((name) => {
      const [before, after] = [from.metrics[name], to.metrics[name]];
      return [metricName(name), `${number(before)} → ${number(after)} (${signed(after - before)})`];
    }),
  );
}

export function cancelTest(test) {
  ask({
    title: `Cancel the test ${test.name}?`,
    verb: "Cancel the test",
    tone: "danger",
    body: [
      switching(`${test.a ?? "A"} and ${test.b}`, test.a ?? "the active version"),
      h("ul", {}, h("li", {}, `All queries go to ${test.a ?? "the active version"} again, at once.`), h("li", {}, "What was measured stays. The test cannot be taken up again; another one starts from nothing.")),
    ],
    run: () => act("DELETE", one("/models/ab-test", test.name)),
    done: (answer) => followTest(test.name, answer.message),
  });
}

export function cancelRun(run) {
  ask({
    title: `Cancel the training ${run.name}?`,
    verb: "Delete the run",
    tone: "danger",
    body: h(
      "ul",
      {},
      h("li", {}, "What runs of it is stopped, and the TrainingJob is deleted, with its history."),
      h("li", {}, run.modelVersion ? `${run.modelVersion}, which it makes, fails.` : "It has made no version yet."),
      h("li", {}, "What serves does not change."),
    ),
    run: () => act("DELETE", one("/models/train", run.name)),
    done: () => told(`Cancel ${run.name}`, "The run was deleted.", "training"),
  });
}

/** After a training was created. */
export function started(run) {
  told(`Train ${run.name}`, "The run was created.", "training", run.name);
  location.hash = address(session.namespace, "training", run.name);
}

