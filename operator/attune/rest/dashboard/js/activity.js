// What was asked for here, followed until it is done: a small list that stays while the person goes from page to page.
// It is a live region: each change is read out. Used by `actions`.

import { get, one, Problem } from "./api.js";
import { h, patch } from "./dom.js";
import { follow } from "./events.js";
import { address } from "./router.js";
import { session } from "./session.js";

const MOST = 4;
const EVERY = 2000;
const ENDED = new Set(["Concluded", "Cancelled", "Failed"]);
let items = [];

function draw() {
  const list = h("ul", {}, items.map((item) => h("li", { key: item.id, class: item.tone }, words(item), dismiss(item))));
  patch(document.getElementById("activity"), h("div", { id: "activity", role: "status", "aria-live": "polite", "aria-label": "What was asked for" }, list));
}

const words = (item) => h("div", {}, h("a", { href: item.href }, item.title), h("p", {}, item.text));

function dismiss(item) {
  const away = () => {
    item.stop.abort();
    items = items.filter((one) => one !== item);
    draw();
    document.querySelector("h1")?.focus();
  };
  return h("button", { type: "button", class: "quiet", "aria-label": `Dismiss: ${item.title}`, onclick: away }, "✕");
}

function add(title, text, place, name) {
  const item = { id: crypto.getRandomValues(new Uint32Array(1))[0].toString(36), title, text, tone: "info", stop: new AbortController(), href: address(session.namespace, place, name) };
  for (const old of items.slice(0, Math.max(0, items.length - MOST + 1))) old.stop.abort();
  items = [...items.slice(-(MOST - 1)), item];
  draw();
  return (said, tone = item.tone) => {
    if (said === item.text && tone === item.tone) return;
    Object.assign(item, { text: said, tone });
    draw();
  };
}

const last = () => items.at(-1);

/** Something that is done at once. */
export function told(title, text, place, name) {
  add(title, text, place, name)(text, "good");
}

/** A promotion or a way back: `moved` is the API's answer. */
export function followMove(moved, what) {
  const tell = add(`${what} ${moved.version}`, moved.message, "versions", moved.version);
  const { signal } = last().stop;
  const answered = (promotion) => promotion?.handledRequestID === moved.requestID && promotion.result !== "Pending";
  const tones = { Promoted: "good", RolledBack: "good", Refused: "bad" };
  const finish = ({ result, message }) => tell(`${result === "RolledBack" ? "Rolled back" : result}: ${message ?? "done"}`, tones[result] ?? "warn");
  let over = false;
  const heard = (_, data) => {
    if (data.deleted) tell("The version is gone.", "bad");
    else if (answered(data.promotion)) finish(data.promotion);
    else return void (data.message && data.requestID === moved.requestID && tell(data.message));
    over = true;
  };
  const state = async (now) => {
    if (now instanceof Problem) tell(`Asked for. What becomes of it cannot be followed: ${now.detail}`, "warn");
    else if (now === "ended" && !over) await settle(moved, answered, finish, tell);
  };
  follow(`${one("/models", moved.version)}/events`, { heard, state, signal });
}

/** The stream had nothing more to say: read it once. */
async function settle(moved, answered, finish, tell) {
  try {
    const version = await get(one("/models", moved.version));
    if (answered(version.promotion)) finish(version.promotion);
    else tell("Another request came in between; the page of the version tells.", "warn");
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    tell(error.detail, "warn");
  }
}

/** A test that was asked to end. */
export async function followTest(name, message) {
  const tell = add(`Cancel ${name}`, message, "tests", name);
  const { signal } = last().stop;
  while (!signal.aborted) {
    try {
      const test = await get(one("/models/ab-test", name));
      if (ENDED.has(test.phase)) return tell(`${test.phase}: ${test.message ?? test.reason ?? "all queries go to A"}`, "good");
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (!error.passes) return tell(error.detail, "warn");
    }
    await new Promise((resolve) => setTimeout(resolve, EVERY));
  }
  return undefined;
}

/** On signing out. */
export function forgetActivity() {
  for (const item of items) item.stop.abort();
  items = [];
  draw();
}
