// In what two versions differ: configuration, data, index. Used by the page of a version; as `kubectl attune diff` has it.

import { h } from "../dom.js";
import { count, known, short } from "../format.js";
import { empty, failure, sub, table } from "../parts.js";

const AT_MOST = 40;

/** Nested fields as hardNegatives.perQuery. */
export function flat(value, prefix = "") {
  return Object.entries(value ?? {}).flatMap(([key, inner]) =>
    inner !== null && typeof inner === "object" && !Array.isArray(inner) ? flat(inner, `${prefix}${key}.`) : [[`${prefix}${key}`, inner]],
  );
}

/** [part, field, one's, other's] where they differ. */
export function differing(one, other) {
  const parts = { Configuration: config, Data: (version) => telling(version.status.dataset), Index: (version) => telling(version.status.index) };
  return Object.entries(parts).flatMap(([part, read]) => {
    const [left, right] = [new Map(read(one)), new Map(read(other))];
    const names = [...new Set([...left.keys(), ...right.keys()])];
    return names.filter((name) => JSON.stringify(left.get(name)) !== JSON.stringify(right.get(name))).map((name) => ({ part, name, left: left.get(name), right: right.get(name) }));
  });
}

/** Without what differs between any two versions and says nothing. */
const telling = (value) => flat(value).filter(([name]) => !["uri", "builtAt", "refreshedAt", "place"].includes(name));
const config = (version) => flat({ ...version.spec.config, baseModel: version.spec.baseModel });

/** A value as it is stored; a digest by its beginning. */
export function stored(value) {
  if (!known(value)) return "–";
  if (typeof value === "string") return h("code", { title: value }, short(value));
  return h("code", {}, Number.isInteger(value) && value >= 1000 ? count(value) : JSON.stringify(value));
}

export function differences(version, data) {
  const active = data.active?.value;
  if (!active) {
    if (data.active?.problem) return failure(data.active.problem);
    const serves = data.retriever?.value?.models?.[version.type]?.active;
    if (serves === version.name) return empty("It is the active version.");
    return empty(data.retriever?.value ? "No version of this type is active." : "Which version is active is not known here.");
  }
  const found = differing(active, version);
  if (!found.length) return empty(`Configuration, data and index are those of ${active.name}.`);
  const value = (side) => (row) => stored(row[side]);
  return h(
    "div",
    { class: "flush" },
    table(
      `Differences between ${active.name} and ${version.name}`,
      [
        { head: "Field", lead: true, cell: (row) => [row.name, sub(row.part)] },
        { head: `${active.name} (active)`, cell: value("left") },
        { head: version.name, cell: value("right") },
      ],
      found.slice(0, AT_MOST),
      (row) => `${row.part}.${row.name}`,
    ),
    found.length > AT_MOST && empty(`and ${found.length - AT_MOST} more: kubectl attune diff ${active.name} ${version.name}`),
  );
}
