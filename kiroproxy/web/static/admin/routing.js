// Groups, model names, and which credential would serve a request, and why not the others.

import { get, patch, post, remove } from "./api.js";
import { h, icon, put, root } from "./dom.js";
import { badge, bar, button, card, confirm, dialog, failure, field, form, heading, menu, notify, table, values } from "./ui.js";
import { nameOf } from "./credentials.js";
import { skippedTable, traceView } from "./trace.js";
import { countdown, number, t } from "./words.js";

export async function show(main, { query, signal }) {
  const [groups, models, credentials] = await Promise.all([get("/groups", { signal }), get("/models", { signal }), get("/credentials", { signal })]);
  const names = new Map(credentials.credentials.map((row) => [row.id, nameOf(row)]));
  const known = { groups: groups.groups, models: models.models, name: (id) => names.get(id) ?? `#${id}` };
  const list = h("div");
  const again = async () => drawGroups(list, (await get("/groups", { signal })).groups, again);
  drawGroups(list, groups.groups, again);
  put(main, heading(t("Groups & routing"), button(t("New group"), () => newGroup(again), { kind: "primary", icon: "plus-lg" })),
    h("div.two", {}, card(t("Which credential would serve this request?"), choice(known)), card(t("Why did a request go where it went?"), explain(known, query.get("trace") ?? ""))),
    card(t("Groups"), list), h("div.mt-3"), card(t("Model names"), modelNames(models)));
}

// ---- choice --------------------------------------------------------------------------------

const OUTCOMES = {
  served: (seen, name) => badge("ok", t("{name} would serve it", { name: name(seen.credentialId) }), "check-circle-fill"),
  queued: () => badge("warn", t("It would wait in the queue: all places are taken"), "hourglass-split"),
  resting: (seen) => badge("warn", t("It would be refused: all rest, the first is back in {time}", { time: countdown(seen.waitSec ?? 0) }), "hourglass-split"),
  refused: () => badge("bad", t("It would be refused"), "x-circle-fill"),
};

function choice(known) {
  const result = h("div.mt-3", { role: "status" });
  const models = h("datalist", { id: "known-models" }, known.models.map((one) => h("option", { value: one.id })));
  const model = field("model", t("Model"), { value: "claude-sonnet-4-5", required: true, help: t("As the client names it.") });
  model.querySelector("input").setAttribute("list", "known-models");
  return h("div", {}, models, form(t("Ask"), async (box) => {
    const seen = await post("/choice", values(box));
    put(result, h("p", {}, OUTCOMES[seen.outcome]?.(seen, known.name) ?? seen.outcome, " ", seen.pinned && h("span.chip", {}, t("the session is pinned to it")), " ", seen.probe && h("span.chip", {}, t("as a probe"))),
      h("p.muted.small", {}, t("Kiro's name for the model: {model}", { model: seen.kiroModel })),
      seen.next.length > 0 && [h("h3.h6.mt-3", {}, t("After it, should it fail")), h("ol.mb-0", {}, seen.next.slice(0, 12).map((id) => h("li", {}, h("a", { href: `${root}/credentials/${id}` }, known.name(id))))), seen.next.length > 12 && h("p.muted.small", {}, t("and {n} more", { n: seen.next.length - 12 }))],
      seen.skipped.length > 0 ? [h("h3.h6.mt-3", {}, t("Not these")), skippedTable(seen.skipped.slice(0, 200).map((one) => ({ id: one.credentialId, reason: one.reason })), known.name)] : h("p.muted.mt-3", {}, t("Nobody was passed over.")));
  }, model, field("group", t("Group"), { kind: "select", choices: [["default", t("none: /v1")], ...known.groups.filter((one) => one.name !== "default").map((one) => [one.name, `/${one.name}/v1`])] }),
  field("session", t("Session"), { help: t("Optional: a session's id, to see where it is pinned.") })), result);
}

function explain(known, first) {
  const result = h("div.mt-3", { role: "status" });
  const look = async (id) => put(result, traceView(await get(`/explain/${encodeURIComponent(id)}`), known.name));
  const box = form(t("Explain"), (given) => look(given.elements.trace.value.trim()),
    field("trace", t("Trace"), { value: first, required: true, help: t("The x-kiroproxy-trace header of its answer; Requests has them, too.") }));
  if (first) look(first).catch((error) => put(result, failure(error)));
  return h("div", {}, box, result);
}

// ---- groups --------------------------------------------------------------------------------

function drawGroups(place, groups, again) {
  put(place, table(t("Groups"), [
    { title: t("Name"), cell: (one) => h("div.who", {}, h("strong", {}, one.name), one.display_name && one.display_name !== one.name && h("small", {}, one.display_name)) },
    { title: t("Address"), cell: (one) => h("code", {}, one.name === "default" ? "/v1" : `/${one.name}/v1`) },
    { title: t("Credentials"), class: "num", cell: (one) => `${one.active_count} / ${one.token_count}` },
    { title: t("Requests a second"), class: "num", cell: (one) => (one.settings?.rate_limit_qps ? number(one.settings.rate_limit_qps) : t("no limit")) },
    { title: t("Budget"), cell: budgets },
    { title: "", cell: (one) => menu(t("Actions for {name}", { name: one.name }), () => [
      { text: t("Edit"), icon: "pencil", action: () => editGroup(one, again) },
      one.name !== "default" && { text: t("Rename"), icon: "pencil", action: () => renameGroup(one, again) },
      one.name !== "default" && { text: t("Delete"), icon: "trash", danger: true, action: () => deleteGroup(one, again) },
    ].filter(Boolean)) },
  ], groups));
}

