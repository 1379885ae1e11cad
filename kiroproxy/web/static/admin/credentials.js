// The credentials: found, judged and changed, one or many at a time.

import { get, post, remove } from "./api.js";
import { addCredential, signInAgain } from "./add.js";
import { bulkBar } from "./bulk.js";
import { openDrawer, editDialog, testDialog } from "./drawer.js";
import { calm, h, icon, put, root } from "./dom.js";
import { kindText, reasonText, remedyOf } from "./phrases.js";
import { everySecond, repeat } from "./poll.js";
import { badge, bar, button, busy, complain, confirm, dialog, empty, field, form, heading, inUse, keepFocus, menu, notify, values } from "./ui.js";
import { ago, countdown, dateTime, day, number, t, tn } from "./words.js";
import { virtualRows } from "./virtual.js";

const SPREAD_MS = 1200; // until every worker knows of a change
const VIEW = "kiroproxy.credentialView";
const FILTERS = {
  "": () => true,
  active: (row) => row.state === "active",
  trouble: (row) => row.state !== "active",
  cooling: (row) => row.state === "cooling",
  disabled: (row) => row.state === "disabled",
};
const SORTS = {
  priority: (a, b) => a.priority - b.priority || a.id - b.id,
  name: (a, b) => nameOf(a).localeCompare(nameOf(b)),
  credits: (a, b) => (a.balance?.remaining ?? Infinity) - (b.balance?.remaining ?? Infinity),
  used: (a, b) => (b.lastUsedAt ?? "").localeCompare(a.lastUsedAt ?? ""),
  state: (a, b) => a.state.localeCompare(b.state),
};

const viewNow = () => localStorage.getItem(VIEW) || (matchMedia("(max-width: 800px)").matches ? "cards" : "table");

/** What a person calls a credential. */
export const nameOf = (row) => row.label || row.email || t("Credential {id}", { id: row.id });

/** What a credential's state is called, and looks like. */
export function stateBadge(row) {
  if (row.state === "active") return badge("ok", t("active"), "check-circle-fill");
  if (row.state === "cooling") return badge("warn", t("cooling"), "hourglass-split");
  const spent = row.disabledReason === "QuotaExceeded";
  const off = row.disabledReason === "Manual";
  return badge(off ? "off" : spent ? "warn" : "bad", spent ? t("exhausted") : t("disabled"), off ? "pause-fill" : spent ? "hourglass-split" : "x-circle-fill");
}

export async function show(main, { rest, query, signal }) {
  const seen = { all: [], byId: new Map(), chosen: new Set(), groups: ["default"], filter: FILTERS[query.get("state")] ? query.get("state") : "", text: "", group: "", sort: "priority" };
  const list = h("div", { "aria-live": "off" });
  const bulk = h("div");
  const count = h("span.muted.small", { role: "status" });
  const context = { seen, reload, signal, drawBulk, draw };
  let view = null;

  async function load() {
    const found = await get("/credentials", { signal });
    const now = Date.now();
    seen.all = found.credentials.map((row) => ({ ...row, backAt: row.coolingSec ? now + row.coolingSec * 1000 : null }));
    seen.byId = new Map(seen.all.map((row) => [row.id, row]));
    for (const id of seen.chosen) if (!seen.byId.has(id)) seen.chosen.delete(id);
    draw();
  }

  async function reload() {
    await load();
    const again = () => { if (!signal.aborted) load().catch(complain); };
    setTimeout(again, SPREAD_MS);
  }

  function visible() {
    const words = seen.text.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (row) => {
      const text = [row.id, row.label, row.email, row.group, row.provider, row.authMethod, row.reason, row.subscription, row.tokenPreview].join(" ").toLowerCase();
      return words.every((word) => text.includes(word));
    };
    return seen.all.filter((row) => FILTERS[seen.filter](row) && (!seen.group || row.group === seen.group) && fits(row)).sort(SORTS[seen.sort]);
  }

  function draw() {
    const rows = visible();
    put(count, rows.length === seen.all.length ? tn(rows.length, "{n} credential", "{n} credentials") : t("{n} of {all} credentials", { n: rows.length, all: seen.all.length }));
    const kind = !seen.all.length ? "none" : rows.length ? viewNow() : "nothing";
    if (view?.kind !== kind) {
      view = { kind, ...VIEWS[kind](context) };
      put(list, view.element);
    }
    view.update?.(rows);
    drawBulk();
  }

  function drawBulk() {
    bulkBar(bulk, seen, reload, signal);
  }

  put(main, heading(t("Credentials"), button(t("Add a credential"), () => addCredential(reload), { kind: "primary", icon: "plus-lg" })), toolbar(seen, draw, count), list, bulk);
  get("/groups", { signal }).then((found) => (seen.groups = found.groups.map((one) => one.name)), () => {});
  const loop = repeat(load, 5000, signal);
  everySecond(() => tick(main), signal);
  await loop;
  if (rest[0]) {
    const row = seen.byId.get(Number(rest[0]));
    if (row) openDrawer(row, context, () => { if (!signal.aborted) history.replaceState(null, "", `${root}/credentials`); });
    else notify(t("There is no credential {id}.", { id: rest[0] }), "warning", t("It may have been deleted."));
  }
}

