// Settings as forms of the schema, the doctor, the audit log, the backup.

import { call, get, post, remove, replace, save } from "./api.js";
import { calm, h, icon, put } from "./dom.js";
import { ACTION_NAMES, actionText, reasonText, thingText } from "./phrases.js";
import { told } from "./said.js";
import { badge, button, card, confirm, dialog, failure, field, form, heading, loading, notify, table, tabs } from "./ui.js";
import { ago, dateTime, number, t, termsCome } from "./words.js";

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

const TOPICS = [
  [() => t("Server"), "host port workers workerConnections trustedProxies gracefulTimeoutSec maxBodyBytes bodyTimeoutSec logLevel logFormat recordFailures"],
  [() => t("Who may come in"), "apiKey adminApiKey"],
  [() => t("Choosing a credential, and the queue"), "loadBalancingMode maxConcurrent cooldownSec queueWaitSec queueLimit"],
  [() => t("Models and answers"), "modelTable modelMapping unknownModel effortModels webSearch fetchImageUrls maxToolDescriptionLength countTokensApiUrl countTokensApiKey countTokensAuthType"],
  [() => t("Streams"), "firstFrameWaitSec pingIntervalSec idleTimeoutSec untrailedEnd"],
  [() => t("Way to Kiro"), "region authRegion apiRegion apiUrl socialAuthUrl oidcUrl proxyUrl proxyUsername proxyPassword noProxy tlsBackend caBundle"],
  [() => t("How it looks to Kiro"), "kiroVersion kiroCliVersion machineId systemVersion nodeVersion"],
  [() => t("Data"), "stateDir databasePath databaseUrl usageDays authToken tokenFile allowNetworkFilesystem"],
].map(([name, keys]) => [name, keys.split(" ")]);

/** Settings by topic, in the order of the topic; what no topic knows comes last. */
function byTopic(all) {
  const found = new Map(all.map((one) => [one.key, one]));
  const sorted = TOPICS.map(([name, keys]) => [name(), keys.map((key) => found.get(key)).filter(Boolean)]);
  const known = new Set(TOPICS.flatMap(([, keys]) => keys));
  return [...sorted, [t("Others"), all.filter((one) => !known.has(one.key))]].filter(([, rows]) => rows.length);
}

let sought = ""; // kept while the page is open

async function settings(place, signal, again) {
  const [seen] = await Promise.all([get("/settings", { signal }), termsCome()]);
  const list = h("div");
  const draw = (text) => {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = seen.settings.filter((one) => words.every((word) => `${one.key} ${one.help} ${told(one.help)} ${one.origin}`.toLowerCase().includes(word)));
    put(list, fits.length ? byTopic(fits).map(([name, rows]) => h("div.mb-3", {}, card(name, rows.map((one) => row(one, again))))) : h("div.card", {}, h("p.muted.mb-0", {}, t("None fits"))));
  };
  draw(sought);
  put(place,
    seen.restartNeeded.length > 0 && h("div.card.hero.warn", {}, h("div", {}, icon("exclamation-triangle-fill"), " ", t("Restart needed for: {keys}", { keys: seen.restartNeeded.join(", ") }), h("div.muted.small", {}, t("config.json has other values than the running server.")))),
    h("div.toolbar", {}, h("input.form-control.form-control-sm.search", { type: "search", "aria-label": t("Search settings"), placeholder: t("Search settings"), value: sought, oninput: calm((event) => draw((sought = event.target.value))) }), h("span.muted.small", {}, t("written to {path}", { path: seen.path }))), list);
}

/** A value as a person reads it, with its unit. */
function shown(one) {
  if (one.value === "" || one.value === null || one.value === undefined) return h("span.muted", {}, "–");
  if (one.type === "boolean") return one.value ? t("on") : t("off");
  if (Array.isArray(one.value)) return one.value.length ? h("code", {}, one.value.join(", ")) : h("span.muted", {}, "–");
  if (typeof one.value === "object") {
    const pairs = Object.entries(one.value);
    return pairs.length ? pairs.slice(0, 6).map(([name, to]) => h("div", {}, h("code", {}, `${name} → ${to}`))).concat(pairs.length > 6 ? h("div.muted.small", {}, t("and {n} more", { n: pairs.length - 6 })) : []) : h("span.muted", {}, "–");
  }
  return [h("code", {}, String(one.value)), unit(one) && h("span.muted", {}, ` ${unit(one)}`)];
}
function unit({ key, value }) {
  if (key.endsWith("Sec")) return t("seconds");
  if (key.endsWith("Days")) return t("days");
  return key.endsWith("Bytes") ? t("bytes = {n} MiB", { n: number(value / 2 ** 20) }) : "";
}

function row(one, again) {
  return h("div.setting", { "data-key": one.key },
    h("div", {}, h("strong", {}, one.key), " ", one.restartNeeded && badge("warn", t("restart needed"), "arrow-clockwise"), h("div.muted.small", {}, told(one.help))),
    h("div", {}, shown(one), h("div.muted.small", {}, one.origin === "default" ? t("default") : t("from {origin}", { origin: one.origin.replace(`config.json ${one.key}`, "config.json") }))),
    one.editable ? h("div.actions", {}, button(t("Change"), () => edit(one, again), { icon: "pencil", label: t("Change {key}", { key: one.key }) })) : h("div.muted.small.locked", {}, icon("shield-check"), " ", told(one.why)));
}

function range({ minimum: low, maximum: high }) {
  if (low !== undefined && high !== undefined) return t("from {low} to {high}", { low, high });
  if (low !== undefined) return t("at least {n}", { n: low });
  return high === undefined ? "" : t("at most {n}", { n: high });
}