/** Budgets as bars. */
export function budgets(one) {
  if (!one.standing?.length) return h("span.muted", {}, t("none"));
  return one.standing.map((budget) => {
    const limit = budget.hard || budget.soft;
    const part = limit ? budget.spent / limit : 0;
    const text = budget.kind === "day" ? t("{spent} of {limit} credits today", { spent: number(budget.spent), limit: number(limit) }) : t("{spent} of {limit} credits this month", { spent: number(budget.spent), limit: number(limit) });
    return h("div.mb-1", {}, bar(part, text, budget.spent_up ? "bad" : budget.warned ? "warn" : ""), h("span.muted.small", {}, text));
  });
}

function newGroup(again) {
  return dialog(t("New group"), (close) => form(t("Create"), async (box) => {
    const { name, display_name: shown, ...more } = values(box);
    await post("/groups", { name, ...(shown && { display_name: shown }), ...settingsOf(more) });
    close();
    notify(t("Group {name} is there: clients reach it at /{name}/v1.", { name }));
    await again();
  }, field("name", t("Name"), { required: true, help: t("Part of the address: small letters, digits, - and _.") }), groupFields({})));
}

const groupFields = (one) => [
  field("display_name", t("Shown as"), { value: one.display_name }),
  field("rate_limit_qps", t("Requests a second, at most"), { kind: "number", min: 0, step: "any", value: one.settings?.rate_limit_qps || "", help: t("Blank is no limit.") }),
  field("rate_limit_burst", t("At once, at most"), { kind: "number", min: 0, step: 1, value: one.settings?.rate_limit_burst || "" }),
  field("cooldown_sec", t("Rest after throttling, in seconds"), { kind: "number", min: 0, step: 1, value: one.settings?.cooldown_sec || "" }),
  budgetFields(one.budgets),
];

/** Fields of a budget; warn at soft, refuse at hard. */
export const budgetFields = (given = {}) => h("fieldset.mb-3", {}, h("legend.h6", {}, t("Budget in credits")),
  h("div.cards.mb-0", {}, [["day_soft", t("warn, by day")], ["day_hard", t("refuse, by day")], ["month_soft", t("warn, by month")], ["month_hard", t("refuse, by month")]].map(([name, text]) =>
    field(name, text, { kind: "number", min: 0, step: "any", value: given?.[name] || "" }))));

const BUDGET_NAMES = ["day_soft", "day_hard", "month_soft", "month_hard"];
const SETTING_NAMES = ["priority", "cooldown_sec", "rate_limit_qps", "rate_limit_burst"];

const pick = (given, names) => Object.fromEntries(names.filter((name) => name in given).map((name) => [name, given[name] ?? (name === "cooldown_sec" ? null : 0)]));

/** Form values sorted into `settings` and `budgets`. */
export function settingsOf(given) {
  const settings = pick(given, SETTING_NAMES);
  const found = pick(given, BUDGET_NAMES);
  return { ...(Object.keys(settings).length && { settings }), ...(Object.keys(found).length && { budgets: found }) };
}

function editGroup(one, again) {
  return dialog(t("Edit {name}", { name: one.name }), (close) => form(t("Save"), async (box) => {
    const { display_name: shown, ...more } = values(box, true);
    await patch(`/groups/${encodeURIComponent(one.name)}`, { display_name: shown, ...settingsOf(more) });
    close();
    notify(t("Group {name} is changed.", { name: one.name }));
    await again();
  }, groupFields(one)));
}

function renameGroup(one, again) {
  return dialog(t("Rename {name}", { name: one.name }), (close) => form(t("Rename"), async (box) => {
    await post(`/groups/${encodeURIComponent(one.name)}/rename`, values(box));
    close();
    await again();
  }, h("p", {}, t("Its address changes, too: clients that use /{name}/v1 must be told.", { name: one.name })), field("new_name", t("New name"), { required: true, value: one.name })));
}

async function deleteGroup(one, again) {
  const sure = await confirm(t("Delete group {name}", { name: one.name }), [t("Its {n} credentials go to the group default and serve everyone then.", { n: one.token_count }), t("Clients that use /{name}/v1 are refused from now on.", { name: one.name })], t("Delete"));
  if (!sure) return;
  await remove(`/groups/${encodeURIComponent(one.name)}`);
  notify(t("Group {name} is deleted.", { name: one.name }));
  await again();
}

// ---- models --------------------------------------------------------------------------------

function modelNames(models) {
  const result = h("div", { role: "status" });
  const mapping = Object.entries(models.mapping ?? {});
  return h("div", {},
    mapping.length ? table(t("Mapping"), [{ title: t("Name or glob"), cell: ([name]) => h("code", {}, name) }, { title: t("Kiro's model"), cell: ([, id]) => h("code", {}, id) }], mapping) : h("p.muted", {}, t("No mapping is set (modelMapping under Settings); names are understood by rule.")),
    form(t("Try"), async (box) => {
      const seen = await post("/models/try", values(box));
      put(result, seen.known ? h("p.mt-2", {}, icon("check-circle-fill"), " ", h("code", {}, seen.name), " → ", h("code", {}, seen.model.id), seen.thinking && ` · ${t("with thinking")}`)
        : h("p.mt-2.bad-text", {}, icon("x-circle-fill"), " ", seen.message ?? t("This name is refused.")));
    }, field("name", t("Try a name"), { required: true, placeholder: "gpt-4o" })), result,
    h("details.mt-3", {}, h("summary", {}, t("{n} models of Kiro", { n: models.models.length })),
      table(t("Models"), [{ title: t("Id"), cell: (one) => h("code", {}, one.id) }, { title: t("Name"), cell: (one) => one.name ?? "" }, { title: t("Window"), class: "num", cell: (one) => number(one.window) }, { title: t("Longest answer"), class: "num", cell: (one) => number(one.max_output) }], models.models)));
}
