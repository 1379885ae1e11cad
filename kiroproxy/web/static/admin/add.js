// Ways to add a credential: sign in, from this machine, paste or upload, API key, form.

import { ApiError, call, get, post, remove, rows } from "./api.js";
import { h, icon, put, seldom } from "./dom.js";
import { kindText } from "./phrases.js";
import { refusalText, told } from "./said.js";
import { badge, bar, button, copyButton, dialog, empty, field, form, loading, notify, table, values } from "./ui.js";
import { countdown, t } from "./words.js";

const WAYS = [
  ["shield-check", () => t("Builder ID"), () => t("A code to approve on any device."), (done) => device("builder-id", done)],
  ["people-fill", () => t("IAM Identity Center"), () => t("The company's sign-in, by a code."), (done) => device("idc", done)],
  ["globe2", () => t("Google or GitHub"), () => t("In a browser; you bring back the address at which it ends."), (done) => social(done)],
  ["download", () => t("From this machine"), () => t("What the Kiro IDE and kiro-cli have on the server."), (done) => importing({ source: "machine" }, done)],
  ["cloud-arrow-up", () => t("Paste or upload"), () => t("Files of kiroproxy and other programs; looked at before anything is kept."), (done) => paste(done)],
  ["key", () => t("API key"), () => t("A Kiro API key (ksk_…)."), (done) => apiKey(done)],
  ["pencil", () => t("Form"), () => t("A refresh token with all its fields."), (done) => byHand(done)],
];

/** Buttons, one for each way; `done` is called when something was added. */
export function addChoices(done, chosen = () => {}) {
  return h("div.choices", {}, WAYS.map(([symbol, name, text, open]) =>
    h("button.choice", { type: "button", onclick: () => { chosen(); open(done); } }, h("strong", {}, icon(symbol), name()), h("span.muted.small", {}, text()))));
}

/** The dialog of all ways. */
export function addCredential(done) {
  dialog(t("Add a credential"), (close) => addChoices(done, () => close()), { class: "wide" });
}

const groupField = (groups) => field("group", t("Group"), { kind: "select", choices: [["", "default"], ...groups.filter((one) => one !== "default")], help: t("Whom it serves.") });
const priorityField = () => field("priority", t("Priority"), { kind: "number", min: 0, step: 1, help: t("The lowest goes first; 0 if left out.") });
const placeFields = (groups) => [
  field("label", t("Label"), { help: t("Your own name for it; it can be left out.") }),
  h("div.pairs", {}, groupField(groups), priorityField()),
];

const groupNames = async () => (await get("/groups")).groups.map((one) => one.name);

function refuse(message) {
  throw new ApiError(400, "invalid", message);
}

// ---- sign in -------------------------------------------------------------------------------

/** New tokens for a credential that is there; everything else about it stays. */
export async function signInAgain(row, done) {
  follow(await post("/logins", { relogin: row.id }), done);
}

async function device(method, done) {
  const groups = await groupNames();
  return dialog(method === "idc" ? t("Sign in with IAM Identity Center") : t("Sign in with Builder ID"), (close) =>
    form(t("Get a code"), async (box) => {
      const begun = await post("/logins", { method, ...values(box) });
      close();
      follow(begun, done);
    },
    method === "idc" && [field("startUrl", t("Start URL"), { required: true, kind: "url", placeholder: "https://example.awsapps.com/start", help: t("The address of the company's AWS access portal.") }),
      field("region", t("Region"), { placeholder: "us-east-1", help: t("Where the Identity Center is; us-east-1 if left out.") })],
    placeFields(groups)));
}

async function social(done) {
  const groups = await groupNames();
  return dialog(t("Sign in with Google or GitHub"), (close) =>
    form(t("Go on"), async (box) => {
      const begun = await post("/logins", values(box));
      close();
      follow(begun, done);
    }, field("method", t("Account"), { kind: "select", choices: [["google", "Google"], ["github", "GitHub"]] }), placeFields(groups)));
}

