// The request log: live, filtered, each with its attempts and a curl line.

import { call, get, rows, site } from "./api.js";
import { calm, h, icon, put, root } from "./dom.js";
import { nameOf } from "./credentials.js";
import { traceView } from "./trace.js";
import { button, dialog, empty, failure, heading, lines, loading, statusBadge, table } from "./ui.js";
import { dateTime, milliseconds, number, t, timeOfDay, tn } from "./words.js";

const PAGE = 100;
const REDRAW_MS = 200;
const KEPT = 500; // rows that live mode holds

export async function show(main, { signal, query }) {
  const chosen = { status: query.get("status") ?? "", model: "", credential_id: query.get("credential") ?? "", key_id: query.get("key") ?? "", group: "", since: "24h", page: 1 };
  const names = { credential: new Map(), key: new Map() };
  let seen = { requests: [], total: 0 };
  let live = null;
  const body = h("div", {}, loading());
  const state = h("span.muted.small", { role: "status" });

  const filters = () => {
    const found = new URLSearchParams();
    for (const [name, value] of Object.entries(chosen)) if (value && name !== "page" && name !== "since" && name !== "status") found.set(name, value);
    for (const one of chosen.status.split(",").filter(Boolean)) found.append("status", one);
    return found;
  };
  const nothing = () => {
    const filtered = [...filters().keys()].length > 0;
    return empty(filtered ? t("No request fits") : t("No requests in this span"), live ? t("They appear as soon as they end.") : filtered ? t("Change the search or the filters.") : t("Requests appear here a few seconds after they end."),
      !filtered && h("a.btn.btn-sm.btn-outline-secondary", { href: `${root}/connect` }, t("Connect")));
  };
  const draw = () => put(body, seen.requests.length ? [h("div.card", {}, list(seen.requests, names)), live ? null : pager()] : h("div.card", {}, nothing()));
  let latest = 0; // an answer that was overtaken is not shown
  let waiting = false;
  const drawSoon = () => { // a busy proxy ends many requests a second
    if (waiting) return;
    waiting = true;
    setTimeout(() => {
      waiting = false;
      if (!live || signal.aborted) return;
      const focused = body.contains(document.activeElement) ? document.activeElement.id : "";
      draw();
      if (focused) document.getElementById(focused)?.focus();
    }, REDRAW_MS);
  };
  const load = async () => {
    const mine = (latest += 1);
    try {
      const asked = filters();
      asked.set("since", chosen.since);
      asked.set("page", chosen.page);
      asked.set("page_size", PAGE);
      const found = await get(`/requests?${asked}`, { signal });
      if (mine !== latest || live) return;
      seen = found;
      put(state, tn(seen.total, "{n} request", "{n} requests"));
      draw();
    } catch (error) {
      if (error.name !== "AbortError") put(body, failure(error, load));
    }
  };
  const follow = async () => {
    live = new AbortController();
    const stop = () => live?.abort();
    signal.addEventListener("abort", stop, { once: true });
    const mine = live;
    put(state, t("live"));
    let since = ""; // the server ends a stream after a minute, so that it can stop
    try {
      while (!mine.signal.aborted) {
        const asked = filters();
        if (since) asked.set("since", since);
        for await (const row of rows(await call("GET", `/requests/stream?${asked}`, undefined, { signal: mine.signal }))) {
          if (row.type !== "request") continue;
          since = row.time;
          seen.requests = [row, ...seen.requests.filter((one) => one.id !== row.id)].slice(0, KEPT);
          drawSoon();
        }
      }
    } catch (error) {
      if (error.name !== "AbortError" && error.status === undefined) put(state, t("The stream has ended; switch it on again."));
      else if (error.status !== undefined) put(state, `${error.message} ${error.remedy}`);
    } finally {
      if (live === mine && !signal.aborted) { live = null; label(); }
    }
  };
  const pager = () => {
    const pages = Math.ceil(seen.total / PAGE);
    if (pages < 2) return null;
    const turn = (step) => { chosen.page += step; return load(); };
    return h("div.actions.mt-3", {}, button(t("Newer"), () => turn(-1), { disabled: chosen.page <= 1 }), t("Page {n} of {all}", { n: chosen.page, all: pages }), button(t("Older"), () => turn(1), { disabled: chosen.page >= pages }));
  };
  const restart = () => { chosen.page = 1; if (live) { live.abort(); live = null; seen = { requests: [], total: 0 }; label(); } return load(); };
  const toggle = h("button.btn.btn-sm.btn-outline-secondary", { type: "button", onclick: () => {
    if (live) { live.abort(); live = null; load(); } else { follow(); draw(); }
    label();
  } });
  const label = () => { put(toggle, icon(live ? "pause-fill" : "play-fill"), " ", live ? t("Stop") : t("Live")); toggle.setAttribute("aria-pressed", String(Boolean(live))); };
  label();
  const later = calm(restart, 300);
  const place = h("div.toolbar.mb-0"); // filters that need names
  put(main, heading(t("Requests"), state, toggle), h("div.toolbar", {},
    choice(t("Span"), [["15m", t("15 minutes")], ["24h", t("24 hours")], ["7d", t("7 days")], ["30d", t("30 days")]], chosen.since, (value) => { chosen.since = value; restart(); }),
    choice(t("Status"), [["", t("All statuses")], ["200", t("Answered (200)")], ["400,401,403,404,413,422", t("The caller's doing (4xx)")], ["429", t("Limited (429)")], ["500,502,503,504,529", t("Failed (5xx)")]], chosen.status, (value) => { chosen.status = value; restart(); }),
    h("input.form-control.form-control-sm", { type: "search", placeholder: t("Model"), "aria-label": t("Model"), oninput: (event) => { chosen.model = event.target.value.trim(); later(); } }),
    place), body);
  const [credentials, keys, groups] = await Promise.all([get("/credentials", { signal }), get("/keys", { signal }), get("/groups", { signal })]);
  for (const one of credentials.credentials) names.credential.set(one.id, nameOf(one));
  for (const one of keys.keys) names.key.set(one.id, one.name || one.hint);
  const pick = (label, all, name, entries) => choice(label, [["", all], ...entries], chosen[name], (value) => { chosen[name] = value; restart(); });
  put(place, pick(t("Key"), t("All keys"), "key_id", names.key), pick(t("Group"), t("All groups"), "group", groups.groups.map((one) => [one.name, one.name])),
    pick(t("Credential"), t("All credentials"), "credential_id", [...names.credential].map(([id, name]) => [String(id), name])));
  await load();
}