function tick(main) {
  for (const one of main.querySelectorAll("[data-back]")) one.textContent = countdown((Number(one.dataset.back) - Date.now()) / 1000);
}

function toolbar(seen, draw, count) {
  const later = calm(draw);
  const select = (label, key, choices) => h("select.form-select.form-select-sm", { "aria-label": label, onchange: (event) => { seen[key] = event.target.value; draw(); } },
    choices.map(([value, text]) => h("option", { value, selected: value === seen[key] }, text)));
  const groups = select(t("Group"), "group", [["", t("All groups")]]);
  groups.addEventListener("focus", () => {
    put(groups, [["", t("All groups")], ...seen.groups.map((one) => [one, one])].map(([value, text]) => h("option", { value, selected: value === seen.group }, text)));
  });
  const views = h("button.icon-button.text", { type: "button", onclick: () => {
    localStorage.setItem(VIEW, viewNow() === "cards" ? "table" : "cards");
    label();
    draw();
  } });
  const label = () => put(views, icon(viewNow() === "cards" ? "list-ul" : "grid"), " ", viewNow() === "cards" ? t("As a table") : t("As cards"));
  label();
  return h("div.toolbar", {},
    h("input.form-control.form-control-sm.search", { type: "search", placeholder: t("Search name, group, reason…"), "aria-label": t("Search"), oninput: (event) => { seen.text = event.target.value; later(); } }),
    select(t("State"), "filter", [["", t("All states")], ["active", t("active")], ["trouble", t("not serving")], ["cooling", t("cooling")], ["disabled", t("disabled")]]),
    groups,
    select(t("Order"), "sort", [["priority", t("by priority")], ["name", t("by name")], ["credits", t("by credits left")], ["used", t("by last use")], ["state", t("by state")]]),
    views, count);
}

// ---- views ---------------------------------------------------------------------------------

const VIEWS = {
  none: ({ reload }) => ({ element: h("div.card", {}, empty(t("No credential yet"), t("Add the first one; it is verified before it is kept."), button(t("Add a credential"), () => addCredential(reload), { kind: "primary", icon: "plus-lg" }))) }),
  nothing: () => ({ element: h("div.card", {}, empty(t("None fits"), t("Change the search or the filters."))) }),
  table: tableView,
  cards: cardView,
};

function tableView(context) {
  const { seen } = context;
  const all = h("input.form-check-input", { type: "checkbox", "aria-label": t("Choose all that are shown") });
  const names = [t("Credential"), t("State"), t("Group"), t("Priority"), t("Credits"), t("In flight"), t("Last use"), t("Token ends")];
  const numeric = new Set([t("In flight")]);
  const head = h("tr", {}, h("th", { scope: "col" }, all), names.map((one) => h("th", { scope: "col", class: numeric.has(one) ? "num" : "" }, one)), h("th", { scope: "col" }, h("span.visually-hidden", {}, t("Actions"))));
  const rows = virtualRows({ caption: t("Credentials"), head, columns: names.length + 2, height: 58, id: (row) => row.id, sign: signature(seen), build: (row) => tableRow(row, context) });
  let shown = [];
  all.addEventListener("change", () => {
    for (const row of shown) seen.chosen[all.checked ? "add" : "delete"](row.id);
    rows.update(shown, true);
    context.drawBulk();
  });
  return { element: rows.element, update: (found) => {
    shown = found;
    const chosen = found.filter((row) => seen.chosen.has(row.id)).length;
    all.checked = chosen > 0 && chosen === found.length;
    all.indeterminate = chosen > 0 && chosen < found.length;
    rows.update(found);
  } };
}

const signature = (seen) => (row) => {
  const { coolingSec, backAt, ...others } = row;
  return JSON.stringify(others) + (backAt ? Math.round(backAt / 3000) : "") + seen.chosen.has(row.id) + Math.floor(Date.now() / 60000);
};

