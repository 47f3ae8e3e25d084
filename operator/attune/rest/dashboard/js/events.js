// Server-sent events with a token, which EventSource cannot send: the body of a fetch, read as it comes. Used by pages and `activity`.
// A stream that breaks off, when the API is restarted or a laptop slept, is taken up again with the id of the last event.

import { Problem, send } from "./api.js";

const SILENCE = 60_000; // heartbeats come every 15 s
const SHORTEST = 500;
const LONGEST = 15_000;

/** Follow a stream until `end`, or until `signal`. `heard(name, data)`; `state("live" | "waiting" | "ended" | Problem)`. */
export async function follow(path, { heard, state, signal }) {
  const known = { id: "", retry: 2000 };
  let failures = 0;
  while (!signal.aborted) {
    try {
      const ended = await once(path, known, { heard, signal, opened: () => ((failures = 0), state("live")) });
      if (ended) return state("ended");
    } catch (error) {
      if (signal.aborted) return undefined;
      if (error instanceof Problem && !error.passes) return state(error);
      known.retry = (error.retryAfter ?? 0) * 1000 || known.retry;
    }
    if (signal.aborted) return undefined;
    state("waiting");
    await pause(Math.min(LONGEST, Math.max(SHORTEST, known.retry * 0.5 * 1.6 ** failures)), signal);
    failures += 1;
  }
  return undefined;
}

/** One connection; true where the stream came to its end. */
async function once(path, known, { heard, signal, opened }) {
  const quiet = new AbortController();
  const headers = { accept: "text/event-stream", ...(known.id ? { "last-event-id": known.id } : {}) };
  let timer = setTimeout(() => quiet.abort(), SILENCE);
  try {
    const answer = await send("GET", path, { headers, signal: AbortSignal.any([signal, quiet.signal]) });
    if (answer.status === 204) return true;
    opened();
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    const parser = new Parser(known);
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return false;
      clearTimeout(timer);
      timer = setTimeout(() => quiet.abort(), SILENCE);
      for (const event of parser.take(value)) {
        if (event.name === "problem") throw new Problem(event.data.status, event.data.reason, "The right to watch this was taken away.");
        heard(event.name, event.data);
        if (event.name === "end") return true;
      }
    }
  } finally {
    clearTimeout(timer);
    quiet.abort();
  }
}

/** The form of https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream, for one kind of line break at a time. */
export class Parser {
  constructor(known = { id: "", retry: 0 }) {
    this.known = known;
    this.rest = "";
    this.clear();
  }

  clear() {
    this.name = "message";
    this.data = [];
  }

  /** Events that are whole with this piece of text; data is JSON. */
  *take(text) {
    const lines = (this.rest + text).split(/\r\n|\n/);
    this.rest = lines.pop();
    for (const line of lines) {
      if (line !== "") {
        this.field(line);
        continue;
      }
      if (this.data.length) yield { name: this.name, data: JSON.parse(this.data.join("\n")) };
      this.clear();
    }
  }

  field(line) {
    const colon = line.indexOf(":");
    if (colon === 0) return; // a heartbeat
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "event") this.name = value;
    else if (name === "data") this.data.push(value);
    else if (name === "id") this.known.id = value;
    else if (name === "retry" && /^\d+$/.test(value)) this.known.retry = Number(value);
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
