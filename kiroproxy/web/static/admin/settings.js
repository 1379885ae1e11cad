// Settings as forms of the schema, the doctor, the audit log, the backup.

import { call, get, post, remove, replace, save } from "./api.js";
import { calm, h, icon, put } from "./dom.js";
import { actionText, targetText } from "./phrases.js";
import { badge, button, card, confirm, dialog, failure, field, form, heading, loading, notify, table, tabs } from "./ui.js";
import { ago, dateTime, number, t } from "./words.js";

export async function show(main, { signal, query }) {
  const pages = [
    ["settings", t("Settings"), () => filled(signal, settings)],
    ["doctor", t("Doctor"), () => doctor()],
    ["audit", t("Audit log"), () => filled(signal, audit)],
    ["backup", t("Backup"), () => backup()],
  ];
  const first = pages.some(([name]) => name === query.get("tab")) ? query.get("tab") : "settings";
  put(main, heading(t("Settings")), tabs(t("Settings"), pages, first));
}

function filled(signal, work) {
  const place = h("div", {}, loading());
  const again = async () => {
    try {
      await work(place, signal, again);
    } catch (error) {
      if (error.name !== "AbortError") put(place, failure(error, again));
    }
  };
  again();
  return place;
}

// ---- settings ------------------------------------------------------------------------------

async function settings(place, signal, again) {
  const seen = await get("/settings", { signal });
  const list = h("div.card");
  const draw = (text) => {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = seen.settings.filter((one) => words.every((word) => `${one.key} ${one.help} ${one.origin}`.toLowerCase().includes(word)));
    put(list, fits.length ? fits.map((one) => row(one, again)) : h("p.muted.mb-0", {}, t("None fits")));
  };
  draw("");
  put(place,
    seen.restartNeeded.length > 0 && h("div.card.hero.warn", {}, h("div", {}, icon("exclamation-triangle-fill"), " ", t("Restart needed for: {keys}", { keys: seen.restartNeeded.join(", ") }), h("div.muted.small", {}, t("config.json has other values than the running server.")))),
    h("div.toolbar", {}, h("input.form-control.form-control-sm.search", { type: "search", "aria-label": t("Search settings"), placeholder: t("Search settings"), oninput: calm((event) => draw(event.target.value)) }), h("span.muted.small", {}, t("written to {path}", { path: seen.path }))), list);
}

function shown(one) {
  if (one.value === "" || one.value === null || one.value === undefined) return h("span.muted", {}, "–");
  if (one.type === "boolean") return one.value ? t("on") : t("off");
  if (typeof one.value === "object") return h("code", {}, JSON.stringify(one.value));
  return h("code", {}, String(one.value));
}

function row(one, again) {
  return h("div.setting", { "data-key": one.key },
    h("div", {}, h("strong", {}, one.key), " ", one.restartNeeded && badge("warn", t("restart needed"), "arrow-clockwise"), h("div.muted.small", {}, one.help)),
    h("div", {}, shown(one), h("div.muted.small", {}, one.origin === "default" ? t("default") : t("from {origin}", { origin: one.origin.replace(`config.json ${one.key}`, "config.json") }))),
    one.editable ? h("div.actions", {}, button(t("Change"), () => edit(one, again), { icon: "pencil", label: t("Change {key}", { key: one.key }) })) : h("span.muted.small", { title: one.why }, icon("shield-check"), " ", t("on the machine only")));
}

function control(one) {
  const common = { help: [one.help, one.minimum !== undefined || one.maximum !== undefined ? t("From {low} to {high}.", { low: one.minimum ?? "–", high: one.maximum ?? "–" }) : "", t("Default: {value}", { value: typeof one.default === "object" ? JSON.stringify(one.default) : String(one.default ?? "–") })].filter(Boolean).join(" · ") };
  if (one.type === "boolean") return field("value", one.key, { ...common, kind: "checkbox", value: one.value });
  if (one.type === "choice") return field("value", one.key, { ...common, kind: "select", choices: one.choices, value: one.value });
  if (one.type === "integer" || one.type === "number") return field("value", one.key, { ...common, kind: "number", value: one.value, min: one.minimum, max: one.maximum, step: one.type === "integer" ? 1 : "any", required: true });
  if (one.type === "list") return field("value", one.key, { ...common, kind: "textarea", rows: 4, value: (one.value || []).join("\n"), help: `${t("One in a line.")} ${common.help}` });
  if (one.type === "map") return field("value", one.key, { ...common, kind: "textarea", rows: 6, value: JSON.stringify(one.value || {}, null, 2), help: `${t("A JSON object.")} ${common.help}` });
  return field("value", one.key, { ...common, kind: one.secret ? "password" : "text", value: one.secret ? "" : one.value, autocomplete: "new-password" });
}

function read(one, element) {
  if (one.type === "boolean") return element.checked;
  if (one.type === "integer" || one.type === "number") return Number(element.value);
  if (one.type === "list") return element.value.split("\n").map((line) => line.trim()).filter(Boolean);
  if (one.type !== "map") return element.value;
  try {
    return JSON.parse(element.value || "{}");
  } catch {
    return element.value; // the server says what is wrong with it
  }
}

function told(done) {
  const more = [done.restartNeeded && t("It counts after a restart."), done.overriddenBy && t("It has no effect yet: {what} says otherwise.", { what: done.overriddenBy }), done.commentsLost && t("Comments in the file were lost; the old file is {path}.", { path: done.backup })].filter(Boolean).join(" ");
  notify(t("{key} is saved.", { key: done.key }), done.overriddenBy ? "warning" : "success", more);
}