function tableRow(row, context) {
  return h("tr", { "data-id": row.id },
    h("td", {}, chooser(row, context)),
    h("td", {}, h("div.who", {}, h("button", { type: "button", title: nameOf(row), onclick: () => openDrawer(row, context) }, nameOf(row)), h("small", { title: about(row) }, about(row)))),
    h("td", {}, stateBadge(row), reasonLine(row)),
    h("td", {}, h("span.chip", {}, row.group)),
    h("td", {}, priority(row, context)),
    h("td", {}, credits(row)),
    h("td.num", {}, `${row.inFlight} / ${row.maxConcurrent}`),
    h("td.nowrap", { title: dateTime(row.lastUsedAt) }, ago(row.lastUsedAt)),
    h("td.nowrap", { title: dateTime(row.expiresAt) }, expiry(row)),
    h("td", {}, menu(t("Actions for {name}", { name: nameOf(row) }), () => actionsOf(context.seen.byId.get(row.id) ?? row, context))));
}

const about = (row) => [`#${row.id}`, row.isCurrent && t("next in line"), row.subscription, kindText(row)].filter(Boolean).join(" · ");

/** Why it does not serve, and until when. */
export function reasonLine(row) {
  const back = row.backAt && [t("back in"), " ", h("span", { "data-back": row.backAt }, countdown((row.backAt - Date.now()) / 1000))];
  const until = row.disabledUntil && t("until {day}", { day: day(row.disabledUntil) });
  if (row.state === "active") return null;
  const text = reasonText(row.disabledReason ?? row.reason);
  const when = back || until; // first, since the end of a long line is cut
  return h("span.reason", { title: `${reasonText(row.reason)} – ${remedyOf(row)}` }, when, when && text && ": ", text);
}

function chooser(row, { seen, drawBulk }) {
  return h("input.form-check-input", { type: "checkbox", checked: seen.chosen.has(row.id), "aria-label": t("Choose {name}", { name: nameOf(row) }), onchange: (event) => {
    seen.chosen[event.target.checked ? "add" : "delete"](row.id);
    drawBulk();
  } });
}

function priority(row, { seen, reload }) {
  const now = () => seen.byId.get(row.id)?.priority ?? row.priority; // the row stays while it has the focus
  const input = h("input.form-control.form-control-sm.priority", { type: "number", min: 0, step: 1, value: row.priority, "aria-label": t("Priority of {name}", { name: nameOf(row) }), title: t("The lowest goes first. Enter saves.") });
  const save = () => busy(input, async () => {
    if (input.value === "" || Number(input.value) === now()) { input.value = now(); return; }
    try {
      await post(`/credentials/${row.id}/priority`, { priority: Number(input.value) });
      notify(t("Priority of {name} is {n} now.", { name: nameOf(row), n: input.value }));
    } catch (error) {
      input.value = now();
      throw error;
    }
    await reload();
  });
  let saving = Promise.resolve();
  input.addEventListener("change", () => (saving = saving.then(save))); // none is lost while another is under way
  input.addEventListener("keydown", (event) => {
    if (event.key === "Escape") input.value = now();
  });
  return input;
}

/** Credits left as a bar. */
export function credits(row) {
  const known = row.balance;
  if (!known) return h("span.muted", {}, "–");
  const part = known.usageLimit ? known.remaining / known.usageLimit : 0;
  const text = t("{left} of {limit} credits left", { left: number(known.remaining), limit: number(known.usageLimit) });
  return h("div", { title: `${text}${known.nextResetAt ? `, ${t("renewed on {day}", { day: day(known.nextResetAt) })}` : ""}` },
    bar(part, text, part < 0.1 ? "bad" : part < 0.25 ? "warn" : ""), h("span.muted.small.nowrap", {}, `${number(known.remaining)} / ${number(known.usageLimit)}`));
}

const expiry = (row) => (row.authMethod === "api_key" ? t("never") : row.renewable ? ago(row.expiresAt) : h("span.warn-text", {}, icon("exclamation-triangle-fill"), " ", ago(row.expiresAt)));

function cardView(context) {
  const box = h("div.card-list");
  const kept = new Map();
  const sign = signature(context.seen);
  return { element: box, update: (rows) => {
    const some = rows.slice(0, 120);
    const cards = some.map((row) => {
      const mark = sign(row);
      const old = kept.get(row.id);
      if (old && (old.mark === mark || inUse(old.element))) return old.element;
      const element = credentialCard(row, context);
      kept.set(row.id, { mark, element });
      return element;
    });
    if (cards.length !== box.children.length || cards.some((one, index) => box.children[index] !== one)) keepFocus(() => box.replaceChildren(...cards));
    if (rows.length > some.length) box.append(h("p.muted", {}, t("The first {n} of {all}: search, or look at them as a table.", { n: some.length, all: rows.length })));
  } };
}

