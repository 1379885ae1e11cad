// Client keys: made, shown once, limited, rotated, taken away.

import { get, patch, post, remove } from "./api.js";
import { h, put } from "./dom.js";
import { clientLines } from "./connect.js";
import { budgetFields, budgets, settingsOf } from "./routing.js";
import { badge, button, confirm, copyButton, dialog, empty, field, form, heading, menu, notify, table, values } from "./ui.js";
import { ago, dateTime, day, number, t } from "./words.js";

export async function show(main, { signal }) {
  const list = h("div");
  const again = async () => {
    const { keys } = await get("/keys", { signal });
    put(list, keys.length ? h("div.card", {}, overview(keys, again)) : h("div.card", {}, empty(t("No client key yet"), t("The apiKey of config.json opens everything. Keys of their own tell clients apart, can be limited and taken away one at a time."), button(t("New key"), () => edit(null, again), { kind: "primary", icon: "plus-lg" }))));
  };
  await again();
  put(main, heading(t("Keys"), button(t("New key"), () => edit(null, again), { kind: "primary", icon: "plus-lg" })), list);
}

function standing(key) {
  if (key.disabled) return badge("off", t("disabled"), "pause-fill");
  if (key.expired) return badge("bad", t("expired"), "x-circle-fill");
  if (key.standing?.some((one) => one.spent_up)) return badge("bad", t("budget spent"), "x-circle-fill");
  return badge("ok", t("active"), "check-circle-fill");
}

function limits({ limits: given = {} }) {
  const text = [
    given.requests_per_minute && t("{n} a minute", { n: number(given.requests_per_minute) }),
    given.concurrent && t("{n} at once", { n: number(given.concurrent) }),
    given.output_tokens_per_day && t("{n} tokens a day", { n: number(given.output_tokens_per_day) }),
  ].filter(Boolean);
  return text.length ? text.join(" · ") : h("span.muted", {}, t("none"));
}

function overview(keys, again) {
  return table(t("Client keys"), [
    { title: t("Name"), cell: (key) => h("div.who.whole", {}, h("strong", {}, key.name || key.hint), h("small", {}, [key.owner, key.hint].filter(Boolean).join(" · "))) },
    { title: t("State"), cell: (key) => [standing(key), key.old_key_until && h("span.reason", {}, t("the old secret opens until {time}", { time: dateTime(key.old_key_until) }))] },
    { title: t("Groups"), cell: (key) => (key.allowed_groups.length ? key.allowed_groups.map((one) => h("span.chip.me-1", {}, one)) : t("all")) },
    { title: t("Limits"), cell: limits },
    { title: t("Budget"), cell: budgets },
    { title: t("Last use"), cell: (key) => h("span.nowrap", { title: dateTime(key.last_used_at) }, ago(key.last_used_at)) },
    { title: t("Ends"), class: "nowrap", cell: (key) => (key.expires_at ? day(key.expires_at) : t("never")) },
    { title: "", cell: (key) => menu(t("Actions for {name}", { name: key.name || key.hint }), () => actions(key, again)) },
  ], keys);
}

function actions(key, again) {
  const path = `/keys/${key.id}`;
  const name = key.name || key.hint;
  return [
    { text: t("Edit"), icon: "pencil", action: () => edit(key, again) },
    { text: key.disabled ? t("Enable") : t("Disable"), icon: key.disabled ? "play-fill" : "pause-fill", action: async () => {
      if (!key.disabled && !(await confirm(t("Disable {name}", { name }), t("Clients with this key are refused from now on, until it is enabled again."), t("Disable")))) return;
      await patch(path, { disabled: !key.disabled });
      await again();
    } },
    { text: t("Rotate"), icon: "arrow-repeat", action: () => rotate(key, again) },
    { text: t("Use"), icon: "graph-up", action: () => use(key) },
    { text: t("Delete"), icon: "trash", danger: true, action: async () => {
      if (!(await confirm(t("Delete {name}", { name }), [t("Clients with this key are refused from now on. What it used stays in the ledger."), t("This cannot be undone.")], t("Delete")))) return;
      await remove(path);
      notify(t("{name} is deleted.", { name }));
      await again();
    } },
  ];
}

const list = (text) => (text ?? "").split(/[\s,]+/).filter(Boolean);

