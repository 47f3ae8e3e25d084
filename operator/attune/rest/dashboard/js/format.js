// Numbers, times and names as people read them. Pure: `now` is an argument, so that tests can hold it still.

const MINUS = "\u2212";
const METRICS = {
  ndcgAt10: "nDCG@10",
  mrrAt10: "MRR@10",
  recallAt10: "Recall@10",
  contextPrecision: "Context precision",
  contextRecall: "Context recall",
  faithfulness: "Faithfulness",
  relevance: "Answer relevance",
};
export const METRIC_NAMES = Object.keys(METRICS);

export const known = (value) => value !== null && value !== undefined;
export const metricName = (name) => METRICS[name] ?? name;

/** 1,204 */
export function count(value) {
  return Math.round(value).toLocaleString("en-GB");
}

/** 0.702; more digits where fewer would say nothing. */
export function number(value, digits = 3) {
  if (!known(value)) return "–";
  const small = value !== 0 && Math.abs(value) < 0.5 * 10 ** -digits;
  const text = small ? Math.abs(value).toPrecision(2) : Math.abs(value).toFixed(digits);
  return value < 0 && Number(text) !== 0 ? MINUS + text : text;
}

/** +0.038, −0.010, 0.000 */
export function signed(value, digits = 3) {
  const text = number(value, digits);
  return value > 0 && Number(text) !== 0 ? `+${text}` : text;
}

/** 0.2 → 20% */
export function share(fraction) {
  return `${Number((100 * fraction).toFixed(1))}%`;
}

/** +5.4% of a number that is percent already. */
export function percent(value, digits = 1) {
  return known(value) ? `${signed(value, digits)}%` : "–";
}

/** p < 0.001 rather than p = 0.000 */
export function probability(value) {
  if (!known(value)) return "–";
  return value < 0.001 ? "< 0.001" : value.toFixed(value < 0.1 ? 3 : 2);
}

const UNITS = [
  ["d", 86400],
  ["h", 3600],
  ["min", 60],
  ["s", 1],
];

/** 5 min 40 s: two units, so that it is neither vague nor fussy. */
export function duration(seconds) {
  let rest = Math.max(0, Math.round(seconds));
  if (rest >= 3600) rest = 60 * Math.round(rest / 60);
  const first = UNITS.findIndex(([, size]) => rest >= size);
  if (first < 0) return "0 s";
  const [name, size] = UNITS[first];
  const whole = Math.floor(rest / size);
  const [next, part] = UNITS[first + 1] ?? [null, 1];
  const more = next ? Math.floor((rest - whole * size) / part) : 0;
  return more && !(name === "min" && whole >= 10) ? `${whole} ${name} ${more} ${next}` : `${whole} ${name}`;
}

const STEPS = [
  ["year", "y", 31_557_600, 1.95],
  ["month", "mo", 2_629_800, 1.95],
  ["day", "d", 86_400, 1.5],
  ["hour", "h", 3600, 0.95],
  ["minute", "min", 60, 0],
];

/** 8 minutes ago, in 3 days; `brief`: 8 min ago, in 3 d. `then` and `now` in milliseconds. */
export function relative(then, now, brief = false) {
  const seconds = Math.round((now - then) / 1000);
  const size = Math.abs(seconds);
  if (size < 45) return seconds >= -5 ? "just now" : "in a moment";
  const [unit, letter, length] = STEPS.find(([, , limit, from]) => size >= from * limit);
  const many = Math.max(1, Math.round(size / length));
  const text = brief ? `${many} ${letter}` : `${many} ${unit}${many === 1 ? "" : "s"}`;
  return seconds > 0 ? `${text} ago` : `in ${text}`;
}

/** 14:05 */
export const clock = (then) => new Date(then).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });

/** Digits that show an interval of this width, and no more. */
export const digitsFor = (low, high) => Math.max(1, Math.min(6, Math.ceil(-Math.log10(Math.abs(high - low) || 1)) + 2));

/** The exact time, for a title: in the reader's zone, with its name. */
export function exact(then) {
  return new Date(then).toLocaleString("en-GB", {
    weekday: "short",
    day: "numeric",
    month: "short",
    year: "numeric",
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
    timeZoneName: "short",
  });
}

/** WaitingForRun → waiting for run; OutOfMemory → out of memory */
export function words(camel) {
  return String(camel)
    .replace(/([a-z0-9])([A-Z])/g, "$1 $2")
    .toLowerCase();
}

export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** pvc://store/… of a digest: enough of it to tell two apart. */
export const short = (digest) => (/^sha256:/.test(digest ?? "") ? `${digest.slice(0, 19)}…` : digest);
