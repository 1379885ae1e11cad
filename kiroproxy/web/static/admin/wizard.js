// What an empty installation shows: three steps to a first answer.

import { get } from "./api.js";
import { h, put, root } from "./dom.js";
import { addChoices } from "./add.js";
import { clientLines, trial } from "./connect.js";
import { heading } from "./ui.js";
import { t, tn } from "./words.js";

/** The setup wizard; goes on by itself when the first credential is there. */
export function wizard(go, signal) {
  const rest = h("div.muted", {}, t("When a credential is there."));
  const first = h("li", {}, h("div", {}, h("h2", {}, t("Add a Kiro account")),
    h("p.muted", {}, t("kiroproxy answers with the Kiro subscription of the accounts that you add here. Each is verified before it is kept.")),
    addChoices(added)));
  const second = h("li", {}, h("div", {}, h("h2", {}, t("Ask it something")), rest));
  const third = h("li", {}, h("div", {}, h("h2", {}, t("Connect a client")), h("p.muted", {}, t("Claude Code, Codex, Cursor and others: their exact lines come here."))));

  async function added() {
    const seen = await get("/credentials", { signal });
    if (!seen.total) return;
    first.classList.add("done");
    put(first, h("div", {}, h("h2", {}, t("Add a Kiro account")), h("p", {}, tn(seen.total, "One credential is there.", "{n} credentials are there."), " ",
      h("a", { href: `${root}/credentials` }, t("Look at them")))));
    put(rest, trial({ signal, ondone: () => second.classList.add("done") }));
    put(third, h("div", {}, h("h2", {}, t("Connect a client")), clientLines()));
    first.parentElement.querySelector("h2").scrollIntoView({ block: "start" });
  }
  return [heading(t("Welcome to kiroproxy"), h("button.btn.btn-sm.btn-outline-secondary", { type: "button", onclick: () => go("credentials") }, t("Skip"))),
    h("p.muted", {}, t("Three steps to a first answer.")), h("ol.steps", {}, first, second, third)];
}
