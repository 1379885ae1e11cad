// Is it serving, what is about to break, who is using it.

import { call, get, rows } from "./api.js";
import { h, icon, put, root } from "./dom.js";
import { parts, spark, sparks } from "./charts.js";
import { everySecond, repeat } from "./poll.js";
import { badge, bar, button, card, heading, notify } from "./ui.js";
import { told } from "./said.js";
import { happened, reasonText, stateText } from "./phrases.js";
import { ago, compact, countdown, dateTime, day, milliseconds, number, percent, t, tn } from "./words.js";
import { wizard } from "./wizard.js";

const MINUTES = 60;

export async function show(main, { signal, go }) {
  let drawn = "";
  let seen;
  let offset = 0; // server's clock minus ours
  await repeat(async () => {
    seen = await get("/overview", { signal });
    offset = new Date(seen.time) - Date.now();
    if (seen.setupNeeded || drawn === "wizard") { // once begun, it stays until the operator goes on
      if (drawn !== "wizard") put(main, wizard(go, signal));
      drawn = "wizard";
      return;
    }
    const focused = main.contains(document.activeElement) && document.activeElement !== main ? document.activeElement.id : "";
    const unfolded = document.getElementById("problems")?.open;
    draw(main, seen, drawn !== "");
    if (unfolded && document.getElementById("problems")) document.getElementById("problems").open = true;
    drawn = "overview";
    if (focused) document.getElementById(focused)?.focus();
  }, 5000, signal);
  everySecond(() => {
    for (const one of main.querySelectorAll("[data-until]")) {
      one.textContent = countdown((new Date(one.dataset.until) - Date.now() - offset) / 1000);
    }
  }, signal);

  function draw(place, seen, again) {
    const content = [hero(seen), figures(seen), h("div.two", {}, h("div.stack", {}, pool(seen, offset)), h("div.stack", {}, users(seen), events(seen)))];
    if (again && place.firstElementChild?.classList.contains("heading")) {
      put(place.lastElementChild, content); // the heading keeps the focus
    } else {
      put(place, heading(t("Overview"), h("span.muted.small", {}, t("updates every 5 seconds"))), h("div", {}, content));
    }
  }
}

const HEROES = {
  serving: ["", "check-circle-fill", () => t("Serving")],
  degraded: ["warn", "exclamation-triangle-fill", () => t("Serving, degraded")],
  down: ["bad", "x-circle-fill", () => t("Down")],
};

function hero(seen) {
  const [kind, symbol, text] = HEROES[seen.state] ?? HEROES.degraded;
  const problems = seen.problems.filter((one) => one !== seen.reason && !/ disabled: Manual$/.test(one)); // that was somebody's will
  return h(`section.card.hero${kind && "." + kind}`, { "aria-label": t("State"), "data-state": seen.state },
    h("div", {},
      h("div.figure", {}, icon(symbol), text()),
      h("div.muted", {}, seen.state === "serving" ? t("Requests are being served.") : stateText(seen.reason)),
      problems.length > 0 && h("details", { id: "problems" }, h("summary", { id: "problems-head" }, tn(problems.length, "One thing to look at", "{n} things to look at")),
        h("ul.mb-0", {}, problems.slice(0, 20).map((one) => h("li", {}, told(one)))))),
    h("div.actions", {}, seen.state !== "serving" && h("a.btn.btn-sm.btn-outline-secondary", { href: `${root}/credentials?state=trouble` }, t("Show them")),
      seen.state === "down" && h("a.btn.btn-sm.btn-outline-secondary", { href: `${root}/settings?tab=doctor` }, t("Run the doctor"))));
}

