// One credential: everything about it, its history, editing and testing it.

import { get, patch, post } from "./api.js";
import { h, put } from "./dom.js";
import { happened, kindText, reasonText, remedyOf } from "./phrases.js";
import { button, copyButton, dialog, failure, field, form, loading, menu, notify, statusBadge, table, tabs, values } from "./ui.js";
import { ago, dateTime, milliseconds, number, t } from "./words.js";
import { actionsOf, credits, nameOf, reasonLine, stateBadge } from "./credentials.js";

/** The drawer of a credential. */
export function openDrawer(row, context, onclose) {
  return dialog(nameOf(row), (close) => {
    const body = h("div", {}, loading());
    const load = async () => {
      try {
        draw(body, { ...row, ...(await get(`/credentials/${row.id}`)) }, { ...context, reload: async () => { await context.reload(); if (body.isConnected) await load(); } }, close);
      } catch (error) {
        put(body, failure(error, load));
      }
    };
    load();
    return body;
  }, { class: "drawer", onclose });
}

function draw(body, row, context) {
  put(body,
    h("div.d-flex.justify-content-between.gap-2.mb-3", {}, h("div", {}, stateBadge(row), reasonLine(row), row.state !== "active" && h("p.small.mb-0", {}, remedyOf(row))),
      menu(t("Actions"), () => actionsOf(row, context), { icon: false })),
    row.balance && h("div.mb-3", {}, credits(row)),
    tabs(t("About this credential"), [
      ["facts", t("Facts"), () => facts(row)],
      ["history", t("History"), () => history(row, "changes")],
      ["requests", t("Requests"), () => history(row, "requests")],
    ]));
}

function facts(row) {
  const { details = {} } = row;
  const shown = [
    [t("Number"), row.id], [t("Account"), row.email], [t("Label"), row.label], [t("Kind"), kindText(row)],
    [t("Subscription"), row.subscription], [t("Group"), row.group], [t("Priority"), row.priority], [t("In flight"), `${row.inFlight} / ${row.maxConcurrent ?? t("default")}`],
    [t("Requests"), t("{n}, of which {good} went well", { n: number(row.requestCount), good: number(row.successCount) })], [t("Failures in a row"), row.failureCount],
    [t("Last use"), whenText(row.lastUsedAt)], [t("Token ends"), row.authMethod === "api_key" ? t("never") : whenText(row.expiresAt)],
    [t("Token renewed"), details.refreshedAt && ago(details.refreshedAt)], [t("Can be renewed"), row.renewable ? t("yes") : t("no")], [t("Token"), /[^.…]/.test(row.tokenPreview ?? "") ? row.tokenPreview : ""],
    [t("Linked to"), row.linkedTo], [t("Endpoint"), details.endpoint ?? row.endpoint], ["profileArn", details.profileArn], ["region", details.region], ["authRegion", details.authRegion], ["apiRegion", details.apiRegion],
    ["machineId", details.machineId], ["clientId", details.clientId], ["proxyUrl", details.proxyUrl], [t("Other keys"), details.otherKeys?.join(", ")],
    [t("State"), row.reason && reasonText(row.reason)],
  ].filter(([, value]) => value !== undefined && value !== null && value !== "");
  return h("dl.facts", {}, shown.map(([name, value]) => [h("dt", {}, name), h("dd", {}, String(value))]));
}

/** "3 min ago (28 Nov 2026, 21:31)"; what is far away is a date already. */
function whenText(iso) {
  if (!iso) return "";
  const [near, exact] = [ago(iso), dateTime(iso)];
  return exact.startsWith(near) ? exact : `${near} (${exact})`;
}

function history(row, part) {
  const body = h("div", {}, loading());
  get(`/credentials/${row.id}/history`).then((seen) => put(body, part === "changes" ? changes(seen.changes) : requests(seen.requests)), (error) => put(body, failure(error)));
  return body;
}

function changes(all) {
  if (!all.length) return h("p.muted", {}, t("Nobody has changed it yet."));
  return h("ul.list", {}, all.map((one) => h("li", {}, h("span", {}, happened(one), h("small.muted.d-block", {}, `${one.who} · ${one.client ?? ""}`)), h("time", { datetime: one.time, title: dateTime(one.time) }, ago(one.time)))));
}

