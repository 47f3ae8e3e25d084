// What pages are put together from: panels, chips, tables, times. Used by all pages.

import { h } from "./dom.js";
import { capital, count, exact, known, relative, words } from "./format.js";
import { address } from "./router.js";
import { session } from "./session.js";

const TONES = {
  active: "good", staged: "accent", training: "info", evaluating: "info", deprecated: "muted", failed: "bad",
  Pending: "muted", Preparing: "info", Training: "info", Evaluating: "info", Running: "info", Suspended: "warn",
  Succeeded: "good", Concluded: "good", Failed: "bad", Cancelled: "muted",
};

export const toneOf = (state) => TONES[state] ?? "muted";

export function link(text, place, name, query) {
  return h("a", { class: name ? "named" : null, title: name?.length > 24 ? name : null, href: address(session.namespace, place, name, query) }, text);
}

/** Of a version; a dash where there is none. */
export const versionLink = (name) => (name ? link(name, "versions", name) : "–");

/** A time: relative, the exact one in its title. `main` keeps it true as time goes by. */
export function when(iso, { brief = false } = {}) {
  if (!iso) return "–";
  const then = Date.parse(iso);
  return h("time", { datetime: iso, title: exact(then), "data-brief": brief }, relative(then, Date.now(), brief));
}

/** The second line of a cell. */
export const sub = (...text) => h("span", { class: "sub" }, text);

/** Stage or phase: a dot in its colour, and the word. */
export function chip(state, tone = toneOf(state)) {
  return h("span", { class: `chip ${tone}` }, state ? capital(words(state)) : "Unknown");
}

let numbered = 0;
const ids = new Map();

/** The same id for the same key, so that what stays on the page keeps its references. */
export function idFor(key) {
  if (!ids.has(key)) ids.set(key, `p${(numbered += 1)}`);
  return ids.get(key);
}

/** A titled section. `side` stands at the right of the title. */
export function panel(title, { key = title, side = null, tone = "" } = {}, ...children) {
  const id = idFor(key);
  return h(
    "section",
    { class: `panel ${tone}`, key, "aria-labelledby": id },
    h("div", { class: "panel-head" }, h("h2", { id }, title), side && h("div", { class: "aside" }, side)),
    children,
  );
}

export function heading(title, { chips = [], under = null, actions = [] } = {}) {
  return h(
    "div",
    { class: "heading", key: "heading" },
    h("div", { class: "titles" }, h("div", { class: "title" }, h("h1", { tabindex: -1 }, title), chips), under && h("p", { class: "under" }, under)),
    actions.length ? h("div", { class: "actions" }, actions) : null,
  );
}

/** Something to know: good, warn, bad or info. */
export function note(tone, ...children) {
  return h("div", { class: `note ${tone}` }, children);
}

export const empty = (text) => h("p", { class: "empty" }, text);

