// The shell: sign-in, navigation, theme, language; the screens do the rest.

import { get, key, site, whenSignedOut, ApiError } from "./api.js";
import { h, icon, put, root } from "./dom.js";
import { field, form, failure, loading } from "./ui.js";
import { language, loadWords, setLanguage, t } from "./words.js";

const html = document.documentElement;
const app = document.getElementById("app");
// browsers look the icon up again when the address changes, and would resolve it anew
document.querySelector("link[rel=icon]").href = `${root}/static/icon.svg`;

const SCREENS = [
  ["", "speedometer2", "Overview", () => import("./overview.js")],
  ["credentials", "people-fill", "Credentials", () => import("./credentials.js")],
  ["connect", "plug", "Connect", () => import("./connect.js")],
  ["routing", "diagram-3", "Groups & routing", () => import("./routing.js")],
  ["keys", "key", "Keys", () => import("./keys.js")],
  ["usage", "graph-up", "Usage", () => import("./usage.js")],
  ["requests", "list-ul", "Requests", () => import("./requests.js")],
  ["settings", "gear", "Settings", () => import("./settings.js")],
];
// t("Overview") t("Credentials") t("Connect") t("Groups & routing") t("Keys") t("Usage") t("Requests") t("Settings")

let leave = null; // ends what the current screen has running

// ---- sign-in -------------------------------------------------------------------------------

function signIn(reason) {
  leave?.();
  leave = null;
  document.title = `kiroproxy · ${t("Sign in")}`;
  for (const one of document.querySelectorAll("dialog")) one.close();
  const trouble = h("div.trouble", { role: "alert" }, reason ?? "");
  const box = form(t("Sign in"), async (given) => {
    put(trouble);
    const typed = given.elements.key.value.trim();
    if (!/^[\x21-\x7e]+$/.test(typed)) throw new ApiError(400, "invalid", t("That is no key: keys have no blanks and only plain letters."));
    await get("/status", { key: typed });
    key.set(typed);
    start();
  }, field("key", t("Admin key"), { kind: "password", required: true, autocomplete: "current-password", help: t("The adminApiKey of config.json. It stays in this tab and is forgotten when the tab is closed.") }));
  put(app, h("main.sign-in", { id: "main" },
    h("div.card.p-4", {}, brand(), h("h1.h5.mt-3", {}, t("Sign in")), trouble, box),
    h("div.switches", {}, switches())));
  box.elements.key.focus();
}

const brand = () => h("div.brand", {}, h("img", { src: `${root}/static/icon.svg`, alt: "", width: 28, height: 28 }), h("span", {}, "kiroproxy"));

function switches() {
  const other = language === "zh" ? ["en", "English"] : ["zh", "简体中文"];
  const theme = h("button.icon-button", { type: "button", title: t("Dark or light"), "aria-label": t("Dark or light"), onclick: () => {
    const dark = html.dataset.bsTheme !== "dark";
    html.dataset.bsTheme = dark ? "dark" : "light";
    localStorage.setItem("kiroproxy.theme", html.dataset.bsTheme);
  } }, icon("circle-half"));
  return [h("button.icon-button.text", { type: "button", lang: other[0], onclick: () => setLanguage(other[0]) }, icon("globe2"), " ", other[1]), theme];
}

// ---- shell ---------------------------------------------------------------------------------

let main;
let links;

function start() {
  links = SCREENS.map(([path, symbol, name]) =>
    h("a.nav-item", { href: path ? `${root}/${path}` : root, "data-screen": path }, icon(symbol), h("span", {}, t(name))));
  main = h("main", { id: "main", tabindex: -1 });
  put(app, h("div.shell", {},
    h("aside.side", {}, brand(),
      h("nav", { "aria-label": t("Screens") }, links),
      h("div.side-foot", {},
        h("div.switches", {}, switches()),
        h("a.icon-button.text.docs", { href: `${site}/api/admin/docs` }, icon("braces"), " ", t("Admin API")),
        h("button.icon-button.text", { type: "button", onclick: () => { key.forget(); signIn(); } }, icon("box-arrow-right"), " ", t("Sign out")),
        h("div.muted.small", {}, `${html.dataset.version}`))),
    main));
  show();
}

/** Go to a screen without fetching the page again. */
export function go(path) {
  history.pushState(null, "", path ? `${root}/${path}` : root);
  show(true);
}

async function show(focus = false) {
  leave?.();
  leave = null;
  const path = location.pathname.slice(root.length).replace(/^\/+|\/+$/g, "");
  const [first, ...rest] = path.split("/");
  const screen = SCREENS.find(([name]) => name === first);
  for (const link of links) {
    if (link.dataset.screen === first) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (!screen) return void put(main, h("div.empty", {}, h("h1", {}, t("There is no such screen")), h("p", {}, h("a", { href: root }, t("Overview")))));
  document.title = `${t(screen[2])} · kiroproxy`;
  put(main, loading());
  const stay = new AbortController();
  leave = () => stay.abort();
  try {
    const module = await screen[3]();
    await module.show(main, { rest, query: new URLSearchParams(location.search), signal: stay.signal, go });
  } catch (error) {
    if (error.name === "AbortError" || stay.signal.aborted) return;
    if (!(error instanceof ApiError)) throw error;
    if (error.status !== 401) put(main, failure(error, () => show()));
  }
  if (focus && !stay.signal.aborted) (main.querySelector("h1") ?? main).focus();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href]");
  if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const address = new URL(link.href);
  const here = address.origin === location.origin && (address.pathname === root || address.pathname.startsWith(`${root}/`));
  if (!here || link.target || link.hasAttribute("download")) return;
  event.preventDefault();
  history.pushState(null, "", address.pathname + address.search);
  show(true);
});
addEventListener("popstate", () => { if (key.get()) show(true); });

whenSignedOut(() => { key.forget(); signIn(t("The key is no longer accepted.")); });
await loadWords();
if (key.get()) start();
else signIn();