/** Show a sign-in until it ends; closing the dialog gives it up. */
function follow(begun, done) {
  let open = true;
  let ended = false;
  const state = h("div.mt-3", { role: "status" });
  const left = h("span");
  const finish = (seen) => {
    ended = ["done", "failed", "cancelled"].includes(seen.phase);
    if (seen.phase === "done") {
      put(state, badge("ok", t("Signed in: credential {id} is there.", { id: seen.credentialId }), "check-circle-fill"),
        seen.sameAccountAs?.length > 0 && h("p.warn-text", {}, t("It is the same account as credential {ids}: they share their credits.", { ids: seen.sameAccountAs.join(", ") })),
        seen.otherAccount && h("p.warn-text", {}, t("It is another account than before.")));
      notify(t("Signed in: credential {id} is there.", { id: seen.credentialId }));
      done(seen.credentialId);
    } else if (ended) {
      put(state, badge("bad", told(seen.message) || seen.error || t("The sign-in has failed."), "x-circle-fill"), h("p.muted", {}, t("Nothing was kept. Close this and begin again.")));
    } else {
      put(state, h("span.spinner"), " ", seen.phase === "storing" ? t("Looking at the account…") : begun.userCode ? t("Waiting for you to approve it…") : t("Waiting for the address at the end…"), " ", left, seen.trouble && h("p.warn-text", {}, told(seen.trouble)));
    }
  };
  const poll = async () => {
    while (open && !ended) {
      await new Promise((wake) => setTimeout(wake, Math.max(begun.interval ?? 2, 0.5) * 1000));
      if (!open || ended) return;
      try {
        finish(await get(`/logins/${begun.id}`));
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        if (error.status === 404 || error.status === 401) return finish({ phase: "failed", message: error.message });
      }
    }
  };
  const clock = setInterval(() => put(left, t("{time} left", { time: countdown((new Date(begun.expiresAt) - Date.now()) / 1000) })), 1000);
  finish(begun);
  poll();
  return dialog(t("Sign in"), () => [begun.userCode ? deviceSteps(begun) : socialSteps(begun, finish), state], {
    stay: true,
    onclose: () => {
      open = false;
      clearInterval(clock);
      if (!ended) remove(`/logins/${begun.id}`).catch(() => {});
    },
  });
}

function deviceSteps(begun) {
  return h("div.side-by-side", {},
    begun.qr && h("img.qr", { src: begun.qr, alt: t("QR code of the sign-in address") }),
    h("div", {}, h("p", {}, t("Open this address on any device and approve the code:")),
      h("p", {}, h("a", { href: begun.url, target: "_blank", rel: "noreferrer" }, begun.page ?? begun.url)),
      h("p.code", { "data-code": begun.userCode }, begun.userCode),
      h("div.actions", {}, copyButton(begun.userCode, t("Copy the code")), copyButton(begun.url, t("Copy the address")))));
}

function socialSteps(begun, finish) {
  return h("ol.steps", {},
    h("li", {}, h("div", {}, h("p", {}, h("a", { href: begun.url, target: "_blank", rel: "noreferrer" }, t("Open the sign-in page")), " ", copyButton(begun.url, t("Copy the address"))))),
    h("li", {}, h("div", {}, h("p", {}, t("At the end the browser goes to an address that begins with {address} and may say that it cannot be reached. That is as it should be.", { address: begun.redirectUri })))),
    h("li", {}, form(t("Finish"), async (box) => finish(await post(`/logins/${begun.id}/redirect`, { url: box.elements.url.value.trim() })),
      field("url", t("That address"), { required: true, placeholder: `${begun.redirectUri ?? ""}?code=…` }))));
}

// ---- import --------------------------------------------------------------------------------

