// Many credentials at once, with progress and a result for each.

import { ApiError, call, rows } from "./api.js";
import { h, put, seldom } from "./dom.js";
import { refusalText } from "./said.js";
import { badge, bar, button, confirm, dialog, field, form, table, values } from "./ui.js";
import { t, tn } from "./words.js";

const label = (row, id) => row?.label || row?.email || `#${id}`;

const ACTIONS = [
  ["enable", () => t("Enable"), "play-fill"], ["disable", () => t("Disable"), "pause-fill"],
  ["refresh", () => t("Renew tokens"), "arrow-repeat"], ["verify", () => t("Verify"), "shield-check"],
  ["balance", () => t("Balances"), "speedometer2"], ["reset", () => t("Reset"), "arrow-clockwise"],
  ["move", () => t("Move"), "diagram-3"], ["delete", () => t("Delete"), "trash"],
];

/** The bar that appears when rows are chosen. */
export function bulkBar(place, seen, reload, signal) {
  const ids = [...seen.chosen];
  const mark = ids.join();
  if (place.dataset.mark === mark) return;
  place.dataset.mark = mark;
  if (!ids.length) return void put(place);
  put(place, h("section.card.bulk", { "aria-label": t("With those that are chosen") },
    h("strong", {}, t("{n} chosen", { n: ids.length })),
    ACTIONS.map(([action, text, symbol]) => button(text(), () => begin(action, text(), ids, seen, reload, signal), { icon: symbol, kind: action === "delete" ? "outline-danger" : undefined })),
    button(t("Choose none"), () => { seen.chosen.clear(); document.querySelector("main h1")?.focus(); return reload(); })));
}

async function begin(action, text, ids, seen, reload, signal) {
  if (action === "move") return dialog(tn(ids.length, "Move {n} credential", "Move {n} credentials"), (close) => form(t("Move"), (box) => { const given = values(box); close(); run(action, text, { ids, group: given.group }, seen, reload, signal); },
    field("group", t("Group"), { kind: "select", choices: seen.groups })));
  if (action === "delete") {
    const enabled = ids.filter((id) => !seen.byId.get(id)?.disabled).length;
    const sure = await confirm(tn(ids.length, "Delete {n} credential", "Delete {n} credentials"), [
      t("Their tokens are taken out of the credentials file; Kiro's accounts stay. This cannot be undone."),
      enabled ? t("{n} of them are enabled and will be left: disable them first.", { n: enabled }) : "",
    ].filter(Boolean), t("Delete"), { type: String(ids.length) });
    if (!sure) return undefined;
  }
  if (action === "disable") {
    const left = seen.all.filter((row) => row.state === "active" && !ids.includes(row.id)).length;
    const sure = await confirm(tn(ids.length, "Disable {n} credential", "Disable {n} credentials"), left ? t("{n} others go on serving. Running requests end as usual.", { n: left }) : t("Nothing is left to serve then: every request will be refused."), t("Disable"));
    if (!sure) return undefined;
  }
  return run(action, text, { ids }, seen, reload, signal);
}

function run(action, text, what, seen, reload, signal) {
  const total = what.ids.length;
  const names = new Map(what.ids.map((id) => [id, label(seen.byId.get(id), id)]));
  const stop = new AbortController();
  signal.addEventListener("abort", () => stop.abort());
  const results = [];
  const state = h("p", { role: "status" });
  const progress = h("div.mb-3");
  const list = h("div");
  const draw = () => {
    put(state, t("{n} of {total} done", { n: results.length, total }));
    show();
  };
  const show = () => {
    put(progress, bar(results.length / total, t("{n} of {total} done", { n: results.length, total })));
    put(list, table(t("Results"), [
      { title: t("Credential"), cell: (row) => names.get(row.id) },
      { title: t("Result"), cell: (row) => (row.success ? badge("ok", t("done"), "check-circle-fill") : [badge("bad", t("failed"), "x-circle-fill"), " ", refusalText(row.error ?? "")]) },
    ], [...results].sort((a, b) => Number(a.success) - Number(b.success)).slice(0, 200)));
  };
  draw();
  let ended = false;
  const soon = seldom(() => { if (!ended) draw(); });
  const work = async () => {
    try {
      const answer = await call("POST", "/credentials/bulk", { action, ...what }, { accept: "application/x-ndjson", signal: stop.signal });
      for await (const row of rows(answer)) {
        if (row.type === "summary") { ended = true; put(state, t("{succeeded} done, {failed} failed.", row)); }
        else { results.push(row); soon(); }
      }
      show();
    } catch (error) {
      if (error.name === "AbortError") return;
      if (!(error instanceof ApiError)) throw error;
      put(state, h("span.trouble", {}, `${error.message} ${error.remedy}`));
    } finally {
      ended = true;
      reload();
    }
  };
  work();
  return dialog(text, () => [state, progress, list], { class: "wide", onclose: () => stop.abort() });
}
