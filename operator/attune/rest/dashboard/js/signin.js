// Signing in with a bearer token, and the places where that leads nowhere. Used by `main`.

import { get, Problem } from "./api.js";
import { h } from "./dom.js";
import { open } from "./dialog.js";
import { heading, note } from "./parts.js";
import { address } from "./router.js";
import { missingRights, remember, session } from "./session.js";

const RECENT = "attune.namespaces";

/** The form. `entered()` once the token is accepted; `why` is what ended the session before. */
export function signIn(entered, namespace, why = null) {
  const said = h("div", { role: "alert" }, why && note("warn", h("p", {}, why)));
  const token = h("input", { type: "password", id: "token", name: "token", autocomplete: "off", spellcheck: "false", required: true, "aria-describedby": "token-hint" });
  const place = h("input", { id: "wanted", name: "namespace", autocomplete: "off", spellcheck: "false", autocapitalize: "none", value: namespace ?? "", "aria-describedby": "wanted-hint" });
  const keep = h("input", { type: "checkbox", name: "keep" });
  const go = h("button", { type: "submit", class: "primary" }, "Sign in");
  const form = h(
    "form",
    { class: "form", novalidate: true },
    h("div", { class: "field" }, h("label", { for: "token" }, "Bearer token"), token, h("span", { class: "hint", id: "token-hint" }, "From your cluster, for instance ", h("code", {}, "kubectl create token NAME"), ". What it may do there, you may do here.")),
    h("div", { class: "field" }, h("label", { for: "wanted" }, "Namespace"), place, h("span", { class: "hint", id: "wanted-hint" }, "Left empty: the one that Attune's API is set to.")),
    h("label", { class: "check" }, keep, "Keep the token until this tab is closed"),
    said,
    h("div", { class: "buttons" }, go),
  );
  form.onsubmit = (event) => {
    event.preventDefault();
    enter({ token, place, keep, said, go, entered });
  };
  return h("div", { class: "signin" }, heading("Sign in", { under: "Attune asks the cluster who you are and what you may do. The token stays in this tab." }), h("section", { class: "panel", "aria-label": "Sign in" }, form));
}

async function enter({ token, place, keep, said, go, entered }) {
  const given = token.value.trim().replace(/^Bearer\s+/i, "");
  const refuse = (text, tone = "bad") => {
    said.replaceChildren(note(tone, h("p", {}, text)));
    token.setAttribute("aria-invalid", tone === "bad" ? "true" : "false");
    token.focus();
  };
  if (!given) return refuse("Paste a token first.", "warn");
  if (!/^[\x21-\x7e]+$/.test(given)) return refuse("That is no bearer token: it has characters that no token has. Was something else copied?");
  go.setAttribute("aria-disabled", "true");
  said.replaceChildren();
  session.token = given;
  session.namespace = place.value.trim() || null;
  try {
    const me = await get("/whoami");
    remember(given, keep.checked);
    entered(me);
  } catch (error) {
    session.token = null;
    if (!(error instanceof Problem)) throw error;
    refuse(error.status === 401 ? `The token was refused: ${error.detail}` : error.detail, error.passes ? "warn" : "bad");
  } finally {
    go.removeAttribute("aria-disabled");
  }
  return undefined;
}

/** For somebody who is known and may see nothing. */
export function nothingToSee(me, change) {
  const missing = missingRights(me);
  return h(
    "div",
    {},
    heading("Nothing to see here", { under: `${me.user} may list nothing of Attune in the namespace ${me.namespace}.` }),
    h(
      "section",
      { class: "panel", "aria-label": "Missing rights" },
      h("p", {}, "Missing, in the API group attune.dev:"),
      h("ul", { class: "missing" }, missing.map((one) => h("li", {}, h("code", {}, one)))),
      h("p", {}, "Ask whoever gives rights there. To look is enough with, for instance:"),
      h("pre", {}, `kubectl -n ${me.namespace} create rolebinding attune-viewer --clusterrole=attune-viewer ${subject(me.user)}`),
      h("div", { class: "buttons" }, h("button", { type: "button", class: "primary", onclick: change }, "Look at another namespace")),
    ),
  );
}

/** As `kubectl create rolebinding` names a user, or the account of a Pod. */
function subject(user) {
  const [, namespace, name] = /^system:serviceaccount:([^:]+):([^:]+)$/.exec(user) ?? [];
  return name ? `--serviceaccount=${namespace}:${name}` : `--user=${user}`;
}

// ---- the namespace

function recent() {
  try {
    return JSON.parse(sessionStorage.getItem(RECENT)) ?? [];
  } catch {
    return [];
  }
}

export function noteNamespace(name) {
  try {
    sessionStorage.setItem(RECENT, JSON.stringify([name, ...recent().filter((one) => one !== name)].slice(0, 8)));
  } catch {
    // forbidden: nothing is offered
  }
}

/** Another one, by name: who may list namespaces is not known here. */
export function changeNamespace(route) {
  open("Change the namespace", (close) => {
    const input = h("input", { id: "other", list: "recent", autocomplete: "off", spellcheck: "false", autocapitalize: "none", value: session.namespace ?? "", "data-first": true, "aria-describedby": "other-error" });
    const said = h("span", { class: "error", id: "other-error", role: "alert" });
    const form = h(
      "form",
      { class: "form", novalidate: true },
      h("div", { class: "field" }, h("label", { for: "other" }, "Namespace"), input, said),
      h("datalist", { id: "recent" }, recent().map((name) => h("option", { value: name }))),
      h("div", { class: "buttons" }, h("button", { type: "button", onclick: close }, "Cancel"), h("button", { type: "submit", class: "primary" }, "Go there")),
    );
    form.onsubmit = (event) => {
      event.preventDefault();
      const name = input.value.trim();
      if (!/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(name)) {
        said.textContent = "A namespace is named like team-a: small letters, digits and dashes.";
        return input.focus();
      }
      close();
      location.hash = address(name, route.name ? "retrievers" : route.place);
      return undefined;
    };
    queueMicrotask(() => input.select());
    return form;
  });
}

