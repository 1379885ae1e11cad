// The parts that every screen is made of.

import { h, icon, put, uid } from "./dom.js";
import { ApiError } from "./api.js";
import { t } from "./words.js";

// ---- saying something ----------------------------------------------------------------------

/** A short message at the edge; errors stay until they are closed. */
export function notify(text, kind = "success", detail = "") {
  let before; // where the focus was, to give it back
  const box = h(`div.notice.notice-${kind}`, kind === "danger" ? { role: "alert" } : {},
    icon({ success: "check-circle-fill", danger: "x-circle-fill", warning: "exclamation-triangle-fill", info: "info-circle-fill" }[kind]),
    h("div.flex-grow-1", {}, h("div", {}, text), detail && h("div.small.muted", {}, detail)),
    h("button.icon-button", { type: "button", "aria-label": t("Close"), onfocus: (event) => (before = placeOf(event.relatedTarget)), onclick: () => { box.remove(); if (before) giveBack(before); } }, icon("x-lg")));
  const place = document.getElementById("notices");
  const open = [...document.querySelectorAll("dialog[open]")].at(-1);
  if (open && !open.contains(place)) open.append(place); // outside of an open dialog nothing can be clicked
  place.append(box);
  if (kind !== "danger") setTimeout(() => box.remove(), 6000);
}

/** What stays until it is taken back: the function that is returned does that. */
export function warn(text, detail) {
  const box = h("div.notice.notice-warning", { role: "alert" }, icon("exclamation-triangle-fill"), h("div", {}, h("div", {}, text), h("div.small.muted", {}, detail)));
  document.getElementById("notices").append(box);
  return () => box.remove();
}

/** An error as a message: cause, and the next step. */
export function complain(error) {
  if (error?.name === "AbortError") return;
  if (!(error instanceof ApiError)) throw error;
  notify(error.message, "danger", error.remedy);
}

/** An error in place of what could not be shown, with a way to try again. */
export function failure(error, retry) {
  if (!(error instanceof ApiError)) throw error;
  return h("div.card.p-4", { role: "alert" },
    h("h2.h6", {}, icon("exclamation-triangle-fill"), " ", error.message),
    h("p.muted", {}, error.remedy),
    retry && h("div", {}, button(t("Try again"), retry, { icon: "arrow-clockwise" })));
}

// ---- small parts ---------------------------------------------------------------------------

/** A button; while its action runs it is busy, and an error is said. */
export function button(text, action, options = {}) {
  const box = h(`button.btn.btn-sm.btn-${options.kind ?? "outline-secondary"}`,
    { type: "button", title: options.title, disabled: options.disabled, "aria-label": options.label, class: options.class },
    options.icon && icon(options.icon), text && options.icon && " ", text);
  box.addEventListener("click", () => busy(box, action));
  return box;
}

/** Run an action while an element is marked as busy. */
export async function busy(element, action) {
  if (element.getAttribute("aria-busy") === "true") return undefined;
  element.setAttribute("aria-busy", "true");
  try {
    return await action(element);
  } catch (error) {
    complain(error);
    return undefined;
  } finally {
    element.removeAttribute("aria-busy");
  }
}

/** Copies a text; says so. */
export function copyButton(text, label = t("Copy")) {
  return button(label, async () => {
    await copy(typeof text === "function" ? text() : text);
    notify(t("Copied"));
  }, { icon: "clipboard" });
}

async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = h("textarea", { value: text, class: "visually-hidden" }); // plain http has no clipboard
  ([...document.querySelectorAll("dialog[open]")].at(-1) ?? document.body).append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
  return undefined;
}

/** Lines to copy. */
export function lines(text, title) {
  return h("figure.lines", {},
    h("figcaption", {}, h("span", {}, title ?? ""), copyButton(text)),
    h("pre", { tabindex: 0, "aria-label": title }, h("code", {}, text)));
}

/** A state: shape, colour and word. */
export function badge(kind, text, name) {
  return h(`span.state.state-${kind}`, {}, icon(name), h("span", {}, text));
}