const choice = (label, choices, value, action) => h("select.form-select.form-select-sm", { "aria-label": label, onchange: (event) => action(event.target.value) },
  choices.map(([key, text]) => h("option", { value: key, selected: key === value }, text)));

function list(all, names) {
  return table(t("Requests"), [
    { title: t("Ended"), cell: (one) => h("span.nowrap", { title: dateTime(one.time) }, new Date(one.time).toDateString() === new Date().toDateString() ? timeOfDay(one.time) : dateTime(one.time)) },
    { title: t("Status"), cell: (one) => [statusBadge(one), one.error_type && h("span.reason", {}, one.error_type)] },
    { title: t("Model"), cell: (one) => h("div.who.whole", {}, h("button", { type: "button", id: `r-${one.id}`, onclick: () => open(one, names) }, one.model_asked || one.model || "–"), h("small", {}, [one.dialect, one.group].filter(Boolean).join(" · "))) },
    { title: t("Key"), cell: (one) => names.key.get(one.key_id) ?? (one.key_id ? h("span.muted", { title: one.key_id }, t("deleted key")) : h("span.muted", { title: t("apiKey of config.json") }, "apiKey")) },
    { title: t("Credential"), cell: (one) => (one.credential_id ? names.credential.get(one.credential_id) ?? `#${one.credential_id}` : "–") },
    { title: t("First token"), class: "num", cell: (one) => (one.first_event_s ? milliseconds(one.first_event_s * 1000) : "–") },
    { title: t("Duration"), class: "num", cell: (one) => milliseconds(one.duration_s * 1000) },
    { title: t("Tokens in / out"), class: "num", cell: (one) => `${number(one.input_tokens)} / ${number(one.output_tokens)}` },
    { title: t("Credits"), class: "num", cell: (one) => number(one.credits) },
  ], all);
}

const PATHS = { anthropic: ["/v1/messages", "messages"], cc: ["/cc/v1/messages", "messages"], openai: ["/v1/chat/completions", "messages"], openai_chat: ["/v1/chat/completions", "messages"], chat: ["/v1/chat/completions", "messages"], responses: ["/v1/responses", "input"], openai_responses: ["/v1/responses", "input"] };

function curl(one) {
  const [path, holder] = PATHS[one.dialect] ?? PATHS.anthropic;
  const body = { model: one.model_asked || one.model, ...(holder === "messages" ? { max_tokens: 1024 } : {}), stream: Boolean(one.streamed), [holder]: holder === "messages" ? [{ role: "user", content: "…" }] : "…" };
  return `curl -N ${location.origin}${site}${one.group && one.group !== "default" ? `/${one.group}` : ""}${path} \\\n  -H "content-type: application/json" -H "x-api-key: YOUR_KEY" \\\n  -d '${JSON.stringify(body)}'`;
}

function open(one, names) {
  const place = h("div", {}, loading());
  const name = (id) => names.credential.get(id) ?? `#${id}`;
  if (one.trace_id) get(`/explain/${encodeURIComponent(one.trace_id)}`).then((trace) => put(place, traceView(trace, name)), (error) => put(place, h("p.muted", {}, error.status === 404 ? t("Its trace is no longer known: the last 4,000 are, until the server restarts.") : error.message)));
  else put(place, h("p.muted", {}, t("It never reached the pool.")));
  const facts = [
    [t("Ended"), dateTime(one.time)], [t("Status"), [one.status, one.error_type].filter(Boolean).join(" · ")], [t("Model"), [one.model_asked, one.model].filter(Boolean).join(" → ")], [t("Attempts"), one.attempts],
    [t("Stop reason"), one.stop_reason], [t("Streamed"), one.streamed ? t("yes") : t("no")], [t("Client"), one.client], [t("Trace"), one.trace_id],
    [t("Tokens"), t("{input} in, {output} out, {cached} from the cache ({source})", { input: number(one.input_tokens), output: number(one.output_tokens), cached: number(one.cache_read_tokens), source: one.usage_source || "–" })], [t("Credits"), number(one.credits)],
  ].filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return dialog(t("Request"), () => [h("dl.facts.mb-4", {}, facts.map(([key, value]) => [h("dt", {}, key), h("dd", {}, String(value))])), h("h3.h6", {}, t("Attempts")), place,
    h("div.mt-4", {}, lines(curl(one), t("The same as curl; what was asked is never stored")))], { class: "drawer" });
}