async function edit(key, again) {
  const groups = (await get("/groups")).groups.map((one) => one.name);
  return dialog(key ? t("Edit {name}", { name: key.name || key.hint }) : t("New key"), (close) => form(key ? t("Save") : t("Make the key"), async (box) => {
    const given = values(box, true);
    const body = {
      name: given.name, owner: given.owner, models: list(given.models),
      allowed_groups: groups.filter((one) => given[`group-${one}`]),
      limits: { requests_per_minute: given.requests_per_minute ?? 0, concurrent: given.concurrent ?? 0, output_tokens_per_day: given.output_tokens_per_day ?? 0 },
      ...settingsOf(given),
      expires_at: given.expires_at ? new Date(`${given.expires_at}T23:59:59`).toISOString() : null,
    };
    if (!key && !body.expires_at) delete body.expires_at;
    if (key) await patch(`/keys/${key.id}`, body);
    const made = key ? null : await post("/keys", body);
    close();
    if (made) reveal(made.key, t("Key {name}", { name: made.name || made.hint }));
    else notify(t("Saved."));
    await again();
  },
  field("name", t("Name"), { value: key?.name, required: true, help: t("Who or what uses it.") }),
  field("owner", t("Owner"), { value: key?.owner }),
  h("fieldset.mb-3", {}, h("legend.h6", {}, t("Groups that it may use")), h("p.form-text", {}, t("None chosen: all.")), groups.map((one) => field(`group-${one}`, one, { kind: "checkbox", value: key?.allowed_groups?.includes(one) }))),
  field("models", t("Models that it may use"), { value: key?.models?.join(", "), placeholder: "claude-haiku-*", help: t("Names or globs with commas; blank: all.") }),
  h("fieldset", {}, h("legend.h6", {}, t("Limits")), h("p.form-text", {}, t("Blank is no limit.")), h("div.cards.mb-0", {},
    field("requests_per_minute", t("Requests a minute"), { kind: "number", min: 0, step: 1, value: key?.limits?.requests_per_minute || "" }),
    field("concurrent", t("Requests at once"), { kind: "number", min: 0, step: 1, value: key?.limits?.concurrent || "" }),
    field("output_tokens_per_day", t("Output tokens a day"), { kind: "number", min: 0, step: 1, value: key?.limits?.output_tokens_per_day || "" }))),
  budgetFields(key?.budgets),
  field("expires_at", t("Ends after"), { kind: "date", value: key?.expires_at?.slice(0, 10), help: t("Blank: never.") })), { class: "wide" });
}

/** A secret that is shown once, with the lines for each client. */
function reveal(secret, title) {
  return dialog(title, () => [
    h("p", {}, h("strong", {}, t("This is the only time that the key is shown.")), " ", t("Copy it now; only its hash is kept.")),
    h("div.actions.mb-3", {}, h("code.answer.flex-grow-1", { "data-secret": "" }, secret), copyButton(secret)), clientLines(secret)], { class: "wide", stay: true });
}

function rotate(key, again) {
  return dialog(t("Rotate {name}", { name: key.name || key.hint }), (close) => form(t("Rotate"), async (box) => {
    const made = await post(`/keys/${key.id}/rotate`, { overlap: Number(box.elements.overlap.value) });
    close();
    reveal(made.key, t("The new secret of {name}", { name: key.name || key.hint }));
    await again();
  }, h("p", {}, t("It gets a new secret. The old one still opens for a while, so that clients can change over.")),
  field("overlap", t("The old one opens for"), { kind: "select", value: "86400", choices: [["0", t("no longer: stop it now")], ["3600", t("an hour")], ["86400", t("a day")], ["604800", t("a week")]] })));
}

async function use(key) {
  const { totals } = await get(`/usage?since=30d&by=model&key_id=${encodeURIComponent(key.id)}`);
  return dialog(t("Use of {name}, 30 days", { name: key.name || key.hint }), () => (totals.length ? table(t("Use"), [
    { title: t("Model"), class: "nowrap", cell: (one) => one.model || "–" }, { title: t("Requests"), class: "num", cell: (one) => number(one.requests) }, { title: t("Failed"), class: "num", cell: (one) => number(one.errors) },
    { title: t("Input tokens"), class: "num", cell: (one) => number(one.input_tokens) }, { title: t("Output tokens"), class: "num", cell: (one) => number(one.output_tokens) }, { title: t("Credits"), class: "num", cell: (one) => number(one.credits) },
  ], totals) : h("p.muted", {}, t("It was not used."))));
}
