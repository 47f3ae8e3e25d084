// Addresses: #/NAMESPACE/PLACE/NAME?filters. All state that is worth a link is in them; a token never is. Used by `main` and the pages.

/** {namespace, place, name, query} of a hash; namespace null where it names none. */
export function parse(hash) {
  const [path, search = ""] = hash.replace(/^#\/?/, "").split("?");
  const [namespace = "", place = "", ...rest] = path.split("/").map(decoded);
  return {
    namespace: namespace || null,
    place: place || "retrievers",
    name: rest.join("/") || null,
    query: Object.fromEntries(new URLSearchParams(search)),
  };
}

/** The hash of a place; filters that are empty are left out. */
export function address(namespace, place, name = null, query = {}) {
  const parts = [namespace, place, name].filter(Boolean).map(encodeURIComponent);
  const given = Object.entries(query).filter(([, value]) => value);
  const search = new URLSearchParams(given).toString();
  return `#/${parts.join("/")}${search ? `?${search}` : ""}`;
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
