// Elements from data, and pages that follow their data without losing focus. Used by everything that is shown.
// Text goes in as text, always: nothing here or elsewhere parses HTML, so a name with a tag in it is shown as it is written.

const SVG = "http://www.w3.org/2000/svg";
const DRAWN = new Set(["svg", "g", "path", "line", "rect", "circle"]);
const HEARD = ["click", "change", "input", "submit", "keydown", "pointermove", "pointerleave"];

/** An element. `props`: attributes; `class`, `style` (an object), `onclick` and its like; null and false leave one out. */
export function h(tag, props, ...children) {
  const element = DRAWN.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element[name] = value;
    else if (name === "style") for (const [key, one] of Object.entries(value)) element.style.setProperty(key, one);
    else element.setAttribute(name === "key" ? "data-key" : name, value === true ? "" : String(value));
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) append(element, child);
    else element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

/** Make what is shown like `fresh`, keeping the elements that stay: with them focus, selection and scrolling. */
export function patch(shown, fresh) {
  const focused = document.activeElement;
  follow(shown, fresh);
  if (focused !== document.activeElement && focused?.isConnected) focused.focus({ preventScroll: true });
}

function follow(shown, fresh) {
  if (shown.nodeType !== Node.ELEMENT_NODE) {
    if (shown.nodeValue !== fresh.nodeValue) shown.nodeValue = fresh.nodeValue;
    return;
  }
  if (shown.hasAttribute("data-own")) return; // whoever made it changes it
  attributes(shown, fresh);
  for (const name of HEARD) if (shown[`on${name}`] !== fresh[`on${name}`]) shown[`on${name}`] = fresh[`on${name}`];
  if (shown.style.cssText !== fresh.style.cssText) shown.style.cssText = fresh.style.cssText;
  children(shown, fresh);
  if (shown.tagName === "SELECT") shown.value = fresh.value;
}

/** `open` belongs to whoever looks: a disclosure stays as it was left. */
function attributes(shown, fresh) {
  for (const { name } of [...shown.attributes]) {
    if (!fresh.hasAttribute(name) && name !== "open" && name !== "style") shown.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (name !== "open" && name !== "style" && shown.getAttribute(name) !== value) shown.setAttribute(name, value);
  }
}

const keyOf = (node) => (node?.nodeType === Node.ELEMENT_NODE ? node.getAttribute("data-key") : null);
const alike = (one, other) => one.nodeName === other.nodeName && keyOf(one) === keyOf(other);

/** Those with a key are found by it, wherever they stand; others by their place. */
function children(shown, fresh) {
  const keyed = new Map([...shown.childNodes].filter(keyOf).map((node) => [keyOf(node), node]));
  let at = shown.firstChild;
  for (const next of [...fresh.childNodes]) {
    const key = keyOf(next);
    const same = key ? keyed.get(key) : keyOf(at) ? null : at;
    if (same && alike(same, next)) {
      if (same === at) at = at.nextSibling;
      else shown.insertBefore(same, at);
      follow(same, next);
    } else if (at && !key && !keyOf(at)) {
      const after = at.nextSibling;
      at.replaceWith(next);
      at = after;
    } else {
      shown.insertBefore(next, at);
    }
  }
  while (at) {
    const after = at.nextSibling;
    at.remove();
    at = after;
  }
}
