// Per client the exact lines, and a test whose answer streams onto the page.

import { call, events, get, post, remove, site } from "./api.js";
import { h, put, root } from "./dom.js";
import { button, card, copyButton, field, heading, lines, notify, tabs } from "./ui.js";
import { milliseconds, t } from "./words.js";

const PLACEHOLDER = "YOUR_KEY";
const MODEL = "claude-sonnet-4.5";
const base = () => location.origin + site;

export async function show(main, { signal }) {
  put(main, heading(t("Connect")), h("div.two", {}, card(t("Lines for your client"), clientLines()), card(t("Try it here"), trial({ signal }))));
}

// ---- lines ---------------------------------------------------------------------------------

/** What to set in each client; `key` is the secret if it is known. */
export function linesOf(key = PLACEHOLDER, group = "") {
  const url = base() + (group ? `/${group}` : "");
  return [
    ["claude", "Claude Code", [
      [t("In a shell"), `export ANTHROPIC_BASE_URL=${url}\nexport ANTHROPIC_AUTH_TOKEN=${key}\nclaude`],
      [t("In PowerShell"), `$env:ANTHROPIC_BASE_URL = "${url}"\n$env:ANTHROPIC_AUTH_TOKEN = "${key}"\nclaude`],
      ["~/.claude/settings.json", JSON.stringify({ env: { ANTHROPIC_BASE_URL: url, ANTHROPIC_AUTH_TOKEN: key } }, null, 2)]]],
    ["codex", "Codex", [
      ["~/.codex/config.toml", `model = "${MODEL}"\nmodel_provider = "kiro"\n\n[model_providers.kiro]\nname = "Kiro"\nbase_url = "${url}/v1"\nenv_key = "KIRO_KEY"\nwire_api = "responses"`],
      [t("In a shell"), `export KIRO_KEY=${key}\ncodex`], [t("In PowerShell"), `$env:KIRO_KEY = "${key}"\ncodex`]]],
    ["cursor", "Cursor", [[t("Settings → Models → OpenAI API key, override the base URL"), `${t("Base URL")}: ${url}/v1\n${t("API key")}: ${key}\n${t("Model")}: ${MODEL}`]], t("Cursor calls from its own servers: this address must be reachable from the internet.")],
    ["cline", "Cline", [[t("Settings → API provider: Anthropic, use a custom base URL"), `${t("Base URL")}: ${url}\n${t("API key")}: ${key}\n${t("Model")}: ${MODEL}`]]],
    ["anthropic", "Anthropic SDK", [["Python", `import anthropic\n\nclient = anthropic.Anthropic(base_url="${url}", api_key="${key}")\nwith client.messages.stream(model="${MODEL}", max_tokens=1024,\n        messages=[{"role": "user", "content": "Hello"}]) as stream:\n    for text in stream.text_stream:\n        print(text, end="", flush=True)`]]],
    ["openai", "OpenAI SDK", [["Python", `import openai\n\nclient = openai.OpenAI(base_url="${url}/v1", api_key="${key}")\nanswer = client.chat.completions.create(model="${MODEL}",\n    messages=[{"role": "user", "content": "Hello"}])\nprint(answer.choices[0].message.content)`]]],
    ["curl", "curl", [[t("In a shell"), `curl -N ${url}/v1/messages \\\n  -H "content-type: application/json" -H "x-api-key: ${key}" \\\n  -d '{"model": "${MODEL}", "max_tokens": 1024, "stream": true,\n       "messages": [{"role": "user", "content": "Hello"}]}'`]]],
  ];
}