function credentialCard(row, context) {
  return h("article.card", { "aria-label": nameOf(row), "data-id": row.id },
    h("div.d-flex.gap-2", {}, chooser(row, context), h("div.who.flex-grow-1", {}, h("button", { type: "button", onclick: () => openDrawer(row, context) }, nameOf(row)), h("small", { title: about(row) }, about(row))),
      menu(t("Actions for {name}", { name: nameOf(row) }), () => actionsOf(row, context))),
    h("div.my-2", {}, stateBadge(row), reasonLine(row)), row.balance ? credits(row) : h("span.muted.small", {}, t("Balance not known yet")),
    h("dl.facts.small.mt-auto.pt-2", {},
      h("dt", {}, t("Group")), h("dd", {}, h("span.chip", {}, row.group)),
      h("dt", {}, t("Priority")), h("dd", {}, priority(row, context)),
      h("dt", {}, t("In flight")), h("dd", {}, `${row.inFlight} / ${row.maxConcurrent}`),
      h("dt", {}, t("Last use")), h("dd", { title: dateTime(row.lastUsedAt) }, ago(row.lastUsedAt)),
      h("dt", {}, t("Token ends")), h("dd", { title: dateTime(row.expiresAt) }, expiry(row))));
}

// ---- actions -------------------------------------------------------------------------------

/** What can be done with a credential, for a menu. */
export function actionsOf(row, context) {
  const path = `/credentials/${row.id}`;
  const name = nameOf(row);
  const then = async (message, detail) => { notify(message, "success", detail); await context.reload(); };
  return [
    row.disabled
      ? { text: t("Enable"), icon: "play-fill", action: async () => { await post(`${path}/disabled`, { disabled: false }); await then(t("{name} is enabled.", { name })); } }
      : { text: t("Disable"), icon: "pause-fill", action: async () => { await post(`${path}/disabled`, { disabled: true }); await then(t("{name} is disabled.", { name }), t("Running requests end as usual; new ones go elsewhere.")); } },
    { text: t("Test with a model"), icon: "lightning-charge-fill", action: () => testDialog(row) },
    { text: t("Ask for its balance"), icon: "speedometer2", action: async () => { const found = await get(`${path}/balance?fresh=true`); await then(t("{name}: {left} of {limit} credits left.", { name, left: number(found.remaining), limit: number(found.usageLimit) }), found.subscriptionTitle ?? ""); } },
    row.authMethod !== "api_key" && { text: t("Renew its token"), icon: "arrow-repeat", action: async () => { const found = await post(`${path}/refresh`); await then(t("The token of {name} is renewed.", { name }), t("It ends {when}.", { when: ago(found.expiresAt) })); } },
    { text: t("Forget failures (reset)"), icon: "arrow-clockwise", action: async () => { await post(`${path}/reset`); await then(t("{name} begins afresh.", { name })); } },
    { text: t("Edit"), icon: "pencil", action: () => editDialog(row, context) },
    { text: t("Move to a group"), icon: "diagram-3", action: () => moveDialog(row, context) },
    row.authMethod !== "api_key" && { text: t("Sign in again"), icon: "shield-check", action: () => signInAgain(row, () => context.reload().catch(complain)) },
    { text: t("Delete"), icon: "trash", danger: true, action: () => deleteDialog(row, context) },
  ].filter(Boolean);
}

function moveDialog(row, { seen, reload }) {
  return dialog(t("Move {name}", { name: nameOf(row) }), (close) => form(t("Move"), async (box) => {
    await post("/credentials/bulk", { action: "move", ids: [row.id], group: values(box).group });
    close();
    notify(t("{name} serves {group} now.", { name: nameOf(row), group: box.elements.group.value }));
    await reload();
  }, field("group", t("Group"), { kind: "select", choices: seen.groups, value: row.group, help: t("Conversations that it serves now go on with another credential.") })));
}

async function deleteDialog(row, { reload }) {
  const name = nameOf(row);
  if (!row.disabled) {
    const go = await confirm(t("Delete {name}", { name }), t("It is enabled, and only a disabled credential can be deleted: so nothing that serves vanishes by one slip. Disable it now? You can delete it then."), t("Disable it"), { kind: "primary" });
    if (!go) return;
    await post(`/credentials/${row.id}/disabled`, { disabled: true });
    await reload();
  }
  const sure = await confirm(t("Delete {name}", { name }), [t("Its tokens are taken out of the credentials file. Kiro's account itself stays; to use it again, sign in again."), t("This cannot be undone.")], t("Delete"));
  if (!sure) return;
  await remove(`/credentials/${row.id}`);
  notify(t("{name} is deleted.", { name }));
  await reload();
}
