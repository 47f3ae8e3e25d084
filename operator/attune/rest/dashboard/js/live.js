// What a page shows, asked for again and again while somebody looks. Used by `main`.
// The last answer stays when a request fails, with its age: a dashboard that goes blank at 3 a.m. helps nobody.

import { get, Problem } from "./api.js";
import { session } from "./session.js";

const EVERY = 5000;
const LONGEST = 30_000;

/** Sources of one page: {name: {path, query, every}}. `changed()` is called when something to show has changed. */
export class Live {
  constructor(changed) {
    this.changed = changed;
    this.known = new Map();
    document.addEventListener("visibilitychange", () => !document.hidden && this.hurry());
    window.addEventListener("online", () => this.hurry());
  }

  /** Ask for these from now on: what is asked for already goes on, what is not wanted any more ends. */
  want(needs) {
    const kept = new Map();
    for (const [name, need] of Object.entries(needs)) {
      const key = JSON.stringify([session.namespace, need.path, need.query ?? {}]);
      const old = this.known.get(name);
      kept.set(name, old?.key === key ? old : { key, need, value: null, at: null, problem: null, failures: 0 });
    }
    const before = this.known;
    this.known = kept;
    for (const source of before.values()) if (!this.has(source)) clearTimeout(source.timer);
    for (const source of kept.values()) if (![...before.values()].includes(source)) this.ask(source);
  }

  has(source) {
    return [...this.known.values()].includes(source);
  }

  /** Ask for everything now. */
  hurry() {
    for (const source of this.known.values()) this.ask(source);
  }

  async ask(source) {
    clearTimeout(source.timer);
    const [value, detail] = [source.value, source.problem?.detail];
    try {
      source.value = await get(source.need.path, source.need.query);
      Object.assign(source, { at: Date.now(), problem: null, failures: 0 });
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      Object.assign(source, { problem: error, failures: source.failures + 1 });
    }
    if (!this.has(source)) return;
    this.again(source);
    if (value !== source.value || detail !== source.problem?.detail) this.changed();
  }

  /** Not while nobody looks; later and later while it fails. */
  again(source) {
    const late = Math.min(LONGEST, 1000 * 2 ** Math.min(source.failures, 5));
    const wait = source.problem ? Math.max(1000 * (source.problem.retryAfter ?? 0), late) : (source.need.every ?? EVERY);
    clearTimeout(source.timer);
    source.timer = setTimeout(() => (document.hidden ? this.again(source) : this.ask(source)), wait);
  }

  /** name → {value, at, problem}, as it is now. */
  get data() {
    return Object.fromEntries(this.known);
  }

  /** {problem, at} where answers cannot be got: why, and how old the oldest of what is shown is. */
  get away() {
    const failing = [...this.known.values()].filter((source) => source.problem?.passes);
    if (!failing.length) return null;
    const times = failing.map((source) => source.at).filter(Boolean);
    return { problem: failing[0].problem, at: times.length ? Math.min(...times) : null };
  }

  /** Whether the token is not accepted any more. */
  get refused() {
    return [...this.known.values()].map((source) => source.problem).find((problem) => problem?.status === 401) ?? null;
  }
}