async function paste(done) {
  const groups = await groupNames();
  return dialog(t("Paste or upload"), (close) => {
    const drop = h("input.form-control", { type: "file", multiple: true, id: "import-files", "aria-describedby": "import-help" });
    return form(t("Look at it"), async (box) => {
      const content = box.elements.content.value;
      const place = { ...(box.elements.group.value && { group: box.elements.group.value }), ...(box.elements.priority.value && { priority: Number(box.elements.priority.value) }) };
      if (!content.trim() && !drop.files.length) refuse(t("Paste something or choose a file."));
      const what = content.trim() ? { content, ...place } : upload(drop.files, place);
      const seen = await post("/credentials/import/preview", what);
      close();
      importing(what, done, seen);
    },
    field("content", t("Content of a file"), { kind: "textarea", rows: 8, placeholder: '[{"refreshToken": "…"}]', help: t("JSON of kiroproxy, kiro.rs, kiro2api, Kiro Account Manager, or the Kiro IDE's kiro-auth-token.json.") }),
    h("div.mb-3", {}, h("label.form-label", { for: "import-files" }, t("or files")), drop, h("div.form-text", { id: "import-help" }, t("JSON, or kiro-cli's database."))),
    h("div.pairs", {}, groupField(groups), priorityField()));
  }, { class: "wide" });
}

function upload(files, place) {
  const body = new FormData();
  for (const one of files) body.append("file", one);
  for (const [name, value] of Object.entries(place)) body.append(name, value);
  return body;
}

const withFields = (what, more) => {
  if (!(what instanceof FormData)) return { ...what, ...more };
  const body = new FormData();
  for (const [name, value] of what) body.append(name, value);
  for (const [name, value] of Object.entries(more)) for (const one of [value].flat()) body.append(name, one);
  return body;
};

const STATUS = {
  new: () => badge("ok", t("new"), "plus-lg"), added: () => badge("ok", t("added"), "check-circle-fill"),
  duplicate: () => badge("off", t("there already"), "clipboard"), failed: () => badge("bad", t("failed"), "x-circle-fill"),
};

/** Preview, choose, import with a result for each row. */
async function importing(what, done, given) {
  return dialog(t("Import"), (close) => {
    const body = h("div", {}, loading());
    (async () => {
      try {
        preview(body, given ?? (await post("/credentials/import/preview", what)), what, close, done);
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        put(body, h("div", { role: "alert" }, h("p.trouble", {}, error.message), h("p.muted", {}, error.remedy)), button(t("Close"), () => close()));
      }
    })();
    return body;
  }, { class: "wide" });
}

function preview(body, seen, what, close, done) {
  const chosen = new Set(seen.rows.filter((one) => one.status === "new").map((one) => one.number));
  const verify = field("verify", t("Verify each with Kiro before it is kept"), { kind: "checkbox", value: true });
  const go = button("", () => run(body, what, { verify: verify.querySelector("input").checked, rows: [...chosen] }, close, done), { kind: "primary" });
  const count = () => { go.textContent = t("Import {n}", { n: chosen.size }); go.disabled = !chosen.size; };
  count();
  const check = (row) => h("input.form-check-input", { type: "checkbox", checked: chosen.has(row.number), disabled: row.status !== "new", "aria-label": t("Import row {n}", { n: row.number }), onchange: (event) => { chosen[event.target.checked ? "add" : "delete"](row.number); count(); } });
  if (!seen.rows.length) return void put(body, empty(t("There is nothing to import."), seen.notes.length ? seen.notes.map((one) => h("span.d-block", {}, told(one))) : t("The file has no credentials in it."), button(t("Close"), () => close(), { kind: "primary" })));
  return void put(body,
    h("p", {}, t("Recognised: {format}. {new} new, {duplicate} there already, {failed} unusable.", { ...seen, format: FORMATS[seen.format]?.() ?? seen.format })),
    seen.notes.map((one) => h("p.warn-text", {}, icon("exclamation-triangle-fill"), " ", told(one))),
    table(t("Found credentials"), [{ title: "", label: t("Import"), cell: check }, ...columns()], seen.rows),
    h("div.mt-3", {}, verify), h("div.actions", {}, button(t("Cancel"), () => close()), go));
}