function control(one) {
  const usual = typeof one.default === "object" ? JSON.stringify(one.default) : String(one.default ?? "");
  const facts = [told(one.help), unit(one) && !one.key.endsWith("Bytes") && t("in {unit}", { unit: unit(one) }), range(one), usual && t("default: {value}", { value: usual })];
  const common = { help: facts.filter(Boolean).join(" · ") };
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

function announce(done) {
  const more = [done.restartNeeded && t("It counts after a restart."), done.overriddenBy && t("It has no effect yet: {what} says otherwise.", { what: done.overriddenBy }), done.commentsLost && t("Comments in the file were lost; the old file is {path}.", { path: done.backup })].filter(Boolean).join(" ");
  notify(t("{key} is saved.", { key: done.key }), done.overriddenBy ? "warning" : "success", more);
}

function edit(one, again) {
  return dialog(t("Change {key}", { key: one.key }), (close) => h("div", {}, form(t("Save"), async (box) => {
    const done = await replace(`/settings/${encodeURIComponent(one.key)}`, { value: read(one, box.elements.value) });
    close();
    announce(done);
    await again();
  }, control(one)), one.origin !== "default" && h("div.mt-3", {}, button(t("Back to the default"), async () => {
    const done = await remove(`/settings/${encodeURIComponent(one.key)}`);
    close();
    announce(done);
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
        await termsCome();
        const seen = await post("/doctor", { refresh: renew.querySelector("input").checked });
        const order = ["failure", "warning", "ok"];
        put(result, table(t("Findings"), [
          { title: t("State"), cell: (one) => badge(FINDINGS[one.state]?.[0] ?? "off", { ok: t("good"), warning: t("warning"), failure: t("failure") }[one.state] ?? one.state, FINDINGS[one.state]?.[1] ?? "info-circle-fill") },
          { title: t("Check"), cell: (one) => told(one.check) }, { title: t("Finding"), cell: (one) => [reasonText(told(one.message)), one.remedy && h("div.muted.small", {}, told(one.remedy))] },
        ], [...seen.findings].sort((a, b) => order.indexOf(a.state) - order.indexOf(b.state))));
      } catch (error) {
        put(result, failure(error));
      }
    }, { kind: "primary", icon: "activity" }), result);
}

// ---- audit ---------------------------------------------------------------------------------

async function audit(place, signal) {
  const chosen = { page: 1, action: "", target: "" };
  const list = h("div", {}, loading());
  const load = async () => {
    const asked = new URLSearchParams({ page: chosen.page, page_size: 50 });
    for (const name of ["action", "target"]) if (chosen[name]) asked.set(name, chosen[name]);
    const seen = await get(`/audit?${asked}`, { signal });
    const pages = Math.ceil(seen.total / 50);
    const turn = (step) => { chosen.page += step; return load(); };
    const nothing = chosen.action || chosen.target ? t("No change fits: look at the filters.") : t("Nobody has changed anything yet.");
    put(list, seen.entries.length ? [table(t("Audit log"), [
      { title: t("When"), class: "nowrap", cell: (one) => h("span", { title: dateTime(one.time) }, ago(one.time)) }, { title: t("Who"), class: "nowrap", cell: (one) => h("div", {}, one.who, h("div.muted.small", {}, one.client)) },
      { title: t("About"), cell: thingText }, { title: t("What"), cell: (one) => actionText(one.action) }, { title: t("Before → after"), cell: difference },
    ], seen.entries), pages > 1 && h("div.actions.mt-3", {}, button(t("Newer"), () => turn(-1), { disabled: chosen.page <= 1 }), t("Page {n} of {all}", { n: chosen.page, all: pages }), button(t("Older"), () => turn(1), { disabled: chosen.page >= pages }))] : h("p.muted.mb-0", {}, nothing));
  };
  const now = () => { chosen.page = 1; load().catch((error) => { if (error.name !== "AbortError") put(list, failure(error, now)); }); };
  const later = calm(now, 300);
  const actions = h("select.form-select.form-select-sm", { "aria-label": t("What"), onchange: (event) => { chosen.action = event.target.value; now(); } },
    h("option", { value: "" }, t("All changes")), ACTION_NAMES.map((name) => h("option", { value: name }, `${thingText({ action: name })}: ${actionText(name)}`)));
  put(place, h("div.card", {}, h("div.toolbar", {}, actions,
    h("input.form-control.form-control-sm", { type: "search", "aria-label": t("About"), placeholder: "credential 3", oninput: (event) => { chosen.target = event.target.value.trim(); later(); } })), list));
  await load();
}

/** Whether a value says anything: a new thing has many fields, and most of them are blank. */
const says = (value) => value !== undefined && value !== null && value !== "" && value !== 0 && value !== false && !(typeof value === "object" && !Object.values(value).some(says));

const brief = (value) => {
  if (!says(value) && typeof value !== "boolean" && value !== 0) return "–";
  if (typeof value !== "object") return String(value);
  if (Array.isArray(value)) return value.map(brief).join(", ");
  return Object.entries(value).filter(([, one]) => says(one)).map(([name, one]) => `${name} ${brief(one)}`).join(", ");
};

function difference({ before, after }) {
  const keys = [...new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})])];
  const whole = !before || !after; // it came, or it went
  const told = keys.filter((key) => (whole ? says((before ?? after)[key]) : JSON.stringify(before[key]) !== JSON.stringify(after[key])));
  return told.slice(0, 8).map((key) => h("div.small", {}, h("span.muted", {}, `${key}: `), whole ? brief((before ?? after)[key]) : `${brief(before[key])} → ${brief(after[key])}`));
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
