// The dashboard's frame: who looks, where, what is shown, how old it is. Loaded by index.html.

import { forgetActivity } from "./activity.js";
import { forgetAnswers, get, Problem } from "./api.js";
import { h, patch } from "./dom.js";
import { follow } from "./events.js";
import { exact, relative } from "./format.js";
import { Live } from "./live.js";
import { heading, note } from "./parts.js";
import { address, parse } from "./router.js";
import { forget, recall, session } from "./session.js";
import { changeNamespace, noteNamespace, nothingToSee, signIn } from "./signin.js";
import { theme } from "./themes.js";
import * as retriever from "./pages/retriever.js";
import * as retrievers from "./pages/retrievers.js";
import * as run from "./pages/run.js";
import * as test from "./pages/test.js";
import * as tests from "./pages/tests.js";
import * as training from "./pages/training.js";
import * as version from "./pages/version.js";
import * as versions from "./pages/versions.js";
import { noteLoss } from "./pages/loss.js";

const PLACES = { retrievers: [retrievers, retriever], versions: [versions, version], training: [training, run], tests: [tests, test] };
const by = (id) => document.getElementById(id);
const live = new Live(() => show());
let route = parse(location.hash);
let stream = quiet();

// ---- where

const pageOf = ({ place, name }) => PLACES[place]?.[name ? 1 : 0] ?? null;
const pathOf = ({ namespace, place, name }) => `${namespace}/${place}/${name ?? ""}`;

/** The address has changed. */
function navigate() {
  const before = route;
  route = parse(location.hash);
  if (!session.token) return welcome();
  if (!route.namespace) return location.replace(address(session.namespace ?? session.me?.namespace, route.place, route.name));
  const moved = pathOf(before) !== pathOf(route);
  if (session.namespace !== route.namespace) {
    session.namespace = route.namespace;
    session.me = null;
    noteNamespace(route.namespace);
  }
  if (moved) silence();
  show({ moved });
  if (moved) arrive();
  return undefined;
}

/** Eyes, focus and screen readers go to the title of the new page. */
function arrive() {
  window.scrollTo(0, 0);
  by("main").querySelector("h1")?.focus({ preventScroll: true });
}

// ---- what

function show({ moved = false } = {}) {
  if (!session.token) return;
  if (live.refused) return leave(`You were signed out: ${live.refused.detail}`);
  live.want(needs());
  session.me = live.data.me?.value ?? null;
  listen();
  frame();
  const fresh = h("div", { class: "page" }, content());
  const shown = by("main").firstElementChild;
  if (moved || !shown?.classList.contains("page")) by("main").replaceChildren(fresh);
  else patch(shown, fresh);
}

function needs() {
  const page = pageOf(route);
  return { me: { path: "/whoami", every: 60_000 }, ...(page?.needs(route, live.data) ?? {}) };
}

function content() {
  const { me } = live.data;
  const page = pageOf(route);
  if (me?.value && !Object.values(me.value.rights).some((verbs) => verbs.includes("list") || verbs.includes("get"))) return nothingToSee(me.value, () => changeNamespace(route));
  if (me?.problem && !me.value && !me.problem.passes) return [heading("Not here"), note("warn", h("p", {}, me.problem.detail))];
  if (!page) return [heading("There is no such page"), h("p", {}, h("a", { href: address(session.namespace, "retrievers") }, "Back to the Retrievers"))];
  return page.render(live.data, route, stream);
}

function frame() {
  document.body.classList.remove("out");
  document.title = `${pageOf(route)?.title(route) ?? "Not found"} · Attune`;
  for (const item of by("nav").querySelectorAll("a")) {
    const { place } = item.dataset;
    item.href = address(session.namespace, place);
    if (place === route.place) item.setAttribute("aria-current", "page");
    else item.removeAttribute("aria-current");
  }
  by("namespace-name").textContent = session.namespace;
  by("namespace").setAttribute("aria-label", `Namespace: ${session.namespace}. Change it`);
  by("user").textContent = session.me?.user ?? "…";
  by("user-more").replaceChildren(h("p", {}, h("strong", {}, session.me?.user ?? "")), h("p", { class: "under" }, session.me?.groups?.join(", ") ?? ""), h("p", { class: "under" }, session.kept ? "The token is kept until this tab is closed." : "The token is in this tab's memory only."));
  away();
}

