// Requests to the REST API: with the token of whoever looks, errors as one thing. Used by `live`, `events`, `actions` and sign-in.
// Nothing is put into the browser's cache: what was answered is kept in memory, with its ETag, and gone with the tab.

import { session } from "./session.js";

const ROOT = "/api/rag";
const SECONDS = 15;
const answers = new Map();

/** What went wrong: a problem of the API (RFC 9457), or status 0 where nobody answered. */
export class Problem extends Error {
  constructor(status, reason, detail, more = {}) {
    super(detail);
    Object.assign(this, { status, reason, detail, ...more });
  }

  /** The same request may succeed later. */
  get passes() {
    return this.status === 0 || this.status === 502 || this.status === 503 || this.status === 504;
  }
}

function url(path, query) {
  const named = Object.entries({ ...query, namespace: session.namespace });
  const given = named.flatMap(([name, value]) => [value].flat().filter(Boolean).map((one) => [name, one]));
  return `${ROOT}${path}${given.length ? `?${new URLSearchParams(given)}` : ""}`;
}

/** The answer of a request as it came; raises Problem. */
export async function send(method, path, { query, body, headers, signal } = {}) {
  const token = session.token;
  const given = { authorization: `Bearer ${token}`, ...headers };
  if (body !== undefined) given["content-type"] = "application/json";
  let answer;
  try {
    answer = await fetch(url(path, query), {
      method,
      headers: given,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
      cache: "no-store",
      credentials: "omit",
      referrerPolicy: "no-referrer",
    });
  } catch (error) {
    if (signal?.aborted && signal.reason?.name !== "TimeoutError") throw error;
    const why = signal?.aborted ? `no answer after ${SECONDS} s` : "no connection";
    throw new Problem(0, "Unreachable", `Attune's API does not answer (${why}).`);
  }
  if (answer.ok || answer.status === 304) return answer;
  throw await problem(answer);
}

async function problem(answer) {
  const said = await answer.json().catch(() => ({}));
  const after = Number(answer.headers.get("retry-after"));
  const detail = said.detail ?? `The API answered ${answer.status} ${answer.statusText}.`;
  return new Problem(answer.status, said.reason ?? "HttpError", detail, {
    field: said.field,
    errors: said.errors ?? [],
    retryAfter: after > 0 ? after : null,
    requestId: said.requestId,
  });
}

/** JSON of a GET. The same object as before where nothing has changed, so `===` tells. */
export async function get(path, query) {
  const key = `${session.token} ${url(path, query)}`;
  const before = answers.get(key);
  const headers = before ? { "if-none-match": before.etag } : {};
  const answer = await send("GET", path, { query, headers, signal: AbortSignal.timeout(1000 * SECONDS) });
  if (answer.status === 304 && before) return before.value;
  const made = { value: await answer.json(), etag: answer.headers.get("etag") ?? "" };
  answers.set(key, made);
  if (answers.size > 60) answers.delete(answers.keys().next().value);
  return made.value;
}

/** JSON of a POST or DELETE. `key` makes a repeated POST do it once. */
export async function act(method, path, body, key) {
  const headers = key ? { "idempotency-key": key } : {};
  const answer = await send(method, path, { body, headers, signal: AbortSignal.timeout(1000 * SECONDS) });
  return answer.json();
}

/** The path of one object; names are data, too. */
export const one = (list, name, ...rest) => [list, name, ...rest].map((part, place) => (place ? encodeURIComponent(part) : part)).join("/");

/** For one intention of one person. randomUUID is missing where the page came over plain HTTP. */
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return `dashboard-${[...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

/** On signing out. */
export function forgetAnswers() {
  answers.clear();
}
