// The form that starts a training: a few fields; what is left empty gets the defaults of the custom resource. Used by the pages.

import { act, newKey, Problem } from "./api.js";
import { started } from "./actions.js";
import { open } from "./dialog.js";
import { h } from "./dom.js";
import { capital } from "./format.js";

const FIELDS = [
  { path: "evalThreshold", text: "Score to reach", hint: "0 to 1; default 0.85", min: 0, max: 1, step: 0.01 },
  { path: "hyperparameters.epochs", text: "Epochs", hint: "default 3", min: 1, max: 100, step: 1 },
  { path: "dataSource.minExamples", text: "Fewest training pairs", hint: "default: the operator's, usually 1,000", min: 1, step: 1 },
];

/** `retrievers`: [{retriever, models}]. */
export function train(retrievers, chosen = null) {
  const key = newKey();
  open("Start a training", (close) => {
    const said = h("div", { class: "said", role: "alert" });
    const form = h("form", { novalidate: true, class: "form" });
    const tell = () => summary.replaceChildren(...outcome(values(form), retrievers));
    const summary = h("ul", { class: "happens" });
    const go = h("button", { type: "submit", class: "primary" }, "Start the training");
    form.append(
      ...inputs(retrievers, chosen),
      h("p", { class: "hint" }, "What will happen"),
      summary,
      said,
      h("div", { class: "buttons" }, h("button", { type: "button", onclick: close }, "Cancel"), go),
    );
    form.onsubmit = (event) => {
      event.preventDefault();
      submit(form, go, said, key, close);
    };
    form.oninput = tell;
    tell();
    return form;
  });
}

function inputs(retrievers, chosen) {
  const names = retrievers.map(({ retriever }) => retriever);
  return [
    field("retriever", "Retriever", h("select", { name: "retriever", id: "train-retriever", "data-first": true }, names.map((name) => h("option", { value: name, selected: name === chosen }, name)))),
    h(
      "fieldset",
      { class: "radios" },
      h("legend", {}, "Type"),
      ["embedding", "reranker"].map((type, place) => h("label", {}, h("input", { type: "radio", name: "type", value: type, checked: place === 0 }), capital(type))),
    ),
    field("name", "Name", h("input", { name: "name", id: "train-name", autocomplete: "off", spellcheck: "false", maxlength: 253 }), "optional; one is made from the Retriever's"),
    h("div", { class: "fields" }, FIELDS.map(({ path, text, hint, ...bounds }) => field(path, text, h("input", { type: "number", name: path, id: `train-${path}`, inputmode: "decimal", ...bounds }), hint))),
    h("label", { class: "check" }, h("input", { type: "checkbox", name: "autoPromote" }), "Promote it by itself when it passes"),
  ];
}

function field(path, text, input, hint = null) {
  input.setAttribute("aria-describedby", `hint-${path} error-${path}`);
  return h(
    "div",
    { class: "field", "data-field": path },
    h("label", { for: input.id }, text),
    input,
    h("span", { class: "hint", id: `hint-${path}` }, hint),
    h("span", { class: "error", id: `error-${path}` }),
  );
}

/** The body: empty fields are left out. A number is sent as it was typed; the API says what is wrong with it. */
function values(form) {
  const given = new FormData(form);
  const body = { retriever: given.get("retriever") ?? "", type: given.get("type") };
  if (given.get("name")?.trim()) body.name = given.get("name").trim();
  if (given.get("autoPromote")) body.autoPromote = true;
  for (const { path } of FIELDS) {
    const text = given.get(path)?.trim();
    if (!text) continue;
    const parts = path.split(".");
    const into = parts.slice(0, -1).reduce((object, part) => (object[part] ??= {}), body);
    into[parts.at(-1)] = Number(text);
  }
  return body;
}

function outcome(body, retrievers) {
  const active = retrievers.find(({ retriever }) => retriever === body.retriever)?.models?.[body.type]?.active;
  return [
    `A TrainingJob is created for ${body.retriever}: data is prepared, the ${body.type} model is trained and measured on documents that it was not trained on.`,
    active ? `It is staged only if it is not worse than ${active}, which serves.` : "Nothing of this type serves yet.",
    body.autoPromote ? `If it passes it takes over from ${active ?? "nothing"} without being asked again; the index switches with it.` : "What serves does not change: you promote it, or not.",
  ].map((line) => h("li", {}, line));
}

async function submit(form, go, said, key, close) {
  if (go.getAttribute("aria-disabled") === "true") return;
  go.setAttribute("aria-disabled", "true");
  mark(form, []);
  said.replaceChildren();
  const body = values(form);
  try {
    const run = await act("POST", "/models/train", body, `${key}-${fingerprint(body)}`);
    close();
    started(run);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    const errors = error.errors.length ? error.errors : error.field ? [{ field: error.field, message: error.detail }] : [];
    const elsewhere = mark(form, errors);
    const told = errors.length && !elsewhere.length ? "Some fields are not right; see there." : error.detail;
    said.replaceChildren(h("div", { class: `note ${error.passes ? "warn" : "bad"}` }, h("p", {}, told), error.passes && h("p", {}, "Trying again is safe: the same request is done once.")));
  } finally {
    go.removeAttribute("aria-disabled");
  }
}

/** A key stands for one body: what was changed after an error is another request. */
function fingerprint(body) {
  let sum = 2166136261;
  for (const char of JSON.stringify(body)) sum = Math.imul(sum ^ char.codePointAt(0), 16777619);
  return (sum >>> 0).toString(16);
}

/** Errors at their fields, focus on the first; those of no field here are returned. */
function mark(form, errors) {
  for (const box of form.querySelectorAll("[data-field]")) {
    const found = errors.find(({ field: path }) => path === box.dataset.field);
    box.querySelector(".error").textContent = found?.message ?? "";
    box.querySelector("input, select").setAttribute("aria-invalid", found ? "true" : "false");
  }
  form.querySelector('[aria-invalid="true"]')?.focus();
  return errors.filter(({ field: path }) => !form.querySelector(`[data-field="${CSS.escape(path)}"]`));
}