function edit(one, again) {
  return dialog(t("Change {key}", { key: one.key }), (close) => h("div", {}, form(t("Save"), async (box) => {
    const done = await replace(`/settings/${encodeURIComponent(one.key)}`, { value: read(one, box.elements.value) });
    close();
    told(done);
    await again();
  }, control(one)), one.origin !== "default" && h("div.mt-3", {}, button(t("Back to the default"), async () => {
    const done = await remove(`/settings/${encodeURIComponent(one.key)}`);
    close();
    told(done);
    await again();
  }, { icon: "arrow-clockwise" }))));
}

// ---- doctor --------------------------------------------------------------------------------

const FINDINGS = { ok: ["ok", "check-circle-fill"], warning: ["warn", "exclamation-triangle-fill"], failure: ["bad", "x-circle-fill"] };

function doctor() {
  const result = h("div.mt-3", { role: "status" });
  const renew = field("refresh", t("Renew each token, too"), { kind: "checkbox", help: t("Proves that each can be renewed; takes longer.") });
  return card(t("Doctor"), h("p", {}, t("Looks at files, network, clock, credentials and clients, and says what to do about what it finds. It changes nothing.")), renew,
    button(t("Examine"), async () => {
      put(result, loading());
      try {
        const seen = await post("/doctor", { refresh: renew.querySelector("input").checked });
        const order = ["failure", "warning", "ok"];
        put(result, table(t("Findings"), [
          { title: t("State"), cell: (one) => badge(FINDINGS[one.state]?.[0] ?? "off", { ok: t("good"), warning: t("warning"), failure: t("failure") }[one.state] ?? one.state, FINDINGS[one.state]?.[1] ?? "info-circle-fill") },
          { title: t("Check"), cell: (one) => one.check }, { title: t("Finding"), cell: (one) => [one.message, one.remedy && h("div.muted.small", {}, one.remedy)] },
        ], [...seen.findings].sort((a, b) => order.indexOf(a.state) - order.indexOf(b.state))));
      } catch (error) {
        put(result, failure(error));
      }
    }, { kind: "primary", icon: "activity" }), result);
}

// ---- audit ---------------------------------------------------------------------------------

async function audit(place, signal) {
  const chosen = { page: 1, action: "", target: "" };
  const list = h("div");
  const load = async () => {
    const asked = new URLSearchParams({ page: chosen.page, page_size: 50 });
    for (const name of ["action", "target"]) if (chosen[name]) asked.set(name, chosen[name]);
    const seen = await get(`/audit?${asked}`, { signal });
    const pages = Math.ceil(seen.total / 50);
    const turn = (step) => { chosen.page += step; return load(); };
    put(list, seen.entries.length ? [table(t("Audit log"), [
      { title: t("When"), cell: (one) => h("span.nowrap", { title: dateTime(one.time) }, ago(one.time)) }, { title: t("Who"), cell: (one) => h("div.who", {}, one.who, h("small", {}, one.client)) },
      { title: t("What"), cell: (one) => actionText(one.action) }, { title: t("About"), cell: (one) => targetText(one.target) }, { title: t("Before → after"), cell: difference },
    ], seen.entries), pages > 1 && h("div.actions.mt-3", {}, button(t("Newer"), () => turn(-1), { disabled: chosen.page <= 1 }), t("Page {n} of {all}", { n: chosen.page, all: pages }), button(t("Older"), () => turn(1), { disabled: chosen.page >= pages }))] : h("p.muted.mb-0", {}, t("Nobody has changed anything yet.")));
  };
  const later = calm(() => { chosen.page = 1; load().catch((error) => { if (error.name !== "AbortError") put(list, failure(error)); }); }, 300);
  put(place, h("div.card", {}, h("div.toolbar", {},
    h("input.form-control.form-control-sm", { type: "search", "aria-label": t("Action"), placeholder: "credential.disable", oninput: (event) => { chosen.action = event.target.value.trim(); later(); } }),
    h("input.form-control.form-control-sm", { type: "search", "aria-label": t("About"), placeholder: "credential 3", oninput: (event) => { chosen.target = event.target.value.trim(); later(); } })), list));
  await load();
}

function difference({ before, after }) {
  const keys = [...new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})])];
  const text = (value) => (value === undefined || value === null ? "–" : typeof value === "object" ? JSON.stringify(value) : String(value));
  return keys.slice(0, 8).map((key) => h("div.small", {}, h("span.muted", {}, `${key}: `), text(before?.[key]), " → ", text(after?.[key])));
}

// ---- backup --------------------------------------------------------------------------------

function backup() {
  return card(t("Backup"), h("p", {}, t("One archive with the settings, the credentials and the database, for kiroproxy restore.")),
    h("p.warn-text", {}, icon("exclamation-triangle-fill"), " ", t("It contains every token: whoever has it can use your accounts. Keep it as you keep a password.")),
    button(t("Download a backup"), async () => {
      if (!(await confirm(t("Download a backup"), t("The archive with all tokens goes to this computer. The download is written to the audit log."), t("Download"), { kind: "primary" }))) return;
      const answer = await call("POST", "/backup", { secrets: true });
      const blob = await answer.blob();
      const named = /filename="?([^";]+)/.exec(answer.headers.get("content-disposition") ?? "")?.[1];
      save(named ?? `kiroproxy-backup-${new Date().toISOString().slice(0, 10)}.tar.gz`, blob);
      notify(t("The backup is downloaded."), "success", t("{n} KiB", { n: number(blob.size / 1024) }));
    }, { icon: "download", kind: "primary" }));
}