/** An HTTP status: shape, colour and number. */
export const statusBadge = (one) => (one.status < 400 ? badge("ok", String(one.status), "check-circle-fill") : one.status === 429 ? badge("warn", "429", "hourglass-split") : badge("bad", String(one.status), "x-circle-fill"));

/** A headline with what can be done beside it. */
export function heading(title, ...actions) {
  return h("div.heading", {}, h("h1", { tabindex: -1 }, title), h("div.actions", {}, actions));
}

/** A box with a title. */
export function card(title, ...content) {
  const id = uid("c");
  return h("section.card", { "aria-labelledby": title ? id : undefined },
    title && h("h2.card-title", { id }, title), content);
}

/** What is shown where there is nothing. */
export function empty(title, text, ...actions) {
  return h("div.empty", {}, h("h2", {}, title), h("p.muted", {}, text), h("div.actions", {}, actions));
}

export const loading = () => h("div.loading", { role: "status" }, h("span.spinner"), t("Loading…"));

/** How much of something is used. */
export function bar(part, label, kind = "") {
  const width = Math.max(0, Math.min(100, part * 100));
  return h("div.bar", { role: "img", "aria-label": label, title: label },
    h(`div.bar-part${kind && "." + kind}`, { css: { width: `${width}%` } }));
}

// ---- fields --------------------------------------------------------------------------------

/** A labelled field. `kind`: text, password, number, select, textarea, checkbox. */
export function field(name, label, options = {}) {
  const id = uid();
  const { kind = "text", help, choices } = options;
  const control = controlOf(kind, id, name, choices, options);
  if (help) control.setAttribute("aria-describedby", `${id}h`);
  const note = help && h("div.form-text", { id: `${id}h` }, help);
  if (kind === "checkbox") {
    return h("div.form-check.mb-3", {}, control, h("label.form-check-label", { for: id }, label), note);
  }
  return h("div.mb-3", {}, h("label.form-label", { for: id }, label), control, note);
}

function controlOf(kind, id, name, choices, { value, required, placeholder, min, max, rows, autocomplete, step, onchange, oninput }) {
  const common = { id, name, required, placeholder, onchange, oninput };
  if (kind === "select") {
    return h("select.form-select", { ...common, value }, choices.map((one) => {
      const [key, text] = Array.isArray(one) ? one : [one, one];
      return h("option", { value: key, selected: String(key) === String(value ?? "") }, text);
    }));
  }
  if (kind === "textarea") return h("textarea.form-control", { ...common, value: value ?? "", rows: rows ?? 6, spellcheck: "false" });
  if (kind === "checkbox") return h("input.form-check-input", { ...common, type: "checkbox", checked: Boolean(value) });
  return h("input.form-control", { ...common, type: kind, value: value ?? "", min, max, step, autocomplete: autocomplete ?? "off" });
}

/** The values of a form's fields; blank ones are left out unless `keepBlank`. */
export function values(form, keepBlank = false) {
  const found = {};
  for (const one of form.elements) {
    if (!one.name) continue;
    if (one.type === "checkbox") found[one.name] = one.checked;
    else if (one.type === "number") { if (one.value !== "" || keepBlank) found[one.name] = one.value === "" ? null : Number(one.value); }
    else if (one.value !== "" || keepBlank) found[one.name] = one.value;
  }
  return found;
}

/** A form that submits by script; its error is shown in place. */
export function form(submitText, action, ...content) {
  const trouble = h("div.trouble", { role: "alert" });
  const submit = h("button.btn.btn-primary", { type: "submit" }, submitText);
  const box = h("form", { novalidate: false }, content, trouble, h("div.actions", {}, submit));
  box.addEventListener("submit", (event) => {
    event.preventDefault();
    put(trouble);
    busy(submit, async () => {
      try {
        await action(box);
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        put(trouble, h("strong", {}, error.message), " ", error.remedy);
      }
    });
  });
  return box;
}

