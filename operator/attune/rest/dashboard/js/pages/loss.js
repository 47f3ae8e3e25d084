// The loss of a run as a curve. The API tells its present value; the curve is what this tab has seen, kept until it is closed.

import { plot, ticks } from "../charts.js";
import { h } from "../dom.js";
import { clock, known, number } from "../format.js";
import { empty, panel } from "../parts.js";
import { session } from "../session.js";

const MOST = 400;
const curves = new Map();

const keyOf = (name) => `attune.curve.${session.namespace}/${name}`;

function curveOf(name) {
  const key = keyOf(name);
  if (!curves.has(key)) curves.set(key, stored(key) ?? { created: null, since: null, points: [] });
  return curves.get(key);
}

function stored(key) {
  try {
    return JSON.parse(sessionStorage.getItem(key));
  } catch {
    return null;
  }
}

/** Note a state of a run: {createdAt, progress}. */
export function noteLoss(name, run) {
  const { stage, epoch, step, loss } = run.progress ?? {};
  const x = epoch ?? step;
  if (stage !== "train" || !known(loss) || !known(x)) return;
  const curve = curveOf(name);
  if (run.createdAt && curve.created && curve.created !== run.createdAt) Object.assign(curve, { since: null, points: [] }); // another run of this name
  if (run.createdAt) curve.created = run.createdAt;
  curve.since ??= new Date().toISOString();
  curve.unit = known(epoch) ? "epoch" : "step";
  while (curve.points.length && curve.points.at(-1).x >= x) curve.points.pop(); // it went back to a checkpoint
  curve.points.push({ x, y: loss });
  if (curve.points.length > MOST) curve.points = curve.points.filter((_, place) => place % 2 === 0 || place === curve.points.length - 1);
  try {
    sessionStorage.setItem(keyOf(name), JSON.stringify(curve));
  } catch {
    // full or forbidden: it stays in memory
  }
}

export function lossCurve(name, run) {
  const { points, since, unit } = curveOf(name);
  const final = run.status.artifact?.training?.loss;
  const about = since && points.length > 1 ? h("span", { class: "under" }, `as seen here since ${clock(Date.parse(since))}`) : null;
  return panel("Loss", { key: "loss", side: about }, points.length > 1 ? drawn(points, unit) : empty(waiting(run)), known(final) && h("p", {}, `Mean of the last epoch: ${number(final)}`));
}

function waiting(run) {
  if (["Pending", "Preparing", "Suspended"].includes(run.phase)) return "It is drawn here while the run trains.";
  if (run.phase === "Training") return "It is drawn here from now on, point by point.";
  return run.status.artifact || run.phase === "Succeeded" ? "It was not watched here. The report of its version has the whole curve." : "Nothing of it was seen here.";
}

function drawn(points, unit) {
  const [low, high] = [Math.min(...points.map(({ y }) => y)), Math.max(...points.map(({ y }) => y))];
  const room = 0.1 * (high - low || high || 1);
  const y = [Math.max(0, low - room), high + room];
  const x = [points[0].x, points.at(-1).x];
  const [along, up] = [ticks(x[0], x[1], 5), ticks(y[0], y[1], 4)];
  return [
    plot({
      label: `Loss from ${number(points[0].y)} at ${unit} ${number(x[0], 2)} to ${number(points.at(-1).y)} at ${unit} ${number(x[1], 2)}`,
      x,
      y,
      xTicks: along.found.map((at) => ({ at, text: number(at, along.digits) })),
      yTicks: up.found.map((at) => ({ at, text: number(at, up.digits) })),
      line: points,
      read: (near) => `${unit} ${number(near.x, 2)}: ${number(near.y)}`,
    }),
    h("p", { class: "axis under" }, unit === "epoch" ? "Epochs" : "Steps"),
  ];
}