const FORMATS = {
  json: () => t("a JSON list of credentials"), "kiro-cli": () => t("kiro-cli's database"), "kiro-ide": () => t("the Kiro IDE's token file"),
  "account-manager": () => t("an export of Kiro Account Manager"), kiro2api: () => t("kiro2api's credentials"), machine: () => t("sign-ins of this machine"), mixed: () => t("files of several kinds"),
};

/** What is wrong with an entry; where it stood is its row. */
const whyText = (why) => refusalText(why.replace(/^[^:]*: (?=credentials)/, "").replace(/^credentials(\[\d+\])?\.?/, ""));

const columns = () => [
  { title: t("Row"), class: "num", cell: (row) => row.number },
  { title: t("Account"), cell: (row) => [row.label || row.email || row.tokenPreview || "–", row.why && h("div.muted.small", {}, whyText(row.why))] },
  { title: t("Kind"), cell: (row) => (row.authMethod ? kindText(row) : "–") },
  { title: t("Group"), cell: (row) => row.group ?? "–" },
  { title: t("State"), cell: (row) => STATUS[row.status]?.() ?? row.status },
];

async function run(body, what, more, close, done) {
  const total = more.rows.length;
  const seen = [];
  const state = h("p", { role: "status" });
  const progress = h("div.mb-3");
  const list = h("div");
  put(body, state, progress, list);
  const draw = () => {
    put(state, t("{n} of {total} done", { n: seen.length, total }));
    put(progress, bar(seen.length / Math.max(total, 1), t("{n} of {total} done", { n: seen.length, total })));
    put(list, table(t("Results"), columns(), seen));
  };
  draw();
  let ended = false;
  const soon = seldom(() => { if (!ended) draw(); });
  try {
    for await (const row of rows(await call("POST", "/credentials/import", withFields(what, more), { accept: "application/x-ndjson" }))) {
      if (row.type === "summary") put(state, t("{added} added, {duplicate} there already, {failed} failed.", row));
      else { seen.push(row); soon(); }
    }
  } finally {
    ended = true;
    put(list, table(t("Results"), columns(), seen));
    put(body, state, list, h("div.actions.mt-3", {}, button(t("Close"), () => close(), { kind: "primary" })));
    done();
  }
}

// ---- by hand -------------------------------------------------------------------------------

async function apiKey(done) {
  const groups = await groupNames();
  return dialog(t("Add an API key"), (close) => form(t("Verify and add"), (box) => add({ authMethod: "api_key", ...values(box) }, close, done),
    field("kiroApiKey", t("API key"), { kind: "password", required: true, placeholder: "ksk_…" }),
    field("region", t("Region"), { placeholder: "us-east-1" }), placeFields(groups)));
}

async function byHand(done) {
  const groups = await groupNames();
  const client = h("div.pairs", { hidden: true }, field("clientId", t("Client id")), field("clientSecret", t("Client secret"), { kind: "password" }));
  return dialog(t("Add by form"), (close) => form(t("Verify and add"), (box) => add(values(box), close, done),
    field("authMethod", t("Kind"), { kind: "select", choices: [["social", t("Social (Google, GitHub)")], ["idc", t("IdC (Builder ID, Identity Center)")]], onchange: (event) => (client.hidden = event.target.value !== "idc") }),
    field("refreshToken", t("Refresh token"), { kind: "textarea", rows: 3, required: true }),
    client,
    h("details.mb-3", {}, h("summary", {}, t("More")),
      ["region", "authRegion", "apiRegion", "profileArn", "machineId", "email"].map((name) => field(name, name)),
      field("proxyUrl", "proxyUrl", { placeholder: "socks5h://…" }), field("proxyUsername", "proxyUsername"), field("proxyPassword", "proxyPassword", { kind: "password" }),
      field("endpoint", "endpoint", { kind: "select", choices: [["", "ide"], ["cli", "cli"]] })),
    placeFields(groups)));
}

async function add(body, close, done) {
  const made = await post("/credentials", body);
  close();
  notify(t("Credential {id} is there.", { id: made.credentialId }), "success", t("Kiro has accepted it; it serves from now on."));
  done(made.credentialId);
}
