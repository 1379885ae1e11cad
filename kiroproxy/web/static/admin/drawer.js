// One credential: everything about it, its history, editing and testing it.

import { get, patch, post } from "./api.js";
import { h, put } from "./dom.js";
import { happened, reasonText, remedyOf } from "./phrases.js";
import { button, copyButton, dialog, failure, field, form, loading, menu, notify, table, tabs, values } from "./ui.js";
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
    [t("Number"), row.id], [t("Account"), row.email], [t("Label"), row.label], [t("Kind"), [row.authMethod, row.provider].filter(Boolean).join(" · ")],
    [t("Subscription"), row.subscription], [t("Group"), row.group], [t("Priority"), row.priority], [t("In flight"), `${row.inFlight} / ${row.maxConcurrent ?? t("default")}`],
    [t("Requests"), t("{n}, of which {good} went well", { n: number(row.requestCount), good: number(row.successCount) })], [t("Failures in a row"), row.failureCount],
    [t("Last use"), row.lastUsedAt && `${ago(row.lastUsedAt)} (${dateTime(row.lastUsedAt)})`], [t("Token ends"), row.expiresAt && `${ago(row.expiresAt)} (${dateTime(row.expiresAt)})`],
    [t("Token renewed"), details.refreshedAt && ago(details.refreshedAt)], [t("Can be renewed"), row.renewable ? t("yes") : t("no")], [t("Token"), row.tokenPreview],
    [t("Linked to"), row.linkedTo], [t("Endpoint"), details.endpoint ?? row.endpoint], ["profileArn", details.profileArn], ["region", details.region], ["authRegion", details.authRegion], ["apiRegion", details.apiRegion],
    ["machineId", details.machineId], ["clientId", details.clientId], ["proxyUrl", details.proxyUrl], [t("Other keys"), details.otherKeys?.join(", ")],
    [t("State"), row.reason && reasonText(row.reason)],
  ].filter(([, value]) => value !== undefined && value !== null && value !== "");
  return h("dl.facts", {}, shown.map(([name, value]) => [h("dt", {}, name), h("dd", {}, String(value))]));
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
    { title: t("Status"), cell: (one) => one.status },
    { title: t("Took"), class: "num", cell: (one) => milliseconds(one.duration_s * 1000) },
    { title: t("Credits"), class: "num", cell: (one) => number(one.credits) },
  ], all);
}

const EDITABLE = [
  ["label", () => t("Label")], ["email", () => t("E-mail")], ["priority", () => t("Priority"), "number"], ["maxConcurrent", () => t("Requests at once, at most"), "number"],
  ["region", () => "region"], ["authRegion", () => "authRegion"], ["apiRegion", () => "apiRegion"], ["profileArn", () => "profileArn"], ["proxyUrl", () => "proxyUrl"], ["proxyUsername", () => "proxyUsername"],
];

/** Change what may be changed; blank takes a value away. */
export async function editDialog(row, context) {
  const whole = await get(`/credentials/${row.id}`);
  const { details = {} } = whole;
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
  EDITABLE.map(([name, text, kind]) => field(name, text(), { value: before[name] ?? "", kind, min: name === "maxConcurrent" ? 1 : 0, step: 1 })),
  field("proxyPassword", "proxyPassword", { kind: "password", autocomplete: "new-password", help: t("Left as it is if blank.") })));
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
