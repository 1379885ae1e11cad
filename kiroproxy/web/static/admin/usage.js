// Who used what: charts over time, sums, CSV, and when the credits run dry.

import { call, get, save } from "./api.js";
import { columns } from "./charts.js";
import { h, put } from "./dom.js";
import { nameOf } from "./credentials.js";
import { button, card, empty, failure, heading, loading, table } from "./ui.js";
import { compact, dateTime, day, locale, milliseconds, number, percent, t } from "./words.js";

const SPANS = { "24h": ["hour", 24, 3600e3], "7d": ["day", 7, 86400e3], "30d": ["day", 30, 86400e3] };
const METRICS = {
  credits: () => t("Credits"), requests: () => t("Requests"), errors: () => t("Failures"),
  output_tokens: () => t("Output tokens"), input_tokens: () => t("Input tokens"),
};
const SHOWN = 7; // series; the rest is summed up

export async function show(main, { signal }) {
  const chosen = { span: "7d", by: "model", metric: "credits" };
  const body = h("div", {}, loading());
  const forecast = h("div");
  const names = { credential_id: new Map(), key_id: new Map() };
  let latest = 0; // an answer that was overtaken is not shown
  const draw = async () => {
    const mine = (latest += 1);
    const asked = { ...chosen };
    try {
      const [level] = SPANS[asked.span];
      if (asked.by === "day") {
        const { series } = await get(`/usage/series?level=${level}&since=${asked.span}`, { signal });
        if (mine === latest) put(body, picture(series.map((one) => ({ ...one, day: "" })), series.map((one) => ({ ...one, day: one.start })).reverse(), asked, names));
        return;
      }
      const [series, sums] = await Promise.all([
        get(`/usage/series?level=${level}&since=${asked.span}&by=${asked.by}`, { signal }),
        get(`/usage?since=${asked.span}&by=${asked.by}`, { signal }),
      ]);
      if (mine === latest) put(body, picture(series.series, sums.totals, asked, names));
    } catch (error) {
      if (error.name !== "AbortError") put(body, failure(error, draw));
    }
  };
  const select = (label, name, choices) => h("select.form-select.form-select-sm", { "aria-label": label, onchange: (event) => { chosen[name] = event.target.value; draw(); } },
    choices.map(([value, text]) => h("option", { value, selected: value === chosen[name] }, text)));
  put(main, heading(t("Usage"), button(t("Download as CSV"), async () => {
    const answer = await call("GET", `/usage/export?format=csv&since=${chosen.span}`, undefined, { signal });
    save(`kiroproxy-usage-${chosen.span}.csv`, await answer.blob());
  }, { icon: "download" })),
  h("div.toolbar", {},
    select(t("Span"), "span", [["24h", t("24 hours")], ["7d", t("7 days")], ["30d", t("30 days")]]),
    select(t("By"), "by", [["model", t("by model")], ["key_id", t("by key")], ["group", t("by group")], ["credential_id", t("by credential")], ["day", t("in all, over time")]]),
    select(t("What"), "metric", Object.entries(METRICS).map(([name, text]) => [name, text()]))), body, forecast);

  const [credentials, keys] = await Promise.all([get("/credentials", { signal }), get("/keys", { signal })]);
  for (const one of credentials.credentials) names.credential_id.set(String(one.id), nameOf(one));
  for (const one of keys.keys) names.key_id.set(one.id, one.name || one.hint);
  put(forecast, forecastCard(names, signal));
  await draw();
}

function named(value, by, names) {
  if (by === "day") return value ? (value.includes("T00:00") ? day(value) : dateTime(value)) : t("All");
  if (value === "" || value === null || value === undefined || value === 0) return by === "group" ? t("no group") : by === "key_id" ? t("apiKey of config.json") : "–";
  return names[by]?.get(String(value)) ?? (by === "credential_id" ? `#${value}` : by === "key_id" ? t("deleted key {id}", { id: value }) : String(value));
}

