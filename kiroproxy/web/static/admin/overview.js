// Is it serving, what is about to break, who is using it.

import { get, post } from "./api.js";
import { h, icon, put } from "./dom.js";
import { parts, spark } from "./charts.js";
import { everySecond, repeat } from "./poll.js";
import { badge, button, card, heading, notify } from "./ui.js";
import { happened, reasonText, stateText } from "./phrases.js";
import { ago, compact, countdown, dateTime, day, milliseconds, number, percent, t, tn } from "./words.js";
import { wizard } from "./wizard.js";

const MINUTES = 60;

export async function show(main, { signal, go }) {
  let drawn = "";
  let known;
  let offset = 0; // server's clock minus ours
  await repeat(async () => {
    known = await get("/overview", { signal });
    offset = new Date(known.time) - Date.now();
    if (known.setupNeeded || drawn === "wizard") { // once begun, it stays until the operator goes on
      if (drawn !== "wizard") put(main, wizard(go, signal));
      drawn = "wizard";
      return;
    }
    const focused = main.contains(document.activeElement) && document.activeElement !== main ? document.activeElement.id : "";
    const unfolded = document.getElementById("problems")?.open;
    draw(main, known, drawn !== "");
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
    const content = [hero(seen), figures(seen), h("div.two", {}, pool(seen, offset), events(seen))];
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
  const problems = seen.problems.filter((one) => one !== seen.reason);
  return h(`section.card.hero${kind && "." + kind}`, { "aria-label": t("State"), "data-state": seen.state },
    h("div", {},
      h("div.figure", {}, icon(symbol), text()),
      h("div.muted", {}, seen.state === "serving" ? t("Requests are being served.") : stateText(seen.reason)),
      problems.length > 0 && h("details", { id: "problems" }, h("summary", { id: "problems-head" }, tn(problems.length, "One thing to look at", "{n} things to look at")),
        h("ul.mb-0", {}, problems.slice(0, 20).map((one) => h("li", {}, reasonText(one)))))),
    h("div.actions", {}, seen.state !== "serving" && h("a.btn.btn-sm.btn-outline-secondary", { href: `${document.documentElement.dataset.root}/credentials?state=trouble` }, t("Show them")),
      seen.state === "down" && h("a.btn.btn-sm.btn-outline-secondary", { href: `${document.documentElement.dataset.root}/settings?tab=doctor` }, t("Run the doctor"))));
}

function figures(seen) {
  const minutes = fillMinutes(seen.series, new Date(seen.time));
  const { traffic, credits, pool: all } = seen;
  const good = traffic.requests ? (traffic.requests - traffic.errors) / traffic.requests : null;
  return h("div.cards", {},
    h("section.card", {}, h("h2.card-title", {}, t("Requests, last hour")), h("div.figure", {}, compact(traffic.requests)),
      h("div.muted.small", {}, t("{n} in flight of {places} places", { n: all.inFlight, places: all.places })),
      spark(minutes.map((one) => one.requests), t("Requests in each of the last 60 minutes, {n} at most", { n: Math.max(0, ...minutes.map((one) => one.requests)) }))),
    h("section.card", {}, h("h2.card-title", {}, t("Success")), h("div.figure", {}, percent(good)),
      h("div.muted.small", {}, t("{n} failed", { n: traffic.errors })),
      spark(minutes.map((one) => one.errors), t("Failures in each of the last 60 minutes, {n} at most", { n: Math.max(0, ...minutes.map((one) => one.errors)) }), { class: "hot", top: 4 })),
    h("section.card", {}, h("h2.card-title", {}, t("Time to first token")), h("div.figure", {}, seconds(traffic.firstEventP50)),
      h("div.muted.small", {}, t("half of them; 95 % within {time}", { time: seconds(traffic.firstEventP95) })),
      spark(minutes.map((one) => one.firstEvent), t("Mean time to the first token in each of the last 60 minutes"), { class: "good" })),
    h("section.card", {}, h("h2.card-title", {}, t("Credits left")), h("div.figure", {}, credits.known ? number(credits.left) : "–"),
      h("div.muted.small", {}, creditsText(credits, all)),
      credits.known < all.total && h("div.mt-2", {}, button(t("Ask for balances"), askBalances, { icon: "arrow-clockwise" })),
      credits.known && credits.limit ? h("div.mt-3", {}, parts([{ name: t("left"), value: credits.left, kind: "main" }, { name: t("used"), value: Math.max(credits.limit - credits.left, 0), kind: "none" }], t("{left} of {limit} credits left", { left: number(credits.left), limit: number(credits.limit) }))) : null));
}

const seconds = (value) => milliseconds(value === null || value === undefined ? null : value * 1000);

async function askBalances() {
  const { credentials } = await get("/credentials");
  const done = await post("/credentials/bulk", { action: "balance", ids: credentials.slice(0, 1000).map((one) => one.id) });
  notify(t("{succeeded} done, {failed} failed.", done), done.failed ? "warning" : "success");
}

function creditsText(credits, all) {
  if (!credits.known) return t("No balance is known yet.");
  const of = credits.known < all.total ? t("known of {n} of {all}", { n: credits.known, all: all.total }) : t("of {limit}", { limit: number(credits.limit) });
  if (credits.dryAt) return `${of} · ${t("run dry on {day}", { day: day(credits.dryAt) })}`;
  return `${of} · ${t("last until they are renewed")}`;
}

function fillMinutes(series, now) {
  const found = new Map(series.map((one) => [Math.floor(new Date(one.start) / 60000), one]));
  const last = Math.floor(now / 60000);
  return Array.from({ length: MINUTES }, (_, index) => found.get(last - MINUTES + 1 + index) ?? { requests: 0, errors: 0, firstEvent: 0 });
}

function pool(seen, offset) {
  const { pool: all } = seen;
  const resting = all.cooling + all.exhausted;
  return card(t("Credentials"),
    parts([{ name: t("usable"), value: all.usable, kind: "ok" }, { name: t("resting"), value: resting, kind: "warn" }, { name: t("disabled"), value: all.disabled, kind: "off" }],
      t("{usable} usable, {cooling} cooling, {exhausted} exhausted, {disabled} disabled", all)),
    h("div.actions.mt-3", {},
      badge("ok", t("{n} usable", { n: all.usable }), "check-circle-fill"),
      all.cooling > 0 && badge("warn", t("{n} cooling", { n: all.cooling }), "hourglass-split"),
      all.exhausted > 0 && badge("warn", t("{n} exhausted", { n: all.exhausted }), "hourglass-split"),
      all.disabled > 0 && badge("off", t("{n} disabled", { n: all.disabled }), "pause-fill")),
    seen.soon.length > 0 && [h("h3.h6.mt-4", {}, t("What changes next")),
      h("ul.list", {}, seen.soon.slice(0, 8).map((one) => h("li", {}, icon("hourglass-split"),
        h("span", {}, h("a", { id: `soon-${one.credentialId}-${one.what}`, href: `${document.documentElement.dataset.root}/credentials/${one.credentialId}` }, `#${one.credentialId}`), " ", soonText(one)),
        one.what === "cooling"
          ? h("span.when", { "data-until": one.at }, countdown((new Date(one.at) - Date.now() - offset) / 1000))
          : h("time", { datetime: one.at, title: dateTime(one.at) }, one.what === "exhausted" ? day(one.at) : ago(one.at)))))]);
}

function soonText(one) {
  if (one.what === "cooling") return t("is cooling ({reason}) and back in", { reason: reasonText(one.reason) });
  if (one.what === "exhausted") return t("has no credits left until");
  return t("has a token that nobody can renew; it ends");
}

function events(seen) {
  if (!seen.events.length) return card(t("Last changes"), h("p.muted.mb-0", {}, t("Nobody has changed anything yet.")));
  return card(t("Last changes"), h("ul.list", {}, seen.events.map((one) =>
    h("li", {}, h("span", {}, happened(one)), h("time", { datetime: one.time, title: dateTime(one.time) }, ago(one.time))))));
}