function requests(all) {
  if (!all.length) return h("p.muted", {}, t("It has served nothing that the ledger still knows."));
  return table(t("Requests"), [
    { title: t("When"), cell: (one) => h("span", { title: dateTime(one.time) }, ago(one.time)) },
    { title: t("Model"), cell: (one) => one.model },
    { title: t("Status"), cell: (one) => [statusBadge(one), one.error_type && h("span.reason", {}, one.error_type)] },
    { title: t("Took"), class: "num", cell: (one) => milliseconds(one.duration_s * 1000) },
    { title: t("Credits"), class: "num", cell: (one) => number(one.credits) },
  ], all);
}

const PLAIN = [
  ["label", () => t("Label"), "text", () => t("Your own name for it.")], ["email", () => t("E-mail")],
  ["priority", () => t("Priority"), "number", () => t("The lowest goes first; 0 if left out.")], ["maxConcurrent", () => t("Requests at once, at most"), "number", () => t("Blank: as the setting maxConcurrent says.")],
];
const ROUTE = [
  ["region", () => "region", "text", () => t("Blank: as the settings say.")], ["authRegion", () => "authRegion", "text", () => t("Where its token is renewed.")], ["apiRegion", () => "apiRegion", "text", () => t("Where requests go.")],
  ["profileArn", () => "profileArn", "text", () => t("Kiro's profile of the account; found by itself.")],
  ["proxyUrl", () => "proxyUrl", "text", () => t("http, https, socks5 or socks5h; direct: none.")], ["proxyUsername", () => "proxyUsername"],
];
const EDITABLE = [...PLAIN, ...ROUTE];

/** Change what may be changed; blank takes a value away. */
export async function editDialog(row, context) {
  const whole = await get(`/credentials/${row.id}`);
  const { details = {} } = whole;
  const shownField = ([name, text, kind, help]) => field(name, text(), { value: before[name] ?? "", kind, help: help?.(), min: name === "maxConcurrent" ? 1 : 0, step: 1 });
  const before = Object.fromEntries(EDITABLE.map(([name]) => [name, (name in details ? details[name] : whole[name]) ?? null]));
  return dialog(t("Edit {name}", { name: nameOf(row) }), (close) => form(t("Save"), async (box) => {
    const after = values(box, true);
    const changed = {};
    for (const [name] of EDITABLE) {
      const value = after[name] === "" ? null : after[name];
      if (value !== before[name]) changed[name] = value;
    }
    if (after.proxyPassword) changed.proxyPassword = after.proxyPassword;
    if (Object.keys(changed).length) await patch(`/credentials/${row.id}`, changed);
    close();
    notify(Object.keys(changed).length ? t("Saved: {fields}.", { fields: Object.keys(changed).join(", ") }) : t("Nothing was changed."));
    await context.reload();
  }, h("p.muted.small", {}, t("Blank takes a value away. Tokens are not changed here: sign in again for new ones.")),
  h("div.pairs", {}, PLAIN.map(shownField)),
  h("fieldset", {}, h("legend.h6", {}, t("Way to Kiro")), h("div.pairs", {}, ROUTE.map(shownField),
  field("proxyPassword", "proxyPassword", { kind: "password", autocomplete: "new-password", help: t("Left as it is if blank.") })))), { class: "wide" });
}

/** One short question to one credential. */
export async function testDialog(row) {
  const found = await get("/models");
  const models = found.models.map((one) => [one.id, one.name ?? one.id]);
  return dialog(t("Test {name}", { name: nameOf(row) }), () => {
    const result = h("div", { role: "status" });
    const model = field("model", t("Model"), { kind: "select", choices: models, value: models.find(([id]) => id.includes("haiku"))?.[0] });
    const go = button(t("Ask"), async () => {
      put(result, loading());
      try {
        const seen = await post(`/credentials/${row.id}/test`, { model: model.querySelector("select").value });
        put(result, h("div.answer.mb-2", {}, seen.answer), h("p.muted.small", {}, t("First token after {first}, done after {all}; {credits} credits.", { first: milliseconds(seen.firstEventSec * 1000), all: milliseconds(seen.totalSec * 1000), credits: number(seen.credits) })), copyButton(seen.answer));
      } catch (error) {
        put(result, failure(error));
      }
    }, { kind: "primary", icon: "lightning-charge-fill" });
    return [h("p.muted", {}, t("One short question, to this credential alone. It costs what a short question costs.")), model, h("div.actions.mb-3", {}, go), result];
  });
}