function picture(series, totals, { span, by, metric }, names) {
  if (!totals.length) return h("div.card.mb-3", {}, empty(t("Nothing was used in this span"), t("Requests appear here a few seconds after they end.")));
  const sorted = by === "day" ? totals : [...totals].sort((a, b) => (b[metric] ?? 0) - (a[metric] ?? 0));
  return [h("div.mb-3", {}, card(`${METRICS[metric]()}`, chart(series, sorted, { span, by, metric }, names))), h("div.mb-3", {}, card(t("Sums"), sumTable(sorted, by, names)))];
}

function chart(series, sorted, { span, by, metric }, names) {
  const [level, count, step] = SPANS[span];
  const last = Math.floor(Date.now() / step) * step;
  const starts = Array.from({ length: count }, (_, index) => last - (count - 1 - index) * step);
  const top = by === "day" ? [""] : sorted.slice(0, SHOWN).map((one) => one[by]);
  const rest = by !== "day" && sorted.length > SHOWN;
  const at = new Map(starts.map((start, index) => [start, index]));
  const lanes = new Map([...top, ...(rest ? ["\0rest"] : [])].map((name) => [name, new Array(count).fill(0)]));
  for (const one of series) {
    const index = at.get(Math.floor(new Date(one.start) / step) * step);
    const lane = lanes.get(one[by]) ?? lanes.get("\0rest");
    if (index !== undefined && lane) lane[index] += one[metric] ?? 0;
  }
  const label = (start) => (level === "hour" ? new Date(start).toLocaleTimeString(locale, { hour: "2-digit", minute: "2-digit", hour12: false }) : new Date(start).toLocaleDateString(locale, { month: "short", day: "numeric", timeZone: "UTC" }));
  return columns(starts.map(label), [...lanes].map(([name, values]) => ({ name: name === "\0rest" ? t("others") : named(name, by, names), values })), t("{what} over time; the table below has the figures", { what: METRICS[metric]() }), compact);
}

function sumTable(totals, by, names) {
  const all = totals.reduce((sum, one) => { for (const key of ["requests", "errors", "input_tokens", "output_tokens", "credits"]) sum[key] = (sum[key] ?? 0) + (one[key] ?? 0); return sum; }, { whole: true });
  return table(t("Sums"), [
    { title: { model: t("Model"), key_id: t("Key"), group: t("Group"), credential_id: t("Credential"), day: t("Day") }[by], class: "nowrap", cell: (one) => (one.whole ? h("strong", {}, t("All")) : named(one[by], by, names)) },
    { title: t("Requests"), class: "num", cell: (one) => number(one.requests) },
    { title: t("Success"), class: "num", cell: (one) => percent(one.requests ? (one.requests - one.errors) / one.requests : null) },
    { title: t("Input tokens"), class: "num", cell: (one) => compact(one.input_tokens) },
    { title: t("Output tokens"), class: "num", cell: (one) => compact(one.output_tokens) },
    { title: t("Credits"), class: "num", cell: (one) => number(one.credits) },
    { title: t("Mean duration"), class: "num", cell: (one) => (one.whole || !one.requests ? "" : milliseconds((one.duration_s / one.requests) * 1000)) },
  ], [...totals, all]);
}

function forecastCard(names, signal) {
  const body = h("div", {}, loading());
  get("/usage/forecast", { signal }).then(({ pool, credentials }) => put(body,
    h("p.mb-0", {}, !credentials.length ? t("No balance is known yet.") : pool.dryAt ? t("At {n} credits a day the pool runs dry on {day}.", { n: number(pool.perDay), day: day(pool.dryAt) }) : t("At {n} credits a day what is left lasts until it is renewed.", { n: number(pool.perDay ?? 0) })),
    credentials.length > 0 && h("div.mt-3", {}, table(t("Forecast"), [
      { title: t("Credential"), cell: (one) => names.credential_id.get(String(one.credentialId)) ?? `#${one.credentialId}` },
      { title: t("Left"), class: "num", cell: (one) => number(one.left) }, { title: t("A day"), class: "num", cell: (one) => number(one.perDay) },
      { title: t("Runs dry"), cell: (one) => (one.dryAt ? day(one.dryAt) : t("not before it is renewed")) }, { title: t("Renewed"), cell: (one) => day(one.resetsAt) },
    ], credentials.slice(0, 100)))), (error) => { if (error.name !== "AbortError") put(body, failure(error)); });
  return card(t("Forecast"), body);
}
