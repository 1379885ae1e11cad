// Why a request went where it went: attempts over time, and who was passed over.

import { waterfall } from "./charts.js";
import { h, root } from "./dom.js";
import { reasonText } from "./phrases.js";
import { told } from "./said.js";
import { table } from "./ui.js";
import { dateTime, milliseconds, t } from "./words.js";

/** A trace as `GET /explain/{id}` gives it; `nameOf(id)` names a credential. */
export function traceView(trace, nameOf) {
  const ended = trace.attempts.map((one) => one.ended_s ?? one.began_s);
  const total = Math.max(trace.waited_s, ...ended, 0.001) * 1000;
  const bars = [
    ...(trace.waited_s >= 0.001 ? [{ name: t("waiting for a place"), from: 0, to: trace.waited_s * 1000, kind: "off", text: milliseconds(trace.waited_s * 1000) }] : []),
    ...trace.attempts.map((one) => ({
      name: nameOf(one.credential_id) + (one.probe ? ` (${t("probe")})` : ""), from: one.began_s * 1000, to: (one.ended_s ?? total / 1000) * 1000,
      kind: OUTCOMES[one.outcome] ?? "bad", text: `${OUTCOME_NAMES[one.outcome]?.() ?? one.outcome}${one.message ? `: ${told(one.message)}` : ""}`,
    })),
  ];
  return h("div", {},
    h("p.muted", {}, dateTime(trace.time), " · ", trace.model || "–", trace.group ? ` · ${t("group {name}", { name: trace.group })}` : ""),
    bars.length ? waterfall(bars, total, t("Attempts over {time}", { time: milliseconds(total) })) : h("p", {}, t("No credential was tried.")),
    trace.error && h("p.bad-text.mt-2", {}, t("It ended with: {error}", { error: told(trace.error) })),
    trace.skipped.length > 0 && h("div.mt-3", {}, h("h3.h6", {}, t("Passed over")), skippedTable(trace.skipped.map((one) => ({ id: one.credential_id, reason: one.reason })), nameOf)));
}

const OUTCOME_NAMES = { ok: () => t("answered"), success: () => t("answered"), answered: () => t("answered"), open: () => t("under way"), "": () => t("under way") };
const OUTCOMES = { success: "ok", answered: "ok", ok: "ok", open: "main", "": "main" };

/** Credentials that were not taken, each with its reason. */
export function skippedTable(all, nameOf) {
  return table(t("Passed over"), [
    { title: t("Credential"), cell: (one) => h("a", { href: `${root}/credentials/${one.id}` }, nameOf(one.id)) },
    { title: t("Why not"), cell: (one) => reasonText(told(one.reason)) },
  ], all);
}