// ---- dialogs -------------------------------------------------------------------------------

/** A dialog; `content(close)` gives what is in it. Resolves with what it was closed with. */
export function dialog(title, content, options = {}) {
  const id = uid("d");
  const box = h("dialog.dialog", { "aria-labelledby": id, class: options.class });
  return new Promise((resolve) => {
    let result;
    const close = (value) => { result = value; box.close(); };
    put(box,
      h("header", {}, h("h2", { id }, title),
        h("button.icon-button", { type: "button", "aria-label": t("Close"), onclick: () => close() }, icon("x-lg"))),
      h("div.dialog-body", {}, content(close)));
    box.addEventListener("close", () => { rescueNotices(box); box.remove(); options.onclose?.(); resolve(result); });
    let touched = Boolean(options.stay); // a click beside it closes it, unless that would lose what was typed
    let pressed = null; // where a click began: text that is marked may end beside the dialog
    box.addEventListener("input", () => (touched = true));
    box.addEventListener("pointerdown", (event) => (pressed = event.target));
    box.addEventListener("click", (event) => { if (event.target === box && pressed === box && !touched) close(); });
    const opener = placeOf(document.activeElement);
    box.addEventListener("close", () => setTimeout(() => giveBack(opener)));
    document.body.append(box);
    box.showModal();
    box.querySelector(".dialog-body :is(input, select, textarea):not(:disabled)")?.focus(); // rather than "Close"
  });
}

/** Where the focus is, in words that hold when a list is drawn anew meanwhile. */
const placeOf = (element) => ({ element, id: element?.id, row: element?.closest("[data-id]")?.dataset.id, label: element?.getAttribute?.("aria-label") || element?.textContent?.trim() });

/** The browser gives the focus back to what opened a dialog; if that was drawn anew, we do. */
function giveBack({ element, id, row, label }) {
  if (document.activeElement !== document.body && document.activeElement?.isConnected) return;
  if (element?.isConnected && element.checkVisibility()) return void element.focus();
  const all = [...(row ? document.querySelector(`[data-id="${CSS.escape(row)}"]`) ?? document : document).querySelectorAll("button, a[href], input, select")];
  const again = (id && document.getElementById(id)) || all.find((one) => (one.getAttribute("aria-label") || one.textContent.trim()) === label);
  (again ?? document.querySelector("main h1"))?.focus();
}

/** Draw something anew; what had the focus has it afterwards, if it is there again. */
export function keepFocus(draw) {
  const place = placeOf(document.activeElement);
  draw();
  giveBack(place);
}

/** Whether somebody is at work in an element, so that it must not be drawn anew. */
export function inUse(element) {
  const active = document.activeElement;
  return element.contains(active) && (active.matches("input:not([type=checkbox]), select, textarea, [role=menuitem]"));
}

function rescueNotices(box) {
  const place = document.getElementById("notices");
  if (box.contains(place)) document.body.append(place);
}

/** Ask before something is done; says what it will do. */
export function confirm(title, consequence, action, options = {}) {
  return dialog(title, (close) => {
    const check = options.type && h("input.form-control.mb-3", { id: uid(), "aria-label": t("Type {word} to go on", { word: options.type }), autocomplete: "off" });
    const go = button(action, () => close(true), { kind: options.kind ?? "danger" });
    if (check) {
      go.disabled = true;
      check.addEventListener("input", () => (go.disabled = check.value !== options.type));
    }
    const more = Array.isArray(consequence) ? consequence : [consequence];
    return [more.map((one) => h("p", {}, one)), check && h("p.small.muted", {}, t("Type {word} to go on", { word: options.type })), check,
      h("div.actions", {}, button(t("Cancel"), () => close(false)), go)];
  });
}

