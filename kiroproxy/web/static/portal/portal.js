// The key holder's page: asks /v1/me with the key that was typed in, and shows what it says.
import { TEXTS } from "./texts.js";

const REFRESH_MS = 15000;
// where the proxy lies, as the browser sees it: a prefix of a reverse proxy is in it
const SITE = new URL("../..", import.meta.url).href.replace(/\/$/, "");
const MASKED = "••••••••";
const byId = (id) => document.getElementById(id);
let language = kept("language") || (navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en");
let told = null;
let latest = 0;

// ---- small helpers -----------------------------------------------------------------------------

function kept(name, value) {
  try {
    if (value === undefined) return sessionStorage.getItem(name) || "";
    if (value) sessionStorage.setItem(name, value);
    else sessionStorage.removeItem(name);
  } catch {
    // storage is switched off: the key lives as long as the page
  }
  return value || "";
}

function say(name, values = {}) {
  return TEXTS[language][name].replace(/\{(\w+)\}/g, (_, word) => values[word]);
}

function element(tag, text = "", kind = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function number(value) {
  return new Intl.NumberFormat(language, { maximumFractionDigits: 3 }).format(value);
}

function moment(text) {
  const style = { dateStyle: "medium", timeStyle: "short" };
  return new Intl.DateTimeFormat(language, style).format(new Date(text));
}

function complain(message) {
  byId("alert").textContent = message;
  byId("alert").hidden = !message;
}

// ---- asking ------------------------------------------------------------------------------------

let key = kept("key");
let group = kept("group");

async function ask() {
  const turn = ++latest;
  const path = `${SITE}${group ? `/${encodeURIComponent(group)}` : ""}/v1/me`;
  let answer;
  try {
    answer = await fetch(path, { headers: { "x-api-key": key }, cache: "no-store" });
  } catch {
    if (turn === latest) complain(say("unreachable"));
    return;
  }
  const body = await answer.json().catch(() => null);
  if (turn !== latest) return;
  if (answer.ok && body && body.usage !== undefined) {
    told = body;
    complain("");
    show();
    return;
  }
  const known = `refused${answer.status}`;
  complain(TEXTS[language][known] ? say(known) : body?.error?.message || say("strange", { status: answer.status }));
  if ([401, 403, 404].includes(answer.status)) {
    leave();
    byId(answer.status === 401 ? "key" : "group").focus();
  }
}

function enter(event) {
  event.preventDefault();
  const typed = byId("key").value.trim();
  if (!/^[\x21-\x7e]+$/.test(typed)) {
    complain(say("badKey"));
    byId("key").focus();
    return;
  }
  key = kept("key", typed);
  group = kept("group", byId("group").value.trim());
  ask();
}

function leave() {
  latest += 1;
  key = kept("key", "");
  told = null;
  show();
}

// ---- showing -----------------------------------------------------------------------------------

function show() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  document.title = say("title");
  byId("language").textContent = language === "zh" ? "English" : "中文";
  byId("language").lang = language === "zh" ? "en" : "zh";
  for (const one of document.querySelectorAll("[data-text]")) {
    one.textContent = say(one.dataset.text);
  }
  byId("enter").hidden = told !== null;
  byId("found").hidden = byId("leave").hidden = told === null;
  if (told === null) return;
  byId("key").value = "";
  showFacts();
  showMeters();
  showUsage();
  showClients();
  byId("as-of").textContent = say("asOf", { time: moment(told.time) });
}

function showFacts() {
  const own = told.key;
  const rows = own.kind === "root"
    ? [["name", say("rootKey")]]
    : [
        ["name", own.name || own.id],
        ["owner", own.owner],
        ["hint", own.hint],
        ["groups", own.allowed_groups.join(", ") || say("all")],
        ["models", own.models.join(", ") || say("all")],
        ["expires", own.expires_at ? moment(own.expires_at) : say("never")],
      ];
  rows.push(["groupNow", told.group]);
  if (told.pool) rows.push(["pool", say("poolUsable", told.pool)]);
  byId("facts").replaceChildren(
    ...rows.filter((row) => row[1]).flatMap(([name, value]) => [element("dt", say(name)), element("dd", value)]),
  );
}

function showMeters() {
  const limits = Object.entries(told.limits).map(([name, one]) =>
    meter(say(name), one.used, one.limit, one.remaining, { resets: one.resets_at }));
  const budgets = told.budgets.map((one) =>
    meter(
      say(`budget.${one.scope}.${one.period}`, { group: told.group }),
      one.spent,
      one.hard || one.soft,
      one.remaining,
      {
        resets: one.resets_at,
        soft: one.hard && one.soft,
        state: one.exhausted ? "exhausted" : one.warned ? "warned" : "",
      },
    ));
  byId("meters").replaceChildren(...limits, ...budgets);
  byId("unlimited").hidden = limits.length + budgets.length > 0;
}

function meter(title, used, limit, remaining, { resets = null, soft = null, state = "" }) {
  const box = element("div", "", "meter");
  const head = element("div", "", "head");
  head.append(element("span", title), element("span", say("used", { used: number(used), limit: number(limit) })));
  const bar = document.createElement("meter");
  bar.max = limit;
  bar.value = Math.min(used, limit);
  bar.low = (soft || limit * 0.8);
  bar.high = limit * 0.999;
  bar.optimum = 0;
  bar.setAttribute("aria-label", title);
  const words = [say("remaining", { remaining: number(remaining) })];
  if (soft) words.push(say("warnsAt", { soft: number(soft) }));
  if (resets) words.push(say("resets", { time: moment(resets) }));
  const tail = element("div", words.join(" · "), "tail");
  if (state) tail.prepend(element("span", say(state), `state ${state}`), " · ");
  box.append(head, bar, tail);
  return box;
}

function showUsage() {
  byId("usage").hidden = told.usage === null;
  const whose = told.key.kind === "root" ? say("poolUsage") : "";
  byId("usage-note").textContent = told.usage === null ? say("noUsage") : whose;
  if (told.usage === null) return;
  const head = document.createElement("tr");
  const corner = element("td");
  head.append(corner, ...["today", "month"].map((name) => column(name)));
  const rows = Object.keys(told.usage.month).map((name) => {
    const row = document.createElement("tr");
    const title = element("th", say(name));
    title.scope = "row";
    row.append(title, ...["today", "month"].map((when) => element("td", number(told.usage[when][name]))));
    return row;
  });
  const [top, body] = [document.createElement("thead"), document.createElement("tbody")];
  top.append(head);
  body.append(...rows);
  byId("usage").replaceChildren(element("caption", say("usage"), "unseen"), top, body);
}

function column(name) {
  const cell = element("th", say(name));
  cell.scope = "col";
  return cell;
}

// ---- lines for clients -------------------------------------------------------------------------

const SHELLS = {
  posix: (name, value) => `export ${name}='${value.replaceAll("'", "'\\''")}'`,
  powershell: (name, value) => `$env:${name}='${value.replaceAll("'", "''")}'`,
};

function lines(secret) {
  const prefix = told.group === "default" ? "" : `/${encodeURIComponent(told.group)}`;
  const url = SITE + prefix;
  const set = SHELLS[byId("shell").value];
  return {
    "Claude Code": [set("ANTHROPIC_BASE_URL", url), set("ANTHROPIC_AUTH_TOKEN", secret), "claude"],
    Codex: [
      say("codexFile"),
      'model = "claude-sonnet-4.5"',
      'model_provider = "kiro"',
      "",
      "[model_providers.kiro]",
      'name = "Kiro"',
      `base_url = "${url}/v1"`,
      'env_key = "KIRO_KEY"',
      'wire_api = "responses"',
      "",
      say("codexShell"),
      set("KIRO_KEY", secret),
    ],
    Cursor: [say("cursorWhere"), `Base URL: ${url}/v1`, `API key: ${secret}`],
    Cline: [say("clineWhere"), `Base URL: ${url}`, `API key: ${secret}`],
    "OpenAI SDK": [set("OPENAI_BASE_URL", `${url}/v1`), set("OPENAI_API_KEY", secret)],
    "Anthropic SDK": [set("ANTHROPIC_BASE_URL", url), set("ANTHROPIC_API_KEY", secret)],
  };
}

function showClients() {
  const shown = lines(byId("reveal").checked ? key : MASKED);
  const real = lines(key);
  byId("clients").replaceChildren(
    ...Object.keys(shown).map((client) => {
      const box = element("div", "", "client");
      const title = element("div", "", "title");
      const button = element("button", say("copy"), "quiet");
      button.type = "button";
      button.setAttribute("aria-label", `${say("copy")}: ${client}`);
      const text = element("pre", shown[client].join("\n"));
      text.tabIndex = 0;
      button.addEventListener("click", () => copy(button, text, real[client].join("\n")));
      title.append(element("h3", client), button);
      box.append(title, text);
      return box;
    }),
  );
}

async function copy(button, text, content) {
  try {
    await navigator.clipboard.writeText(content);
    button.textContent = say("copied");
  } catch {
    // no clipboard without https: let the person copy it
    text.textContent = content;
    getSelection().selectAllChildren(text);
    button.textContent = say("selected");
  }
  setTimeout(() => { button.textContent = say("copy"); }, 2000);
}

// ---- begin -------------------------------------------------------------------------------------

byId("enter").addEventListener("submit", enter);
byId("leave").addEventListener("click", () => { complain(""); leave(); byId("key").focus(); });
byId("again").addEventListener("click", ask);
byId("shell").addEventListener("change", showClients);
byId("reveal").addEventListener("change", showClients);
byId("language").addEventListener("click", () => {
  language = kept("language", language === "zh" ? "en" : "zh");
  show();
});
if (navigator.userAgent.includes("Windows")) byId("shell").value = "powershell";
byId("group").value = group;
show();
if (key) ask();
setInterval(() => { if (told && !document.hidden && !byId("clients").matches(":focus-within")) ask(); }, REFRESH_MS);