/** Pairs of a name and what there is; those without a value are left out. */
export function facts(pairs, kind = "") {
  const shown = pairs.filter(([, value]) => known(value) && value !== "" && value !== false);
  return h("dl", { class: `facts ${kind}` }, shown.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

/** Numbers side by side, each under its name. */
export function tiles(pairs, kind = "") {
  const shown = pairs.filter(([, value]) => known(value) && value !== "" && value !== false);
  return h("dl", { class: `tiles ${kind}` }, shown.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

/** `columns`: {head, cell(row), num, wide}. Roles are said because narrow screens lay rows out as cards. */
export function table(caption, columns, rows, keyOf) {
  const head = columns.map(({ head: text, num }) => h("th", { scope: "col", role: "columnheader", class: num ? "num" : "" }, h("span", { class: "named" }, text)));
  const body = rows.map((row) =>
    h(
      "tr",
      { role: "row", key: keyOf(row) },
      columns.map((column, place) => tableCell(column, column.cell(row), place === 0)),
    ),
  );
  return h(
    "table",
    { role: "table" },
    h("caption", { class: "unseen" }, caption),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, head)),
    h("tbody", { role: "rowgroup" }, body),
  );
}

/** `none`: nothing is there, and a card leaves it out. */
function tableCell({ head, num, lead, wide }, shown, first) {
  const kinds = [num && "num", lead && "lead", wide && "wide", shown === "–" && "none"];
  const given = { class: kinds.filter(Boolean).join(" "), "data-label": head };
  return first ? h("th", { role: "rowheader", scope: "row", ...given }, shown) : h("td", { role: "cell", ...given }, shown);
}

/** How far something is; `text` is what a screen reader says of it. */
export function progress(percent, text) {
  const value = Math.max(0, Math.min(100, percent ?? 0));
  const given = known(percent) ? { "aria-valuenow": Math.round(value), "aria-valuemin": 0, "aria-valuemax": 100 } : {};
  return h(
    "div",
    { class: `progress${known(percent) ? "" : " unknown"}`, role: "progressbar", "aria-label": text, ...given },
    h("div", { style: { width: `${value}%` } }),
  );
}

/** A button that says why it cannot be used now: it stays reachable, so that the reason is, too. */
export function button(text, { onclick, why = null, tone = "", label = null } = {}) {
  return h(
    "button",
    {
      type: "button",
      class: tone,
      "aria-disabled": why ? "true" : null,
      "aria-label": label && why ? `${label}. ${why}` : label ?? (why ? `${text}. ${why}` : null),
      title: why,
      onclick: why ? null : onclick,
    },
    text,
  );
}

/** Why buttons are grey, in words under them: the same reason once. */
export function reasons(...why) {
  const told = [...new Set(why.filter(Boolean))];
  return told.length ? h("p", { class: "reasons", key: "reasons" }, told.join(" ")) : null;
}

/** What stands where data should be. */
export function failure(problem) {
  if (problem.status === 403) return note("warn", h("p", {}, h("strong", {}, "You may not see this. "), problem.detail));
  if (problem.status === 404) return note("info", h("p", {}, problem.detail));
  return note("bad", h("p", {}, problem.detail));
}

/** A source as a page gets it: what `shown` makes of its value, or why there is none. What is gone stays, and is said to be gone. */
export function from(source, shown) {
  const status = source?.problem?.status;
  if (source?.value && status !== 403) return [status === 404 && h("div", { key: "gone" }, failure(source.problem)), shown(source.value)];
  if (source?.problem) return failure(source.problem);
  return h("p", { class: "loading" }, "Loading …");
}

/** Parts of an answer that are not for this person. */
export function hiddenParts(hidden) {
  if (!hidden?.length) return null;
  const named = hidden.map((one) => `${one}.attune.dev`).join(", ");
  return h("div", { key: "hidden" }, note("warn", h("p", {}, h("strong", {}, "Some of it is hidden. "), `${session.me?.user ?? "You"} may not list ${named} in ${session.namespace}: what they say is left out here.`)));
}

/** Bars of counts, the largest first. */
export function counts(named, tone = "") {
  const rows = Object.entries(named ?? {}).sort(([, one], [, other]) => other - one);
  const most = Math.max(1, ...rows.map(([, many]) => many));
  return h(
    "dl",
    { class: `bars ${tone}` },
    rows.map(([name, many]) =>
      h(
        "div",
        {},
        h("dt", {}, capital(words(name))),
        h("dd", {}, h("span", { class: "bar", style: { width: `${(100 * many) / most}%` } }), h("span", { class: "num" }, count(many))),
      ),
    ),
  );
}

/** Whether there is more than is shown, and a way to it. */
export function more(page, route) {
  if (!page.nextCursor) return null;
  const limit = Number(route.query.limit || 100);
  if (limit >= 1000) return h("p", { class: "more" }, `The newest ${count(limit)} are shown; narrow the list to find older ones.`);
  const query = { ...route.query, limit: String(Math.min(1000, limit * 3)) };
  return h("p", { class: "more" }, link("Show more", route.place, null, query));
}

/** Links that choose one of a few: the chosen one is marked for eyes and ears. */
export function choices(label, name, options, route) {
  const chosen = route.query[name] ?? "";
  return h(
    "div",
    { class: "choices", role: "group", "aria-label": label },
    options.map(([value, text]) =>
      h("a", { href: address(session.namespace, route.place, route.name, { ...route.query, [name]: value, limit: null }), "aria-current": chosen === value ? "true" : null }, text),
    ),
  );
}