/** A menu behind a button: `[{text, action, icon, danger}]`; arrow keys work. */
export function menu(label, items, options = {}) {
  const list = h("div.menu-list", { role: "menu", hidden: true });
  const opener = h(`button.${options.icon === false ? "btn.btn-sm.btn-outline-secondary" : "icon-button"}`,
    { type: "button", "aria-haspopup": "menu", "aria-expanded": "false", "aria-label": options.icon === false ? undefined : label },
    options.icon === false ? label : icon(options.icon ?? "three-dots"));
  const box = h("div.menu", {}, opener, list);
  const show = (open) => {
    if (open) {
      put(list, items().map((one) => one && h(`button.menu-item${one.danger ? ".danger" : ""}`, {
        type: "button", role: "menuitem", tabindex: -1,
        onclick: () => { show(false); opener.focus(); busy(opener, one.action); },
      }, icon(one.icon ?? "chevron-right"), one.text)));
      place(list, opener);
    }
    list.hidden = !open;
    opener.setAttribute("aria-expanded", String(open));
    if (open) list.querySelector("button")?.focus();
  };
  opener.addEventListener("click", () => show(list.hidden));
  box.addEventListener("keydown", (event) => walk(event, list, () => { show(false); opener.focus(); }));
  box.addEventListener("focusout", (event) => { if (!box.contains(event.relatedTarget)) show(false); });
  return box;
}

function place(list, opener) {
  const at = opener.getBoundingClientRect();
  const up = at.bottom > window.innerHeight - 340;
  list.style.setProperty("right", `${Math.max(8, document.documentElement.clientWidth - at.right)}px`);
  list.style.setProperty("top", up ? "auto" : `${at.bottom + 4}px`);
  list.style.setProperty("bottom", up ? `${window.innerHeight - at.top + 4}px` : "auto");
}

function walk(event, list, close) {
  const all = [...list.querySelectorAll("button")];
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const edge = { Home: 0, End: -1 }[event.key];
  if (edge !== undefined && !list.hidden) { event.preventDefault(); all.at(edge).focus(); }
  if (event.key === "Escape" && !list.hidden) { event.stopPropagation(); close(); }
  if (!step || list.hidden) return;
  event.preventDefault();
  all[(all.indexOf(document.activeElement) + step + all.length) % all.length].focus();
}

/** Tabs: `[[name, text, build]]`; built when they are first shown. */
export function tabs(label, pages, first) {
  const body = h("div.tab-body", { role: "tabpanel", tabindex: 0, id: uid("t") });
  const list = h("div.tabs", { role: "tablist", "aria-label": label });
  const show = (name, focus) => {
    for (const one of list.children) {
      const on = one.dataset.name === name;
      one.setAttribute("aria-selected", String(on));
      one.tabIndex = on ? 0 : -1;
      if (on && focus) one.focus();
    }
    body.setAttribute("aria-labelledby", `${body.id}-${name}`);
    put(body, pages.find(([one]) => one === name)[2](body));
  };
  for (const [name, text] of pages) {
    list.append(h("button.tab", { type: "button", role: "tab", id: `${body.id}-${name}`, "data-name": name, "aria-controls": body.id, onclick: () => show(name) }, text));
  }
  list.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const at = pages.findIndex(([name]) => name === document.activeElement.dataset.name);
    show(pages[(at + step + pages.length) % pages.length][0], true);
  });
  show(first ?? pages[0][0]);
  return h("div", {}, list, body);
}

// ---- tables --------------------------------------------------------------------------------

/** A plain table: `columns` are `{title, cell(row), class}`. */
export function table(caption, columns, rows, options = {}) {
  return h("div.table-scroll", { tabindex: 0, role: "region", "aria-label": caption },
    h("table.grid", {}, h("caption.visually-hidden", {}, caption),
      h("thead", {}, h("tr", {}, columns.map((one) => h("th", { scope: "col", class: one.class }, one.title || h("span.visually-hidden", {}, one.label ?? t("Actions")))))),
      h("tbody", {}, rows.map((row) => h("tr", options.row?.(row), columns.map((one) => h("td", { class: one.class }, one.cell(row))))))));
}