function figures(seen) {
  const minutes = fillMinutes(seen.series, new Date(seen.time));
  const { traffic, credits, pool: all } = seen;
  const good = traffic.requests ? (traffic.requests - traffic.errors) / traffic.requests : null;
  const most = (name) => Math.max(0, ...minutes.map((one) => one[name] ?? 0));
  const busy = minutes.map((one) => one.inFlight);
  busy[busy.length - 1] = Math.max(all.inFlight, busy.at(-1)); // what runs now has not ended yet
  return h("div.cards.figures", {},
    figure(t("Requests"), compact(traffic.requests), traffic.requests ? t("last hour; {n} a minute at most", { n: number(most("requests")) }) : t("none in the last hour"),
      spark(minutes.map((one) => one.requests), t("Requests in each of the last 60 minutes, {n} at most", { n: most("requests") }))),
    figure(t("Success"), percent(good), traffic.requests ? t("{n} failed", { n: number(traffic.errors) }) : "",
      spark(minutes.map((one) => one.errors), t("Failures in each of the last 60 minutes, {n} at most", { n: most("errors") }), { class: "hot", top: 4 })),
    figure(t("Time to first token"), seconds(traffic.firstEventP50), known(traffic.firstEventP95) ? t("median; 95 % within {time}", { time: seconds(traffic.firstEventP95) }) : "",
      sparks([{ values: minutes.map((one) => one.firstEventP95), class: "faint" }, { values: minutes.map((one) => one.firstEventP50 ?? one.firstEvent), class: "good" }],
        t("Time to the first token in each of the last 60 minutes: the median and, paler, 95 percent"))),
    figure(t("Streams in flight"), number(all.inFlight), t("of {n} places", { n: number(all.places) }),
      spark(busy, t("Requests in flight in each of the last 60 minutes, {n} at most", { n: number(Math.max(...busy)) }), { class: "calm", top: 1 })),
    figure(t("Credits left"), credits.known ? number(credits.left) : "–", creditsText(credits, all),
      credits.known && credits.limit ? parts([{ name: t("left"), value: credits.left, kind: "main" }, { name: t("used"), value: Math.max(credits.limit - credits.left, 0), kind: "none" }], t("{left} of {limit} credits left", { left: number(credits.left), limit: number(credits.limit) })) : null,
      asking.total ? h("span.muted.small", { "data-asking": "" }, h("span.spinner"), " ", askedText()) : credits.known < all.total && button(t("Ask for balances"), (box) => { box.dataset.asking = ""; return askBalances(); }, { icon: "arrow-clockwise" })));
}

/** A figure with its chart at the foot. */
function figure(title, value, text, chart, extra) {
  return h("section.card", {}, h("h2.card-title", {}, title), h("div.figure", {}, value), h("div.muted.small", {}, text), extra && h("div.mt-2", {}, extra), chart && h("div.foot", {}, chart));
}

const known = (value) => value !== null && value !== undefined;
const seconds = (value) => milliseconds(value === null || value === undefined ? null : value * 1000);

const asking = { n: 0, total: 0 }; // outlives that the cards are drawn anew

const askedText = () => t("{n} of {total} done", asking);

async function askBalances() {
  const { credentials } = await get("/credentials");
  const ids = credentials.slice(0, 1000).map((one) => one.id);
  asking.total = ids.length;
  const show = () => { for (const one of document.querySelectorAll("[data-asking]")) put(one, h("span.spinner"), " ", askedText()); };
  try {
    for await (const row of rows(await call("POST", "/credentials/bulk", { action: "balance", ids }, { accept: "application/x-ndjson" }))) {
      if (row.type === "summary") notify(t("{succeeded} done, {failed} failed.", row), row.failed ? "warning" : "success", row.failed ? t("Under Credentials, choose them and ask for balances: each says why.") : "");
      else { asking.n += 1; show(); }
    }
  } finally {
    Object.assign(asking, { n: 0, total: 0 });
  }
}

function creditsText(credits, all) {
  if (!credits.known) return t("No balance is known yet.");
  const of = credits.known < all.total ? t("{n} of {all} balances known", { n: credits.known, all: all.total }) : t("of {limit}", { limit: number(credits.limit) });
  if (credits.dryAt) return [of, h("div.warn-text", {}, icon("exclamation-triangle-fill"), " ", t("run dry on {day}", { day: day(credits.dryAt) }))];
  return [of, h("div", {}, t("enough until they are renewed"))];
}

function fillMinutes(series, now) {
  const found = new Map(series.map((one) => [Math.floor(new Date(one.start) / 60000), one]));
  const last = Math.floor(now / 60000);
  return Array.from({ length: MINUTES }, (_, index) => found.get(last - MINUTES + 1 + index) ?? { requests: 0, errors: 0, firstEvent: null, inFlight: 0 });
}