/** Tabs with the lines of each client, and a key to put into them. */
export function clientLines(secret) {
  const place = h("div");
  let key = secret;
  let group = "";
  let current;
  const draw = () => put(place, tabs(t("Clients"), linesOf(key || PLACEHOLDER, group).map(([name, text, blocks, note]) => [name, text, () => {
    current = name;
    return [blocks.map(([title, content]) => lines(content, title)), note && h("p.muted.small", {}, note)];
  }]), current));
  draw();
  const keyField = field("key", t("Client key"), { value: secret ?? "", placeholder: PLACEHOLDER, oninput: (event) => { key = event.target.value.trim(); draw(); }, help: t("The apiKey of config.json, or a key of its own for this client. It is put into the lines here and sent nowhere.") });
  const groups = h("div");
  get("/groups").then((found) => {
    if (found.groups.length < 2) return;
    put(groups, field("group", t("Group"), { kind: "select", choices: [["", t("none: /v1")], ...found.groups.filter((one) => one.name !== "default").map((one) => [one.name, `/${one.name}/v1`])], onchange: (event) => { group = event.target.value; draw(); } }));
  }, () => {});
  const make = button(t("Make a key for this client"), async () => {
    const made = await post("/keys", { name: current });
    key = made.key;
    keyField.querySelector("input").value = key;
    draw();
    notify(t("The key is in the lines now. It is shown this once: copy them before you leave."), "info");
  }, { icon: "key" });
  return h("div", {}, secret ? null : h("div.mb-3", {}, keyField, make), groups, place);
}

// ---- a test --------------------------------------------------------------------------------

/** A question whose answer streams in, with a key that is deleted afterwards. */
export function trial({ signal, ondone } = {}) {
  const answer = h("div.answer", { "data-empty": t("The answer appears here."), "aria-live": "polite", "aria-label": t("Answer"), role: "region", tabindex: 0 });
  const facts = h("p.muted.small.mt-2", { role: "status" });
  const model = field("model", t("Model"), { kind: "select", choices: [MODEL], value: MODEL });
  get("/models", { signal }).then((found) => {
    const select = model.querySelector("select");
    put(select, found.models.map((one) => h("option", { value: one.id, selected: one.id === MODEL }, one.name ?? one.id)));
  }, () => {});
  const prompt = field("prompt", t("Question"), { value: t("Say hello in one sentence.") });
  const send = button(t("Send a test"), async () => {
    put(answer);
    put(facts, t("Asking…"));
    let begun;
    const body = { model: model.querySelector("select").value, max_tokens: 512, stream: true, messages: [{ role: "user", content: prompt.querySelector("input").value || "Hello" }] };
    try {
      const { first, trace } = await withKey((secret) => {
        begun = performance.now();
        return ask(body, secret, answer, signal, begun);
      });
      put(facts, t("First token after {first}, done after {all}.", { first: milliseconds(first), all: milliseconds(performance.now() - begun) }), " ",
        trace && h("a", { href: `${root}/routing?trace=${encodeURIComponent(trace)}` }, t("Why it went where it went")));
      ondone?.();
    } catch (error) {
      put(facts, t("No answer. It costs nothing to try again."));
      throw error;
    }
  }, { kind: "primary", icon: "play-fill" });
  return h("div", {}, model, prompt, h("div.actions.mb-3", {}, send, copyButton(() => answer.textContent, t("Copy the answer"))), answer, facts,
    h("p.muted.small", {}, t("It goes the way of every request and costs what a short question costs. For it a key is made that is deleted at once.")));
}

const SPREAD_MS = 1100; // until every worker knows a new key

async function withKey(work) {
  const soon = new Date(Date.now() + 10 * 60_000).toISOString();
  const made = await post("/keys", { name: t("test from the page"), expires_at: soon });
  try {
    await new Promise((wake) => setTimeout(wake, SPREAD_MS));
    return await work(made.key);
  } finally {
    await remove(`/keys/${made.id}`).catch(() => {});
  }
}

async function ask(body, secret, place, signal, begun) {
  const response = await call("POST", "/v1/messages", body, { base: site, key: secret, signal });
  let first = null;
  for await (const { event, data } of events(response)) {
    if (event === "content_block_delta") {
      first ??= performance.now() - begun;
      place.append(JSON.parse(data).delta?.text ?? "");
    } else if (event === "error") {
      place.append(h("div.bad-text", {}, JSON.parse(data).error?.message ?? data));
    }
  }
  return { first, trace: response.headers.get("x-kiroproxy-trace") };
}
