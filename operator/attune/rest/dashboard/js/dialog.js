// Questions before something is done, and forms. Used by `actions` and `main`.
// A native dialog keeps the focus inside, and gives it back; it begins on the safe choice.

import { Problem } from "./api.js";
import { h } from "./dom.js";

let numbered = 0;

/** A dialog that is shown now. `fill(close)` makes its content; what is closed is gone. */
export function open(title, fill, { tone = "" } = {}) {
  const id = `dialog-${(numbered += 1)}`;
  const before = document.activeElement;
  const shown = h("dialog", { class: `ask ${tone}`, "aria-labelledby": id });
  const close = () => shown.close();
  shown.append(h("h2", { id }, title), ...[fill(close)].flat());
  shown.addEventListener("close", () => {
    shown.remove();
    if (before?.isConnected) before.focus();
    else document.querySelector("h1")?.focus();
  });
  document.body.append(shown);
  shown.showModal();
  (shown.querySelector("[data-first]") ?? shown).focus();
  return shown;
}

/**
 * Ask, then do. `body`: what will happen; `run(sure)` does it, and raises Problem; `again(problem)`: the words of a second button
 * that means it all the same, or null; `done(answer)` after it.
 */
export function ask({ title, body, verb, tone = "primary", run, again = () => null, done = () => {} }) {
  open(
    title,
    (close) => {
      const said = h("div", { class: "said", role: "alert" });
      const yes = h("button", { type: "button", class: tone }, verb);
      const no = h("button", { type: "button", "data-first": true, onclick: close }, "Cancel");
      const row = h("div", { class: "buttons" }, no, yes);
      yes.onclick = () => attempt({ yes, said, row, run, again, sure: false, finish: (answer) => (close(), done(answer)) });
      return [h("div", { class: "ask-body" }, body), said, row];
    },
    { tone },
  );
}

/** What the API says for programs to send is a button here. */
const meantFor = (detail) => `${detail.split(/; if it is to serve all the same|: POST \/api/)[0]}.`;

async function attempt(act) {
  const { yes, said, row, run, again, sure, finish } = act;
  if (yes.getAttribute("aria-disabled") === "true") return;
  yes.setAttribute("aria-disabled", "true");
  said.replaceChildren();
  try {
    finish(await run(sure));
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    yes.removeAttribute("aria-disabled");
    said.replaceChildren(h("div", { class: `note ${error.passes ? "warn" : "bad"}` }, h("p", {}, again(error) ? meantFor(error.detail) : error.detail), error.passes && h("p", {}, "Trying again is safe: the same request is done once.")));
    const words = sure ? null : again(error);
    if (!words || row.querySelector(".sure")) return;
    yes.hidden = true;
    const meant = h("button", { type: "button", class: "danger sure" }, words);
    meant.onclick = () => attempt({ ...act, yes: meant, sure: true });
    row.append(meant);
    row.querySelector("[data-first]").focus();
  }
}