function pool(seen, offset) {
  const { pool: all } = seen;
  const resting = all.cooling + all.exhausted;
  const off = Object.entries(all.reasons ?? {});
  return card(t("Credentials"),
    parts([{ name: t("usable"), value: all.usable, kind: "ok" }, { name: t("resting"), value: resting, kind: "warn" }, { name: t("disabled"), value: all.disabled, kind: "off" }],
      t("{usable} usable, {cooling} cooling, {exhausted} exhausted, {disabled} disabled", all)),
    h("div.actions.mt-3", {},
      badge("ok", t("{n} usable", { n: all.usable }), "check-circle-fill"),
      all.cooling > 0 && badge("warn", t("{n} cooling", { n: all.cooling }), "hourglass-split"),
      all.exhausted > 0 && badge("warn", t("{n} exhausted", { n: all.exhausted }), "hourglass-split"),
      all.disabled > 0 && badge("off", t("{n} disabled", { n: all.disabled }), "pause-fill")),
    seen.soon.length > 0 && [h("h3.h6.mt-4", {}, t("What changes next")),
      h("ul.list", {}, seen.soon.slice(0, 8).map((one) => h("li", {}, icon(one.what === "token" ? "exclamation-triangle-fill" : "hourglass-split"),
        h("span", {}, h("a", { id: `soon-${one.credentialId}-${one.what}`, href: `${root}/credentials/${one.credentialId}` }, one.name || `#${one.credentialId}`), " ", soonText(one)),
        one.what === "cooling"
          ? h("span.when", { "data-until": one.at }, countdown((new Date(one.at) - Date.now() - offset) / 1000))
          : h("time", { datetime: one.at, title: dateTime(one.at) }, one.what === "exhausted" ? day(one.at) : ago(one.at))))),
      seen.soon.length > 8 && h("p.muted.small.mt-2.mb-0", {}, t("and {n} more", { n: seen.soon.length - 8 }))],
    off.length > 0 && [h("h3.h6.mt-4", {}, t("Switched off")),
      h("ul.list", {}, off.map(([reason, n]) => h("li", {}, icon(reason === "Manual" ? "pause-fill" : "x-circle-fill"), h("span", {}, h("a", { id: `off-${reason}`, href: `${root}/credentials?state=disabled` }, tn(n, "{n} credential", "{n} credentials")), ": ", reasonText(reason)))))]);
}

function soonText(one) {
  if (one.what === "cooling") return t("is cooling ({reason}) and back in", { reason: reasonText(one.reason) });
  if (one.what === "exhausted") return t("has no credits left until");
  return t("has a token that nobody can renew; it ends");
}

/** Who asked most in the last hour. */
function users({ users: all = [] }) {
  if (!all.length) return card(t("Who uses it, last hour"), h("p.muted.mb-0", {}, t("Nobody has asked anything in the last hour.")));
  const most = Math.max(...all.map((one) => one.requests), 1);
  const name = (one) => one.name || (one.keyId ? t("deleted key {id}", { id: one.keyId }) : t("apiKey of config.json"));
  return card(t("Who uses it, last hour"), h("ul.list.users", {}, all.map((one) => h("li", {},
    h("a", { id: `user-${one.keyId}`, href: `${root}/requests?key=${encodeURIComponent(one.keyId)}`, class: "who-used", title: name(one) }, name(one)),
    bar(one.requests / most, tn(one.requests, "{n} request", "{n} requests")),
    h("span.when", {}, tn(one.requests, "{n} request", "{n} requests"), " · ", t("{n} credits", { n: number(one.credits) }), one.errors > 0 && [" · ", h("span.bad-text", {}, t("{n} failed", { n: number(one.errors) }))])))));
}

/** Changes by people and failures of requests, the newest first. */
function events(seen) {
  const changes = seen.events.map((one) => ({ time: one.time, what: [icon("pencil"), h("span", {}, happened(one))] }));
  const failures = (seen.failures ?? []).map((one) => ({ time: one.time, what: [icon("x-circle-fill"), h("span", {},
    h("a", { id: `trace-${one.traceId}`, href: one.traceId ? `${root}/routing?trace=${encodeURIComponent(one.traceId)}` : `${root}/requests` }, t("A request for {model} failed", { model: one.model || "–" })), ` · ${[one.status, one.errorType].filter(Boolean).join(" ")}`)] }));
  const all = [...changes, ...failures].sort((a, b) => b.time.localeCompare(a.time)).slice(0, 10);
  return card(t("Last events"), all.length ? h("ul.list.events", {}, all.map((one) => h("li", {}, one.what, h("time", { datetime: one.time, title: dateTime(one.time) }, ago(one.time)))))
    : h("p.muted.mb-0", {}, t("Nothing has failed, and nobody has changed anything yet.")));
}
