// Drawings: intervals, and curves over time. Lines are SVG stretched to their box, words are HTML, so both are sharp at every width.
// A drawing has its content in words as a label, and stands beside a table or a printed number.

import { h } from "./dom.js";
import { known } from "./format.js";

const clamp = (value) => Math.max(0, Math.min(100, value));
const place = ([low, high], value) => clamp((100 * (value - low)) / (high - low || 1));

/** The span of all intervals, with 0 in it, so that rows of a table can be compared. */
export function spanOf(intervals) {
  const ends = intervals.flatMap(({ low, high }) => [low, high]).filter(known);
  const [low, high] = [Math.min(0, ...ends), Math.max(0, ...ends)];
  const room = 0.06 * (high - low || 1);
  return [low - room, high + room];
}

/** An interval with its estimate, and 0: what crosses 0 is open. `limit` is a second line, from which on it is harm. */
export function interval({ low, high, value, span, tone, label, limit = null }) {
  const at = (number) => place(span, number);
  const line = (name, x1, x2, y1, y2) => h("line", { class: name, x1, x2, y1, y2, "vector-effect": "non-scaling-stroke" });
  return h(
    "span",
    { class: `interval ${tone}`, role: "img", "aria-label": label },
    h(
      "svg",
      { viewBox: "0 0 100 16", preserveAspectRatio: "none", "aria-hidden": "true" },
      line("zero", at(0), at(0), 0, 16),
      known(limit) && line("limit", at(limit), at(limit), 0, 16),
      line("whisker", at(low), at(high), 8, 8),
      line("end", at(low), at(low), 5, 11),
      line("end", at(high), at(high), 5, 11),
      known(value) && line("dot", at(value), at(value) + 0.001, 8, 8),
    ),
  );
}

/** Round numbers between two, about `many`. */
export function ticks(low, high, many = 4) {
  const rough = (high - low) / many || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 2.5, 5, 10].find((one) => one * power >= rough) ?? 10);
  const first = Math.ceil(low / step);
  const found = [];
  for (let one = first; one * step <= high + 1e-9 * step; one += 1) found.push(Number((one * step).toPrecision(12)));
  return { found, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9) + (String(step / power).includes(".") ? 1 : 0)) };
}

/**
 * Lines and a band over an axis. `x`, `y`: [low, high]; `xTicks`, `yTicks`: [{at, text}]; `line`: [{x, y}]; `band`: [{x, low, high}];
 * `zero`: where a line of rest is; `read(point)`: the words of the point that the pointer is near.
 */
export function plot({ label, x, y, xTicks, yTicks, line, band = [], zero = null, tone = "info", read }) {
  const at = (point) => `${place(x, point.x).toFixed(2)} ${(100 - place(y, point.y)).toFixed(2)}`;
  const path = (points) => (points.length ? `M${points.map(at).join("L")}` : "");
  const around = [...band.map(({ x: when, high }) => ({ x: when, y: high })), ...[...band].reverse().map(({ x: when, low }) => ({ x: when, y: low }))];
  const last = line.at(-1);
  const stroke = { "vector-effect": "non-scaling-stroke", fill: "none" };
  const level = (value, name) => h("path", { class: name, d: `M0 ${100 - place(y, value)}H100`, ...stroke });
  return h(
    "div",
    { class: `plot ${tone}`, role: "img", "aria-label": label },
    h("div", { class: "plot-y", "aria-hidden": "true" }, yTicks.map((tick) => h("span", { style: { bottom: `${place(y, tick.at)}%` } }, tick.text))),
    h(
      "div",
      { class: "plot-area", onpointermove: read && ((event) => point(event, line, x, y, read)), onpointerleave: leave },
      h(
        "svg",
        { viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" },
        yTicks.map((tick) => level(tick.at, "rule")),
        known(zero) && level(zero, "zero"),
        band.length > 1 && h("path", { class: "band", d: `${path(around)}Z` }),
        h("path", { class: "line", d: path(line), ...stroke }),
        last && h("path", { class: "dot", d: `M${at(last)}h0.001`, ...stroke }),
      ),
      h("div", { class: "pointer", "data-own": true, hidden: true }),
    ),
    h("div", { class: "plot-x", "aria-hidden": "true" }, xTicks.map((tick) => h("span", { style: { left: `${place(x, tick.at)}%` } }, tick.text))),
  );
}

function point(event, line, x, y, read) {
  const area = event.currentTarget;
  const mark = area.querySelector(".pointer");
  const box = area.getBoundingClientRect();
  const wanted = x[0] + ((x[1] - x[0]) * (event.clientX - box.left)) / box.width;
  const near = line.reduce((best, one) => (Math.abs(one.x - wanted) < Math.abs(best.x - wanted) ? one : best), line[0]);
  if (!near) return;
  mark.hidden = false;
  mark.style.left = `${place(x, near.x)}%`;
  mark.replaceChildren(
    h("i", { style: { bottom: `${place(y, near.y)}%` } }),
    h("span", { class: place(x, near.x) > 60 ? "left" : "" }, read(near)),
  );
}

function leave(event) {
  event.currentTarget.querySelector(".pointer").hidden = true;
}