/** Says that answers cannot be got, and how old the ones are that are shown. Only the first is read out: ages change. */
function away() {
  const found = live.away;
  const fresh = h(
    "section",
    { id: "away", class: "note bad", "aria-label": "Connection", hidden: !found },
    h("p", { role: "status" }, found && h("strong", {}, `${found.problem.detail} `), found && "It is tried again."),
    found && h("p", { class: "under" }, found.at ? ["What you see is as it was ", h("time", { datetime: new Date(found.at).toISOString(), title: exact(found.at) }, relative(found.at, Date.now())), "."] : "There is nothing to show yet."),
  );
  patch(by("away"), fresh);
  by("status").className = `chip ${found ? "bad" : "good"}`;
  by("status").textContent = found ? "Away" : "Live";
}

// ---- events of a page

function quiet() {
  return { path: null, state: null, stream: null, stop: null };
}

function silence() {
  stream.stop?.abort();
  stream = quiet();
}

/** Follow the page's stream, if it has one that is not followed yet. */
function listen() {
  const page = pageOf(route);
  const path = page?.events?.(route, live.data) ?? null;
  if (live.data.run?.value) noteLoss(route.name, { ...live.data.run.value, ...(stream.state ?? {}) });
  if (path === stream.path || (path === null && stream.path)) return;
  const mine = { ...quiet(), path, stop: new AbortController() };
  stream = mine;
  const heard = (_, state) => {
    if (mine !== stream) return;
    const said = page.spoken?.(state, mine.state ?? live.data.run?.value);
    Object.assign(mine, { state, at: Date.now() });
    if (said) by("said").textContent = said;
    show();
  };
  const state = (now) => {
    mine.stream = now;
    if (now === "ended" || now instanceof Problem) live.hurry();
    if (mine === stream) show();
  };
  follow(path, { heard, state, signal: mine.stop.signal });
}

// ---- in and out

function welcome(why = null) {
  document.body.classList.add("out");
  document.title = "Sign in · Attune";
  by("main").replaceChildren(signIn(enter, route.namespace, why));
  by("token").focus();
}

function enter(me) {
  session.me = me;
  session.namespace = me.namespace;
  noteNamespace(me.namespace);
  const wanted = address(me.namespace, route.place, route.namespace === me.namespace ? route.name : null, route.namespace === me.namespace ? route.query : {});
  if (location.hash === wanted) {
    show({ moved: true });
    arrive();
  } else {
    location.hash = wanted;
  }
}

function leave(why = null) {
  silence();
  live.want({});
  forget();
  forgetAnswers();
  forgetActivity();
  away();
  welcome(why);
}

// ---- always

function tick() {
  for (const time of document.querySelectorAll("time[datetime]")) {
    const text = relative(Date.parse(time.dateTime), Date.now(), "brief" in time.dataset);
    if (time.textContent !== text) time.textContent = text;
  }
  if (session.token) away();
}

function start() {
  by("sign-out").onclick = () => (by("menu").hidePopover(), leave());
  by("namespace").onclick = () => changeNamespace(route);
  by("skip").onclick = (event) => (event.preventDefault(), by("main").querySelector("h1")?.focus());
  theme(by("theme"));
  window.addEventListener("hashchange", navigate);
  setInterval(tick, 5000);
  if (!recall()) return welcome();
  session.namespace = route.namespace;
  if (!route.namespace) return resume();
  return show({ moved: true });
}

/** A token that was kept, and no namespace in the address: the API's own. */
async function resume() {
  try {
    enter(await get("/whoami"));
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (!error.passes) return leave(error.detail);
    by("main").replaceChildren(h("div", { class: "page" }, heading("Attune"), note("bad", h("p", { role: "status" }, error.detail, " It is tried again."))));
    setTimeout(resume, 3000);
  }
  return undefined;
}

start();
