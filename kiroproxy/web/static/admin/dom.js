// Building the page without a template language: elements only, never HTML from strings.

const SVG = "http://www.w3.org/2000/svg";
/** Where the page lies, as the browser sees it: a prefix of a reverse proxy is in it. */
export const root = new URL("..", import.meta.url).pathname.replace(/\/$/, "");

/** An element: `h("button.btn", {onclick, "aria-label": "…"}, "text", child, [more])`. */
export function h(tag, attributes, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name || "div");
  if (classes.length) element.className = classes.join(" ");
  return fill(element, attributes, children);
}

/** The same for SVG. */
export function s(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) set(element, name, value);
  append(element, children);
  return element;
}

function set(element, name, value) {
  if (value === undefined || value === null || value === false) return;
  if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
  else if (name === "class") element.classList.add(...value.split(" ").filter(Boolean));
  else if (name === "value" || name === "checked" || name === "indeterminate") element[name] = value;
  else if (name === "css") for (const [key, one] of Object.entries(value)) element.style.setProperty(key, one);
  else element.setAttribute(name, value === true ? "" : value);
}

function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    element.append(child);
  }
}

/** Replace what an element holds. */
export function put(element, ...children) {
  element.replaceChildren();
  append(element, children);
  return element;
}

/** An icon of the sprite; decoration unless it has a label. */
export function icon(name, label) {
  const known = label ? { role: "img", "aria-label": label } : { "aria-hidden": "true" };
  return s("svg", { class: "icon", ...known }, s("use", { href: `${root}/icons.svg#${name}` }));
}

let last = 0;
/** A fresh id, to tie labels to fields. */
export const uid = (prefix = "f") => `${prefix}${++last}`;

/** At most so often, but the last time for sure: many rows come in a second. */
export function seldom(action, everyMs = 150) {
  let timer = null;
  return () => (timer ??= setTimeout(() => { timer = null; action(); }, everyMs));
}

/** Wait until typing pauses. */
export function calm(action, pauseMs = 150) {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...given), pauseMs);
  };
}
